"""The table of a sweep on the terminal, and as Markdown and JSON in its folder."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from robustgames.cli.screen import markdown, plain
from robustgames.disk import typed
from robustgames.errors import GameError, writing
from robustgames.evaluation.intervals import FEWEST
from robustgames.evaluation.metrics import metric_of
from robustgames.evaluation.rounding import heading, mean_of_runs
from robustgames.experiment.folder import write_result
from robustgames.sweeps import OF_ENV, Ranking, Row

SHOWN, LINES = 20, 10
"""Rows of the table, and failures, on the terminal; the files have all."""


def report(ranking: Ranking, rows: list[Row], folder: Path, console: Console) -> None:
    """Print the best rows and the failures, and write table.md and table.json.

    Raises:
        GameError: No trial has a result.
    """
    failures = [(row, seed, end) for row in rows for seed, end in row.outcomes.items() if end.status != "done"]
    if not any(row.values for row in rows):
        first = f": {failures[0][2].line}" if failures else ""
        raise GameError(f"no trial of {folder} has a result{first}")
    names = list(rows[0].settings)
    heads = _heads(ranking, names, rows)
    cells = [_cells(row, ranking, _runs_of_a_trial(row, rows)) for row in rows]
    with writing(folder):
        (folder / "table.md").write_text(markdown(heads, cells), encoding="utf-8")
    write_result(folder, "table.json", {"metric": ranking.metric, "rows": [row.state_dict(ranking) for row in rows]})
    table = Table()
    for i, head in enumerate(heads):
        table.add_column(head, justify="left" if i < len(names) else "right", overflow="fold")
    for row in cells[:SHOWN]:
        table.add_row(*map(plain, row))
    console.print(table)
    if len(rows) > SHOWN:
        console.print(f"{len(rows) - SHOWN} more rows in {plain(folder / 'table.md')}", soft_wrap=True)
    for row, seed, end in failures[:LINES]:
        label = ", ".join([*(f"{_short(name)}={value}" for name, value in row.settings.items()), f"seed {seed}"])
        console.print(f"[yellow]{end.status}[/] {plain(label)}: {plain(end.line)}", soft_wrap=True)
    if len(failures) > LINES:
        console.print(f"{len(failures) - LINES} more trials without a result in {plain(folder / 'table.json')}")
    console.print(f"table        {plain(folder / 'table.md')}", soft_wrap=True)
    console.print(f"curves       robustgames compare {plain(typed(folder))}", soft_wrap=True)


def _heads(ranking: Ranking, names: list[str], rows: list[Row]) -> list[str]:
    metric = metric_of(ranking.metric)
    spread = " [95 %]" if any(len(row.finite) >= FEWEST for row in rows) else ""
    return [*(_short(name) for name in names), f"{heading(metric)}{spread}", "runs", "CPU s"]


def _runs_of_a_trial(row: Row, rows: list[Row]) -> int:
    """Return the number of runs of each trial of a row, whose trials may all have failed."""
    results = (end.result for other in (row, *rows) for end in other.outcomes.values() if end.result)
    return int(row.settings.get("runs") or next(results)["runs"])


def _cells(row: Row, ranking: Ranking, runs_of_a_trial: int) -> list[str]:
    count, shown = len(row.finite), mean_of_runs(metric_of(ranking.metric), row.finite)
    failed = sum(end.status != "done" for end in row.outcomes.values())
    lost = len(row.values) - count + failed * runs_of_a_trial
    runs = f"{count} of {count + lost}" if lost else f"{count}"
    seconds = sum((end.result or {}).get("cpu_seconds", math.nan) for end in row.outcomes.values() if end.result)
    cpu = f"{seconds:.1f}" if math.isfinite(seconds) and seconds else ""
    return [*map(_value, row.settings.values()), shown, runs, cpu]


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _short(name: str) -> str:
    return name.removeprefix(OF_ENV)
