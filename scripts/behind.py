"""An attack on a classifier with a threshold, by projected gradient ascent on what it sees."""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.nn import functional

from robustgames.attacks.problem import Model
from robustgames.games.attackers import BehindThreshold, ImageBatch
from robustgames.games.augmentation import patches
from robustgames.games.small_networks import SLOPE
from robustgames.games.threat import ThreatModel

SIZE = 0.6  # of the first step in y, in units of eps


def withstand(
    network: Model,
    images: Tensor,
    labels: Tensor,
    threat: ThreatModel,
    threshold: float,
    generator: Generator,
    steps: int = 50,
    slope: float = SLOPE,
    goals: Tensor | None = None,
) -> Tensor:
    """Return which images (N, p) are classified correctly after signed ascent in y, (N,).

    The ascent is on the cross-entropy, or, with goals (N,), on the logit of that class minus the one of the label. The
    start is `augmentation.patches`, most of them corners; steps decrease to 0. The verdict is that of the network
    on the attacked image, as for every other attack.
    """
    batch = ImageBatch(images, labels, torch.arange(len(images)))
    attacker = BehindThreshold(threat, images, len(images), threshold, slope)
    eps = attacker.radius
    y = patches(eps * (2 * torch.rand(images.shape, generator=generator) - 1), eps, generator).flatten()
    for k in range(steps):
        y.requires_grad_(True)
        scores = network(attacker.attacked(y, batch))
        if goals is None:
            loss = functional.cross_entropy(scores, labels, reduction="sum")
        else:
            loss = (scores.gather(1, goals.unsqueeze(1)) - scores.gather(1, labels.unsqueeze(1))).sum()
        (gradient,) = torch.autograd.grad(loss, y)
        y = attacker.project(y.detach() + SIZE * eps * (1 - k / steps) * gradient.sign(), batch)
    with torch.no_grad():
        return network(attacker.attacked(y, batch)).argmax(-1) == labels
