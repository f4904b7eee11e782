"""Layers of a network as bounds see them: affine maps, and sums of two branches; `activations` has the others.

The computed value of a layer differs from the exact one by rounding. `rounding` bounds that difference for sums in any
order, from the unit roundoff u of the model: γ_n (|A| |x| + |b|) with γ_n = n u / (1 - n u) for n terms.
Source: Higham 2002, Accuracy and stability of numerical algorithms, section 3.1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.grad import conv2d_input

from robustgames.games.networks import affine

Interval = tuple[Tensor, Tensor]
"""Bounds (low, high) of equal shape."""


def largest(interval: Interval) -> Tensor:
    """Return the largest absolute value in an interval."""
    return torch.maximum(interval[0].abs(), interval[1].abs())


class Layer(ABC):
    """A layer with bounds: of its exact values, and of the rounding of its computed ones."""

    @abstractmethod
    def interval(self, *inputs: Interval) -> Interval:
        """Return bounds of the exact outputs for inputs in intervals."""

    @abstractmethod
    def rounding(self, unit: float, *inputs: Interval) -> Tensor | float:
        """Return a bound of |computed - exact output| for computed inputs in intervals, with unit roundoff `unit`."""

    def bounds(self, unit: float, *inputs: Interval) -> Interval:
        """Return bounds of the computed outputs; `unit` = 0 stands for exact arithmetic."""
        low, high = self.interval(*inputs)
        if unit == 0:
            return low, high
        slack = self.rounding(unit, *inputs)
        return low - slack, high + slack


class Affine(Layer):
    """x -> A x + b, with the absolute and the transposed matrix as functions."""

    mixes: bool = True
    """Whether an output depends on several inputs. Otherwise intervals of it are exact."""

    @property
    def terms(self) -> int:
        """Numbers that are added for one output; 0 if nothing is computed."""
        return 0

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """Return A x + b."""

    @abstractmethod
    def absolute(self, x: Tensor) -> Tensor:
        """Return |A| x."""

    def offset_size(self) -> Tensor | float:
        """Return |b|, broadcast to an output."""
        return 0.0

    def transpose(self, g: Tensor, shape: torch.Size) -> Tensor:
        """Return Aᵀ g for g (N, ...) like outputs; `shape` is that of the inputs, (N, ...)."""
        with torch.enable_grad():
            x = torch.zeros(shape, dtype=g.dtype, device=g.device, requires_grad=True)
            return torch.autograd.grad(self(x), x, g)[0]

    def interval(self, *inputs: Interval) -> Interval:
        ((low, high),) = inputs
        center, radius = self((low + high) / 2), self.absolute((high - low) / 2)
        return center - radius, center + radius

    def rounding(self, unit: float, *inputs: Interval) -> Tensor | float:
        if not self.terms:
            return 0.0
        return _gamma(self.terms, unit) * (self.absolute(largest(inputs[0])) + self.offset_size())


def _gamma(terms: int, unit: float) -> float:
    return terms * unit / (1 - terms * unit)


@dataclass(frozen=True, eq=False)
class Dense(Affine):
    """A fully connected layer, also one per run: weights (*S, q, p), biases (*S, q)."""

    weight: Tensor
    bias: Tensor | None = None

    @property
    def terms(self) -> int:
        return self.weight.shape[-1] + 1

    def __call__(self, x: Tensor) -> Tensor:
        return affine(x, self.weight, self._bias())

    def absolute(self, x: Tensor) -> Tensor:
        return affine(x, self.weight.abs(), torch.zeros_like(self._bias()))

    def offset_size(self) -> Tensor | float:
        return self._bias().abs().unsqueeze(-2)

    def transpose(self, g: Tensor, shape: torch.Size) -> Tensor:
        return g @ self.weight

    def _bias(self) -> Tensor:
        return self.weight.new_zeros(self.weight.shape[:-1]) if self.bias is None else self.bias


@dataclass(frozen=True, eq=False)
class Convolution(Affine):
    """A convolution of images with zero padding."""

    weight: Tensor
    bias: Tensor | None
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int

    @property
    def terms(self) -> int:
        return self.weight[0].numel() + 1

    def __call__(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def absolute(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.weight.abs(), None, self.stride, self.padding, self.dilation, self.groups)

    def offset_size(self) -> Tensor | float:
        return 0.0 if self.bias is None else self.bias.abs().view(-1, 1, 1)

    def transpose(self, g: Tensor, shape: torch.Size) -> Tensor:
        return conv2d_input(shape, self.weight, g, self.stride, self.padding, self.dilation, self.groups)  # type: ignore


@dataclass(frozen=True, eq=False)
class AveragePool(Affine):
    """Means over windows; `function` is that pooling, with weights >= 0 and without an offset."""

    function: Callable[[Tensor], Tensor]
    window: int

    @property
    def terms(self) -> int:
        return self.window + 1

    def __call__(self, x: Tensor) -> Tensor:
        return self.function(x)

    def absolute(self, x: Tensor) -> Tensor:
        return self.function(x)


@dataclass(frozen=True, eq=False)
class Scale(Affine):
    """x -> factor x + offset, number by number (normalization); `size` bounds |offset| and what it is computed from."""

    factor: Tensor
    offset: Tensor
    size: Tensor

    mixes = False

    @property
    def terms(self) -> int:
        return 8  # operations of a normalization, one after the other

    def __call__(self, x: Tensor) -> Tensor:
        return self.factor * x + self.offset

    def absolute(self, x: Tensor) -> Tensor:
        return self.factor.abs() * x

    def offset_size(self) -> Tensor | float:
        return self.size

    def transpose(self, g: Tensor, shape: torch.Size) -> Tensor:
        return self.factor * g


@dataclass(frozen=True)
class Reshape(Affine):
    """Another shape of the same numbers, (N, *shape)."""

    shape: tuple[int, ...]

    mixes = False

    def __call__(self, x: Tensor) -> Tensor:
        return x.reshape(-1, *self.shape)

    def absolute(self, x: Tensor) -> Tensor:
        return self(x)

    def transpose(self, g: Tensor, shape: torch.Size) -> Tensor:
        return g.reshape(shape)


class Sum(Layer):
    """x, x' -> x + x': two branches meet."""

    def interval(self, *inputs: Interval) -> Interval:
        (low, high), (other_low, other_high) = inputs
        return low + other_low, high + other_high

    def rounding(self, unit: float, *inputs: Interval) -> Tensor | float:
        return unit * (largest(inputs[0]) + largest(inputs[1]))
