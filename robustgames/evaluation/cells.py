"""Episodes at many points of an uncertainty set, in this process or in several: the numbers are the same."""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from robustgames.envs.control.perturbations import Perturbation
from robustgames.envs.opponents import Policy, Predictor
from robustgames.errors import GameError, one_line
from robustgames.evaluation.rollouts import trace
from robustgames.executors import executor


@dataclass(frozen=True)
class Task:
    """What all cells of an evaluation have in common.

    Attributes:
        policies: Policies of the runs, each as in `play`.
        env: An `ActionRobustEnv`, or its id.
        env_settings: Settings of an id.
        episodes: Number of episodes of a cell.
    """

    policies: tuple[Policy | Predictor, ...]
    env: gym.Env | str
    env_settings: Mapping[str, Any] | None
    episodes: int


@dataclass(frozen=True)
class Cell:
    """One run at one point: its episodes start from the seeds `seed`, `seed + 1`, ….

    Attributes:
        run: Number of the run.
        number: Number of the point.
        point: Perturbation.
        seed: Seed of the first episode.
    """

    run: int
    number: int
    point: Perturbation
    seed: int


@dataclass(frozen=True, eq=False)
class PlayedCell:
    """Returns of the episodes of a cell, (episodes,), and checksums of their observations."""

    returns: np.ndarray
    stamps: tuple[int, ...]


def runs_of(policies: Policy | Predictor | Sequence[Policy | Predictor]) -> tuple[Policy | Predictor, ...]:
    """Return the policies of the runs of a method, of which a single one is the only run.

    Raises:
        GameError: There is no policy.
    """
    alone = callable(policies) or hasattr(policies, "predict")
    runs: tuple[Any, ...] = (policies,) if alone else tuple(policies)  # type: ignore[arg-type]
    if not runs:
        raise GameError("no policy: pass one, or the runs of a method as a list")
    return runs


class Pending(Iterator[Cell]):
    """Cells that wait to be played. More may be added while others are played, see `robustgames.executors`."""

    def __init__(self, cells: Iterable[Cell] = ()) -> None:
        self._cells = deque(cells)

    def add(self, cell: Cell) -> None:
        """Add a cell."""
        self._cells.append(cell)

    def __next__(self) -> Cell:
        if not self._cells:
            raise StopIteration
        return self._cells.popleft()


def play_cells(task: Task, cells: Iterator[Cell], workers: int = 1) -> Iterator[tuple[Cell, PlayedCell]]:
    """Yield (cell, its result) of every cell, with several workers in the order in which they end.

    A cell depends on its seed alone. So neither the number of workers nor the order changes a number.

    Args:
        task: What the cells have in common; with several workers, policies and env must be picklable.
        cells: Cells to play.
        workers: Number of processes; 1 plays in this one.

    Raises:
        GameError: `workers` is below 1, or a policy or env cannot be sent to another process; see also `play`.
    """
    if workers < 1:
        raise GameError(f"workers is {workers}: at least one process is needed, e.g. workers=2")
    if workers > 1:
        _check_picklable(task)
    jobs = map(lambda cell: (task, cell), cells)  # asks again, as `Pending` needs
    for (_, cell), played in executor(workers)(_play, jobs):
        yield cell, played


def _play(job: tuple[Task, Cell]) -> PlayedCell:
    task, cell = job
    played, stamps = trace(
        task.env, task.policies[cell.run], task.episodes, cell.seed, cell.point, env_settings=task.env_settings
    )
    return PlayedCell(played.returns, stamps)


def _check_picklable(task: Task) -> None:
    for what, value in (("policy", task.policies), ("env", (task.env, task.env_settings))):
        try:
            pickle.dumps(value)
        except Exception as error:
            advice = "a function of a module, an agent's policy, or a model's" if what == "policy" else "its id"
            raise GameError(
                f"the {what} cannot be sent to another process ({one_line(error)}): pass {advice}, or workers=1"
            ) from error
