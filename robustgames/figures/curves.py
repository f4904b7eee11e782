"""Learning curves of runs."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from io import StringIO
from math import ceil
from os.path import commonpath
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from robustgames.disk import read_plain
from robustgames.errors import GameError
from robustgames.figures.style import Figure, colors, quiet, write_title

LARGEST, MOST = 2**28, 200  # bytes of a progress.csv, and metrics in it
GROUPS = ("game/", "eval/", "rollout/", "train/")
SPREADS = {"rollout/ep_rew_mean": "rollout/ep_rew_std_of_runs"}  # others: eval/x has eval_std/x
TITLES = {
    "rollout/ep_rew_mean": "return of recent episodes",
    "rollout/ep_len_mean": "length of recent episodes",
    "train/critic_loss": "critic loss",
    "eval/return": "eval/return: alone —, under adversary - -",
    "eval/value_at_start": "eval/critic at the start —, realized - -",
    "train/payoff": "train/payoff Φ of the policies",
    "train/q_of_protagonist": "train/Q: protagonist —, adversary - -",
}
PAIRS = {
    "eval/return": "eval/return_under_adversary",
    "eval/value_at_start": "eval/discounted_return",
    "train/q_of_protagonist": "train/q_of_adversary",
}
"""Metrics with another one in their panel, which is dashed."""
GAME = "game/: the last iterate, on the sample of its step; eval/: the point that a result reports"
CONTROL = "rollout/: episodes of training, with exploration; eval/: deterministic episodes; train/: the last minibatch"
RATES = ("distance", "duality_gap", "residual")
"""Metrics that decrease to 0 at a solution: a rate is a slope of their logarithms."""
SHRINKS, DECADES = 3, 100  # factors between the largest value and the least from which on a scale is logarithmic

_FEW = 12  # values of a curve, below which they are marked
Table = dict[str, np.ndarray]


def learning_curves(
    progress_csv: str | Path | Sequence[str | Path], title: str = "", names: Sequence[str] = (), runs: int = 0
) -> Figure:
    """Draw every metric of Stable-Baselines3 progress files against their timesteps, one panel each.

    Metrics of games are `game/` and `eval/`, against oracle calls; those of control `rollout/`, `eval/` and `train/`,
    against env steps. A line is the mean over runs, the band ± one standard deviation. The scale is logarithmic if all
    values are positive and span a factor of more than 100; of distances, residuals and duality gaps, of more than 3.
    A metric that stays constant is left out, unless all do.

    Args:
        progress_csv: One or several files with the column `time/timesteps`. Files in one folder are the parts of one
            resumed run; files in different folders are compared and named by the difference between their paths.
        title: Method and settings, above the figure.
        names: Names of the compared runs, in the order of their folders, instead of the difference between the paths.
        runs: Number of runs that the band covers, to write it below; 0 leaves it out.

    Raises:
        GameError: A file cannot be read, or contains no metric.
    """
    paths = [Path(p) for p in ([progress_csv] if isinstance(progress_csv, str | Path) else progress_csv)]
    tables = read_curves(paths)
    if names and len(names) != len(tables):
        raise GameError(f"names are {list(names)}: there are {len(tables)} folders, one name for each")
    tables = dict(zip(names or tables, tables.values(), strict=True))
    if not _metrics(tables):
        raise GameError(
            f"no metric ({' '.join(GROUPS)}) in {', '.join(map(str, paths))}: give the progress.csv of a run"
        )
    return draw_curves(tables, title, runs)


def draw_curves(tables: dict[str, Table], title: str = "", runs: int = 0, against: str = "") -> Figure:
    """Draw curves that `read_curves` has read, see `learning_curves`.

    Args:
        tables: {name of a run or method: its curve}, with at least one metric.
        title: Title of the figure.
        runs: Number of runs that every band covers.
        against: Label of the horizontal axis, if it is not that of timesteps.
    """
    shown = _varying(_metrics(tables), tables)
    control = any(name.startswith(("rollout/", "train/")) for name in shown)
    columns = 2 if len(shown) == 4 else min(3, len(shown))
    rows = ceil(len(shown) / columns)
    figure = Figure(figsize=(3.8 * columns, 2.7 * rows + 0.7), layout="constrained")
    for i, name in enumerate(shown):
        axes = figure.add_subplot(rows, columns, i + 1)
        _draw_metric(axes, name, tables)
        axes.set_xlabel(against or ("env steps" if control else "oracle calls"), fontsize=9)
    write_title(figure, title)
    _explain(figure, tables, {name.partition("/")[0] for name in shown}, runs)
    return figure


def _varying(names: list[str], tables: dict[str, Table]) -> list[str]:
    """Return the names of the metrics that change during a run or differ between runs; all names if none does."""
    every = {name: np.concatenate([table[name] for table in tables.values() if name in table]) for name in names}
    finite = {name: values[np.isfinite(values)] for name, values in every.items()}
    seconds = {PAIRS[name] for name in names if name in PAIRS}
    shown = [name for name, values in finite.items() if len(values) < 2 or np.ptp(values) > 0] or names
    return [name for name in shown if name not in seconds]


def _explain(figure: Figure, tables: dict[str, Table], groups: set[str], runs: int) -> None:
    """Name the compared runs, and say below the panels what lines, bands and groups of metrics are."""
    lines = []
    if runs != 1 and any(axes.collections for axes in figure.axes):
        over = f"{runs} runs" if runs else "runs"
        lines += [f"line: mean over {over}, band: ± one standard deviation"]
    if len(groups) > 1:
        lines += [CONTROL if groups & {"rollout", "train"} else GAME]
    if len(tables) == 1:
        figure.supxlabel("\n".join(lines), fontsize=8, color=colors().muted, x=0.01, ha="left")
        return
    handles, labels = figure.axes[0].get_legend_handles_labels()
    legend = figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    legend.set_title("\n".join(lines))
    legend.get_title().set(fontsize=8, color=colors().muted)


def has_metrics(paths: Sequence[Path]) -> bool:
    """Return whether progress files contain a metric that `learning_curves` draws."""
    return bool(_metrics(read_curves(list(paths))))


def _metrics(tables: dict[str, Table]) -> list[str]:
    every = {name for table in tables.values() for name in table} - set(SPREADS.values())
    known = [name for name in TITLES if name in every]
    found = [*known, *(name for group in GROUPS for name in sorted(every - {*known}) if name.startswith(group))]
    if len(found) > MOST:
        raise GameError(f"progress.csv has {len(found)} metrics: at most {MOST} are drawn; it was changed, remove it")
    return found


def _draw_metric(axes: Axes, name: str, tables: dict[str, Table]) -> None:
    both = [name, PAIRS.get(name, name)]
    every = np.concatenate([table[one] for table in tables.values() for one in both if one in table])
    every = every[np.isfinite(every)]
    factor = SHRINKS if name.endswith(RATES) else DECADES
    logarithmic = len(every) > 0 and every.min() > 0 and every.max() > factor * every.min()
    # if no value is negative the band stops at 0, on a logarithmic axis a little above
    least = every.min() / 2 if logarithmic else 0.0 if len(every) and every.min() >= 0 else -np.inf
    for color, (label, table) in zip(colors().palette * len(tables), tables.items(), strict=False):
        _draw_line(axes, table, name, least, color=color, label=label)
        if name in PAIRS:
            _draw_line(axes, table, PAIRS[name], least, color=color, ls="--")
    axes.set_yscale("log" if logarithmic else "linear")
    alone = name in PAIRS and not any(PAIRS[name] in table for table in tables.values())
    title = TITLES.get(name, name.replace("_", " ")) if not alone else name.replace("_", " ")
    axes.set_title(title, fontsize=10, color=colors().ink, loc="left", parse_math=False)
    if name.endswith("accuracy"):
        axes.set_ylim(-0.02, 1.02)
    quiet(axes)


def _draw_line(axes: Axes, table: Table, name: str, least: float, **style: Any) -> None:
    """Draw a mean with its band, over the rows between whose first and last value there is none without one."""
    calls = table["time/timesteps"]
    mean = table.get(name, np.full(len(calls), np.nan))
    known = np.flatnonzero(np.isfinite(mean))
    between = np.isfinite(mean) | (np.arange(len(mean)) < known[:1].sum()) | (np.arange(len(mean)) > known[-1:].sum())
    marker = "o" if 0 < len(known) < _FEW else ""
    axes.plot(calls[between], mean[between], lw=1.5, marker=marker, ms=3, **style)
    if (std := table.get(SPREADS.get(name, name.replace("/", "_std/")))) is not None:
        low, high = np.maximum(mean - std, least)[between], (mean + std)[between]
        axes.fill_between(calls[between], low, high, color=style["color"], alpha=0.18, lw=0)


def read_curves(paths: list[Path]) -> dict[str, Table]:
    """Return {run: {column: values}}; an empty cell is NaN. Rows of one run are in order of timesteps, each once."""
    runs: dict[Path, dict[float, dict[str, str]]] = {}
    for path in paths:
        rows = runs.setdefault(path.resolve().parent, {})
        try:
            text = read_plain(path, LARGEST).decode()
            found = {
                float(row["time/timesteps"]): row for row in csv.DictReader(StringIO(text)) if row["time/timesteps"]
            }
            _columns(list(found.values()))  # every cell is a number
            rows.update(found)
        except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
            raise GameError(
                f"{path} is not readable, or has no numbers in time/timesteps: is it a progress.csv?"
            ) from error
    common = commonpath(runs) if runs else ""
    return {str(folder.relative_to(common)): _columns([rows[t] for t in sorted(rows)]) for folder, rows in runs.items()}


def _columns(rows: list[dict[str, str]]) -> Table:
    wanted = (*(group.removesuffix("/") for group in GROUPS), "time/timesteps")
    names = {name for row in rows for name, cell in row.items() if name and cell and name.startswith(wanted)}
    return {name: np.array([float(row.get(name) or "nan") for row in rows]) for name in names}
