"""Figures of robustness sweeps: heat maps over two axes of a perturbation, curves over one.

They are made without pyplot, see `figures`. Sweeps are passed by name, {"DDPG": sweep, "PR-DDPG": sweep}; colors follow
their order. Axes that have no effect on the env are named in the title and never drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter

from robustgames.envs.control.perturbations import NOISES
from robustgames.errors import GameError, unknown
from robustgames.evaluation.intervals import FEWEST
from robustgames.evaluation.reliability import bootstrap
from robustgames.evaluation.robustness import Sweep
from robustgames.figures.style import ON_DARK, ON_LIGHT, VALUES, Figure, colors, quiet

_LABELS = {"action_noise": "probability of a random action", "observation_noise": "noise on the observation (std)"}


def heat_maps(sweeps: Mapping[str, Sweep], columns: int = 3) -> Figure:
    """Draw the return at every point of a grid of two axes, one panel per method, all on one scale of colors.

    A cell is the mean over runs and episodes, with its number. The cell nearest to the nominal env is framed. The first
    axis of the grid goes to the right, the second up.

    Args:
        sweeps: Sweeps by method, {method: sweep}, over the same two axes.
        columns: Largest number of panels in a row.

    Raises:
        GameError: There is no sweep, or the sweeps are over different grids or not over two axes that have an effect.
    """
    first = check_alike(sweeps)
    if len(first.axes) != 2:
        raise GameError(f"{acting_axes(first)}: heat maps need two; draw `perturbation_curves`")
    means = {name: one.cells.mean(0) for name, one in sweeps.items()}
    low, high = (float(f([f(mean) for mean in means.values()])) for f in (np.min, np.max))
    rows, (wide, tall) = ceil(len(sweeps) / columns), first.cells.shape[1:]
    columns = ceil(len(sweeps) / rows)  # four panels are two by two, not three and one
    size = columns * max(2.6, 0.4 * wide + 0.5) + 1.1, rows * max(2.2, 0.31 * tall + 0.55) + 0.5
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    unit = unit_of(max(abs(low), abs(high)))
    for axes in grid.flat[len(sweeps) :]:
        axes.set_axis_off()
    for axes, (name, mean) in zip(grid.flat, means.items(), strict=False):
        axes.imshow(mean.T, origin="lower", aspect="auto", cmap=VALUES, vmin=low, vmax=high)
        write_values(axes, mean, low, high, unit)
        frame_cell(axes, first.nominal)
        axes.set_title(name, fontsize=10, color=colors().ink, loc="left")
    _label_grid(grid, first, len(sweeps), columns)
    add_colorbar(figure, grid, unit)
    title = title_of(sweeps, f"return{written_in(unit)} (framed: {_nominal(first)})")
    figure.suptitle(title, fontsize=10, color=colors().ink, x=0.01, ha="left")
    return figure


def add_colorbar(figure: Figure, grid: np.ndarray, unit: float) -> None:
    """Draw the bar of the colors of all panels."""
    image, label = grid.flat[0].images[0], FuncFormatter(lambda value, _: plain_number(value / unit))
    bar = figure.colorbar(image, ax=list(grid.flat), shrink=0.9, aspect=30, pad=0.015, format=label)
    bar.outline.set_visible(False)  # type: ignore[operator]
    bar.ax.tick_params(labelsize=8, color=colors().axis)


def write_values(axes: Axes, mean: np.ndarray, low: float, high: float, unit: float) -> None:
    """Write the number of every cell of a panel, in units of `unit`."""
    span = (high - low) or 1.0
    for (i, j), value in np.ndenumerate(mean):
        red, green, blue, _ = colormaps[VALUES]((value - low) / span)
        dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
        axes.text(i, j, _short(value / unit), ha="center", va="center", fontsize=7, color=ON_DARK if dark else ON_LIGHT)


def _short(value: float) -> str:
    text = f"{value:.0f}" if abs(value) >= 9.95 else f"{value:.1f}"
    return "0" if float(text) == 0 else text.replace("-", "−")


def plain_number(value: float) -> str:
    """Return a number as text with a minus sign."""
    return f"{value:g}".replace("-", "−")


def unit_of(largest: float) -> float:
    """Return the unit in which numbers up to `largest` are written, 1 or 1000."""
    return 1.0 if largest < 10_000 else 1000.0


def written_in(unit: float) -> str:
    """Return the words of a unit in a title."""
    return "" if unit == 1 else " in thousands"


def frame_cell(axes: Axes, cell: tuple[int, ...]) -> None:
    """Frame a cell of a panel."""
    corner = cell[0] - 0.5, cell[1] - 0.5
    axes.add_patch(Rectangle(corner, 1, 1, fill=False, ec=colors().palette[5], lw=1.8, zorder=3, clip_on=False))


def _label_grid(grid: np.ndarray, sweep: Sweep, count: int, columns: int) -> None:
    (x, right), (y, up) = sweep.axes.items()
    for i, axes in enumerate(list(grid.flat)[:count]):
        axes.set_xticks(range(len(right)), [f"{v:g}" for v in rounded(right)], fontsize=8)
        axes.set_yticks(range(len(up)), [f"{v:g}" for v in rounded(up)], fontsize=8)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        if i + columns >= count:
            axes.tick_params(labelbottom=True)
            axes.set_xlabel(label_of(x), fontsize=9)
        if i % columns == 0:
            axes.set_ylabel(label_of(y), fontsize=9)


def rounded(values: tuple[float, ...]) -> list[float]:
    """Return values with three significant digits."""
    return [float(f"{value:.3g}") for value in values]


def _nominal(sweep: Sweep) -> str:
    point = sweep.nominal_point
    exact = all(value == (0.0 if name in NOISES else 1.0) for name, value in point.items())
    return "nominal" if exact else "nearest to nominal"


# -- curves ------------------------------------------------------------------------------------------------------
def perturbation_curves(sweeps: Mapping[str, Sweep], axis: str | None = None) -> Figure:
    """Draw the return against one axis of a perturbation: the mean over runs, with its 95 % interval over runs.

    The nominal value is marked. If a grid has several axes, the slice through the cell nearest to the nominal env is
    drawn. The band of fewer than 5 runs reaches from the least run to the largest.

    Args:
        sweeps: Sweeps by method, {method: sweep}, over the same grid.
        axis: Name of the axis in `Sweep.axes`; the first by default.

    Raises:
        GameError: There is no sweep, the sweeps are over different grids, or the axis is unknown or has no effect.
    """
    first = check_alike(sweeps)
    axis = _checked_axis(first, axis)
    figure = Figure(figsize=(5.2, 3.5), layout="constrained")
    axes = figure.add_subplot()
    values = first.axes[axis]
    nominal = 0.0 if axis in NOISES else 1.0
    if min(values) <= nominal <= max(values):
        axes.axvline(nominal, color=colors().axis, lw=1.2, ls="--", zorder=1, label="nominal")
    for color, (name, one) in zip(colors().palette * len(sweeps), sweeps.items(), strict=False):
        mean, low, high = _band(_slice(one, axis))
        axes.plot(values, mean, color=color, lw=1.8, marker="o", ms=3.5, label=name, clip_on=False)
        axes.fill_between(values, low, high, color=color, alpha=0.18, lw=0)
    axes.margins(x=0.02)
    axes.set_xlabel(label_of(axis), fontsize=9)
    fixed = ", ".join(f"{name} {value:g}" for name, value in first.nominal_point.items() if name != axis)
    axes.set_title(
        title_of(sweeps, f"return at {fixed}" if fixed else "return"), fontsize=10, color=colors().ink, loc="left"
    )
    quiet(axes)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def _checked_axis(sweep: Sweep, axis: str | None) -> str:
    if not sweep.axes:
        raise GameError(f"{acting_axes(sweep)}: there is nothing to draw")
    axis = next(iter(sweep.axes)) if axis is None else axis
    if axis in sweep.idle:
        raise GameError(f"{axis} is idle: {sweep.idle[axis]}; the axes that act are {', '.join(sweep.axes)}")
    if axis not in sweep.axes:
        raise unknown("axis of the sweep", axis, sweep.axes)
    return axis


def _band(returns: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the means over runs and the ends of their band, of returns (runs, values)."""
    if len(returns) < FEWEST:
        return returns.mean(0), returns.min(0), returns.max(0)
    mean, low, high = (np.array(part) for part in zip(*bootstrap(returns), strict=True))
    return mean, low, high


