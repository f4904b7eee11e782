"""Estimates over few runs with bootstrap intervals: means, interquartile means, improvement of a method on another."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from robustgames.errors import GameError

REPETITIONS = 2000


class Interval(NamedTuple):
    """An estimate and the ends of its 95 % bootstrap interval, NaN where one run leaves the spread unknown."""

    estimate: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.estimate:.4g} [{self.low:.4g}, {self.high:.4g}]"


class Paired(NamedTuple):
    """Two methods on the same seeds, run by run."""

    difference: Interval
    """Mean over runs of the first method's value minus the second's: positive where the first is better."""
    wins: int
    """Runs in which the first is better."""
    ties: int
    runs: int

    def __str__(self) -> str:
        return f"{self.difference}, better in {self.wins} of {self.runs} runs"


def bootstrap(
    *scores: np.ndarray, statistic: Callable[..., np.ndarray | float] | None = None, seed: int = 0
) -> list[Interval]:
    """Return a percentile bootstrap interval of every number of a statistic, resampling whole runs.

    A run is a row with all its tasks, so that a policy that is good in every cell of a grid counts as one observation
    and not as one a cell.

    Args:
        *scores: (runs, ...) of each method; they are resampled independently.
        statistic: of the arrays, a number or a vector; the mean over runs of a (runs,) or (runs, k) array by default.
        seed: of the resampling.

    Example:
        >>> [mean] = bootstrap(np.array([1.0, 2.0, 3.0]))
        >>> mean.estimate, mean.low >= 1.0, mean.high <= 3.0
        (2.0, True, True)
    """
    arrays = [_checked(value) for value in scores]
    chosen = statistic or (lambda values: values.mean(0))
    rng = np.random.default_rng(seed)
    draws = [
        np.atleast_1d(chosen(*(value[rng.integers(len(value), size=len(value))] for value in arrays)))
        for _ in range(REPETITIONS)
    ]
    return _intervals(np.atleast_1d(chosen(*arrays)), np.quantile(draws, (0.025, 0.975), axis=0), arrays)


def iqm(scores: np.ndarray, stratified: bool = False, seed: int = 0) -> Interval:
    """Return the interquartile mean: that of the middle half of all scores, (runs, tasks).

    Args:
        scores: of every run on every task, (runs, tasks), on one scale.
        stratified: resample the runs of every task on their own. Right where each (run, task) is a training of its
            own, e.g. tasks = envs; too narrow where tasks are cells of a grid on which one trained policy is played,
            which then go together.
        seed: of the resampling.

    Source: Agarwal et al. 2021, Deep Reinforcement Learning at the Edge of the Statistical Precipice (rliable).

    Example:
        >>> round(iqm(np.array([[0.0], [1.0], [2.0], [100.0]])).estimate, 6)
        1.5
    """
    values = _checked(scores)
    values = values.reshape(len(values), -1)
    mean = importlib.import_module("rliable.metrics").aggregate_iqm
    return _stratified(mean, seed, values) if stratified else bootstrap(values, statistic=mean, seed=seed)[0]


def probability_of_improvement(
    first: np.ndarray, second: np.ndarray, stratified: bool = False, seed: int = 0
) -> Interval:
    """Return P(X > Y) + P(X = Y) / 2 of a run of one method and a run of another, averaged over tasks.

    Args:
        first: scores X, (runs, tasks).
        second: scores Y, (other runs, tasks).
        stratified: as in `iqm`.
        seed: of the resampling.

    Raises:
        GameError: the two have different tasks.

    Source: as `iqm`; per task it is the Mann-Whitney count U / (runs · other runs).

    Example:
        >>> probability_of_improvement(np.array([[1.0], [3.0]]), np.array([[0.0], [2.0]])).estimate
        0.75
    """
    x, y = (value.reshape(len(value), -1) for value in (_checked(first), _checked(second)))
    if x.shape[1] != y.shape[1]:
        raise GameError(f"scores on {x.shape[1]} and {y.shape[1]} tasks: give both methods the same ones")
    return (
        _stratified(_improvement, seed, x, y) if stratified else bootstrap(x, y, statistic=_improvement, seed=seed)[0]
    )


def _improvement(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    # the sum of signs in place of rliable's scipy.stats.mannwhitneyu for every task: 100 times as fast
    return np.array([0.5 + np.sign(x[:, None] - y).mean() / 2])


def paired(first: np.ndarray, second: np.ndarray, seed: int = 0) -> Paired:
    """Compare two methods run by run, first minus second, with an interval for the mean difference.

    Args:
        first: one number a run, (runs,).
        second: the same seeds of another method.
        seed: of the resampling.

    Raises:
        GameError: different numbers of runs.

    Example:
        >>> result = paired(np.array([1.0, 2.0, 3.0]), np.array([0.0, 2.0, 1.0]))
        >>> result.difference.estimate, result.wins, result.ties
        (1.0, 2, 1)
    """
    a, b = _checked(first), _checked(second)
    if a.shape != b.shape or a.ndim != 1:
        raise GameError(f"scores of shapes {a.shape} and {b.shape}: give one number a run, of the same seeds")
    return Paired(bootstrap(a - b, seed=seed)[0], int((a > b).sum()), int((a == b).sum()), len(a))


def _checked(scores: np.ndarray) -> np.ndarray:
    values = np.asarray(scores, dtype=np.float64)
    if values.size == 0 or values.ndim == 0 or not np.isfinite(values).all():
        raise GameError(f"scores of shape {values.shape} must be finite numbers of at least one run: (runs, tasks)")
    return values


def _intervals(estimates: np.ndarray, ends: np.ndarray, arrays: list[np.ndarray]) -> list[Interval]:
    if any(len(value) == 1 for value in arrays):
        ends = np.full_like(ends, np.nan)
    return [Interval(*map(float, row)) for row in zip(estimates, *ends, strict=True)]


# -- rliable -------------------------------------------------------------------------------------------------
def _stratified(statistic: Callable[..., Any], seed: int, *arrays: np.ndarray) -> Interval:
    given = arrays[0] if len(arrays) == 1 else list(arrays)
    with _numpy_seed(seed):
        estimates, ends = _rliable().get_interval_estimates(
            {"it": given}, lambda *x: np.atleast_1d(statistic(*x)), reps=REPETITIONS
        )
    return _intervals(estimates["it"], ends["it"], list(arrays))[0]


@contextmanager
def _numpy_seed(seed: int) -> Iterator[None]:
    """Seed NumPy's global generator inside the block: rliable 1.2 draws from it whatever `random_state` it is given."""
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)


@cache
def _rliable() -> Any:
    """Return `rliable.library`, which needs `arch.bootstrap` of arch < 8.

    `import arch` fails with pandas 3 in arch's models of volatility, so the bootstrap is imported without them.
    """
    spec = importlib.util.find_spec("arch")
    if "arch" in sys.modules or spec is None:
        return importlib.import_module("rliable.library")
    sys.modules["arch"] = importlib.util.module_from_spec(spec)
    try:
        return importlib.import_module("rliable.library")
    finally:
        del sys.modules["arch"]  # the next `import arch` gets the whole of it, or its own error
