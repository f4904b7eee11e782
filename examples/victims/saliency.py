"""Standard and robust training of a small network on 25 x 25 patches, and their saliency maps."""

import matplotlib.pyplot as plt
import torch
from torch import nn

import robustgames as rg
from robustgames.evaluation.saliency import saliency_map, sparsity


def trained(seed, eps, x, y, steps):
    """Return a network trained against 5 steps of PGD of radius eps; 0 is standard training."""
    torch.manual_seed(seed)
    layers = [nn.Conv2d(1, 12, 5, 2), nn.ReLU(), nn.Conv2d(12, 24, 3, 2), nn.ReLU()]
    net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(600, 2))
    optimizer, noise = torch.optim.Adam(net.parameters(), 3e-3), torch.Generator().manual_seed(seed)
    for _ in range(steps):
        a = rg.attacks.pgd(net, x, y, eps, steps=5, early="last", generator=noise)
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(a), y).backward()
        optimizer.step()
    return net.eval()


def measured(net, a, b, eps, center=0.0):
    """Return the maps (gradient of the margin) of images, and measures of network and maps."""
    maps = saliency_map(net, a, b) - saliency_map(net, a, 1 - b)
    # alignment of Etmann et al. 2019, divided by the norm of the image
    cosine = nn.functional.cosine_similarity((a - center).flatten(1), maps.flatten(1)).abs()
    report = rg.attacks.evaluate(net, a, b, eps, attacks="apgd-ce")
    found = {"clean": report.clean_accuracy, "robust": report.robust_accuracy}
    found |= {"alignment": float(cosine.mean()), "sparsity": float(sparsity(maps).mean())}
    return maps, found


def draw(a, standard, robust, title, path):
    """Draw images and both maps, a column for each image."""
    figure, axes = plt.subplots(3, len(a), figsize=(11, 4.4), layout="constrained")
    for row, values in zip(axes, (a, standard, robust), strict=True):
        for panel, picture in zip(row, values[:, 0], strict=True):
            most = float(picture.abs().max())
            style = (
                {"cmap": "gray"} if values is a else {"cmap": "RdBu_r", "vmin": -most, "vmax": most}
            )
            panel.imshow(picture.numpy(), **style)
            panel.set(xticks=[], yticks=[])
    for panel, name in zip(axes[:, 0], ("image", "standard", "robust"), strict=True):
        panel.set_ylabel(name)
    figure.suptitle(title)
    figure.savefig(path, dpi=120)
