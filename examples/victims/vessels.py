"""Saliency maps of a standard and a robust detector of blood vessels, side by side in vessels.png.

Data: the photograph of a retina that scikit-image ships, its green channel. A patch of 25 x 25
pixels shows a vessel (class 1) if a ridge filter says so in its middle. Patches of the left half
train, those of the right half test.

pip install scikit-image
python examples/victims/vessels.py
"""

import numpy as np
import torch
from saliency import draw, measured, trained
from scipy.ndimage import maximum_filter
from skimage.data import retina
from skimage.filters import sato
from skimage.transform import rescale

EPS, HALF = 0.05, 12
green = rescale(retina()[..., 1] / 255.0, 0.5)
ridge = sato(green, sigmas=[2, 3])  # dark lines, 4 to 6 pixels wide
rows, columns = np.indices(green.shape) - 353
inside = np.hypot(rows, columns) < 290
vessel = inside & (ridge > np.quantile(ridge[inside], 0.95))
empty = inside & (maximum_filter(ridge, 13) < np.quantile(ridge[inside], 0.85))


def patches(side, count, seed):
    """Return patches around vessels and elsewhere, at twice their contrast, and their classes."""
    found, generator = [], np.random.default_rng(seed)
    for mask in (vessel, empty):
        centers = np.argwhere(mask & side)
        for i, j in centers[generator.choice(len(centers), count, replace=False)]:
            patch = green[i - HALF : i + HALF + 1, j - HALF : j + HALF + 1]
            found.append(2 * (patch - patch.mean()) + 0.5)
    x = torch.from_numpy(np.stack(found)).float().clamp(0, 1).unsqueeze(1)
    return x, (torch.arange(2 * count) < count).long()


def main(seeds=(0, 1, 2)):
    """Train and compare for each seed, assert what differs, and draw the last one."""
    for seed in seeds:
        x, y = patches(columns < -HALF, 200, seed)
        a, b = patches(columns > HALF, 50, seed)
        (standard, before), (robust, after) = (
            measured(trained(seed, eps, x, y, 120), a, b, EPS, 0.5) for eps in (0.0, EPS)
        )
        for name, found in (("standard", before), ("robust", after)):
            print(f"seed {seed}  {name:<9}", *(f"{k} {v:.2f}" for k, v in found.items()), sep="  ")
        assert after["robust"] > before["robust"] + 0.2 and after["clean"] > 0.9
        assert after["sparsity"] > before["sparsity"] + 0.05  # the map is near the vessel
    shown = torch.tensor([0, 1, 2, 3, 4, 50, 51, 52])
    title = f"Vessels of a retina and patches without: networks trained at ε = 0 and ε = {EPS}"
    draw(a[shown], standard[shown], robust[shown], title, "vessels.png")


if __name__ == "__main__":
    main()
