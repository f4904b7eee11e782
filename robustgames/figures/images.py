"""Figures of generated images: grids, with the nearest training images, and paths through latent space.

All are made without pyplot, see `figures`. Images are rows (N, p) with pixels in [-1, 1], channels first, as in
`robustgames.data.images`.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, isqrt

import numpy as np
import torch
from torch import Generator, Tensor

from robustgames.errors import GameError
from robustgames.figures.style import Figure, bare, colors, mark_diverged

MISSING = 0.8  # gray of an image that is not finite


def image_grid(
    images: Tensor,
    side: int,
    channels: int = 1,
    columns: int | None = None,
    nearest: Tensor | None = None,
    title: str = "",
) -> Figure:
    """Draw images in rows; with `nearest`, each above the nearest training image.

    Args:
        images: Images, (N, channels · side²) with pixels in [-1, 1]. An image that is not finite is gray.
        side: Side length in pixels.
        channels: Number of channels, 1 or 3.
        columns: Number of images in a row; by default as many as rows, 12 with `nearest`.
        nearest: Training images, (N, channels · side²), e.g. train[index] with the index of `frechet.nearest`.
        title: Title above the figure.

    Raises:
        GameError: There are no images, they have another size, or `nearest` has another shape.
    """
    _check_images(images, side, channels)
    if columns is not None and columns < 1:
        raise GameError(f"columns is {columns}: it must be at least 1 image per row, or None")
    count = len(images)
    columns = min(count, columns or (isqrt(count - 1) + 1 if nearest is None else 12))
    if nearest is not None and nearest.shape != images.shape:
        raise GameError(f"nearest has shape {tuple(nearest.shape)}: it must have that of images, {tuple(images.shape)}")
    diverged = not bool(torch.isfinite(images).all(-1).any())
    strips = _tiles(images, side, channels, columns)
    if nearest is None or diverged:
        return _picture(strips, columns, title, diverged)
    apart = np.ones_like(strips[:, : max(1, side // 6)])
    pairs = np.concatenate([strips, _tiles(nearest, side, channels, columns), apart], 1)
    figure = _picture(pairs, columns, title)
    at = [row * pairs.shape[1] + (j + 0.5) * strips.shape[1] for row in range(len(pairs)) for j in (0, 1)]
    figure.axes[0].set_yticks(at, ["generated", "nearest in training"] * len(pairs), fontsize=8, color=colors().ink)
    return figure


@torch.no_grad()
def interpolation_figure(
    generate: Callable[[Tensor], Tensor],
    latent: int,
    side: int,
    channels: int = 1,
    rows: int = 6,
    steps: int = 10,
    generator: Generator | None = None,
    title: str = "",
) -> Figure:
    """Draw the images that a generator makes along a path between two normal points of its latent space, one per row.

    The path is `slerp`. Images that change step by step are learned structure; jumps are memorized images.

    Args:
        generate: Function from noise (N, latent) in float32 to images (N, channels · side²) with pixels in [-1, 1].
        latent: Dimension of the noise.
        side: Side length in pixels.
        channels: Number of channels, 1 or 3.
        rows: Number of paths.
        steps: Number of images in a row, both ends included.
        generator: Generator of the points, on their device; seed 0 by default.
        title: Title above the figure.

    Raises:
        GameError: rows, steps or latent is too small, or the images have another size.
    """
    if rows < 1 or steps < 2 or latent < 1:
        raise GameError(f"rows is {rows}, steps {steps}, latent {latent}: they must be at least 1, 2 and 1")
    generator = generator if generator is not None else Generator().manual_seed(0)
    a, b = torch.randn(2, rows, latent, generator=generator, device=generator.device)
    noise = slerp(a, b, torch.linspace(0, 1, steps, device=generator.device))
    images = generate(noise.flatten(0, 1))
    return image_grid(images, side, channels, steps, title=title)


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Return points on the path from a to b along a great circle, with norms between |a| and |b|: (..., T, d).

    With the angle θ between a and b, the direction is (sin((1 - t) θ) a/|a| + sin(t θ) b/|b|) / sin θ, the norm
    (1 - t) |a| + t |b|. Normal points of R^d lie near the sphere of radius √d. The middle of the line between two is
    near that of radius √(d/2), where the generator was never trained.

    Source: White 2016, "Sampling generative networks".

    Args:
        a: Starts, (..., d).
        b: Ends, (..., d). If b is parallel or opposite to a, the path is the line.
        t: Positions, (T,) in [0, 1].

    Example:
        >>> slerp(torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0]), torch.tensor([0.5]))
        tensor([[1.4142, 1.4142]])
    """
    a, b, t = a.unsqueeze(-2), b.unsqueeze(-2), t.unsqueeze(-1)
    norm_a, norm_b = (torch.linalg.vector_norm(c, dim=-1, keepdim=True) for c in (a, b))
    angle = ((a / norm_a) * (b / norm_b)).sum(-1, keepdim=True).clamp(-1, 1).acos()
    direction = (((1 - t) * angle).sin() * a / norm_a + (t * angle).sin() * b / norm_b) / angle.sin()
    return torch.where(angle.sin() > 1e-3, ((1 - t) * norm_a + t * norm_b) * direction, (1 - t) * a + t * b)


def _check_images(images: Tensor, side: int, channels: int) -> None:
    if channels not in (1, 3):
        raise GameError(f"channels is {channels}: it must be 1 (gray) or 3 (red, green, blue)")
    if images.dim() != 2 or len(images) == 0 or images.shape[1] != channels * side**2:
        expected = f"(N, {channels * side**2}) for {channels} x {side} x {side} pixels"
        raise GameError(f"images have shape {tuple(images.shape)}: it must be {expected}, e.g. of one run")


def _tiles(images: Tensor, side: int, channels: int, columns: int) -> np.ndarray:
    """Return the rows of images that are drawn, (rows, side + gap, columns (side + gap), 3) in [0, 1]."""
    rows, gap = ceil(len(images) / columns), max(1, side // 14)
    finite = torch.isfinite(images).all(-1, keepdim=True)
    pixels = torch.where(finite, ((images + 1) / 2).clamp(0, 1), MISSING).detach().cpu().float()
    cells = torch.ones(rows * columns, 3, side + gap, side + gap)
    cells[: len(images), :, :side, :side] = pixels.view(-1, channels, side, side)  # gray becomes three channels
    table = cells.view(rows, columns, 3, side + gap, side + gap)
    return table.permute(0, 3, 1, 4, 2).reshape(rows, side + gap, -1, 3).numpy()


def _picture(strips: np.ndarray, columns: int, title: str, diverged: bool = False) -> Figure:
    """Return a figure of strips (rows, H, W, 3), one below the other."""
    picture = np.concatenate(list(strips))
    inch = min(1.0, max(0.42, picture.shape[1] / columns / 48)) * columns
    figure = Figure(figsize=(inch + 0.1, inch * picture.shape[0] / picture.shape[1] + 0.3), layout="constrained")
    axes = figure.add_subplot()
    if diverged:
        mark_diverged(axes)
    else:
        axes.imshow(picture, interpolation="nearest")
    bare(axes)
    axes.tick_params(length=0)
    axes.set_title(title, fontsize=10, color=colors().ink, loc="left", parse_math=False)
    return figure
