"""A torch Dataset of (input, label) as classified inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from robustgames.data.classified import Classified, check_kind, from_arrays
from robustgames.errors import GameError, one_line

PICTURES = {"1": "L", "LA": "L", "P": "RGB", "PA": "RGB", "CMYK": "RGB"}
"""Modes of Pillow's pictures whose numbers are not gray levels or colors (indices of a palette, ink), and others."""


def from_dataset(place: str, dataset: Any, count: int | None = None) -> Classified:
    """Return the items of a dataset, which are read when they are needed.

    An input is a tensor, an array or a picture of Pillow; arrays in uint8 with 1, 3 or 4 channels last are images, and
    so is a tensor (C, H, W). Pictures with a palette or in CMYK become red, green and blue, those of one bit or with
    gray and alpha become gray. Rows of a table are all read at once. `dataset.classes`, if it exists, names the
    classes.

    Args:
        place: Where it comes from, for messages.
        dataset: Object with `len` and items (input, label).
        count: Number of items that are needed; the labels of these alone are read. If None, of all.

    Raises:
        GameError: No item, items of another form, inputs of several shapes; also from `read`.
    """
    if isinstance(dataset, DataLoader | IterableDataset):
        raise GameError(f"{place} is a {type(dataset).__name__}: return a Dataset with len() and items (input, label)")
    total = len(dataset)
    if total == 0:
        raise GameError(f"{place} is an empty dataset: items (input, label) are needed")
    first, _ = _item(place, dataset, 0)
    everything = Classified(place, (), torch.zeros(total), lambda numbers: torch.empty(0))
    numbers = torch.arange(total) if count is None else everything.chosen(count)
    names = tuple(map(str, getattr(dataset, "classes", ()) or ()))
    if first.dim() == 1:
        rows = [_item(place, dataset, int(n)) for n in numbers]
        return from_arrays(place, _stacked(place, [x for x, _ in rows]), np.array([y for _, y in rows]), names)
    check_kind(place, first)
    labels = torch.zeros(total, dtype=torch.int64)
    known = _known_labels(place, dataset, numbers)
    labels[numbers] = torch.tensor([known(n) for n in numbers.tolist()])

    def read(numbers: Tensor) -> Tensor:
        return _stacked(place, [_item(place, dataset, int(n))[0] for n in numbers])

    return Classified(place, tuple(first.shape), labels, read, names)


def is_dataset(value: Any) -> bool:
    """Return whether a value is a torch dataset, or a loader of one."""
    return isinstance(value, Dataset | DataLoader)


def _known_labels(place: str, dataset: Any, numbers: Tensor) -> Callable[[int], int]:
    """Return the function that gives the label of an item: that of `dataset.targets`, as torchvision calls them.

    No image is then decoded for its label. They are before `target_transform`, or may be something else, so they are
    taken only if they are the labels of the first and the last item.
    """

    def of_item(number: int) -> int:
        return _item(place, dataset, number)[1]

    targets = getattr(dataset, "targets", None)
    if targets is None or len(targets) != len(dataset) or getattr(dataset, "target_transform", None) is not None:
        return of_item
    try:
        agree = all(int(targets[n]) == of_item(n) for n in {int(numbers[0]), int(numbers[-1])})
    except (TypeError, ValueError, KeyError):  # e.g. words
        return of_item
    return (lambda number: int(targets[number])) if agree else of_item


def _item(place: str, dataset: Any, number: int) -> tuple[Tensor, int]:
    """Return one input in its shape (C, H, W) or (d,), and its label."""
    try:
        item = dataset[number]
        x, y = item
    except Exception as error:
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise GameError(f"item {number} of {place} cannot be read as a pair (input, label) ({reason})") from error
    try:
        label = int(y)
        if label != float(y):
            raise TypeError("a fraction is not a class")
        value = x.detach().cpu() if isinstance(x, Tensor) else torch.from_numpy(np.array(_in_colors(x)))
    except (TypeError, ValueError, RuntimeError) as error:
        kinds = f"({type(x).__name__}, {type(y).__name__})"
        raise GameError(
            f"item {number} of {place} is {kinds}: an array or picture and a class number are needed"
        ) from error
    if value.dim() == 0:
        raise GameError(f"item {number} of {place} is a number: inputs of shape (d,) or (C, H, W) are needed")
    if isinstance(x, Tensor):
        return value, label
    if value.dim() == 3 and value.shape[-1] in (1, 3, 4) and (_is_picture(x) or value.shape[0] not in (1, 3, 4)):
        return value.movedim(-1, 0).contiguous(), label
    return (value.unsqueeze(0) if value.dim() == 2 else value), label


def _is_picture(x: Any) -> bool:
    return hasattr(x, "mode") and hasattr(x, "convert")


def _in_colors(x: Any) -> Any:
    """Return a picture of Pillow in gray levels or colors; whatever else it is, as it is."""
    return x.convert(PICTURES[x.mode]) if _is_picture(x) and x.mode in PICTURES else x


def _stacked(place: str, items: list[Tensor]) -> Tensor:
    shapes = list(dict.fromkeys(tuple(item.shape) for item in items))
    if len(shapes) > 1:
        raise GameError(f"inputs of {place} have shapes {shapes[0]} and {shapes[1]}: one shape is needed, resize them")
    return torch.stack(items)
