"""Figures of returns over three axes of a perturbation or more: slices, and parallel coordinates."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from robustgames.envs.control.perturbations import NOISES
from robustgames.errors import GameError
from robustgames.evaluation.robustness import Sweep
from robustgames.evaluation.worst_case import WorstCase
from robustgames.figures.control import (
    acting_axes,
    add_colorbar,
    check_alike,
    frame_cell,
    label_of,
    rounded,
    title_of,
    unit_of,
    write_values,
    written_in,
)
from robustgames.figures.style import VALUES, Figure, colors

NUMBERED = 121
"""Most cells of a panel in which each has its number."""


def slices(sweeps: Mapping[str, Sweep]) -> Figure:
    """Draw the three planes of a grid of three axes that contain its worst point, one row per method.

    A cell is the mean over runs and episodes. The worst cell of a method is framed in each of its planes.

    Args:
        sweeps: Sweeps by method, {method: sweep}, over the same three axes.

    Raises:
        GameError: There is no sweep, or the sweeps are over different grids or not over three axes that have an effect.
    """
    first = check_alike(sweeps)
    if len(first.axes) != 3:
        raise GameError(f"{acting_axes(first)}: slices need three; draw `heat_maps` or `parallel_coordinates`")
    means = {name: one.cells.mean(0) for name, one in sweeps.items()}
    low, high = (float(f([f(mean) for mean in means.values()])) for f in (np.min, np.max))
    figure, unit = Figure(figsize=(11.5, 2.9 * len(means) + 0.5), layout="constrained"), unit_of(max(-low, high))
    grid = figure.subplots(len(means), 3, squeeze=False)
    for row, (name, mean) in zip(grid, means.items(), strict=True):
        worst = tuple(map(int, np.unravel_index(mean.argmin(), mean.shape)))
        for axes, (i, j) in zip(row, combinations(range(3), 2), strict=True):
            _plane(axes, first, mean, worst, (i, j), (low, high, unit))
        row[0].set_ylabel(f"{name}\n{row[0].get_ylabel()}", fontsize=9)
    add_colorbar(figure, grid, unit)
    title = title_of(sweeps, f"return{written_in(unit)} in the planes through the worst point (framed)")
    figure.suptitle(title, fontsize=10, color=colors().ink, x=0.01, ha="left")
    return figure


def _plane(
    axes: Axes,
    sweep: Sweep,
    mean: np.ndarray,
    worst: tuple[int, ...],
    shown: tuple[int, int],
    scale: tuple[float, float, float],
) -> None:
    """Draw the plane of two axes through the worst cell, on a scale (low, high, unit)."""
    names, values, (low, high, unit) = list(sweep.axes), list(sweep.axes.values()), scale
    [fixed] = {0, 1, 2} - set(shown)
    plane = mean.take(worst[fixed], axis=fixed)
    axes.imshow(plane.T, origin="lower", aspect="auto", cmap=VALUES, vmin=low, vmax=high)
    if plane.size <= NUMBERED:
        write_values(axes, plane, low, high, unit)
    frame_cell(axes, (worst[shown[0]], worst[shown[1]]))
    for k, ticks, label in ((shown[0], axes.set_xticks, axes.set_xlabel), (shown[1], axes.set_yticks, axes.set_ylabel)):
        ticks(range(len(values[k])), [f"{v:g}" for v in rounded(values[k])], fontsize=8)
        label(label_of(names[k]), fontsize=9)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(f"{label_of(names[fixed])} {values[fixed][worst[fixed]]:.3g}", fontsize=9, loc="left")


# -- parallel coordinates ------------------------------------------------------------------------------------------
def parallel_coordinates(found: Mapping[str, Sweep | WorstCase]) -> Figure:
    """Draw every evaluated point as a line over the axes and the return at the right, one panel per method.

    Points of a sweep are its cells, means over runs. Points of a worst-case search are those of all runs. Relative
    scales are drawn on a logarithmic scale. The worst point is the thick line in red.

    Args:
        found: Sweeps or searches by method, {method: result}.

    Raises:
        GameError: There is no result, or one in which no axis has an effect.
    """
    if not found:
        raise GameError("no result by name: pass a dictionary, e.g. {'DDPG': worst_case(...)}")
    tables = {name: _points_of(one) for name, one in found.items()}
    low, high = (float(f([f(returns) for _, returns in tables.values()])) for f in (np.min, np.max))
    wide = max(len(one.axes) for one in found.values())
    figure = Figure(figsize=(1.9 * wide + 2.2, 2.9 * len(found) + 0.3), layout="constrained")
    for axes, (name, one) in zip(figure.subplots(len(found), 1, squeeze=False).flat, found.items(), strict=True):
        points, returns = tables[name]
        _lines(axes, one, points, returns, (low, high))
        runs = f"{len(one.returns)} run{'' if len(one.returns) == 1 else 's'}"
        title = f"{name}: {one.env}, {len(points)} points of {runs}, worst return {returns.min():.4g}"
        axes.set_title(title, fontsize=10, color=colors().ink, loc="left", pad=16)
    return figure


def _points_of(one: Sweep | WorstCase) -> tuple[np.ndarray, np.ndarray]:
    """Return (points (n, d), returns (n,)) of a result."""
    if not one.axes:
        raise GameError(f"no axis acts on {one.env}: there is nothing to draw")
    if isinstance(one, WorstCase):
        return one.points.reshape(-1, len(one.axes)), one.cells.reshape(-1)
    mesh = np.meshgrid(*one.axes.values(), indexing="ij")
    return np.stack([each.reshape(-1) for each in mesh], -1), one.cells.mean(0).reshape(-1)


def _lines(
    axes: Axes, one: Sweep | WorstCase, points: np.ndarray, returns: np.ndarray, scale: tuple[float, float]
) -> None:
    names, columns, ends = list(one.axes), [], []
    for name, values in zip(names, points.T, strict=True):
        bounds = (min(one.axes[name]), max(one.axes[name]))
        columns.append(_share(values, bounds, name in NOISES))
        ends.append(bounds)
    span = (scale[1] - scale[0]) or 1.0
    share = (returns - scale[0]) / span
    table = np.stack([*columns, share], -1)
    order, at = np.argsort(-returns), np.arange(table.shape[1])
    lines = [np.stack([at, row], -1) for row in table[order]]
    shade = colormaps[VALUES](share[order])
    axes.add_collection(LineCollection(lines, colors=shade, linewidths=0.7, alpha=0.8))
    axes.plot(at, lines[-1][:, 1], color=colors().palette[5], lw=2.5, solid_joinstyle="round")
    for x, (low, high) in enumerate([*ends, scale]):
        axes.plot([x, x], [0, 1], color=colors().axis, lw=0.8, zorder=0)
        for y, value, side in ((0.0, low, "top"), (1.0, high, "bottom")):
            text = f"{value:.4g}".replace("-", "−")
            axes.text(x, y + 0.03 * (2 * y - 1), text, ha="center", va=side, fontsize=8, color=colors().muted)
    axes.set(xlim=(-0.3, len(names) + 0.3), ylim=(-0.12, 1.12), yticks=[])
    axes.set_xticks(at, [*(label_of(name).replace("relative ", "") for name in names), "return"], fontsize=9)
    axes.tick_params(length=0, pad=6)
    axes.spines[:].set_visible(False)


def _share(values: np.ndarray, bounds: tuple[float, float], linear: bool) -> np.ndarray:
    """Return values in [0, 1]: linear in noises, logarithmic in scales."""
    low, high = bounds if linear else np.log(bounds)
    return ((values if linear else np.log(values)) - low) / ((high - low) or 1.0)
