"""Meanings of the attacker's strategy y: one perturbation per image of a minibatch, per image of the data, or one
for all; or a radius per image.

An attacker maps its block y of z to the images that the classifier sees, and has a strategy set.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple, Self

import torch
from torch import Tensor

from robustgames.games.sets import Box, Product, Set, linf_ball
from robustgames.games.small_networks import SLOPE
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
    """Whether y belongs to the minibatch: it is projected knowing it, and means nothing for the next one."""
    threat: ThreatModel
    size: int
    strategies: Set

    @abstractmethod
    def __init__(self, threat: ThreatModel, images: Tensor, batch: int) -> None: ...

    @property
    def radius(self) -> float:
        """Radius of the strategies, in the units of y."""
        return float(self.threat.eps)

    def narrowed(self, images: Tensor, batch: int) -> Self:
        """Return the attacker of minibatches of another size."""
        return type(self)(self.threat, images, batch)

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
        self.threat, self.width = threat, images.shape[-1]
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
        self.threat, self.size, self.strategies = threat, batch, Box(0.0, float(threat.eps))

    def attacked(self, y: Tensor, sample: ImageBatch) -> Tensor:
        return sample.images

    def best(self, like: Tensor) -> Tensor | None:
        return torch.full_like(like, self.radius)


VISIBLE = 1e-6
"""Least distance of h from 0 and 1 at which single precision has its derivative, h (1 - h)."""


class BehindThreshold(Attacker):
    """y in [-eps, eps]^(B p): the perturbations of `PerMinibatch` in ℓ∞, as a network with a threshold sees them.

    A network that reads h(a) = sigmoid(k (a - t)) of each pixel sees the ball [a - eps, a + eps], cut to the box, as
    the interval [h(l), h(u)] of its ends, because h increases. Its points, and no others, are

        h(a) + r (h(u) - h(a)) for r >= 0 and h(a) + r (h(a) - h(l)) for r < 0, r = y / eps in [-1, 1],

    and the attacked pixel is h^-1 of it: η = 0 is y = 0, and the corners are y = ±eps. The game is the same; but the
    derivative in η is that behind the threshold times h', which vanishes where the threshold is decided, and the one in
    y is not. A pixel that the ball cannot move across the threshold has hardly any range.

    Where h or 1 - h is below 1e-6, the attacked pixel is one in the ball at which it is 1e-6, if there is one: what the
    network sees is the same, but in single precision the derivative of h is 0 farther out.

    Args:
        threshold: Gray level t of the network.
        slope: Slope k of the network.
    """

    follows_sample = True
    slope = SLOPE

    def __init__(
        self, threat: ThreatModel, images: Tensor, batch: int, threshold: float = 0.5, slope: float = SLOPE
    ) -> None:
        self.threat, self.threshold, self.slope = threat, threshold, slope
        self.size, self.strategies = batch * images.shape[-1], linf_ball(self.radius)

    def narrowed(self, images: Tensor, batch: int) -> Self:
        return type(self)(self.threat, images, batch, self.threshold, self.slope)

    def attacked(self, y: Tensor, sample: ImageBatch) -> Tensor:
        a, r = sample.images, y.view(sample.images.shape) / max(self.radius, 1e-12)
        low, high = (a + end for end in self.threat.room(a))
        up = r.clamp_min(0)
        down = r - up  # the rest, so the derivative at y = 0 is that of one side
        on, off = zip(*(self._seen(pixels) for pixels in (low, a, high)), strict=True)
        least = 1e-3 * torch.minimum(on[1], off[1])  # a black pixel has no range below: its y finds the way up
        h = on[1] + up * (on[2] - on[1]).clamp_min(least) + down * (on[1] - on[0]).clamp_min(least)
        rest = off[1] - up * (off[1] - off[2]).clamp_min(least) - down * (off[0] - off[1]).clamp_min(least)
        h, rest = _at_least(h, on[0].clamp_min(VISIBLE)), _at_least(rest, off[2].clamp_min(VISIBLE))
        seen = self.threshold + (h.log() - rest.log()) / self.slope
        return seen + (torch.minimum(torch.maximum(seen.detach(), low), high) - seen.detach())

    def _seen(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return h and 1 - h, both exact where they are small."""
        away = self.slope * (pixels - self.threshold)
        return away.sigmoid(), (-away).sigmoid()


def _at_least(value: Tensor, least: Tensor) -> Tensor:
    """Return the larger one, with the derivative of the value."""
    return value + (torch.maximum(value.detach(), least) - value.detach())


ATTACKERS: dict[str, type[Attacker]] = {
    "minibatch": PerMinibatch,
    "remembered": Remembered,
    "universal": Universal,
    "interval": Radii,
}
