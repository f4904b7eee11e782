"""Random distortions and perturbations of square gray images, drawn from the run's own generator."""

from __future__ import annotations

from math import isqrt, pi

import torch
from torch import Generator, Tensor
from torch.nn import functional

ROTATION, SCALE, SHEAR, SHIFT, WARP = pi / 18, 0.1, 0.1, 1 / 7, 0.03  # shift and warp in half widths of the image


def distort(images: Tensor, generator: Generator) -> Tensor:
    """Return images (..., p) under random affine maps with a smooth random warp; values stay in their range.

    Rotation up to 10 degrees, scale and shear up to 10 %, shift up to a fourteenth of the width (2 of 28 pixels), and
    displacements of standard deviation 3 % of half a width on a 5 x 5 grid, interpolated.
    """
    side = isqrt(images.shape[-1])
    square = images.reshape(-1, 1, side, side)
    count, device, dtype = len(square), images.device, images.dtype

    def uniform(most: float) -> Tensor:
        return (2 * torch.rand(count, generator=generator, device=device, dtype=dtype) - 1) * most

    angle, sx, sy, shear = uniform(ROTATION), 1 + uniform(SCALE), 1 + uniform(SCALE), uniform(SHEAR)
    rows = (
        (sx * angle.cos(), shear - sx * angle.sin(), uniform(SHIFT)),
        (sy * angle.sin(), sy * angle.cos(), uniform(SHIFT)),
    )
    theta = torch.stack([torch.stack(row, -1) for row in rows], -2)
    grid = functional.affine_grid(theta, list(square.shape), align_corners=False)
    coarse = torch.randn(count, 2, 5, 5, generator=generator, device=device, dtype=dtype) * WARP
    warp = functional.interpolate(coarse, size=(side, side), mode="bicubic", align_corners=True)
    moved = functional.grid_sample(square, grid + warp.movedim(1, -1), align_corners=False)
    return moved.clamp(0, 1).view(images.shape)


SIZES = ((1, 1), (2, 2), (4, 4), (7, 7), (None, 1))  # height and width of a patch; None is the whole height


def patches(uniform: Tensor, eps: float, generator: Generator) -> Tensor:
    """Return perturbations (..., p) of which most are replaced by random patches of ±eps, the corners of the ℓ∞ ball.

    Each image draws one of six kinds with equal chance: the uniform perturbation that is given, or signs that are
    constant on squares of 1, 2, 4 or 7 pixels or on stripes, from which the Square attack starts (Andriushchenko et
    al. 2020). Where a network thresholds its input the gradient says nothing, and steps along it leave a uniform start
    in the interior of the ball.
    """
    side = isqrt(uniform.shape[-1])
    square = uniform.reshape(-1, side, side)
    count, device = len(square), uniform.device
    kind = torch.randint(len(SIZES) + 1, (count, 1, 1), generator=generator, device=device)
    for k, (height, width) in enumerate(SIZES):
        h, w = height or side, width
        coarse = torch.randint(2, (count, -(-side // h), -(-side // w)), generator=generator, device=device)
        signs = (2 * coarse - 1).to(uniform).repeat_interleave(h, -2).repeat_interleave(w, -1)[..., :side, :side]
        square = torch.where(kind == k, eps * signs, square)
    return square.view(uniform.shape)
