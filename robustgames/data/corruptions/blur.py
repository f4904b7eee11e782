"""Corruptions by blur. Lengths are shares of the shorter side, so any size is blurred alike.

All take images (N, C, H, W) in [0, 1], a level and a generator.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor
from torch.nn.functional import affine_grid, conv2d, grid_sample, pad

ZOOMS = 8  # copies that a zoom blur averages


def side(x: Tensor) -> int:
    """Return the shorter side of the images in pixels."""
    return min(x.shape[-2:])


def convolve(x: Tensor, kernel: Tensor) -> Tensor:
    """Return each channel convolved with a kernel (h, w), or one per image (N, h, w), of odd sides; edges repeat."""
    count, channels, height, width = x.shape
    h, w = kernel.shape[-2:]
    padded = pad(x, (w // 2, w // 2, h // 2, h // 2), mode="replicate")
    kernels = kernel.expand(count, h, w).repeat_interleave(channels, 0).unsqueeze(1).to(x)
    flat = padded.reshape(1, count * channels, *padded.shape[-2:])
    return conv2d(flat, kernels, groups=count * channels).view(count, channels, height, width)


def smooth(x: Tensor, sigma: float) -> Tensor:
    """Return x convolved with a Gaussian of a standard deviation in pixels.

    The kernel is the discrete Gaussian of Lindeberg 1990, of transfer function exp(s² (cos w - 1)): its variance is s²
    also below a pixel, where a sampled Gaussian does nothing.
    """
    radius = math.ceil(4 * sigma) + 2
    w = 2 * math.pi * torch.arange(radius + 1, dtype=torch.float64) / (2 * radius + 1)
    line = torch.fft.irfft(torch.exp(sigma**2 * (torch.cos(w) - 1)), n=2 * radius + 1).roll(radius)
    return convolve(convolve(x, line.unsqueeze(0)), line.unsqueeze(1))


def gaussian_blur(x: Tensor, level: float, generator: Generator) -> Tensor:
    """Return x blurred by a Gaussian."""
    return smooth(x, level * side(x))


def defocus_blur(x: Tensor, level: float, generator: Generator) -> Tensor:
    """Return x blurred by a disk, whose weight decreases to 0 over the pixel outside of its radius."""
    radius = level * side(x)
    reach = math.ceil(radius + 1)
    at = torch.arange(-reach, reach + 1, device=x.device, dtype=x.dtype)
    disk = (radius + 1 - torch.hypot(at.unsqueeze(0), at.unsqueeze(1))).clamp(0, 1)
    return convolve(x, disk / disk.sum())


def motion_blur(x: Tensor, level: float, generator: Generator) -> Tensor:
    """Return each image blurred along a line of random direction."""
    half = level * side(x) / 2
    angle = math.pi * torch.rand(len(x), generator=generator, device=x.device, dtype=x.dtype)
    return convolve(x, line_kernel(half, angle))


def line_kernel(half: float, angle: Tensor) -> Tensor:
    """Return kernels (N, h, h) of lines of a half length in pixels, one pixel wide, at the angles (N,)."""
    reach = math.ceil(half + 1)
    at = torch.arange(-reach, reach + 1, device=angle.device, dtype=angle.dtype)
    cos, sin = (f(angle).view(-1, 1, 1) for f in (torch.cos, torch.sin))
    along = (at.view(1, 1, -1) * cos + at.view(1, -1, 1) * sin).abs()
    across = (at.view(1, -1, 1) * cos - at.view(1, 1, -1) * sin).abs()
    kernel = (half + 1 - along).clamp(0, 1) * (1 - across).clamp(0, 1)
    return kernel / kernel.sum((-2, -1), keepdim=True)


def zoom_blur(x: Tensor, level: float, generator: Generator) -> Tensor:
    """Return the mean of x zoomed into by factors from 1 to 1 + level."""
    zooms = 1 + level * torch.arange(ZOOMS, dtype=x.dtype) / (ZOOMS - 1)
    return torch.stack([_zoomed(x, float(zoom)) for zoom in zooms]).mean(0)


def _zoomed(x: Tensor, zoom: float) -> Tensor:
    theta = torch.tensor([[1 / zoom, 0, 0], [0, 1 / zoom, 0]], device=x.device, dtype=x.dtype)
    grid = affine_grid(theta.expand(len(x), 2, 3), list(x.shape), align_corners=False)
    return grid_sample(x, grid, padding_mode="border", align_corners=False)


def glass_blur(x: Tensor, level: float, generator: Generator) -> Tensor:
    """Return x as behind rough glass: every pixel is taken from a random place nearby, between two slight blurs."""
    reach, (height, width) = level * side(x), x.shape[-2:]
    moved = smooth(x, reach / 2)
    shift = 2 * torch.rand(len(x), 2, height, width, generator=generator, device=x.device, dtype=x.dtype) - 1
    return smooth(displaced(moved, reach * shift), reach / 2)


def displaced(x: Tensor, shift: Tensor) -> Tensor:
    """Return x with the pixel at (row, column) taken from (row, column) + shift (N, 2, H, W), between pixels linear."""
    height, width = x.shape[-2:]
    rows = torch.arange(height, device=x.device, dtype=x.dtype).view(-1, 1) + shift[:, 0]
    columns = torch.arange(width, device=x.device, dtype=x.dtype).view(1, -1) + shift[:, 1]
    grid = torch.stack([(2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1], -1)
    return grid_sample(x, grid, padding_mode="border", align_corners=False)
