"""Saliency maps of a standard and of a robust classifier of faces, side by side in faces.png.

Data: 100 faces and 100 other patches, 25 x 25 pixels, of Labeled Faces in the Wild (scikit-image).

pip install scikit-image
python examples/victims/faces.py
"""

import torch
from saliency import draw, measured, trained
from skimage.data import lfw_subset

EPS, TRAINED = 0.05, 140
x = torch.from_numpy(lfw_subset()).float().unsqueeze(1)  # in the wheel: nothing is downloaded
y = (torch.arange(200) < 100).long()  # 1: a face


def main(seeds=(0, 1, 2)):
    """Train and compare for each seed, assert what differs, and draw the last one."""
    for seed in seeds:
        rows = torch.randperm(200, generator=torch.Generator().manual_seed(seed))
        known, a, b = rows[:TRAINED], x[rows[TRAINED:]], y[rows[TRAINED:]]
        (standard, before), (robust, after) = (
            measured(trained(seed, eps, x[known], y[known], 60), a, b, EPS) for eps in (0.0, EPS)
        )
        for name, found in (("standard", before), ("robust", after)):
            print(f"seed {seed}  {name:<9}", *(f"{k} {v:.2f}" for k, v in found.items()), sep="  ")
        assert after["robust"] > before["robust"] + 0.05 and after["clean"] > 0.9
        assert after["alignment"] > 1.5 * before["alignment"]  # the map looks more like the image
        assert after["sparsity"] > before["sparsity"]
    shown = [*b.eq(1).nonzero().squeeze(1)[:5], *b.eq(0).nonzero().squeeze(1)[:3]]
    shown = torch.stack(shown)
    title = f"Faces and other patches: saliency of networks trained at ε = 0 and ε = {EPS}"
    draw(a[shown], standard[shown], robust[shown], title, "faces.png")


if __name__ == "__main__":
    main()
