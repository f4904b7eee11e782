"""Saliency maps of a standard and of a robust classifier of faces, side by side in faces.png.

Data: 100 faces and 100 other patches, 25 x 25 pixels, of Labeled Faces in the Wild (scikit-image).

pip install scikit-image
python examples/victims/faces.py
"""

import matplotlib.pyplot as plt
import torch
from skimage.data import lfw_subset
from torch import nn

import robustgames as rg
from robustgames.evaluation.saliency import saliency_map, sparsity

EPS, TRAINED = 0.05, 140
x = torch.from_numpy(lfw_subset()).float().unsqueeze(1)  # in the wheel: nothing is downloaded
y = (torch.arange(200) < 100).long()  # 1: a face


def trained(seed, eps, rows, steps=60):
    """Return a network trained against 5 steps of PGD of radius eps; 0 is standard training."""
    torch.manual_seed(seed)
    layers = [nn.Conv2d(1, 12, 5, 2), nn.ReLU(), nn.Conv2d(12, 24, 3, 2), nn.ReLU()]
    net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(600, 2))
    optimizer, noise = torch.optim.Adam(net.parameters(), 3e-3), torch.Generator().manual_seed(seed)
    for _ in range(steps):
        a = rg.attacks.pgd(net, x[rows], y[rows], eps, steps=5, early="last", generator=noise)
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(a), y[rows]).backward()
        optimizer.step()
    return net.eval()


def measured(seed, eps):
    """Return images held out, their maps (gradient of the margin), and measures of both."""
    rows = torch.randperm(200, generator=torch.Generator().manual_seed(seed))
    net = trained(seed, eps, rows[:TRAINED])
    a, b = x[rows[TRAINED:]], y[rows[TRAINED:]]
    maps = saliency_map(net, a, b) - saliency_map(net, a, 1 - b)
    # alignment of Etmann et al. 2019, divided by the norm of the image
    cosine = nn.functional.cosine_similarity(a.flatten(1), maps.flatten(1)).abs()
    report = rg.attacks.evaluate(net, a, b, EPS, attacks="apgd-ce")
    found = {"clean": report.clean_accuracy, "robust": report.robust_accuracy}
    found |= {"alignment": float(cosine.mean()), "sparsity": float(sparsity(maps).mean())}
    return a, b, maps, found


def main(seeds=(0, 1, 2)):
    """Train and compare for each seed, assert what differs, and draw the last one."""
    figure, axes = plt.subplots(3, 8, figsize=(11, 4.4), layout="constrained")
    for seed in seeds:
        a, b, standard, before = measured(seed, 0.0)
        _, _, robust, after = measured(seed, EPS)
        for name, found in (("standard", before), ("robust", after)):
            print(f"seed {seed}  {name:<9}", *(f"{k} {v:.2f}" for k, v in found.items()), sep="  ")
        assert after["robust"] > before["robust"] + 0.05 and after["clean"] > 0.9
        assert after["alignment"] > 1.5 * before["alignment"]  # the map looks more like the image
        assert after["sparsity"] > before["sparsity"]
    shown = [
        *b.eq(1).nonzero().squeeze(1)[:5].tolist(),
        *b.eq(0).nonzero().squeeze(1)[:3].tolist(),
    ]
    for row, values in zip(axes, (a, standard, robust), strict=True):
        for panel, picture in zip(row, values[shown, 0], strict=True):
            most = float(picture.abs().max())
            style = (
                {"cmap": "gray"} if values is a else {"cmap": "RdBu_r", "vmin": -most, "vmax": most}
            )
            panel.imshow(picture.numpy(), **style)
            panel.set(xticks=[], yticks=[])
    for panel, name in zip(axes[:, 0], ("image", "standard", "robust"), strict=True):
        panel.set_ylabel(name)
    figure.suptitle(f"Faces and other patches: saliency of networks trained at ε = 0 and ε = {EPS}")
    figure.savefig("faces.png", dpi=120)


if __name__ == "__main__":
    main()
