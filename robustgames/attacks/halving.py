"""Fewer inputs at a time when the memory of the device is not enough."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")


def in_parts(count: int, each: int, once: Callable[[slice], T]) -> tuple[list[T], int]:
    """Return what `once` returns for all rows in parts, and the largest size of a part that fits into memory.

    Args:
        count: Number of rows.
        each: Rows of a part; halved, and all rows done again, while the device is out of memory.
        once: Function of the slice of some rows.

    Raises:
        torch.OutOfMemoryError: If a single row does not fit.
    """
    each = max(min(each, count), 1)
    while True:
        try:
            return [once(slice(k, k + each)) for k in range(0, count, each)], each
        except torch.OutOfMemoryError:
            if each == 1:
                raise
        each = (each + 1) // 2
        release()


def release() -> None:
    """Give memory that no tensor holds any more back to the device; call it where no exception holds tensors."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def note_of_memory(fits: int) -> str:
    """Return the warning that batches were made smaller."""
    return f"a batch did not fit into the memory of the device: {fits} inputs pass at a time, as with --batch {fits}"
