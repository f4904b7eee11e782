"""Data types that are too narrow to search in: float16 and bfloat16. The search runs in float32 on inputs in the type.

An input a of the type is exact in float32. An image a + η is rounded toward a, so it never leaves ball or box.
"""

from __future__ import annotations

import torch
from torch import Tensor

NARROW = (torch.float16, torch.bfloat16)


def widen(values: Tensor) -> Tensor:
    """Return the values in float32 if their type is narrow, else themselves."""
    return values.float() if values.dtype in NARROW else values


def round_toward(values: Tensor, a: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the values in a narrow type, each the nearest one of the type between it and a, which the type represents.

    Example:
        >>> float(round_toward(torch.tensor(0.1), torch.tensor(0.0), torch.float16)) <= 0.1
        True
    """
    near = values.to(dtype)
    wide = near.to(values.dtype)
    over = torch.where(values >= a, wide > values, wide < values)
    order = near.view(torch.int16).to(torch.int32)
    order = torch.where(order < 0, -32768 - order, order)  # in the order of the numbers
    order = order + torch.where(wide > a, -1, 1)
    back = torch.where(order < 0, -32768 - order, order).to(torch.int16).view(dtype)
    return torch.where(over, back, near)
