"""Paths of runs in a panel: iterates, their averages, starts, ends and the solution, with one legend for all."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D

from robustgames.figures.style import colors

PATHS, ENDS = ("path", "average"), ("end", "average end")
"""Group ids of the lines that an animation lets grow, and of the marks at their ends."""

Marks = dict[str, tuple[Any, ...]]
"""{text of a legend: artists that it names}."""


def draw_paths(axes: Axes, paths: np.ndarray, label: str) -> Marks:
    """Draw the paths of runs, (T, runs, 2), in the colors of the palette, with their starts and ends; NaN is left out.

    Returns:
        The entries of the legend.
    """
    c, lines = colors(), []
    for i, color in zip(range(paths.shape[1]), c.palette * paths.shape[1], strict=False):
        path = paths[:, i]
        lines += axes.plot(*path.T, color=color, lw=1.0, alpha=0.9, zorder=4, gid="path")
        if len(seen := path[np.isfinite(path).all(-1)]):
            axes.plot(*seen[0], "o", color=color, ms=5, mfc=c.paper, mew=1.4, zorder=5)
            axes.plot(*seen[-1], "s", color=color, ms=5, mec=c.paper, mew=0.6, zorder=5, gid="end")
    start = Line2D([], [], marker="o", ls="", color=c.axis, ms=5, mfc=c.paper, mew=1.4)
    end = Line2D([], [], marker="s", ls="", color=c.axis, ms=5)
    return {label: tuple(lines), "start": (start,), "end": (end,)}


def draw_averages(axes: Axes, paths: np.ndarray) -> Marks:
    """Draw the paths of averages, (T, runs, 2): dotted, with a diamond at the end, which is evaluated."""
    c, lines = colors(), []
    for i, color in zip(range(paths.shape[1]), c.palette * paths.shape[1], strict=False):
        path = paths[:, i][np.isfinite(paths[:, i]).all(-1)]
        lines += axes.plot(*path.T, color=color, lw=1.6, ls=":", zorder=5, gid="average")
        if len(path):
            axes.plot(*path[-1], "D", color=color, ms=6, mec=c.ink, mew=1.0, zorder=7, gid="average end")
    last = Line2D([], [], marker="D", ls=":", color=c.axis, ms=6, mec=c.ink, mew=1.0)
    return {"average, evaluated": (last,)}


def mark_solution(axes: Axes, point: np.ndarray, label: str) -> None:
    """Draw a star at a solution of the game."""
    axes.plot(*point, "*", color=colors().ink, ms=12, mec=colors().paper, ls="", zorder=6, label=label)


def write_legend(figure: Figure, axes: Axes, marks: Marks) -> None:
    """Write one legend below a figure: the entries, and the labels of a panel; runs show all their colors."""
    for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
        marks = {**marks, str(label): (handle,)}
    figure.legend(
        list[Any](marks.values()),  # tuples of artists are allowed with their handler
        list(marks),
        loc="outside lower center",
        ncols=2,
        frameon=False,
        fontsize=9,
        handlelength=3,
        handler_map={tuple: HandlerTuple(ndivide=None, pad=0)},
    )
