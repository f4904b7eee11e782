"""Increasing piecewise linear functions, one per run: sums, inverses and values, for exact projections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Curve:
    """An increasing function through points (knots, values), (*S, K) each, with the slope `end`, (*S, 1), after them.

    Before the first knot it has the first value.
    """

    knots: Tensor
    values: Tensor
    end: Tensor

    def inverse(self) -> Curve:
        """Return the inverse function."""
        return Curve(self.values, self.knots, 1 / self.end)

    def slopes(self) -> Tensor:
        """Return the slope after each knot, (*S, K); 0 between knots that coincide."""
        width, rise = self.knots.diff(dim=-1), self.values.diff(dim=-1)
        return torch.cat([torch.where(width > 0, rise / width, 0), self.end], -1)

    def __call__(self, u: Tensor) -> Tensor:
        """Return the values at u, (*S, 1)."""
        last = (self.knots <= u).sum(-1, keepdim=True).clamp_min(1) - 1
        knot, value, slope = (part.gather(-1, last) for part in (self.knots, self.values, self.slopes()))
        return value + slope * (u - knot).clamp_min(0)


def total(curves: Sequence[Curve], identity: Tensor | None = None) -> Curve:
    """Return the sum of functions that are constant before their first knots.

    Args:
        curves: Functions.
        identity: Shift b, (*S, 1), if u - b is added, for u >= 0, the first knot of all functions.
    """
    changes = torch.cat([curve.slopes().diff(dim=-1, prepend=torch.zeros_like(curve.end)) for curve in curves], -1)
    knots, order = torch.cat([curve.knots for curve in curves], -1).sort(dim=-1)
    slopes = changes.gather(-1, order).cumsum(-1) + (0 if identity is None else 1)
    first = sum((curve.values[..., :1] for curve in curves), torch.zeros_like(knots[..., :1]))
    rise = (slopes[..., :-1] * knots.diff(dim=-1)).cumsum(-1)
    start = first if identity is None else first - identity
    ends = sum((curve.end for curve in curves), torch.zeros_like(start)) + (0 if identity is None else 1)
    return Curve(knots, torch.cat([start, start + rise], -1), ends)
