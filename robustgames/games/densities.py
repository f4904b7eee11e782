"""Laws on R^p that are sampled without data, for toy GANs. A source is anything with `size` and `sample`."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Generator, Tensor

from robustgames.errors import GameError
from robustgames.tensors import Movable


class Source(Protocol):
    """Source of real points."""

    size: int
    """Dimension p of a point."""

    def sample(self, shape: tuple[int, ...], generator: Generator, dtype: torch.dtype) -> Tensor:
        """Draw points, (*shape, p), on the generator's device."""
        ...


class GaussianMixture(Movable):
    """The equal mixture of N(mean_k, std² I): points (*shape, p).

    Args:
        means: Means (M, p) of the modes.
        std: Standard deviation of every mode, >= 0.

    Example:
        >>> GaussianMixture.grid().means.shape
        torch.Size([25, 2])
    """

    def __init__(self, means: Tensor, std: float) -> None:
        if means.dim() != 2 or len(means) == 0 or not bool(torch.isfinite(means).all()):
            raise GameError(f"means have shape {tuple(means.shape)}: they must be finite numbers of shape (modes, p)")
        if not 0 <= std < float("inf"):
            raise GameError(f"std is {std}: the standard deviation of a mode is >= 0, e.g. std=0.05")
        self.means, self.std, self.size = means, std, means.shape[1]

    @classmethod
    def grid(cls, side: int = 5, spacing: float = 2.0, std: float = 0.05, scale: float = 1.0) -> GaussianMixture:
        """Return side² modes on a square grid around 0, `spacing` apart, all divided by `scale`.

        The defaults are the 25 Gaussians of Srivastava et al. 2017, section 4.1; Gulrajani et al. 2017 (code) divide
        them by 2.828.
        """
        axis = spacing * (torch.arange(side) - (side - 1) / 2)
        return cls(torch.cartesian_prod(axis, axis) / scale, std / scale)

    @classmethod
    def ring(cls, modes: int = 8, radius: float = 2.0, std: float = 0.02, scale: float = 1.0) -> GaussianMixture:
        """Return modes on a circle, all divided by `scale`.

        The defaults are the 8 Gaussians of Gulrajani et al. 2017 (code), which divides them by 1.414.
        """
        angle = torch.arange(modes) * (2 * math.pi / modes)
        return cls(radius / scale * torch.stack([angle.cos(), angle.sin()], -1), std / scale)

    def sample(self, shape: tuple[int, ...], generator: Generator, dtype: torch.dtype) -> Tensor:
        """Draw points, (*shape, p)."""
        index = torch.randint(len(self.means), shape, generator=generator, device=generator.device)
        noise = torch.randn((*shape, self.size), generator=generator, device=generator.device, dtype=dtype)
        return self.means.to(dtype)[index] + self.std * noise


class SwissRoll(Movable):
    """(t cos t, t sin t) + noise ξ, t uniform in [3π/2, 9π/2], all divided by `scale`: a spiral in the plane.

    scikit-learn's `make_swiss_roll` without its second coordinate; the defaults are those of Gulrajani et al. 2017
    (code).
    """

    size = 2

    def __init__(self, noise: float = 0.25, scale: float = 7.5) -> None:
        if not (0 <= noise < float("inf") and 0 < scale < float("inf")):
            raise GameError(f"noise is {noise} and scale is {scale}: use noise >= 0 and scale > 0")
        self.noise, self.scale = noise, scale

    def sample(self, shape: tuple[int, ...], generator: Generator, dtype: torch.dtype) -> Tensor:
        """Draw points, (*shape, 2)."""
        t = 1.5 * math.pi * (1 + 2 * torch.rand(shape, generator=generator, device=generator.device, dtype=dtype))
        noise = torch.randn((*shape, 2), generator=generator, device=generator.device, dtype=dtype)
        return (t.unsqueeze(-1) * torch.stack([t.cos(), t.sin()], -1) + self.noise * noise) / self.scale
