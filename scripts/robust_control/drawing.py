"""The figures of `robustness.py`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from robust_control.parts import Result

from robustgames.figures.control import heat_maps, perturbation_curves
from robustgames.figures.style import INK, PALETTE, quiet, save


def draw(results: Mapping[str, Result], out: Path) -> None:
    """Draw the return over the grid, along each of its axes, and in training."""
    sweeps = {one.label: one.sweep for one in results.values()}
    axes = next(iter(sweeps.values())).axes
    if len(axes) == 2:
        save(heat_maps(sweeps), out / "heat_maps.png")
    for axis in axes:
        save(perturbation_curves(sweeps, axis), out / f"over_{axis.replace(' ', '_')}.png")
    if any(one.curve["steps"] for one in results.values()):
        save(learning_curves(results), out / "learning_curves.png")


def learning_curves(results: Mapping[str, Result]) -> Figure:
    """Draw the return of recent episodes in training, with exploration and the adversary of the method.

    Spreads over runs are drawn for at most three methods, because more hide each other.
    """
    spreads = len(results) <= 3
    figure = Figure(figsize=(5.6, 3.7), layout="constrained")
    axes = figure.add_subplot()
    for color, one in zip(PALETTE * len(results), results.values(), strict=False):
        steps, mean, std = (np.array(one.curve[key], float) for key in ("steps", "mean", "std"))
        axes.plot(steps, mean, color=color, lw=1.6, label=one.label)
        if spreads:
            axes.fill_between(steps, mean - std, mean + std, color=color, alpha=0.12, lw=0)
    first = next(iter(results.values())).sweep
    caption = f"{'mean ± std' if spreads else 'mean'} over {len(first.returns)} runs"
    title = f"{first.env}, return in training under the method's own adversary,\n{caption}"
    axes.set_title(title, fontsize=10, color=INK, loc="left")
    axes.set_xlabel("env steps", fontsize=9)
    quiet(axes)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure
