"""Timing contestants in turn, and the rows of the table."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch

Steps = Callable[[int], Any]
"""Takes a number of steps."""
PACKAGES = ("robustgames", "torch", "numpy", "gymnasium", "stable-baselines3", "torchattacks", "foolbox")


class Contestant(NamedTuple):
    """A function that is timed, in blocks of this number of steps."""

    run: Steps
    block: int


class Measured(float):
    """The median of a number that was measured in several rounds; multiples and inverses keep the rounds.

    Two of them that were measured in turn can be compared round by round, which a load on the machine that lasts for
    a round does not change.
    """

    rounds: tuple[float, ...]

    def __new__(cls, rounds: Sequence[float]) -> Self:
        self = super().__new__(cls, statistics.median(rounds))
        self.rounds = tuple(float(value) for value in rounds)
        return self

    def __mul__(self, other: float) -> Measured:
        return Measured([value * float(other) for value in self.rounds])

    def __truediv__(self, other: float) -> Measured:
        return Measured([value / float(other) for value in self.rounds])

    def __rtruediv__(self, other: float) -> Measured:
        return Measured([float(other) / value for value in self.rounds])

    __rmul__ = __mul__

    def __reduce__(self) -> tuple[type[Measured], tuple[tuple[float, ...]]]:
        return Measured, (self.rounds,)


@dataclass(frozen=True)
class Row:
    """One line of the table: ratio = ours / peer, with a target or none, and whether the results agree.

    If both numbers are `Measured` in the same rounds, the ratio is the median of the rounds' own ratios.
    """

    name: str
    unit: str
    ours: float
    peer: float
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""
    agreed: bool = True

    @property
    def ratios(self) -> tuple[float, ...]:
        """The ratio of every round; of numbers without rounds, one ratio."""
        ours, peer = (getattr(value, "rounds", ()) for value in (self.ours, self.peer))
        if not ours or len(ours) != len(peer):
            return (float(self.ours) / float(self.peer),)
        return tuple(a / b for a, b in zip(ours, peer, strict=True))

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

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
        between = f"{min(self.ratios):.3g} – {max(self.ratios):.3g}" if len(self.ratios) > 1 else ""
        return name, self.unit, f"{self.ours:.4g}", f"{self.peer:.4g}", f"{self.ratio:.3g}", between, target, verdict

    def entry(self, suite: str) -> dict[str, Any]:
        """Return the row for a JSON file."""
        found = {"ratio": self.ratio, "low": min(self.ratios), "high": max(self.ratios), "rounds": len(self.ratios)}
        plain = {name: float(v) if isinstance(v, Measured) else v for name, v in asdict(self).items()}
        return {"suite": suite, **plain, **found, "passed": self.passed}


def machine(device: str) -> dict[str, Any]:
    """Return what the numbers were measured on and with."""
    gpu = torch.cuda.get_device_name() if device == "cuda" else None
    return {"cpu": _cpu(), "gpu": gpu, "system": platform.system(), "python": platform.python_version(), **_versions()}


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def seconds_per_step(contestants: dict[str, Contestant], rounds: int, device: str) -> dict[str, Measured]:
    """Time all contestants in turn, after a warm-up of each: in every round each one's median block of three."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for contestant in contestants.values():
        contestant.run(max(5, contestant.block // 10))
    for _ in range(rounds):
        for name, contestant in contestants.items():
            times[name].append(statistics.median(timed(contestant, device) for _ in range(3)))
    return {name: Measured(values) for name, values in times.items()}


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
