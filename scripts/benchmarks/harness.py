"""Timing contestants in turn, and the rows of the table."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

Steps = Callable[[int], Any]
"""Takes a number of steps."""


class Contestant(NamedTuple):
    """A function that is timed, in blocks of this number of steps."""

    run: Steps
    block: int


@dataclass(frozen=True)
class Row:
    """One line of the table: ratio = ours / peer, with a target or none, and whether the results agree."""

    name: str
    unit: str
    ours: float
    peer: float
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""
    agreed: bool = True

    @property
    def ratio(self) -> float:
        return self.ours / self.peer

    @property
    def passed(self) -> bool:
        low, high = self.at_least or 0.0, self.at_most or float("inf")
        return self.agreed and low <= self.ratio <= high

    def cells(self) -> tuple[str, ...]:
        """Return the cells of the table."""
        free = self.agreed and self.at_least is None and self.at_most is None
        target = f">= {self.at_least:g}" if self.at_least is not None else ""
        target = f"<= {self.at_most:g}" if self.at_most is not None else target
        verdict = "" if free else "[green]PASS" if self.passed else "[red]FAIL" if self.agreed else "[red]DIFFER"
        name = f"{self.name}\n  [dim]{self.note}[/]" if self.note else self.name
        return name, self.unit, f"{self.ours:.4g}", f"{self.peer:.4g}", f"{self.ratio:.3g}", target, verdict


def seconds_per_step(contestants: dict[str, Contestant], rounds: int, device: str) -> dict[str, float]:
    """Time all contestants in turn: the median over rounds of each round's median block."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for contestant in contestants.values():
        contestant.run(max(5, contestant.block // 10))
    for _ in range(rounds):
        for name, contestant in contestants.items():
            times[name].append(statistics.median(timed(contestant, device) for _ in range(3)))
    return {name: statistics.median(values) for name, values in times.items()}


def timed(contestant: Contestant, device: str) -> float:
    """Return the seconds of one step: of CPU time, or of wall clock on a GPU or if device is "wall"."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    synchronize = torch.cuda.synchronize if device == "cuda" else lambda: None
    synchronize()
    began = clock()
    contestant.run(contestant.block)
    synchronize()
    return (clock() - began) / contestant.block


def repeat(function: Callable[[], Any]) -> Steps:
    """Return the steps that each call the function."""

    def run(steps: int) -> None:
        for _ in range(steps):
            function()

    return run
