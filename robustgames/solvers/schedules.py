"""Schedules: learning rates and noise that change with the number of applications of a rule.

A schedule is a frozen dataclass, so a checkpoint can store it, and maps k, the count of applications from 1, to a
number.
"""

from __future__ import annotations

from dataclasses import dataclass

from robustgames.errors import GameError


@dataclass(frozen=True)
class InversePower:
    """lr_k = scale / k^power, the decreasing steps of Robbins-Monro schemes (½ < power <= 1).

    k counts applications of the rule: in extragradient both half steps count.

    Example:
        >>> InversePower(0.5, power=0.5)(4)
        0.25
    """

    scale: float
    power: float = 1.0

    def __post_init__(self) -> None:
        if not (0 < self.scale < float("inf") and self.power >= 0):
            raise GameError(f"{self} is not a decreasing schedule: scale must be positive and power >= 0")

    def __call__(self, k: int) -> float:
        return self.scale / k**self.power


@dataclass(frozen=True)
class Exponential:
    """rate_k = scale * (1 - decay)^k.

    Example:
        >>> Exponential(1.0, decay=0.5)(2)
        0.25
    """

    scale: float
    decay: float

    def __post_init__(self) -> None:
        if not (0 <= self.scale < float("inf") and 0 <= self.decay < 1):
            raise GameError(f"{self} is not a decreasing schedule: scale must be >= 0 and decay in [0, 1), e.g. 1e-5")

    def __call__(self, k: int) -> float:
        return self.scale * (1 - self.decay) ** k


@dataclass(frozen=True)
class Linear:
    """lr_k falls linearly from `scale` to 0 over `steps` applications of the rule, then keeps its last value.

    Example:
        >>> [Linear(1.0, steps=4)(k) for k in (1, 2, 4, 5)]
        [1.0, 0.75, 0.25, 0.25]
    """

    scale: float
    steps: int

    def __post_init__(self) -> None:
        if not (0 < self.scale < float("inf") and self.steps >= 1):
            raise GameError(f"{self} is not a schedule: scale must be positive and steps at least 1")

    def __call__(self, k: int) -> float:
        return self.scale * (1 - (min(k, self.steps) - 1) / self.steps)


@dataclass(frozen=True)
class Triangular:
    """lr_k rises linearly from 0 to `peak` over the first quarter of `steps`, then falls linearly to 0.

    k counts applications of the rule. After `steps` applications the rate keeps its last
    positive value. Source: Smith and Topin
    2019; Wong, Rice and Kolter 2020 for adversarial training.

    Example:
        >>> rate = Triangular(1.0, steps=8)
        >>> [round(rate(k), 3) for k in (1, 2, 3, 5, 8)]
        [0.5, 1.0, 0.857, 0.571, 0.143]
    """

    peak: float
    steps: int

    def __post_init__(self) -> None:
        if not (0 < self.peak < float("inf") and self.steps >= 1):
            raise GameError(f"{self} is not a schedule: peak must be positive and steps at least 1")

    def __call__(self, k: int) -> float:
        up = max(1, self.steps // 4)
        k = min(k, self.steps)
        return self.peak * (k / up if k <= up else (self.steps + 1 - k) / (self.steps + 1 - up))
