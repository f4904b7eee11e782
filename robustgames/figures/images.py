"""Figures of generated images: grids, each above its nearest training image, and walks in latent space.

All are made without pyplot, see `figures`. Images are rows (N, p) with pixels in [-1, 1], channels first, as in
`robustgames.data.images`.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, isqrt

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Generator, Tensor

from robustgames.errors import GameError
from robustgames.figures.style import INK

MISSING = 0.8  # gray of an image that is not finite


def image_grid(
    images: Tensor,
    side: int,
    channels: int = 1,
    columns: int | None = None,
    nearest: Tensor | None = None,
    title: str = "",
) -> Figure:
    """Draw images in rows; with `nearest`, each above the training image that it is closest to.

    Args:
        images: (N, channels · side²) with pixels in [-1, 1]; one that is not finite is left gray.
        side: pixels of a side.
        channels: 1 or 3.
        columns: images in a row; by default as many as rows, 12 with `nearest`.
        nearest: (N, channels · side²), e.g. train[index] with the index of `frechet.nearest`.
        title: above the figure.

    Raises:
        GameError: no images, of another size, or not as many `nearest`.
    """
    _check_images(images, side, channels)
    if columns is not None and columns < 1:
        raise GameError(f"columns is {columns}: at least 1 image a row, or None")
    count = len(images)
    columns = min(count, columns or (isqrt(count - 1) + 1 if nearest is None else 12))
    if nearest is not None and nearest.shape != images.shape:
        raise GameError(f"nearest has shape {tuple(nearest.shape)}: one per image is needed, {tuple(images.shape)}")
    diverged = not bool(torch.isfinite(images).all(-1).any())
    strips = _tiles(images, side, channels, columns)
    if nearest is None or diverged:
        return _picture(strips, columns, title, diverged)
    apart = np.ones_like(strips[:, : max(1, side // 6)])
    pairs = np.concatenate([strips, _tiles(nearest, side, channels, columns), apart], 1)
    figure = _picture(pairs, columns, title)
    at = [row * pairs.shape[1] + (j + 0.5) * strips.shape[1] for row in range(len(pairs)) for j in (0, 1)]
    figure.axes[0].set_yticks(at, ["generated", "nearest in training"] * len(pairs), fontsize=8, color=INK)
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
    """Draw what a generator makes of the way between two normal points of its latent space, one way per row.

    The way is `slerp`. Images that change step by step are learned structure; jumps are images known by heart.

    Args:
        generate: noise (N, latent) in float32 -> images (N, channels · side²) with pixels in [-1, 1].
        latent: dimension of the noise.
        side: pixels of a side.
        channels: 1 or 3.
        rows: ways.
        steps: images in a row, both ends included.
        generator: of the points, on their device; seed 0 by default.
        title: above the figure.

    Raises:
        GameError: no row or step, images of another size.
    """
    if rows < 1 or steps < 2 or latent < 1:
        raise GameError(f"rows is {rows}, steps {steps}, latent {latent}: at least 1, 2 and 1 are needed")
    own = generator if generator is not None else Generator().manual_seed(0)
    a, b = torch.randn(2, rows, latent, generator=own, device=own.device)
    noise = slerp(a, b, torch.linspace(0, 1, steps, device=own.device))
    images = generate(noise.flatten(0, 1))
    return image_grid(images, side, channels, steps, title=title)


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Return points on the way from a to b along a great circle, their norms between |a| and |b|: (..., T, d).

    With the angle θ between a and b, the direction is (sin((1 - t) θ) a/|a| + sin(t θ) b/|b|) / sin θ, the norm
    (1 - t) |a| + t |b|. Normal points of R^d lie near the sphere of radius √d; the middle of the line between two is
    near that of radius √(d/2), where the generator has never been in training.

    Source: White 2016, "Sampling generative networks".

    Args:
        a: (..., d).
        b: (..., d); where it is parallel or opposite to a, the line is taken.
        t: (T,) in [0, 1].

    Example:
        >>> slerp(torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0]), torch.tensor([0.5]))
        tensor([[1.4142, 1.4142]])
    """
    a, b, t = a.unsqueeze(-2), b.unsqueeze(-2), t.unsqueeze(-1)
    of_a, of_b = (torch.linalg.vector_norm(c, dim=-1, keepdim=True) for c in (a, b))
    angle = ((a / of_a) * (b / of_b)).sum(-1, keepdim=True).clamp(-1, 1).acos()
    around = (((1 - t) * angle).sin() * a / of_a + (t * angle).sin() * b / of_b) / angle.sin()
    return torch.where(angle.sin() > 1e-3, ((1 - t) * of_a + t * of_b) * around, (1 - t) * a + t * b)


def _check_images(images: Tensor, side: int, channels: int) -> None:
    if channels not in (1, 3):
        raise GameError(f"channels is {channels}: 1 (gray) or 3 (red, green, blue)")
    if images.dim() != 2 or len(images) == 0 or images.shape[1] != channels * side**2:
        needed = f"(N, {channels * side**2}) for {channels} x {side} x {side} pixels"
        raise GameError(f"images have shape {tuple(images.shape)}: {needed} is needed, e.g. of one run")


def _tiles(images: Tensor, side: int, channels: int, columns: int) -> np.ndarray:
    """Return rows of images as they are drawn, (rows, side + gap, columns (side + gap), 3) in [0, 1]."""
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
        say_diverged(axes)
    else:
        axes.imshow(picture, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(title, fontsize=10, color=INK, loc="left")
    return figure


def say_diverged(axes: Axes) -> None:
    """Write into a panel that there is nothing finite to draw."""
    axes.set_facecolor("#F1F3F5")
    axes.text(
        0.5, 0.5, "diverged", transform=axes.transAxes, ha="center", va="center", fontsize=10, color=INK, zorder=5
    )
