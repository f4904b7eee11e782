"""Experiments of many jobs, shared by the scripts: a log of what is finished, workers for the rest, one table."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from robustgames.sweeps import executor

Line = dict[str, Any]
MARKS = {"**": "bold", "*": "dim"}
Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Log:
    """The file results.jsonl of a folder: a line for every finished job, with its settings and its results."""

    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / "results.jsonl"

    def lines(self) -> list[Line]:
        """Return all lines."""
        return [json.loads(text) for text in self.path.read_text().splitlines()] if self.path.exists() else []

    def find(self, job: Line) -> Line | None:
        """Return the newest line that has the settings of a job, or None."""
        matching = [line for line in self.lines() if all(line.get(key) == value for key, value in job.items())]
        return matching[-1] if matching else None

    def complete(self, function: Callable[..., Line], jobs: Iterable[Line], workers: int = 1) -> Iterator[Line]:
        """Run the jobs that have no line yet, append {**job, **function(**job)}, and yield every new line."""
        self.folder.mkdir(parents=True, exist_ok=True)
        missing = [job for job in jobs if self.find(job) is None]
        for job, result in finished(_Unpacked(function), missing, workers):
            line = {**job, **result}
            with self.path.open("a") as file:
                file.write(json.dumps(line) + "\n")
            yield line


@dataclass(frozen=True)
class _Unpacked:
    """A function of settings, as a function of one job; a closure could not be sent to a worker."""

    function: Callable[..., Line]

    def __call__(self, job: Line) -> Line:
        return self.function(**job)


def finished(function: Callable[[Job], Result], jobs: Sequence[Job], workers: int) -> Iterator[tuple[Job, Result]]:
    """Yield (job, result) of every job as it ends, in worker processes if there are several."""
    yield from executor(workers)(function, jobs)


def spread(numbers: Sequence[float], digits: int, factor: float = 1.0) -> str:
    """Return mean ± std of numbers, times a factor, for a cell."""
    values = factor * torch.tensor(numbers, dtype=torch.float64)
    if not bool(torch.isfinite(values).all()):  # a KL is infinite if no sample is near a mode
        return f"not finite in {int((~torch.isfinite(values)).sum())}"
    return f"{values.mean():.{digits}f} ± {values.std():.{digits}f}"


@dataclass(frozen=True)
class Table:
    """A table under a title. Cells may be **bold** or *dim*."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""

    def markdown(self) -> str:
        """Return the table for a file."""
        lines = ["| " + " | ".join(row) + " |" for row in (self.heads, *self.rows)]
        above = [self.title, ""] if self.title else []
        return "\n".join([*above, lines[0], "|---" * len(self.heads) + "|", *lines[1:]])

    def rich(self) -> RichTable:
        """Return the table for the terminal."""
        title = escape(self.title) if self.title else None
        shown = RichTable(title=title, title_justify="left", title_style="bold")
        for i, head in enumerate(self.heads):
            shown.add_column(head, justify="right" if i else "left")
        for row in self.rows:
            shown.add_row(*(_styled(cell) for cell in row))
        return shown

    def show(self, path: Path | None = None, width: int = 140) -> None:
        """Print the table, and write it to a Markdown file."""
        Console(width=width).print(self.rich())
        if path is not None:
            path.write_text(self.markdown() + "\n")


def _styled(cell: str) -> str:
    """Return a cell for the terminal: marks at both of its ends are a style, others are text, as in "0.02*"."""
    for mark, style in MARKS.items():
        if len(cell) > 2 * len(mark) and cell.startswith(mark) and cell.endswith(mark):
            return f"[{style}]{escape(cell.removeprefix(mark).removesuffix(mark))}[/]"
    return escape(cell)
