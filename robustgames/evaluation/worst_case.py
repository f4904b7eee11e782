"""The worst point of an uncertainty set for a policy, searched for with a budget of evaluations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from robustgames.envs.control.perturbations import NOISES, Perturbation
from robustgames.envs.control.uncertainty_sets import Axis, UncertaintySet
from robustgames.envs.opponents import Policy, Predictor
from robustgames.errors import GameError
from robustgames.evaluation.adversaries import SELECTION
from robustgames.evaluation.axes import axis_name, distances, idle_axes
from robustgames.evaluation.box_search import BoxSearch
from robustgames.evaluation.cells import Cell, Pending, PlayedCell, Task, play_cells, runs_of
from robustgames.evaluation.intervals import Interval, of_returns
from robustgames.evaluation.journal import Journal
from robustgames.evaluation.robustness import Sweep, checked_set
from robustgames.evaluation.rollouts import action_robust, control_env

FRESH = -1
"""Number of the point that is played again on other starts."""


@dataclass(frozen=True, eq=False)
class WorstCase:
    """Points that a search evaluated, and the worst of them, for every run of a method.

    Attributes:
        env: Id of the inner env.
        axes: {axis, or "axis of body": (low, high)} of the set: relative scales, and noises as they are.
        points: Evaluated points in their order, (runs, budget, axes). The first one is nominal.
        returns: Undiscounted returns of the protagonist there without an adversary, (runs, budget, episodes).
        fresh: Returns at the worst point of each run on other starts, (runs, episodes). The worst of many means over
            few episodes is lower than the mean of that point: this one is not chosen, and has no such bias.
        idle: {axis: reason} of the axes that have no effect on this env.
        seed: Seed of the first episode.
        source: Source of the set.
    """

    env: str
    axes: Mapping[str, tuple[float, float]]
    points: np.ndarray
    returns: np.ndarray
    fresh: np.ndarray
    idle: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    source: str = ""

    def __repr__(self) -> str:
        axes = ", ".join(f"{name} {low:g} to {high:g}" for name, (low, high) in self.axes.items())
        runs, budget, starts = self.returns.shape
        return f"WorstCase({self.env}, {axes}; {runs} runs, {budget} points, {starts} starts)"

    @property
    def cells(self) -> np.ndarray:
        """Return the means over episodes, (runs, budget)."""
        return self.returns.mean(-1)

    @property
    def worst(self) -> np.ndarray:
        """Return the number of the worst point of each run, (runs,)."""
        return self.cells.argmin(1)

    @property
    def worst_points(self) -> list[dict[str, float]]:
        """Return the worst point of each run, {axis: value}."""
        each = (points[k] for points, k in zip(self.points, self.worst, strict=True))
        return [dict(zip(self.axes, map(float, point), strict=True)) for point in each]

    def per_run(self) -> dict[str, np.ndarray]:
        """Return {"worst", "fresh"}, each (runs,): mean returns at the worst point, on the same and other starts."""
        return {"worst": self.cells.min(1), "fresh": self.fresh.mean(1)}

    def summary(self) -> dict[str, Interval]:
        """Return the means over runs of `per_run`, with intervals over runs and over starts."""
        found = np.take_along_axis(self.returns, self.worst[:, None, None], 1)[:, 0]
        return {name: of_returns(each).intervals()[0] for name, each in (("worst", found), ("fresh", self.fresh))}

    def to_dict(self) -> dict[str, Any]:
        """Return lists, numbers and strings for JSON."""
        arrays = {name: getattr(self, name).tolist() for name in ("points", "returns", "fresh")}
        axes = {name: list(bounds) for name, bounds in self.axes.items()}
        return {**self.__dict__, **arrays, "axes": axes, "idle": dict(self.idle)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> WorstCase:
        """Return the result that `to_dict` wrote."""
        arrays = {name: np.array(data[name], dtype=np.float64) for name in ("points", "returns", "fresh")}
        return cls(**{**data, **arrays, "axes": {name: tuple(bounds) for name, bounds in data["axes"].items()}})


def worst_case(
    policies: Policy | Predictor | Sequence[Policy | Predictor],
    env: gym.Env | str,
    bounds: UncertaintySet | Mapping[Axis, Sequence[float]] | str,
    budget: int = 200,
    episodes: int = 10,
    seed: int = 0,
    search_seed: int = 0,
    known: Sequence[Mapping[str, float]] | Sweep = (),
    env_settings: Mapping[str, Any] | None = None,
    workers: int = 1,
    journal: Path | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> WorstCase:
    """Search for the point of an uncertainty set at which a policy has the lowest mean return, without an adversary.

    The set is the box between the least and the largest values of its axes. Each run has a search of its own: the
    nominal point, the `known` ones, the corners, then CMA-ES from the worst of them, see `BoxSearch`. Relative scales
    are searched on a logarithmic scale. All points have the same starts, so the function has no noise. Equal arguments
    give equal numbers, whatever `workers` is and whether the search was interrupted.

    Args:
        policies: Policies of the runs of one method, or a single one; each as in `play`.
        env: An `ActionRobustEnv`, or its id.
        bounds: {axis or (axis, body): (low, high)}, or an `UncertaintySet` or its name.
        budget: Number of points that are evaluated for each run.
        episodes: Number of episodes at every point.
        seed: Seed of the first episode of every point.
        search_seed: Seed of the search.
        known: Points {axis: value} to evaluate first, or a sweep of the same policies, of whose points in the set each
            run takes its worst: the result is not better. An axis that a point lacks is nominal there. Points outside
            of the set are left out.
        env_settings: Settings of an id.
        workers: Number of processes, see `sweep`.
        journal: File for the results so far. If it is there, the search continues with it, unless a nominal episode of
            a run differs: then policy or env are others. It is removed at the end.
        progress: Function that is called with (points done, all points).

    Raises:
        GameError: The set, an axis or the env is unknown, no axis has an effect or bounds are equal; see also `sweep`.

    Example:
        >>> still = lambda observation: np.zeros(1)
        >>> found = worst_case(still, "robustgames/ActionRobustPendulum-v0", {"length": (0.5, 2.0)}, 20, episodes=1)
        >>> found.worst_points, found.fresh.shape
        ([{'length': 0.5}], (1, 1))
    """
    if budget < 1:
        raise GameError(f"budget is {budget}: at least one point is evaluated, e.g. budget=200")
    runs, made = runs_of(policies), control_env(env, env_settings)
    if isinstance(known, Sweep) and len(known.returns) != len(runs):
        raise GameError(
            f"known has {len(known.returns)} runs and policies {len(runs)}: pass the sweep of these policies"
        )
    try:
        chosen = checked_set(bounds, made)
        idle = idle_axes(chosen, made)
        box = _Box({axis: v for axis, v in chosen.relative(made).items() if axis_name(axis) not in idle}, idle)
        where = (made, None) if workers == 1 else (env, env_settings)
        description = {"env": action_robust(made).env_id, "settings": repr(env_settings), "box": box.bounds}
        notes = Journal(journal, {**description, "episodes": episodes, "seed": seed})
        search = _Search(box, len(runs), budget, search_seed, known, seed, notes)
        for cell, played in play_cells(Task(runs, *where, episodes), search.pending, workers):
            search.take(cell, played)
            if progress is not None:
                progress(search.done, len(runs) * budget)
        notes.remove()
        return search.result(action_robust(made).env_id, chosen.source)
    finally:
        if made is not env:
            made.close()


class _Box:
    """The box of an uncertainty set: points (d,) in units of the axes, and in [0, 1]^d."""

    def __init__(self, axes: Mapping[Axis, Sequence[float]], idle: Mapping[str, str]) -> None:
        self.axes, self.names, self.idle = list(axes), [axis_name(axis) for axis in axes], idle
        self.bounds = {name: (min(v), max(v)) for name, v in zip(self.names, axes.values(), strict=True)}
        if not self.names:
            raise GameError(f"no axis of the set acts on this env: {'; '.join(f'{k}: {v}' for k, v in idle.items())}")
        for name, (low, high) in self.bounds.items():
            if not low < high:
                raise GameError(f"{name} is {low:g} everywhere in the set: give bounds, e.g. {{{name!r}: (0.5, 2.0)}}")
        self._linear = np.array([name in NOISES for name in self.names])
        self._low, self._high = np.array(list(self.bounds.values())).T

    def unit(self, point: np.ndarray) -> np.ndarray:
        """Return a point in [0, 1]^d."""
        low, high = self._low, self._high
        with np.errstate(divide="ignore", invalid="ignore"):  # noises may be 0, and are not on this scale
            scale = np.log(point / low) / np.log(high / low)
        return np.where(self._linear, (point - low) / (high - low), scale)

    def point(self, unit: np.ndarray) -> np.ndarray:
        """Return a point in units of the axes, exactly on the bounds at 0 and 1."""
        low, high = self._low, self._high
        with np.errstate(divide="ignore", invalid="ignore"):
            inside = np.where(self._linear, low + unit * (high - low), low * (high / low) ** unit)
        return np.where(unit <= 0, low, np.where(unit >= 1, high, np.clip(inside, low, high)))

    @property
    def nominal(self) -> np.ndarray:
        """The point of the box that is nearest to the nominal env."""
        return np.clip(np.where(self._linear, 0.0, 1.0), self._low, self._high)

    def first(self, known: Sequence[Mapping[str, float]] | Sweep, run: int) -> list[np.ndarray]:
        """Return the points with which the search of a run begins: the nominal one, then those that are known."""
        swept = isinstance(known, Sweep)
        inside = islice(self._inside(_worst_first(known, run)), 1) if swept else self._inside(known)
        return [self.nominal, *(point for point in inside if not np.array_equal(point, self.nominal))]

    def _inside(self, points: Iterable[Mapping[str, float]]) -> Iterator[np.ndarray]:
        """Yield the points of {axis: value} that the box contains; an axis that a point lacks is nominal."""
        usual = dict(zip(self.names, np.where(self._linear, 0.0, 1.0), strict=True))
        for point in points:
            others = [name for name in point if name not in usual and name not in self.idle]
            found = np.array([point.get(name, nominal) for name, nominal in usual.items()])
            inside = bool(((self._low <= found) & (found <= self._high)).all())
            if inside and not any(distances(name, (point[name],))[0] for name in others):
                yield found

    def perturbation(self, point: np.ndarray) -> Perturbation:
        """Return a point as a perturbation."""
        [found] = UncertaintySet({axis: (float(v),) for axis, v in zip(self.axes, point, strict=True)}, "").points()
        return found


def _worst_first(swept: Sweep, run: int) -> Iterator[dict[str, float]]:
    """Yield the points of a grid, {axis: value}, that with the lowest mean return of a run first."""
    cells = swept.cells[run]
    for cell in np.argsort(cells, axis=None, kind="stable"):
        index = np.unravel_index(cell, cells.shape)
        yield {name: values[i] for (name, values), i in zip(swept.axes.items(), index, strict=True)}


class _Search:
    """The searches of all runs, whose cells wait in one queue."""

    def __init__(
        self,
        box: _Box,
        runs: int,
        budget: int,
        search_seed: int,
        known: Sequence[Mapping[str, float]] | Sweep,
        seed: int,
        notes: Journal,
    ) -> None:
        first = [[(box.unit(point), point) for point in box.first(known, run)] for run in range(runs)]
        self._exact = {unit.tobytes(): point for each in first for unit, point in each}  # the way back would round
        self._each = [
            BoxSearch(len(box.names), budget, (search_seed, run), [unit for unit, _ in first[run]])
            for run in range(runs)
        ]
        self._box, self._seed, self._notes, self._budget = box, seed, notes, budget
        self._asked: list[list[np.ndarray]] = [[] for _ in range(runs)]
        self._points: list[list[np.ndarray]] = [[] for _ in range(runs)]
        self._played: list[dict[int, PlayedCell]] = [{} for _ in range(runs)]
        self.pending = Pending()
        for run in range(runs):
            self._ask(run)

    @property
    def done(self) -> int:
        """Number of points that are evaluated."""
        return sum(len(played) - (FRESH in played) for played in self._played)

    def take(self, cell: Cell, played: PlayedCell) -> None:
        """Note the result of a cell that was played, and queue what is to be played after it."""
        before = self._notes.recall(cell)
        if before is not None and (before.stamps != played.stamps or (before.returns != played.returns).any()):
            self._notes.forget()
            before = None
        if before is None:
            self._notes.record(cell, played)
        self._deliver(cell, played)
        if cell.number == 0:
            self._queue(cell.run, range(1, len(self._points[cell.run])))

    def _ask(self, run: int) -> None:
        """Queue the next points of a run; after the last ones, the worst point on other starts."""
        self._asked[run] = self._each[run].ask()
        start = len(self._points[run])
        self._points[run] += [self._exact.get(unit.tobytes(), self._box.point(unit)) for unit in self._asked[run]]
        if start == 0:  # always played, and first: what the journal has holds for the same policy and env only
            self.pending.add(self._cell(run, 0))
        elif self._asked[run]:
            self._queue(run, range(start, len(self._points[run])))
        else:
            worst = min(range(start), key=lambda k: self._played[run][k].returns.mean())
            self.pending.add(Cell(run, FRESH, self._cell(run, worst).point, self._seed + SELECTION))

    def _queue(self, run: int, numbers: range) -> None:
        """Queue points, or take their results from the journal."""
        for cell in (self._cell(run, number) for number in numbers):
            played = self._notes.recall(cell)
            if played is None:
                self.pending.add(cell)
            else:
                self._deliver(cell, played)

    def _cell(self, run: int, number: int) -> Cell:
        return Cell(run, number, self._box.perturbation(self._points[run][number]), self._seed)

    def _deliver(self, cell: Cell, played: PlayedCell) -> None:
        mine, count = self._played[cell.run], len(self._points[cell.run])
        mine[cell.number] = played
        if cell.number != FRESH and len(mine) == count:
            asked = self._asked[cell.run]
            values = [float(mine[k].returns.mean()) for k in range(count - len(asked), count)]
            self._each[cell.run].tell(asked, values)
            self._ask(cell.run)

    def result(self, env: str, source: str) -> WorstCase:
        """Return what was found."""
        returns = np.array([[played[k].returns for k in range(self._budget)] for played in self._played])
        fresh = np.array([played[FRESH].returns for played in self._played])
        box = self._box
        return WorstCase(env, box.bounds, np.array(self._points), returns, fresh, dict(box.idle), self._seed, source)