def _slice(sweep: Sweep, axis: str) -> np.ndarray:
    """Return the cells on the line through the nominal one, (runs, values)."""
    index = [slice(None) if name == axis else i for i, name in zip(sweep.nominal, sweep.axes, strict=True)]
    return sweep.cells[(slice(None), *index)]


# -- shared by both ----------------------------------------------------------------------------------------------
def check_alike(sweeps: Mapping[str, Sweep]) -> Sweep:
    """Return the first of the sweeps, which must be over one grid of one env."""
    if not isinstance(sweeps, Mapping) or not sweeps:
        raise GameError("no sweep by name: pass a dictionary, e.g. {'DDPG': sweep}")
    first, *others = sweeps.values()
    for other in others:
        if (other.env, dict(other.axes)) != (first.env, dict(first.axes)):
            raise GameError("the sweeps are over different envs or grids: draw them one by one")
    return first


def acting_axes(sweep: Sweep) -> str:
    """Return how many axes act, and the idle ones, for a message."""
    idle = "".join(f"; {name} is idle: {reason}" for name, reason in sweep.idle.items())
    return f"{len(sweep.axes)} axes of the sweep act on {sweep.env}{idle}"


def label_of(axis: str) -> str:
    """Return the label of an axis."""
    return _LABELS.get(axis, f"relative {axis}")


def title_of(sweeps: Mapping[str, Sweep], what: str) -> str:
    """Return a title: env, what is drawn, numbers of runs and episodes, idle axes."""
    first = next(iter(sweeps.values()))
    runs = sorted({len(one.returns) for one in sweeps.values()})
    counts = f"{_counted('–'.join(map(str, runs)), 'run')} × {_counted(str(first.returns.shape[-1]), 'episode')}"
    idle = "".join(f"\n{name} is idle: {reason}" for name, reason in first.idle.items())
    return f"{first.env}, {what}, {counts}{idle}"


def _counted(number: str, what: str) -> str:
    return f"{number} {what}{'' if number == '1' else 's'}"
