"""Linear systems of any size, by a fixed number of conjugate gradients."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def conjugate_gradients(system: Callable[[Tensor], Tensor], b: Tensor, steps: int) -> Tensor:
    """Return an approximate solution of A x = b, (*S, n), for a symmetric A >= 0; exact for steps >= n up to rounding.

    The runs are solved side by side. A run whose residual is 0 up to rounding stays where it is.
    Source: Hestenes and Stiefel 1952.

    Args:
        system: Function p -> A p.
        b: Right-hand side.
        steps: Number of products with A.

    Example:
        >>> conjugate_gradients(lambda p: torch.tensor([2.0, 4.0]) * p, torch.tensor([2.0, 2.0]), steps=2)
        tensor([1.0000, 0.5000])
    """
    x, residual, p = torch.zeros_like(b), b, b
    size = first = _square(b)
    least = torch.finfo(b.dtype).eps ** 2 * first
    for _ in range(steps):
        image = system(p)
        slope = (p * image).sum(-1, keepdim=True)
        active = (size > least) & (slope > 0)
        length = torch.where(active, size / torch.where(active, slope, 1), 0)
        x, residual = x + length * p, residual - length * image
        after = _square(residual)
        p = residual + torch.where(active, after / torch.where(active, size, 1), 0) * p
        size = torch.where(active, after, 0)
    return x


def _square(v: Tensor) -> Tensor:
    return v.square().sum(-1, keepdim=True)
