"""95 % intervals of estimates over few independent runs, and p-values of many comparisons.

An estimate has a standard error, degrees of freedom, and a skewness; its interval is that of Student's t, corrected
for the skewness by Hall's cubic transformation. For a mean over n runs with standard deviation s and skewness g, the
error is s / √n, the skewness g / √n, and without it the interval is the usual ± t s / √n.

Student's interval knows nothing about the range of a metric: of an accuracy it can end above 1. Where the range is
known (`Metric.range`), the ends are moved to it (`Interval.within`). That does not change how often the interval covers
the true value, which is in the range.

Source: Hall 1992, On the removal of skewness by transformation (the transformation); Student 1908.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan, nan
from typing import NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit

FEWEST = 5
"""Smallest number of runs that has an interval. With fewer, report the number of each run."""


class Interval(NamedTuple):
    """An estimate and the ends of its 95 % interval, which are NaN over fewer than `FEWEST` runs."""

    estimate: float
    low: float
    high: float

    def within(self, least: float, most: float) -> Interval:
        """Return the interval without values outside of [least, most], in which the true value is known to lie.

        It covers the true value as often as before. A rounded estimate just outside stays one of its ends.

        Example:
            >>> print(Interval(12.3, -14.6, 17.2).within(0, 25))
            12.3 [0, 17.2]
        """
        low, high = min(max(self.low, least), self.estimate), max(min(self.high, most), self.estimate)
        return self if isnan(self.low) else Interval(self.estimate, low, high)

    def __str__(self) -> str:
        if isnan(self.low):
            return f"{self.estimate:.4g}"
        return f"{self.estimate:.4g} [{self.low:.4g}, {self.high:.4g}]"


@dataclass(frozen=True, eq=False)
class Spread:
    """Estimates and what is known about their errors, each of shape (k,).

    Attributes:
        estimate: Estimates.
        error: Standard errors.
        degrees: Degrees of freedom of the errors; 0 if there are too few runs for an interval.
        skewness: Skewnesses of the estimates.
    """

    estimate: np.ndarray
    error: np.ndarray
    degrees: np.ndarray
    skewness: np.ndarray

    def intervals(self) -> list[Interval]:
        """Return the 95 % intervals; that of equal runs is a point, which says nothing about other runs."""
        t = stdtrit(np.maximum(self.degrees, 1), 0.975)
        low, high = (self.estimate - self.error * _untransformed(end, self.skewness) for end in (t, -t))
        low, high = (np.where(self.degrees > 0, end, nan) for end in (low, high))
        return [Interval(*map(float, row)) for row in zip(self.estimate, low, high, strict=True)]

    def p_values(self) -> np.ndarray:
        """Return two-sided p-values of "the true value is 0": the larger one of those with and without the correction.

        Below 0.05 the interval excludes 0. In the far tail, which corrections for many comparisons use, the correction
        for skewness alone rejects too often. NaN over too few runs, and over equal runs that are not 0: they do not
        show how far other runs would spread, and five of them prove nothing.
        """
        ratio = self.estimate / np.where(self.error > 0, self.error, 1)
        nearest = np.minimum(np.abs(ratio), np.abs(_transformed(ratio, self.skewness)))
        found = 2 * stdtr(np.maximum(self.degrees, 1), -nearest)
        found = np.where(self.error > 0, found, np.where(self.estimate == 0, 1.0, nan))
        return np.where(self.degrees > 0, found, nan)

    def at(self, k: int) -> Spread:
        """Return the spread of one estimate, of shape (1,)."""
        return Spread(*(part[k : k + 1] for part in (self.estimate, self.error, self.degrees, self.skewness)))

    def plus(self, error: np.ndarray, degrees: float) -> Spread:
        """Return the estimates with an independent second error of so many degrees (Welch and Satterthwaite)."""
        total = np.hypot(self.error, error)
        known = np.where(total > 0, total, 1)
        first, second = (part / known for part in (self.error, error))
        inverse = first**4 / np.maximum(self.degrees, 1) + second**4 / degrees
        joint = 1 / np.where(inverse > 0, inverse, 1)
        return Spread(self.estimate, total, np.where(self.degrees > 0, joint, 0), self.skewness * first**3)


def _transformed(t: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Return g(t) = t + k t²/3 + k² t³/27 + k/6, increasing in t: nearly Student's t if t has the skewness -k."""
    return t + k * t**2 / 3 + k**2 * t**3 / 27 + k / 6


def _untransformed(value: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Return the t with g(t) = value."""
    small = np.abs(k) < 1e-6
    safe = np.where(small, 1, k)
    return np.where(small, value, 3 * (np.cbrt(1 + safe * (value - safe / 6)) - 1) / safe)


def of_means(values: np.ndarray) -> Spread:
    """Return the spread of the means over runs of values (runs, k)."""
    runs = len(values)
    mean = values.mean(0)
    away = values - mean
    square = (away**2).mean(0)
    # equal runs leave a rounding error
    varies = square > (1e-14 * np.abs(values).max(0)) ** 2
    variance = np.where(varies, square, 0)
    third = (away**3).mean(0) / np.where(varies, square, 1) ** 1.5 * varies
    degrees = np.full_like(mean, runs - 1 if runs >= FEWEST else 0)
    return Spread(mean, np.sqrt(variance / max(runs - 1, 1)), degrees, third / np.sqrt(runs))


def of_returns(returns: np.ndarray) -> Spread:
    """Return the spread of the mean of returns (runs, starts) over runs and over starts, which the runs share.

    A single start has no spread: the interval is then one for this start.
    """
    found = of_means(returns.mean(1)[:, None])
    starts = returns.shape[1]
    if starts == 1:
        return found
    over_starts = of_means(returns.mean(0)[:, None])
    return found.plus(over_starts.error, starts - 1)


def holm(p_values: np.ndarray) -> np.ndarray:
    """Return p-values adjusted for their number: those below 0.05 contain a false one in at most 5 % of all tables.

    NaN, for which there was no test, stays and does not count.

    Source: Holm 1979, A simple sequentially rejective multiple test procedure.

    Example:
        >>> holm(np.array([0.01, 0.04, 0.03])).round(3).tolist()
        [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=np.float64)
    flat = p.reshape(-1)
    order = np.argsort(flat)  # NaN last
    count = int(np.isfinite(flat).sum())
    adjusted = np.full_like(flat, nan)
    factors = np.arange(count, 0, -1)
    adjusted[order[:count]] = np.minimum(1, np.maximum.accumulate(factors * flat[order[:count]]))
    return adjusted.reshape(p.shape)
