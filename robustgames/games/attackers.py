"""Meanings of the attacker's strategy y: one perturbation per image of a minibatch, per image of the data, or one
for all; or a radius per image.

An attacker maps its block y of z to the images that the classifier sees, and has a strategy set.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from robustgames.games.sets import Box, Product, Set
from robustgames.games.threat import ThreatModel
from robustgames.tensors import Movable


class ImageBatch(NamedTuple):
    """ζ: a minibatch of images (*S, B, p), labels (*S, B) and their places in the data (*S, B)."""

    images: Tensor
    labels: Tensor
    index: Tensor


class Attacker(Movable, ABC):
    """One reading of y, with `size` coordinates in `strategies`.

    Args:
        threat: Perturbations that are allowed.
        images: Images of the data, (N, p).
        batch: Number B of images in a minibatch.
    """

    follows_sample: bool = False
    """True if the strategy set depends on the minibatch."""
    size: int
    strategies: Set

    @abstractmethod
    def __init__(self, threat: ThreatModel, images: Tensor, batch: int) -> None: ...

    @abstractmethod
    def attacked(self, y: Tensor, sample: ImageBatch) -> Tensor:
        """Return the images that the classifier sees, (*S, B, p)."""

    def project(self, y: Tensor, sample: ImageBatch | None) -> Tensor:
        """Return the projection of y onto the strategy set."""
        return self.strategies.project(y)

    def best(self, like: Tensor) -> Tensor | None:
        """Return the best strategy against every classifier, shaped as y; None if it depends on the classifier."""
        return None


class PerMinibatch(Attacker):
    """y = (η_1 … η_B), one perturbation per image of the minibatch: Madry's attacker, which restarts in each."""

    follows_sample = True

    def __init__(self, threat: ThreatModel, images: Tensor, batch: int) -> None:
        self.threat, width = threat, images.shape[-1]
        self.size, self.strategies = batch * width, Product(threat.ball, width)

    def attacked(self, y: Tensor, sample: ImageBatch) -> Tensor:
        return sample.images + y.view(sample.images.shape)

    def project(self, y: Tensor, sample: ImageBatch | None) -> Tensor:
        if sample is None:
            return self.strategies.project(y)
        return self.threat.project(sample.images, y.view(sample.images.shape)).view(y.shape)


class Remembered(Attacker):
    """y = (η_1 … η_N), one perturbation per image of the data, which the attacker keeps between visits."""

    def __init__(self, threat: ThreatModel, images: Tensor, batch: int) -> None:
        self.width = images.shape[-1]
        self.size, self.strategies = images.numel(), Product(threat.at(images), self.width)

    def attacked(self, y: Tensor, sample: ImageBatch) -> Tensor:
        rows = y.unflatten(-1, (-1, self.width))
        return sample.images + rows.take_along_dim(sample.index.unsqueeze(-1), -2)


class Universal(Attacker):
    """y = η, one perturbation for all images; a + η is clipped to the box. Source: Moosavi-Dezfooli et al. 2017."""

    def __init__(self, threat: ThreatModel, images: Tensor, batch: int) -> None:
        self.threat = threat
        self.size, self.strategies = images.shape[-1], threat.ball

    def attacked(self, y: Tensor, sample: ImageBatch) -> Tensor:
        return (sample.images + y.unsqueeze(-2)).clamp(self.threat.low, self.threat.high)  # type: ignore[arg-type]


class Radii(Attacker):
    """y = (ρ_1 … ρ_B): the attacker chooses how large the boxes around the images are, and plays everywhere in them.

    The loss is bounded by interval arithmetic and grows with ρ, so ρ = eps is best against every classifier.
    Source: Gowal et al. 2018.
    """

    def __init__(self, threat: ThreatModel, images: Tensor, batch: int) -> None:
        self.eps = float(threat.eps)
        self.size, self.strategies = batch, Box(0.0, self.eps)

    def attacked(self, y: Tensor, sample: ImageBatch) -> Tensor:
        return sample.images

    def best(self, like: Tensor) -> Tensor | None:
        return torch.full_like(like, self.eps)


ATTACKERS: dict[str, type[Attacker]] = {
    "minibatch": PerMinibatch,
    "remembered": Remembered,
    "universal": Universal,
    "interval": Radii,
}
