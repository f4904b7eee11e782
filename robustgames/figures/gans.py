"""Figures of generators on the plane: samples over the modes, level sets of a critic.

They are made without pyplot, see `figures`. Points are (N, 2), of one run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from robustgames.errors import GameError
from robustgames.figures.style import HEIGHTS, LIGHT, Figure, colors, mark_diverged, quiet, write_title

_Window = tuple[float, float, float, float]  # left, right, bottom, top
_Grid = dict[str, dict[Any, Tensor]]  # {row: {column: samples}}

SHOWN_SAMPLES = 2500  # in a panel
_GENERATED, _DATA, _MODES = 0, 1, 5  # in the palette
_WIDTH = 5  # panels next to each other if rows have no meaning
_POINTS = 161  # per side of the critic's grid
_LEVELS = 14  # of the critic, approximately


# -- samples ---------------------------------------------------------------------------------------------------------
def samples_figure(
    panels: Mapping[str, Tensor] | Mapping[str, Mapping[Any, Tensor]],
    means: Tensor | None = None,
    std: float | Tensor = 0.0,
    real: Tensor | None = None,
    captions: Mapping[str, str] | Mapping[str, Mapping[Any, str]] | None = None,
    column: str = "step",
    window: _Window | None = None,
    title: str = "",
) -> Figure:
    """Draw generated samples over the true modes: one panel each, on one scale.

    The first 2,500 samples of a panel are drawn. The share of samples that are outside the window, or not finite, is
    written in its corner. A panel without a finite sample is marked as diverged.

    Args:
        panels: Samples by name, {name: samples (N, 2)}, or {row: {column: samples}} such as {solver: {step: samples}}.
        means: Means of the modes, (M, 2), drawn as circles of three standard deviations.
        std: Standard deviation of the modes, or one for each, (M,).
        real: Samples of the data, (N, 2), drawn below the others.
        captions: Line under each panel, nested as the panels, e.g. "25 modes, 93 % high quality".
        column: Unit of the numbers that name columns.
        window: View (left, right, bottom, top); by default a square around the modes, else the real, else the samples.
        title: Title above the figure.

    Raises:
        GameError: There is no panel, or samples are not (N, 2).
    """
    grid, lines = _by_rows(panels), _by_rows(captions or {})
    _check_samples(grid)
    columns = list(dict.fromkeys(name for row in grid.values() for name in row))
    nested = list(grid) != [""]
    cells = [(row, name) for row in grid for name in columns]
    across = len(columns) if nested else min(_WIDTH, len(cells))
    down = ceil(len(cells) / across)
    window = window or _window(grid, means, std, real)
    size = 4.0 if len(cells) == 1 else 1.75
    each = size + (0.2 if captions else 0.05) + (0.0 if nested else 0.12)
    figure = Figure(figsize=(size * across + 0.35, each * down + 0.5), layout="constrained")
    for i, (row, name) in enumerate(cells):
        axes = figure.add_subplot(down, across, i + 1, aspect="equal")
        if _draw_samples(axes, grid[row].get(name), means, std, real, window):
            axes.set_xlabel(lines.get(row, {}).get(name, ""), fontsize=8, color=colors().muted, labelpad=3)
        if i < across or not nested:
            heading = f"{column} {name:,}" if isinstance(name, int) else str(name)
            axes.set_title(heading, fontsize=9, color=colors().ink, pad=4)
        if i % across == 0:
            axes.set_ylabel(row, fontsize=9, color=colors().ink)
    write_title(figure, title)
    _name_marks(figure)
    return figure


def _by_rows(panels: Mapping[str, Any]) -> dict[str, dict[Any, Any]]:
    """Return {row: {column: entry}}; entries that are not nested form one row without a name."""
    if any(isinstance(part, Mapping) for part in panels.values()):
        return {row: dict(part) for row, part in panels.items()}
    return {"": dict(panels)}


def _check_samples(grid: _Grid) -> None:
    every = [samples for row in grid.values() for samples in row.values()]
    if not every:
        raise GameError("no samples to draw: pass e.g. {'extra_adam': {1000: samples}} with samples (N, 2)")
    for samples in every:
        if samples.dim() != 2 or samples.shape[1] != 2:
            raise GameError(
                f"samples have shape {tuple(samples.shape)}: they must be points of the plane (N, 2), of one run"
            )


def _window(grid: _Grid, means: Tensor | None, std: float | Tensor, real: Tensor | None) -> _Window:
    """Return a square around the modes with a margin, or around the samples without 1 % on each side."""
    if means is not None:
        means, reach = means.cpu(), _reach(means, std)
        low, high = (means - reach).amin(0).numpy(), (means + reach).amax(0).numpy()
    else:
        every = [_finite(real)] if real is not None else [_finite(s) for row in grid.values() for s in row.values()]
        points = np.concatenate(every) if sum(map(len, every)) else np.zeros((1, 2))
        low, high = np.quantile(points, (0.01, 0.99), axis=0)
    half = 0.6 * max(float((high - low).max()), 1e-3)
    (x, y) = (float(c) for c in (low + high) / 2)
    return x - half, x + half, y - half, y + half


def _reach(means: Tensor, std: float | Tensor) -> Tensor:
    """Return three standard deviations of each mode, (M, 1)."""
    return 3 * torch.as_tensor(std, dtype=means.dtype).cpu().expand(len(means)).unsqueeze(-1)


def _draw_samples(
    axes: Axes, samples: Tensor | None, means: Tensor | None, std: float | Tensor, real: Tensor | None, window: _Window
) -> bool:
    """Draw one panel and return whether it contains a sample."""
    left, right, bottom, top = window
    axes.set(xlim=(left, right), ylim=(bottom, top), xticks=[], yticks=[])
    axes.spines[:].set_color(colors().faint)
    if samples is None:
        axes.spines[:].set_visible(False)
        return False
    points = _finite(samples)
    if len(points) == 0:
        mark_diverged(axes)
        return False
    if real is not None:
        axes.plot(*_finite(real)[:SHOWN_SAMPLES].T, ".", color=colors().faint, ms=2, mew=0, label="data", zorder=1)
    if means is not None:
        _draw_modes(axes, means, std)
    color = colors().palette[_GENERATED]
    axes.plot(*points[:SHOWN_SAMPLES].T, ".", color=color, ms=2.2, mew=0, alpha=0.6, label="generated", zorder=3)
    outside = ((points < (left, bottom)) | (points > (right, top))).any(1).sum() / len(samples)
    _write_missing(axes, {"outside": outside, "not finite": 1 - len(points) / len(samples)})
    return True


def _write_missing(axes: Axes, shares: dict[str, float]) -> None:
    text = ", ".join(f"{100 * max(0.01, share):.0f} % {what}" for what, share in shares.items() if share > 0)
    if text:
        corner = {"transform": axes.transAxes, "ha": "right", "va": "bottom"}
        box = {"color": colors().paper, "alpha": 0.85, "pad": 0.5}
        axes.text(0.99, 0.01, text, **corner, fontsize=6, color=colors().ink, zorder=5, bbox=box)


def _draw_modes(axes: Axes, means: Tensor, std: float | Tensor) -> None:
    means = means.cpu()
    width = 2 * _reach(means, std).squeeze(-1).numpy()
    circles = EllipseCollection(
        widths=width,
        heights=width,
        angles=np.zeros(len(means)),
        units="xy",
        offsets=means.numpy(),
        offset_transform=axes.transData,
        facecolors="none",
        edgecolors=colors().palette[_MODES],
        linewidths=0.8,
        zorder=2,
    )
    axes.add_collection(circles, autolim=False)
    axes.plot([], [], "o", color=colors().palette[_MODES], mfc="none", ms=2, label="modes, 3 std")


def _name_marks(figure: Figure) -> None:
    """Add one legend for all panels, some of which may be empty."""
    marks = {}
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        marks |= dict(zip(labels, handles, strict=True))
    if marks:
        figure.legend(
            marks.values(), marks.keys(), loc="outside lower center", ncols=3, frameon=False, fontsize=8, markerscale=3
        )


def _finite(points: Tensor) -> np.ndarray:
    points = points.detach().cpu().double()
    return points[torch.isfinite(points).all(-1)].numpy()


# -- the critic ------------------------------------------------------------------------------------------------------
@torch.no_grad()
def critic_figure(
    critic: Callable[[Tensor], Tensor],
    window: _Window,
    samples: Tensor | None = None,
    means: Tensor | None = None,
    std: float | Tensor = 0.0,
    title: str = "",
    real: Tensor | None = None,
) -> Figure:
    """Draw level sets of a critic D on the plane, with generated samples, real ones and the modes on top.

    The generator moves its samples uphill, to darker places. Where D is flat it does not move them.

    Args:
        critic: Critic D, points (N, 2) in float32 on the CPU -> (N,) or (N, 1).
        window: View (left, right, bottom, top).
        samples: Generated samples, (N, 2).
        means: Means of the modes, (M, 2).
        std: Standard deviation of the modes, or one for each, (M,).
        title: Title above the figure.
        real: Samples of the data, (N, 2).
    """
    left, right, bottom, top = window
    x, y = torch.linspace(left, right, _POINTS), torch.linspace(bottom, top, _POINTS)
    points = torch.cartesian_prod(y, x).flip(-1)  # rows of the picture are y
    values = critic(points).detach().cpu().double().reshape(_POINTS, _POINTS).numpy()
    figure = Figure(figsize=(5.2, 4.8), layout="constrained")
    axes = figure.add_subplot(aspect="equal")
    axes.set(xlim=(left, right), ylim=(bottom, top))
    axes.set_title(title, fontsize=10, color=colors().ink, loc="left", parse_math=False)
    if not np.isfinite(values).any():
        mark_diverged(axes)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_color(colors().faint)
        return figure
    _draw_levels(figure, axes, x.numpy(), y.numpy(), np.ma.masked_invalid(values))
    if means is not None:
        _draw_modes(axes, means, std)
    dots = {"marker": ".", "ls": "", "ms": 2.5, "mew": 0, "alpha": 0.7}
    if real is not None:
        axes.plot(*_finite(real)[:SHOWN_SAMPLES].T, **dots, color=LIGHT.palette[_DATA], label="data", zorder=3)
    if samples is not None:  # the map is light on a dark background as well
        axes.plot(*_finite(samples)[:SHOWN_SAMPLES].T, **dots, color=LIGHT.ink, label="generated", zorder=3)
    quiet(axes)
    axes.grid(False)
    _name_marks(figure)
    return figure


def _draw_levels(figure: Figure, axes: Axes, x: np.ndarray, y: np.ndarray, values: np.ma.MaskedArray) -> None:
    low, high = float(values.min()), float(values.max())
    if high - low <= 1e-6 * max(1.0, abs(low)):  # a constant critic has one level
        low, high = low - 0.5, high + 0.5
    levels = MaxNLocator(_LEVELS).tick_values(low, high)
    filled = axes.contourf(x, y, values, levels, cmap=HEIGHTS, zorder=0)
    axes.contour(x, y, values, levels, colors="white", linewidths=0.6, linestyles="solid", zorder=1)
    bar = figure.colorbar(filled, ax=axes, shrink=0.85)
    bar.set_label("critic D", fontsize=9)
    bar.ax.tick_params(labelsize=8)
