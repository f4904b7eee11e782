"""Corruptions by noise. All take images (N, C, H, W) in [0, 1], a level and a generator; the caller clips."""

from __future__ import annotations

import torch
from torch import Generator, Tensor


def normal(x: Tensor, generator: Generator) -> Tensor:
    """Return standard normal numbers in the shape of x."""
    return torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)


def uniform(x: Tensor, generator: Generator) -> Tensor:
    """Return uniform numbers in [0, 1) in the shape of x."""
    return torch.rand(x.shape, generator=generator, device=x.device, dtype=x.dtype)


def gaussian_noise(x: Tensor, level: float, generator: Generator) -> Tensor:
    """Return x + s n, n standard normal."""
    return x + level * normal(x, generator)


def shot_noise(x: Tensor, level: float, generator: Generator) -> Tensor:
    """Return photon counts P / c, P Poisson with mean c x: few photons c are strong noise."""
    return torch.poisson(level * x, generator=generator) / level


def impulse_noise(x: Tensor, level: float, generator: Generator) -> Tensor:
    """Return x with a share of its values replaced by 0 or 1 (salt and pepper)."""
    u, salt = uniform(x, generator), uniform(x, generator) < 0.5
    return torch.where(u < level, salt.to(x.dtype), x)


def speckle_noise(x: Tensor, level: float, generator: Generator) -> Tensor:
    """Return x + s x n, n standard normal."""
    return x + level * x * normal(x, generator)
