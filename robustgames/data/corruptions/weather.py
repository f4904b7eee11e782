"""Corruptions by weather, without pictures from elsewhere: random fields take the place of photographs.

All take images (N, C, H, W) in [0, 1], a level and a generator.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from robustgames.data.corruptions.blur import convolve, line_kernel, side
from robustgames.data.corruptions.noise import normal

GRAY = (0.299, 0.587, 0.114)  # weights of red, green and blue in the brightness that is seen
DROPS = 0.6  # standard deviations above which a field is a snow flake


def cloud(x: Tensor, slope: float, generator: Generator) -> Tensor:
    """Return random fields (N, 1, H, W) from 0 to 1 whose amplitudes fall as frequency to the power -slope."""
    height, width = x.shape[-2:]
    white = normal(x[:, :1], generator)
    rows, columns = torch.fft.fftfreq(height).to(x), torch.fft.rfftfreq(width).to(x)
    frequency = torch.hypot(rows.unsqueeze(1), columns.unsqueeze(0)).clamp_min(1 / max(height, width))
    field = torch.fft.irfft2(torch.fft.rfft2(white) * frequency**-slope, s=(height, width))
    low, high = (f(field, (-2, -1), keepdim=True) for f in (torch.amin, torch.amax))
    return (field - low) / (high - low).clamp_min(1e-12)


def fog(x: Tensor, level: float, generator: Generator) -> Tensor:
    """Return (x + c f) / (1 + c) with a field of clouds f in [0, 1]."""
    return (x + level * cloud(x, 1.7, generator)) / (1 + level)


def frost(x: Tensor, level: tuple[float, float], generator: Generator) -> Tensor:
    """Return a x + b f, clipped, with branches of ice f: the ridges of a field, brighter toward the edges."""
    ridges = (1 - (2 * cloud(x, 1.2, generator) - 1).abs()) ** 3
    height, width = x.shape[-2:]
    rows, columns = (torch.linspace(-1, 1, n, device=x.device, dtype=x.dtype).abs() for n in (height, width))
    edge = torch.maximum(rows.unsqueeze(1), columns.unsqueeze(0))
    return level[0] * x + level[1] * ridges * (0.4 + 0.6 * edge)


def snow(x: Tensor, level: tuple[float, float], generator: Generator) -> Tensor:
    """Return x with less contrast toward white, plus flakes that fall at an angle, blurred along their way.

    The level is (share of the whitening, brightness of the flakes).
    """
    gray = x if x.shape[1] == 1 else (x * torch.tensor(GRAY, device=x.device, dtype=x.dtype).view(3, 1, 1)).sum(1, True)
    pale = (1 - level[0]) * x + level[0] * torch.maximum(x, 1.5 * gray + 0.5).clamp_max(1)
    angle = math.pi * (0.25 + 0.5 * torch.rand(len(x), generator=generator, device=x.device, dtype=x.dtype))
    flakes = (normal(x[:, :1], generator) - DROPS).clamp_min(0)
    return pale + level[1] * convolve(flakes, line_kernel(0.04 * side(x), angle))


def brightness(x: Tensor, level: float, generator: Generator) -> Tensor:
    """Return x with its value V = max of the channels raised to min(V + c, 1), hue and saturation as before."""
    value = x.amax(1, keepdim=True)
    raised = (value + level).clamp_max(1)
    return torch.where(value > 0, x * raised / value.clamp_min(1e-12), raised)
