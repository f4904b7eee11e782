"""Learning curves of runs."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from io import StringIO
from math import ceil
from os.path import commonpath
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from robustgames.disk import read_plain
from robustgames.errors import GameError
from robustgames.figures.style import INK, PALETTE, quiet

LARGEST, MOST = 2**28, 200  # bytes of a progress.csv, and metrics in it
GROUPS = ("game/", "eval/", "rollout/", "train/")
SPREADS = {"rollout/ep_rew_mean": "rollout/ep_rew_std_of_runs"}  # others: eval/x has eval_std/x
TITLES = {
    "rollout/ep_rew_mean": "return of recent episodes",
    "rollout/ep_len_mean": "length of recent episodes",
    "train/critic_loss": "critic loss",
}


def learning_curves(progress_csv: str | Path | Sequence[str | Path]) -> Figure:
    """Draw every metric of Stable-Baselines3 progress files against their timesteps, one panel each.

    Metrics of games are `game/` and `eval/`, against oracle calls; those of control `rollout/` and `train/`, against
    env steps. A line is the mean over runs, the band ± one standard deviation. The scale is logarithmic if all values
    are positive and span more than two decades.

    Args:
        progress_csv: One or several files with the column `time/timesteps`. Files in one folder are the parts of one
            resumed run; files in different folders are compared and named by the difference between their paths.

    Raises:
        GameError: A file cannot be read, or contains no metric.
    """
    paths = [Path(p) for p in ([progress_csv] if isinstance(progress_csv, str | Path) else progress_csv)]
    tables = _read_runs(paths)
    names = _metrics(tables)
    if not names:
        raise GameError(
            f"no metric ({' '.join(GROUPS)}) in {', '.join(map(str, paths))}: give the progress.csv of a run"
        )
    columns = 2 if len(names) == 4 else min(3, len(names))
    rows = ceil(len(names) / columns)
    figure = Figure(figsize=(3.8 * columns, 2.7 * rows + 0.3), layout="constrained")
    for i, name in enumerate(names):
        axes = figure.add_subplot(rows, columns, i + 1)
        _draw_metric(axes, name, tables)
    if len(tables) > 1:
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def has_metrics(paths: Sequence[Path]) -> bool:
    """Return whether progress files contain a metric that `learning_curves` draws."""
    return bool(_metrics(_read_runs(list(paths))))


def _metrics(tables: dict[str, dict[str, np.ndarray]]) -> list[str]:
    every = {name for table in tables.values() for name in table} - set(SPREADS.values())
    known = [name for name in TITLES if name in every]
    found = [*known, *(name for group in GROUPS for name in sorted(every - {*known}) if name.startswith(group))]
    if len(found) > MOST:
        raise GameError(f"progress.csv has {len(found)} metrics: at most {MOST} are drawn; it was changed, remove it")
    return found


def _draw_metric(axes: Axes, name: str, tables: dict[str, dict[str, np.ndarray]]) -> None:
    every = np.concatenate([table[name] for table in tables.values() if name in table])
    every = every[np.isfinite(every)]
    logarithmic = len(every) > 0 and every.min() > 0 and every.max() > 100 * every.min()
    for color, (label, table) in zip(PALETTE * len(tables), tables.items(), strict=False):
        calls = table["time/timesteps"]
        mean = table.get(name, np.full(len(calls), np.nan))
        axes.plot(calls, mean, color=color, lw=1.5, label=label)
        if (std := table.get(SPREADS.get(name, name.replace("/", "_std/")))) is not None:
            # if no value is negative the band stops at 0, on a logarithmic axis a little above
            least = every.min() / 2 if logarithmic else 0.0 if len(every) and every.min() >= 0 else -np.inf
            low = np.maximum(mean - std, least)
            axes.fill_between(calls, low, mean + std, color=color, alpha=0.18, lw=0)
    axes.set_yscale("log" if logarithmic else "linear")
    title = TITLES.get(name, name.replace("_", " "))
    axes.set_title(title, fontsize=10, color=INK, loc="left", parse_math=False)
    if name.endswith("accuracy"):
        axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel("env steps" if name.startswith(("rollout", "train")) else "oracle calls", fontsize=9)
    quiet(axes)


def _read_runs(paths: list[Path]) -> dict[str, dict[str, np.ndarray]]:
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


def _columns(rows: list[dict[str, str]]) -> dict[str, np.ndarray]:
    wanted = (*(group.removesuffix("/") for group in GROUPS), "time/timesteps")
    names = {name for row in rows for name, cell in row.items() if name and cell and name.startswith(wanted)}
    return {name: np.array([float(row.get(name) or "nan") for row in rows]) for name in names}
