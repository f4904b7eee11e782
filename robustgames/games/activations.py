"""Activations of a network as bounds see them: monotone functions between two lines, and maxima over windows."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from robustgames.games.layers import Interval, Layer, largest


class Lines(NamedTuple):
    """Lines that bound a function: slope x + offset, from below and from above."""

    low_slope: Tensor
    low_offset: Tensor
    high_slope: Tensor
    high_offset: Tensor


class Monotone(Layer):
    """A nondecreasing function, number by number."""

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """Return the function."""

    @abstractmethod
    def lines(self, low: Tensor, high: Tensor) -> Lines:
        """Return lines that bound the function on [low, high]."""

    def interval(self, *inputs: Interval) -> Interval:
        ((low, high),) = inputs
        return self(low), self(high)


@dataclass(frozen=True)
class Rectifier(Monotone):
    """max(x, slope x) with 0 <= slope <= 1: ReLU, or leaky ReLU."""

    slope: float = 0.0

    def __call__(self, x: Tensor) -> Tensor:
        return x.clamp_min(0) if self.slope == 0 else torch.maximum(x, self.slope * x)

    def rounding(self, unit: float, *inputs: Interval) -> Tensor | float:
        return unit * self.slope * largest(inputs[0]) if self.slope else 0.0

    def lines(self, low: Tensor, high: Tensor) -> Lines:
        """Return the chord above, and below the line of slope 1 or `slope`, whichever leaves the smaller area.

        Source: Zhang et al. 2018 (CROWN), section 3.3.
        """
        one, least = low.new_tensor(1.0), low.new_tensor(self.slope)  # numbers would make float32 of float64
        crossing = (low < 0) & (high > 0)
        width = torch.where(crossing, high - low, 1)
        chord = torch.where(crossing, (high - self.slope * low) / width, torch.where(low >= 0, one, least))
        below = torch.where(crossing, torch.where(high > -low, one, least), chord)
        none = torch.zeros_like(low)
        return Lines(below, none, chord, torch.where(crossing, (self.slope - chord) * low, none))


@dataclass(frozen=True)
class Smooth(Monotone):
    """A smooth increasing function whose slope on an interval is least at one of its ends: tanh, sigmoid, ELU."""

    function: Callable[[Tensor], Tensor]
    derivative: Callable[[Tensor], Tensor]

    def __call__(self, x: Tensor) -> Tensor:
        return self.function(x)

    def rounding(self, unit: float, *inputs: Interval) -> Tensor | float:
        return 4 * unit * (1 + largest(self.interval(*inputs)))  # library functions err by a few units

    def lines(self, low: Tensor, high: Tensor) -> Lines:
        """Return the lines of the least slope k through both ends: f(x) - k x does not decrease.

        Source: Singh et al. 2019 (DeepPoly), theorem 3.2.
        """
        k = torch.minimum(self.derivative(low), self.derivative(high))
        return Lines(k, self(low) - k * low, k, self(high) - k * high)


@dataclass(frozen=True)
class MaxPool(Layer):
    """Maxima over windows; only intervals are known."""

    function: Callable[[Tensor], Tensor]

    def interval(self, *inputs: Interval) -> Interval:
        ((low, high),) = inputs
        return self.function(low), self.function(high)

    def rounding(self, unit: float, *inputs: Interval) -> Tensor | float:
        return 0.0


RELU = Rectifier()
TANH = Smooth(torch.tanh, lambda x: 1 - torch.tanh(x) ** 2)
SIGMOID = Smooth(torch.sigmoid, lambda x: torch.sigmoid(x) * (1 - torch.sigmoid(x)))
ELU = Smooth(functional.elu, lambda x: x.clamp_max(0).exp())
