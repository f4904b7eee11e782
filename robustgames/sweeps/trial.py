"""One trial: whatever is left to do of a run in its folder, and what became of it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from stable_baselines3.common.logger import Logger

from robustgames.disk import printable, read_plain, write_whole
from robustgames.errors import DivergedError, GameError, shorten, writing
from robustgames.experiment import Experiment, Result, complete
from robustgames.experiment.folder import read_result

FAILURE = "failure.json"
"""File of a trial without a result: what became of it, in one line."""
LARGEST = 2**16
FINAL = ("diverged", "pruned")
"""Failures that another try would repeat."""

Status = Literal["done", "diverged", "pruned", "failed"]


@dataclass(frozen=True)
class Outcome:
    """What became of a trial.

    Attributes:
        folder: Its folder.
        status: done, diverged, pruned by a search, or failed.
        line: Why there is no result; "" if there is one.
        result: The result, see `robustgames.experiment.Result`; None without one.
    """

    folder: Path
    status: Status
    line: str = ""
    result: dict[str, Any] | None = None

    def values(self, metric: str) -> list[float]:
        """Return a metric of the result, of every run; NaN of a run without one, [] of a trial without a result."""
        row = (self.result or {}).get("metrics", {}).get(metric)
        return [] if row is None else [math.nan if value is None else float(value) for value in row["runs"]]


class PrunedTrial(Exception):  # noqa: N818 (the word of Optuna)
    """A search gives a trial up before its end."""


def run(experiment: Experiment, folder: Path, watch: Callable[[Logger], None] | None = None) -> Outcome:
    """Do what is left of a trial in its folder, and return what became of it; no error of a trial gets out.

    A trial with a result is done. One that diverged or was pruned is not tried again, and one that failed otherwise is.

    Args:
        experiment: Experiment of the trial.
        folder: Its folder.
        watch: See `complete`; raises `PrunedTrial` to give the trial up.
    """
    if (found := read_outcome(folder)) is not None and found.status in ("done", *FINAL):
        return found
    try:
        result: Result = complete(experiment, folder, watch=watch)
    except PrunedTrial as stop:
        return _failed(folder, "pruned", str(stop))
    except DivergedError as error:
        return _failed(folder, "diverged", str(error))
    except (Exception, SystemExit) as error:
        said = str(error) if isinstance(error, GameError) else f"{type(error).__name__}: {error}"
        return _failed(folder, "failed", said)
    (folder / FAILURE).unlink(missing_ok=True)
    return Outcome(folder, "done", "", dict(result))


def read_outcome(folder: Path) -> Outcome | None:
    """Return what became of a trial, or None if it has neither a result nor a failure."""
    if (result := read_result(folder)) is not None:
        return Outcome(folder, "done", "", result)
    try:
        content = json.loads(read_plain(folder / FAILURE, LARGEST))
        return Outcome(folder, content["status"], printable(str(content["line"])))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _failed(folder: Path, status: Status, said: str) -> Outcome:
    line = shorten(" ".join(said.partition("; to continue: ")[0].split()), 300)
    try:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / FAILURE, json.dumps({"status": status, "line": line}).encode())
    except GameError as error:  # a full disk: the outcome is reported, and a resumed sweep tries again
        line = f"{line}; {error}"
    return Outcome(folder, status, line)
