"""Inputs with their classes: arrays in memory, or files and data sets that are read in parts."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustgames.errors import GameError, one_line

LEVELS = 255
CHANNELS = (1, 3, 4)
SHOWN = 5  # classes in a message


@dataclass(frozen=True, eq=False)
class Classified:
    """N inputs with their classes; the inputs are read when they are needed, so they need not fit into memory.

    Args:
        place: Where they come from, for messages.
        shape: Shape of one input: (C, H, W) of an image, (T, d) of a sequence, (d,) of a row of a table.
        labels: Their classes, int64 (N,).
        read: Function of numbers (n,) that returns these inputs (n, *shape): uint8 in 0..255, or floating-point.
        names: Name of each class, () if unknown.
        shuffled: Whether the first n inputs are a fair choice, as in a test set; a folder is sorted by class.
        limits: Least and largest value of each feature of a table, (d,); None for images and sequences.

    Example:
        >>> data = from_arrays("x", torch.zeros(4, 28, 28, dtype=torch.uint8), torch.tensor([0, 1, 0, 1]))
        >>> data.shape, data.read(torch.tensor([0, 3])).shape
        ((1, 28, 28), torch.Size([2, 1, 28, 28]))
    """

    place: str
    shape: tuple[int, ...]
    labels: Tensor
    read: Callable[[Tensor], Tensor]
    names: tuple[str, ...] = ()
    shuffled: bool = False
    limits: tuple[Tensor, Tensor] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def chosen(self, count: int) -> Tensor:
        """Return the numbers of at most `count` inputs in ascending order: the first, or a fixed random choice."""
        if self.shuffled or count >= len(self):
            return torch.arange(min(count, len(self)))
        # RandomState, not Generator: NumPy promises that its stream never changes
        return torch.from_numpy(np.sort(np.random.RandomState(0).permutation(len(self))[:count]))

    def renumbered(self, numbers: Sequence[int]) -> Classified:
        """Return the same inputs with class k as class `numbers[k]`, e.g. of a network of more classes.

        Raises:
            GameError: Another number of classes.
        """
        count = max(len(self.names), int(self.labels.max()) + 1)
        if len(numbers) != count:
            few = f" ({', '.join(self.names[:3])} ...)" if self.names else ""
            raise GameError(
                f"{len(numbers)} class numbers are given, and {self.place} has {count} classes{few}: give one for each"
            )
        names = dict(zip(numbers, self.names, strict=False))
        known = tuple(names.get(k, str(k)) for k in range(max(names, default=-1) + 1))
        return replace(self, labels=torch.tensor(numbers)[self.labels], names=known)


def from_arrays(place: str, x: Any, y: Any, names: tuple[str, ...] = ()) -> Classified:
    """Return arrays or tensors as classified inputs.

    Args:
        place: Where they come from, for messages.
        x: Images (N, C, H, W), (N, H, W, C) with 1, 3 or 4 channels or (N, H, W); a table (N, d); or inputs of any
            other shape (N, ...). Values in uint8 are levels 0..255; a table of any numbers is made float32.
        y: Class numbers (N,) or (N, 1); or words, whose sorted values are the classes.
        names: Name of each class.

    Raises:
        GameError: Other types or shapes, no input, or another number of labels.
    """
    x, (labels, found) = _tensor(place, x), _labels(place, y)
    if x.dim() < 2 or len(x) == 0:
        raise GameError(f"the inputs of {place} have shape {tuple(x.shape)}: (N, ...) with N >= 1 is needed")
    if len(labels) != len(x):
        raise GameError(f"{place} has {len(x)} inputs and {len(labels)} labels: one label for each is needed")
    limits = None
    if x.dim() == 2 and x.dtype != torch.uint8:
        x = x if x.is_floating_point() else x.float()
        limits = (x.amin(0), x.amax(0))
    check_kind(place, x)
    x = channels_first(x)
    return Classified(place, tuple(x.shape[1:]), labels, lambda numbers: x[numbers], names or found, limits=limits)


def warn_of_order(names: Sequence[str]) -> None:
    """Warn if names of classes, sorted as words, are numbers in another order."""
    if all(name.isdecimal() for name in names) and list(names) != sorted(names, key=int):
        order = ", ".join(names[:SHOWN])
        warnings.warn(
            f"classes are numbered in the order of words, as torchvision and scikit-learn do: {order} ...", stacklevel=4
        )


def channels_first(x: Tensor) -> Tensor:
    """Return images as (N, C, H, W): those of (N, H, W) and (N, H, W, C) are brought to it, other shapes stay.

    Three axes of floating-point numbers are sequences (N, T, d) or gray images, which a network tells apart.
    """
    if x.dim() == 4 and x.shape[-1] in CHANNELS and x.shape[1] not in CHANNELS:
        return x.movedim(-1, 1)
    return x.unsqueeze(1) if x.dim() == 3 else x


def check_kind(place: str, x: Tensor) -> None:
    """Refuse inputs that are neither levels in uint8 nor floating-point numbers."""
    if x.dtype != torch.uint8 and not x.is_floating_point():
        raise GameError(
            f"the inputs of {place} are {x.dtype}: store images as uint8 in 0..255, or as floating-point numbers"
        )


def real(x: Tensor, low: float, high: float) -> Tensor:
    """Return inputs as floating-point numbers; level k of 255 denotes low + k (high - low) / 255."""
    if x.dtype != torch.uint8:
        return x
    levels = x.float() / LEVELS
    return levels if (low, high) == (0.0, 1.0) else low + (high - low) * levels


def _tensor(place: str, values: Any) -> Tensor:
    try:
        found = values.detach() if isinstance(values, Tensor) else torch.from_numpy(np.array(values))
    except (TypeError, ValueError) as error:
        kind = getattr(values, "dtype", type(values).__name__)
        raise GameError(
            f"the inputs of {place} are {one_line(kind)}: an array of numbers (N, ...) is needed"
        ) from error
    return found.cpu()


def _labels(place: str, values: Any) -> tuple[Tensor, tuple[str, ...]]:
    """Return class numbers (N,), and the names of the classes if the labels are words."""
    if not isinstance(values, Tensor):
        array = np.asarray(values)
        if array.dtype.kind in "US":
            words, numbers = np.unique(array.reshape(-1), return_inverse=True)
            names = tuple(w.decode(errors="replace") if isinstance(w, bytes) else str(w) for w in words)
            warn_of_order(names)
            return torch.from_numpy(numbers).long(), names
    y = _tensor(f"the labels of {place}", values)
    if y.dim() == 2 and y.shape[1] == 1:
        y = y.squeeze(1)
    if y.dim() != 1:
        raise GameError(
            f"the labels of {place} have shape {tuple(y.shape)}: class numbers (N,) are needed, e.g. y.argmax(1)"
        )
    if y.is_complex() or (y.is_floating_point() and not bool((y == y.round()).all())):
        raise GameError(f"the labels of {place} are not whole numbers: class numbers 0, 1, ... are needed")
    return y.long(), ()
