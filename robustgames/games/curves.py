"""Functions of one number with their derivatives, the parts of losses and penalties."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Curve:
    """A function of one number, and its derivative, both elementwise on tensors.

    Example:
        >>> import torch
        >>> square = Curve(torch.square, lambda t: 2 * t)
        >>> square(torch.tensor(3.0)), square.slope(torch.tensor(3.0))
        (tensor(9.), tensor(6.))
    """

    value: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]

    def __call__(self, t: Tensor) -> Tensor:
        return self.value(t)
