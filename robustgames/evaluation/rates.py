"""Rate at which W1 between a law and its samples decreases with their number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

import torch
from scipy.special import stdtrit
from torch import Generator, Tensor

from robustgames.errors import GameError
from robustgames.evaluation.network_simplex import exact_cost
from robustgames.evaluation.transport import wasserstein


class Slope(NamedTuple):
    """A fitted slope and the ends of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class EmpiricalRate:
    """Mean W_1 of samples of n points, the result of `rate`.

    Attributes:
        p: Dimension.
        sizes: Numbers of points n.
        mean: Mean over trials, (sizes,), float64.
        error: Standard error of the mean, (sizes,).
        trials: Number of trials of each size; empty if the errors are known exactly.
    """

    p: int
    sizes: tuple[int, ...]
    mean: Tensor
    error: Tensor
    trials: tuple[int, ...] = ()

    def slope(self, log_power: float = 0.0) -> Slope:
        """Return the s of mean W_1 = C n^s (log n)^log_power, fitted by least squares weighted with the errors."""
        n = torch.tensor(self.sizes, dtype=torch.float64).log()
        return _line(n, self.mean.log() - log_power * n.log(), self.error / self.mean, self.trials)

    def logarithm(self) -> Slope:
        """Return the A of n (mean W_1)^2 = A log n + B: 0 under the rate n^(-1/2), positive under sqrt(log n / n)."""
        n = torch.tensor(self.sizes, dtype=torch.float64)
        return _line(n.log(), n * self.mean**2, 2 * n * self.mean * self.error, self.trials)


def rate(
    p: int, sizes: Sequence[int], trials: int | Sequence[int], generator: Generator, torus: bool = False
) -> EmpiricalRate:
    """Measure the rate at which W_1 decreases with the number n of points of the uniform law on [0, 1]^p.

    p = 1: W_1 between the sample and the law itself, the integral of |F_n - F|, whose mean tends to
    sqrt(pi / 32 / n). p >= 2: W_1 between two independent samples, which lies between 1 and 2 times the mean distance
    of a sample to the law and so has the same rate. The rate is n^(-1/2) for p = 1, sqrt(log n / n) for p = 2 and
    n^(-1/p) for p >= 3. From 64 to 2,048 points slopes are steeper than these on the cube, because of its boundary,
    and flatter on the torus, which has none: docs/explain/wasserstein.md has the figures.

    Source: Dudley 1969; Ajtai, Komlos and Tusnady 1984; Fournier and Guillin 2015, theorem 1.

    Args:
        p: Dimension.
        sizes: Numbers of points n, at least 3 of them, each >= 2.
        trials: Number of trials of each size, or one number per size, >= 2.
        generator: Generator of all draws.
        torus: If True, opposite faces are identified: |u - v| is the way around if that is shorter, and the distance is
            always that of two samples.

    Raises:
        GameError: A value is out of these ranges.
    """
    sizes = tuple(sizes)
    counts = (trials,) * len(sizes) if isinstance(trials, int) else tuple(trials)
    if p < 1 or len(sizes) < 3 or min(sizes) < 2 or len(counts) != len(sizes) or min(counts) < 2:
        raise GameError(
            f"p is {p}, sizes {sizes}, trials {counts}: p >= 1, three sizes >= 2 or more, and for each trials >= 2"
        )
    draws = [torch.stack([_draw(p, n, generator, torus) for _ in range(k)]) for n, k in zip(sizes, counts, strict=True)]
    mean = torch.stack([values.mean() for values in draws])
    error = torch.stack([values.std() / len(values) ** 0.5 for values in draws])
    return EmpiricalRate(p, sizes, mean, error, counts)


def _draw(p: int, n: int, generator: Generator, torus: bool) -> Tensor:
    if p == 1 and not torus:
        return _to_uniform_law(torch.rand(n, generator=generator, device=generator.device, dtype=torch.float64))
    a, b = torch.rand(2, n, p, generator=generator, device=generator.device, dtype=torch.float64)
    if not torus:
        return wasserstein(a, b)
    gaps = ((u.unsqueeze(1) - v).abs() for u, v in zip(a.T, b.T, strict=True))
    square = sum(torch.minimum(gap, 1 - gap) ** 2 for gap in gaps)
    return a.new_tensor(exact_cost(torch.as_tensor(square).sqrt().cpu()))


def _to_uniform_law(u: Tensor) -> Tensor:
    """Return the integral over t in [0, 1] of |F_n(t) - t| for a sample u (*S, n) of [0, 1], exactly: (*S,)."""
    n, u = u.shape[-1], u.sort(-1).values
    level = torch.arange(n + 1, dtype=u.dtype, device=u.device) / n  # of F_n, from one end to the next
    ends = torch.cat([u.new_zeros(*u.shape[:-1], 1), u, u.new_ones(*u.shape[:-1], 1)], -1)
    low, high = ends[..., :-1] - level, ends[..., 1:] - level
    return ((high * high.abs() - low * low.abs()) / 2).sum(-1)


def _line(x: Tensor, y: Tensor, error: Tensor, trials: tuple[int, ...]) -> Slope:
    """Fit y = s x + c; if the line misses by more than the errors, these are scaled up (Birge ratio).

    The slope is a weighted sum of the y. Its interval is Student's t with the degrees of freedom of Welch and
    Satterthwaite, since the errors are estimated from trials.
    """
    design = torch.stack([x, torch.ones_like(x)], -1) / error.unsqueeze(-1)
    covariance = torch.linalg.inv(design.T @ design)
    fit = covariance @ design.T @ (y / error)
    excess = (design @ fit - y / error).square().sum() / (len(x) - 2)
    parts = (covariance[0] @ design.T) ** 2  # of the variance of the slope
    inverse = sum(float(part) ** 2 / (k - 1) for part, k in zip(parts, trials, strict=False)) / float(parts.sum()) ** 2
    t = stdtrit(1 / inverse if inverse else inf, 0.975)
    half = t * float((covariance[0, 0] * excess.clamp_min(1)) ** 0.5)
    return Slope(float(fit[0]), float(fit[0]) - half, float(fit[0]) + half)
