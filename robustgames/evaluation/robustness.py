"""Robustness sweeps: the returns of policies over a grid of perturbations, and their summaries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import gymnasium as gym
import numpy as np

from robustgames.envs.control.perturbations import checked
from robustgames.envs.control.uncertainty_sets import Axis, UncertaintySet, uncertainty_set
from robustgames.envs.opponents import Policy, Predictor
from robustgames.errors import GameError
from robustgames.evaluation.axes import axis_name, distances, idle_axes
from robustgames.evaluation.cells import Cell, PlayedCell, Task, play_cells, runs_of
from robustgames.evaluation.intervals import Interval, Spread, of_means
from robustgames.evaluation.reliability import Paired, bootstrap_spread, interquartile_mean, pairs
from robustgames.evaluation.rollouts import action_robust, control_env
from robustgames.notebook import html_table

SUMMARIES = ("nominal", "mean", "worst", "cvar")
RESAMPLED = 500
"""Number of times that the starts are resampled for an interval."""


@dataclass(frozen=True, eq=False)
class Sweep:
    """Returns of every run of a method at every point of a grid.

    Attributes:
        env: Id of the inner env, e.g. "Hopper-v5".
        axes: {axis, or "axis of body": values} of the axes that act on this env: relative scales, and noises as they
            are.
        returns: Undiscounted returns of the protagonist without an adversary, (runs, *grid, episodes).
        idle: {axis: reason} of the axes that have no effect on this env, or whose values all gave the same
            trajectories, bit for bit. `returns` does not have them, since flat curves over them would look like
            robustness.
        seed: Seed of the first episode; episode k starts from seed + k in every cell of every run and method.
        source: Source of the grid.
    """

    env: str
    axes: Mapping[str, tuple[float, ...]]
    returns: np.ndarray
    idle: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    source: str = ""

    def __repr__(self) -> str:
        axes = ", ".join(f"{name} {values[0]:g} to {values[-1]:g}" for name, values in self.axes.items())
        return f"Sweep({self.env}, {axes}; {len(self.returns)} runs, {self.returns.shape[-1]} starts)"

    def _repr_html_(self) -> str:
        rows = [(name, str(interval)) for name, interval in self.summary().items()]
        return html_table(rows, ("return", "mean over runs [95 % interval]"), repr(self), numbers=True)

    @property
    def cells(self) -> np.ndarray:
        """Return the means over episodes, (runs, *grid)."""
        return self.returns.mean(-1)

    @property
    def nominal(self) -> tuple[int, ...]:
        """Return the index of the cell nearest to the nominal env, which has scales 1.0 (by ratio) and noises 0."""
        return tuple(int(np.argmin(distances(name, values))) for name, values in self.axes.items())

    @property
    def nominal_point(self) -> dict[str, float]:
        """Return {axis: value} of that cell, the nominal env only if all scales are 1.0 and all noises 0."""
        return {name: values[i] for i, (name, values) in zip(self.nominal, self.axes.items(), strict=True)}

    def per_run(self, level: float = 0.1) -> dict[str, np.ndarray]:
        """Return {"nominal", "mean", "worst", "cvar"}, each (runs,), of the cells' mean returns.

        Args:
            level: Share of the cells that `cvar` averages.
        """
        flat = self.cells.reshape(len(self.returns), -1)
        nominal = self.cells[(slice(None), *self.nominal)]
        return {"nominal": nominal, "mean": flat.mean(1), "worst": flat.min(1), "cvar": cvar(flat, level)}

    def summary(self, level: float = 0.1, seed: int = 0) -> dict[str, Interval]:
        """Return the means over runs of `per_run`, with intervals over runs and over starts.

        All runs, cells and methods share the starts, which are therefore drawn together. With one episode a cell the
        intervals are over runs alone.
        """
        found = of_means(_columns(self, level))
        return dict(zip(SUMMARIES, _over_starts(found, lambda one: _columns(one, level), self, seed), strict=True))

    def iqm(self, seed: int = 0) -> Interval:
        """Return the interquartile mean of the cells of all runs, with an interval over runs and over starts."""
        cells = self.cells.reshape(len(self.returns), -1)
        found = bootstrap_spread(cells, interquartile_mean, seed)
        return _over_starts(found, lambda one: np.array([[interquartile_mean(one.cells)]]), self, seed)[0]

    def to_dict(self) -> dict[str, Any]:
        """Return lists, numbers and strings for JSON."""
        axes = {name: list(values) for name, values in self.axes.items()}
        return {**self.__dict__, "axes": axes, "returns": self.returns.tolist(), "idle": dict(self.idle)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Sweep:
        """Return the sweep that `to_dict` wrote."""
        axes = {name: tuple(values) for name, values in data["axes"].items()}
        return cls(**{**data, "axes": axes, "returns": np.array(data["returns"], dtype=np.float64)})


def _columns(sweep: Sweep, level: float) -> np.ndarray:
    """Return the summaries of every run, (runs, 4)."""
    return np.stack(list(sweep.per_run(level).values()), -1)


def _over_starts(found: Spread, values: Callable[[Sweep], np.ndarray], sweep: Sweep, seed: int) -> list[Interval]:
    """Return intervals of the spread over runs and over resampled starts; `values` are (runs, k) of a sweep."""
    return _with_starts(found, lambda index: values(_at(sweep, index)), sweep.returns.shape[-1], seed).intervals()


def _with_starts(found: Spread, values: Callable[[np.ndarray], np.ndarray], starts: int, seed: int) -> Spread:
    """Return the spread with the error over starts in addition; `values` of their indices are (runs, k)."""
    if starts == 1:
        return found
    rng = np.random.default_rng(seed)
    draws = [values(rng.integers(starts, size=starts)).mean(0) for _ in range(RESAMPLED)]
    return found.plus(np.std(draws, axis=0) * np.sqrt(starts / (starts - 1)), starts - 1)


def _at(sweep: Sweep, starts: np.ndarray) -> Sweep:
    return replace(sweep, returns=sweep.returns[..., starts])


def cvar(values: np.ndarray, level: float = 0.1) -> np.ndarray:
    """Return the conditional value at risk of the last axis: the mean of its worst (smallest) share `level`.

    All n values have the same weight. If level · n is not a whole number, the next value counts with the remaining
    fraction: level 1 gives the mean, levels up to 1 / n give the minimum.

    Raises:
        GameError: level is outside (0, 1].

    Example:
        >>> cvar(np.array([4.0, 1.0, 2.0, 3.0]), 0.5), cvar(np.array([4.0, 1.0, 2.0, 3.0]), 0.375)
        (np.float64(1.5), np.float64(1.3333333333333333))

    Source: Rockafellar and Uryasev 2002, Conditional value-at-risk for general loss distributions.
    """
    if not 0 < level <= 1:
        raise GameError(f"level is {level}: the share of the worst values lies in (0, 1], e.g. level=0.1")
    ordered = np.sort(values, axis=-1)
    count = max(1.0, level * ordered.shape[-1])
    weights = np.clip(count - np.arange(ordered.shape[-1]), 0, 1)
    return ordered @ weights / count


def sweep(
    policies: Policy | Predictor | Sequence[Policy | Predictor],
    env: gym.Env | str,
    grid: UncertaintySet | Mapping[Axis, Sequence[float]] | str = "tessler-mass-noise",
    episodes: int | None = None,
    seed: int = 0,
    env_settings: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], object] | None = None,
    workers: int = 1,
) -> Sweep:
    """Play policies, without an adversary, at every point of a grid of perturbations.

    One env is re-parameterized from cell to cell. Axes that have no effect on it are left out and named in `idle`.

    Args:
        policies: Policies of the runs (seeds) of one method, or a single one; each as in `play`.
        env: An `ActionRobustEnv`, or its id.
        grid: An `UncertaintySet` or its name, or {axis or (axis, body): values}.
        episodes: Number of episodes in every cell; by default that of the set (10 for a grid of your own).
        seed: Seed of the first episode of every cell.
        env_settings: Settings of an id.
        progress: Function that is called with (cells done, all cells) after every cell.
        workers: Number of processes among which the cells are divided. The numbers are the same, bit for bit. A script
            that uses more than one needs `if __name__ == "__main__":`, since each of them imports it.

    Raises:
        GameError: The set, an axis or the env is unknown, an axis has no values, there is no policy, or one that cannot
            be sent to another process.

    Example:
        >>> still = lambda observation: np.zeros(1)
        >>> grid = {"mass": (0.5, 1.0), "friction": (0.5, 1.0)}
        >>> result = sweep(still, "robustgames/ActionRobustInvertedPendulum-v0", grid, episodes=2)
        >>> result.returns.shape, result.idle
        ((1, 2, 2), {'friction': 'no two geoms of the model touch with friction'})
    """
    runs, made = runs_of(policies), control_env(env, env_settings)
    core, chosen = action_robust(made), checked_set(grid, made)  # the whole grid, before anything is played
    idle = idle_axes(chosen, made)
    acting = {axis: values for axis, values in chosen.axes.items() if axis_name(axis) not in idle}
    points = UncertaintySet(acting, chosen.source, env_id=chosen.env_id, absolute=chosen.absolute)
    count = chosen.episodes if episodes is None else episodes
    where = (made, None) if workers == 1 else (env, env_settings)
    cells = [Cell(run, k, point, seed) for k, point in enumerate(points.points(made)) for run in range(len(runs))]
    found: dict[tuple[int, int], PlayedCell] = {}
    for cell, played in play_cells(Task(runs, *where, count), iter(cells), workers):
        found[cell.run, cell.number] = played
        if progress is not None and len(found) % len(runs) == 0:
            progress(len(found) // len(runs), len(cells) // len(runs))
    ordered, shape = [found[key] for key in sorted(found)], (len(runs), *points.shape, count)
    returns = np.array([one.returns for one in ordered]).reshape(shape)
    checksums = np.array([one.stamps for one in ordered]).reshape(shape)
    axes = {axis_name(axis): tuple(values) for axis, values in points.relative(made).items()}
    for name in _without_effect(axes, returns, checksums):
        idle[name] = f"its {len(axes[name])} values give the same trajectories, bit for bit"
        returns = returns.take(0, axis=1 + list(axes).index(name))
        del axes[name]
    if made is not env:
        made.close()
    return Sweep(core.env_id, axes, returns, idle, seed, chosen.source)


def _without_effect(axes: Mapping[str, Any], returns: np.ndarray, checksums: np.ndarray) -> list[str]:
    """Return the axes along which all trajectories are equal; equal returns alone may be robustness."""
    found = []
    for i, (name, values) in enumerate(axes.items(), start=1):
        same = all(bool((each == each.take([0], axis=i)).all()) for each in (returns, checksums))
        if same and len(set(values)) > 1:
            found.append(name)
    return found


def checked_set(grid: UncertaintySet | Mapping[Axis, Sequence[float]] | str, env: gym.Env) -> UncertaintySet:
    """Return a grid as a set, each of whose points is a perturbation of an env.

    Raises:
        GameError: The set, an axis or a body is unknown, or a value is not allowed.
    """
    chosen, physics = _as_set(grid), action_robust(env).physics
    for point in chosen.points(env):
        checked(point, physics)
    return chosen


def _as_set(grid: UncertaintySet | Mapping[Axis, Sequence[float]] | str) -> UncertaintySet:
    if isinstance(grid, UncertaintySet):
        return grid
    if isinstance(grid, str):
        return uncertainty_set(grid)
    for axis, values in grid.items():
        if np.ndim(values) != 1 or np.size(values) == 0:
            raise GameError(f"{axis} has the values {values!r}: list at least one, e.g. {{'mass': (0.5, 1.0, 2.0)}}")
    return UncertaintySet({axis: tuple(float(v) for v in values) for axis, values in grid.items()}, "")


def compare(first: Sweep, second: Sweep, level: float = 0.1, seed: int = 0) -> dict[str, Paired]:
    """Compare two methods run by run in each of the four summaries: first minus second, positive if it is better.

    Intervals and p-values are over runs and over starts, see `Sweep.summary`. A table of several comparisons needs
    `intervals.holm` of their p-values.

    Args:
        first: Sweep of one method.
        second: Sweep of another method with the same env, grid, seed and number of runs, run i from the same training
            seed.
        level: Level of `cvar`.
        seed: Seed of the resampling of the starts.

    Raises:
        GameError: The sweeps differ in env, axes, seed, runs or episodes.
    """
    for name in ("env", "axes", "seed"):
        if getattr(first, name) != getattr(second, name):
            raise GameError(f"the sweeps differ in {name}: play both methods on the same grid with the same seed")
    if first.returns.shape != second.returns.shape:
        shapes = f"{first.returns.shape} and {second.returns.shape}"
        raise GameError(f"returns have shapes {shapes}: pairs need as many runs and episodes of both methods")
    one, other = _columns(first, level), _columns(second, level)
    spread = _with_starts(
        of_means(one - other),
        lambda index: _columns(_at(first, index), level) - _columns(_at(second, index), level),
        first.returns.shape[-1],
        seed,
    )
    return {name: pairs(one[:, k], other[:, k], spread.at(k)) for k, name in enumerate(SUMMARIES)}
