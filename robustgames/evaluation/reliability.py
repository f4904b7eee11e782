"""Estimates over few runs with intervals: means, interquartile means, improvement of a method on another.

Intervals are those of `robustgames.evaluation.intervals`. docs/explain/control.md has their measured coverage.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf, nan, sqrt
from typing import NamedTuple

import numpy as np
from scipy.special import expit, logit, stdtrit

from robustgames.errors import GameError
from robustgames.evaluation.intervals import FEWEST, Interval, Spread, of_means

REPETITIONS = 2000


class Paired(NamedTuple):
    """Two methods on the same seeds, run by run."""

    difference: Interval
    """Mean over runs of the first method's value minus the second's: positive if the first is better."""
    wins: int
    """Runs in which the first is better."""
    ties: int
    runs: int
    p_value: float = nan
    """Two-sided p-value of "no difference"; NaN over fewer than 5 runs, or if all differ by the same amount, not 0.

    See `intervals.holm` for several of them.
    """

    def __str__(self) -> str:
        return f"{self.difference}, better in {self.wins} of {self.runs} runs"


def bootstrap(
    *scores: np.ndarray,
    statistic: Callable[..., np.ndarray | float] | None = None,
    seed: int = 0,
    stratified: bool = False,
) -> list[Interval]:
    """Return the 95 % interval of every number of a statistic over runs.

    A run is a row with all its tasks. A policy that is good in every cell of a grid therefore counts as one
    observation, not as one per cell. Over fewer than 5 runs there is no interval: its ends are NaN.

    By default the statistic is the mean, and the interval is Student's, corrected for skewness. Error and skewness of a
    resampled mean are known, so nothing is drawn. Any other statistic is resampled for its standard error, and the
    interval is estimate ± t · error, with the degrees of freedom of the smallest number of runs.

    Args:
        *scores: Scores of each method, (runs, ...); the methods are resampled independently.
        statistic: Function of the arrays that returns a number or a vector; by default the mean over runs of a (runs,)
            or (runs, k) array.
        seed: Seed of the resampling.
        stratified: If True, the runs of every task (column) are resampled independently. See `iqm`.

    Example:
        >>> [mean] = bootstrap(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
        >>> print(mean)
        3 [1.037, 4.963]
    """
    arrays = [_checked(value) for value in scores]
    if statistic is None:
        if len(arrays) > 1 or arrays[0].ndim > 2:
            shapes = ", ".join(f"{value.shape}" for value in arrays)
            raise GameError(f"scores of shapes {shapes}: without a statistic give one array, (runs,) or (runs, k)")
        return of_means(arrays[0].reshape(len(arrays[0]), -1)).intervals()
    return _resampled(arrays, statistic, seed, stratified).intervals()


def mean_over_runs(values: Sequence[float], least: float = -inf, most: float = inf) -> Interval:
    """Return the mean of finite numbers with its interval, see `bootstrap`; all NaN if there are none.

    Args:
        values: Numbers of the runs.
        least: Least possible value, below which the interval does not reach, see `Interval.within`.
        most: Largest possible value.
    """
    return bootstrap(np.array(values))[0].within(least, most) if values else Interval(nan, nan, nan)


def bootstrap_spread(scores: np.ndarray, statistic: Callable[..., np.ndarray | float], seed: int = 0) -> Spread:
    """Return a statistic of (runs, ...) with its error over resampled runs."""
    return _resampled([_checked(scores)], statistic, seed, stratified=False)


def _resampled(
    arrays: list[np.ndarray], statistic: Callable[..., np.ndarray | float], seed: int, stratified: bool
) -> Spread:
    resample = _resample_columns if stratified else _resample_runs
    rng = np.random.default_rng(seed)
    estimate = np.atleast_1d(np.asarray(statistic(*arrays), dtype=np.float64))
    fewest = min(len(value) for value in arrays)
    if fewest < FEWEST:
        unknown = np.zeros_like(estimate)
        return Spread(estimate, unknown, unknown, unknown)
    draws = [np.atleast_1d(statistic(*(resample(value, rng) for value in arrays))) for _ in range(REPETITIONS)]
    error = np.std(draws, axis=0) * sqrt(fewest / (fewest - 1))  # resampled runs vary by (n - 1) / n too little
    return Spread(estimate, error, np.full_like(error, fewest - 1), np.zeros_like(error))


def _resample_runs(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return values[rng.integers(len(values), size=len(values))]


def _resample_columns(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.take_along_axis(values, rng.integers(len(values), size=values.shape), axis=0)


def iqm(scores: np.ndarray, stratified: bool = False, seed: int = 0) -> Interval:
    """Return the interquartile mean: the mean of the middle half of all scores.

    Args:
        scores: Scores of every run on every task, (runs, tasks), on one scale.
        stratified: If True, the runs of every task are resampled independently. This is right if each (run, task) is a
            separate training, e.g. tasks = envs. It is too narrow if tasks are cells of a grid on which one trained
            policy is played, since these vary together.
        seed: Seed of the resampling.

    Source: Agarwal et al. 2021, Deep Reinforcement Learning at the Edge of the Statistical Precipice (rliable).

    Example:
        >>> round(iqm(np.array([[0.0], [1.0], [2.0], [100.0]])).estimate, 6)
        1.5
    """
    values = _checked(scores)
    return bootstrap(values.reshape(len(values), -1), statistic=interquartile_mean, seed=seed, stratified=stratified)[0]


def interquartile_mean(scores: np.ndarray) -> float:
    """Return the mean of the middle half of all scores."""
    cut = scores.size // 4
    end = scores.size - cut
    return np.partition(scores, (cut, end - 1), axis=None)[cut:end].mean()


def probability_of_improvement(
    first: np.ndarray, second: np.ndarray, stratified: bool = False, seed: int = 0
) -> Interval:
    """Return P(X > Y) + P(X = Y) / 2 of a run of one method and a run of another, averaged over tasks.

    Args:
        first: Scores X, (runs, tasks).
        second: Scores Y, (other runs, tasks).
        stratified: See `iqm`.
        seed: Seed of the resampling.

    Raises:
        GameError: The two have different tasks.

    Source: See `iqm`. Per task it is the Mann-Whitney count U / (runs · other runs).

    Example:
        >>> probability_of_improvement(np.array([[1.0], [3.0]]), np.array([[0.0], [2.0]])).estimate
        0.75
    """
    x, y = (value.reshape(len(value), -1) for value in (_checked(first), _checked(second)))
    if x.shape[1] != y.shape[1]:
        raise GameError(f"scores on {x.shape[1]} and {y.shape[1]} tasks: give both methods the same ones")
    return _of_share(_resampled([x, y], _improvement, seed, stratified), min(len(x), len(y)))


def _of_share(found: Spread, runs: int) -> Interval:
    """Return an interval inside [0, 1]: that of log(p / (1 - p)); of p = 0 or 1 Wilson's for so many runs."""
    p, error = float(found.estimate[0]), float(found.error[0])
    if runs < FEWEST:
        return Interval(p, nan, nan)
    t = float(stdtrit(runs - 1, 0.975))
    if p in (0.0, 1.0):
        out = t * t / (runs + t * t)
        return Interval(p, 0.0, out) if p == 0 else Interval(p, 1 - out, 1.0)
    half = t * error / (p * (1 - p))
    return Interval(p, float(expit(logit(p) - half)), float(expit(logit(p) + half)))


def _improvement(x: np.ndarray, y: np.ndarray) -> float:
    # the sum of signs instead of scipy.stats.mannwhitneyu for every task: 100 times as fast
    return 0.5 + np.sign(x[:, None] - y).mean() / 2


def paired(first: np.ndarray, second: np.ndarray) -> Paired:
    """Compare two methods run by run, first minus second, with an interval for the mean difference.

    Args:
        first: One number per run, (runs,).
        second: Numbers of another method, of the same seeds.

    Raises:
        GameError: The numbers of runs differ.

    Example:
        >>> result = paired(np.array([1.0, 2.0, 3.0]), np.array([0.0, 2.0, 1.0]))
        >>> result.difference.estimate, result.wins, result.ties
        (1.0, 2, 1)
    """
    a, b = _checked(first), _checked(second)
    if a.shape != b.shape or a.ndim != 1:
        raise GameError(f"scores of shapes {a.shape} and {b.shape}: give one number per run, of the same seeds")
    return pairs(a, b, of_means((a - b)[:, None]))


def pairs(a: np.ndarray, b: np.ndarray, spread: Spread) -> Paired:
    """Return the comparison of two methods, (runs,) each, from the spread of their mean difference."""
    [difference], [p_value] = spread.intervals(), spread.p_values()
    return Paired(difference, int((a > b).sum()), int((a == b).sum()), len(a), float(p_value))


def _checked(scores: np.ndarray) -> np.ndarray:
    values = np.asarray(scores, dtype=np.float64)
    if values.size == 0 or values.ndim == 0 or not np.isfinite(values).all():
        raise GameError(f"scores of shape {values.shape} must be finite numbers of at least one run: (runs, tasks)")
    return values
