"""A folder of images by class: a sub-folder for each class, decoded when they are needed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from robustgames.data.classified import Classified, warn_of_order
from robustgames.data.decoding import LONGEST_SIDE, header, pixels
from robustgames.data.files import SUFFIXES, Folder
from robustgames.errors import GameError, one_line

PARTS = ("train", "training", "test", "testing", "val", "valid", "validation")


def class_folder(path: str | Path, resize: tuple[int, int] | None = None, count: int | None = None) -> Classified:
    """Return the images of a folder, whose classes are its sub-folders in the order of their names.

    The order is that of torchvision's ImageFolder. Images lie anywhere below the folder of their class. They are gray
    if all are, else red, green and blue. Sizes and modes are read from the heads of the files, pixels when needed.

    Args:
        path: Path of the folder.
        resize: Height and width to which images are resized, with antialiasing. If None, all must have one size.
        count: Number of images that are needed; their heads alone are read. If None, all.

    Raises:
        GameError: No image, no sub-folders or one, a sub-folder without images (the classes after it would get other
            numbers), images outside of them, several sizes, or an image that cannot be read; also from `read`.
    """
    folder = Folder(path)
    labels, names = _classes(folder)
    found = Classified(folder.place, (), labels, lambda numbers: torch.empty(0))
    numbers = found.chosen(len(folder.names) if count is None else count)
    heads = [_head(folder, int(number)) for number in numbers]
    channels = 1 if all(gray for _, gray in heads) else 3
    size = _one_size(folder, numbers, [size for size, _ in heads]) if resize is None else resize

    def read(numbers: Tensor) -> Tensor:
        return torch.from_numpy(np.stack([_decode(folder, int(n), channels, size) for n in numbers]))

    return Classified(folder.place, (channels, *size), labels, read, names)


def _classes(folder: Folder) -> tuple[Tensor, tuple[str, ...]]:
    """Return the class of each image, (N,), and the names of the classes."""
    tops = [name.partition(os.sep)[0] if os.sep in name else "" for name in folder.names]
    outside = tops.count("")
    if outside:
        raise GameError(
            f"{folder.place} holds {outside:,} images outside of sub-folders: make one sub-folder for each class, e.g. "
            f"{Path(folder.place).name}/cat"
        )
    names = sorted(set(tops))
    if all(name.lower() in PARTS for name in names):
        raise GameError(
            f"{folder.place} has the sub-folders {', '.join(names)}, which are not classes: give one of them, e.g. "
            f"--data {os.path.join(folder.place, names[-1])}"
        )
    if len(names) == 1:
        raise GameError(f"{folder.place} has one class, {names[0]}: a sub-folder for each of 2 or more is needed")
    without = sorted(entry.name for entry in os.scandir(folder.place) if _is_class(entry) and entry.name not in names)
    if without:
        raise GameError(
            f"{os.path.join(folder.place, without[0])} holds no image ({', '.join(SUFFIXES)}), so the classes after it "
            "would be numbered differently: put its images there, or move it elsewhere"
        )
    warn_of_order(names)
    number = {name: k for k, name in enumerate(names)}
    return torch.tensor([number[top] for top in tops]), tuple(names)


def _is_class(entry: os.DirEntry) -> bool:
    return entry.is_dir() and not entry.name.startswith(".")


def _head(folder: Folder, number: int) -> tuple[tuple[int, int], bool]:
    """Return the size (H, W) of an image and whether it is gray."""
    try:
        return header(folder.read(number))
    except Exception as error:  # Pillow's decoders raise anything on damaged bytes
        raise _unreadable(folder, number, error) from error


def _decode(folder: Folder, number: int, channels: int, size: tuple[int, int]) -> np.ndarray:
    try:
        return pixels(folder.read(number), channels, size)
    except Exception as error:
        raise _unreadable(folder, number, error) from error


def _unreadable(folder: Folder, number: int, error: Exception) -> GameError:
    reason = "not an image" if type(error).__name__ == "UnidentifiedImageError" else one_line(error)
    path = os.path.join(folder.place, folder.names[number])
    return GameError(f"{path} cannot be read ({reason}): copy it again, or take it out")


def _one_size(folder: Folder, numbers: Tensor, sizes: list[tuple[int, int]]) -> tuple[int, int]:
    first = sizes[0]
    other = next((i for i, size in enumerate(sizes) if size != first), None)
    if other is None:
        if max(first) > LONGEST_SIDE:
            raise GameError(f"images of {folder.place} have {first[0]} x {first[1]} pixels: resize them, --resize 224")
        return first
    (h, w), (h2, w2) = first, sizes[other]
    names = [folder.names[int(numbers[i])] for i in (0, other)]
    raise GameError(
        f"images of {folder.place} differ in size: {names[0]} has {h} x {w} pixels, {names[1]} {h2} x {w2}; add "
        "--resize H or HxW, e.g. --resize 224"
    )
