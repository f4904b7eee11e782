"""Inputs and labels in one file: .npz, .safetensors, or a pair of IDX files."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from robustgames.data.classified import Classified, check_kind, from_arrays
from robustgames.data.labeled import IMAGES, LABELS, class_names, find_idx, read_idx
from robustgames.disk import check_plain
from robustgames.errors import GameError, one_line, shorten

PAIRS = (("images", "labels"), ("x", "y"), ("x_test", "y_test"), ("test_images", "test_labels"), ("data", "target"))
"""Names of inputs and labels in a file, the first pair that it has is taken."""
LAYERS = "-idx3-ubyte"


def npz(path: Path) -> Classified:
    """Return the arrays of an .npz, which stay in memory in their own data type; objects (pickles) are refused."""
    check_plain(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            x, y = keys(path.name, file.files)
            return from_arrays(path.name, file[x], file[y])
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, KeyError, AttributeError, TypeError) as error:
        if isinstance(error, GameError):
            raise
        reason = one_line(error)
        raise GameError(
            f"{path} cannot be read as .npz ({reason}): write it by np.savez(path, x=..., y=...)"
        ) from error


def safetensors(path: Path) -> Classified:
    """Return the tensors of a file; images are read from it when they are needed, a table at once."""
    check_plain(path)
    try:
        file = safe_open(path, "pt")
        x, y = keys(path.name, file.keys())
        part = file.get_slice(x)
        shape = part.get_shape()
        first = part[:1] if shape and shape[0] else torch.empty(0)
        if len(shape) < 4 or (first.dtype != torch.uint8 and not first.is_floating_point()):
            return from_arrays(path.name, file.get_tensor(x), file.get_tensor(y))
        small = from_arrays(path.name, first, torch.zeros(1))
        labels = from_arrays(path.name, torch.zeros(shape[0], 1, dtype=torch.uint8), file.get_tensor(y))
    except (SafetensorError, OSError) as error:
        raise GameError(f"{path} cannot be read as safetensors ({one_line(error)}): write it by save_file") from error
    check_kind(path.name, first)
    moved = small.shape != tuple(shape[1:])

    def read(numbers: Tensor) -> Tensor:
        rows = torch.cat([part[n : n + 1] for n in numbers.tolist()])
        return rows.movedim(-1, 1) if moved else rows

    return Classified(path.name, small.shape, labels.labels, read, labels.names)


def idx(path: Path) -> Classified:
    """Return the images of an IDX file with the labels of the one beside it, or the held-out half of a folder."""
    if path.is_dir():
        images, labels = find_idx(path, f"t10k-images{LAYERS}"), find_idx(path, "t10k-labels-idx1-ubyte")
    else:
        name = path.name.replace("images", "labels").replace("idx3", "idx1")
        images, labels = path, path.with_name(name)
        if name == path.name or not labels.is_file():
            raise GameError(
                f"the labels of {path} are looked for in {name}, which is not there: put it beside the images"
            )
    x, y = read_idx(images, IMAGES).copy(), read_idx(labels, LABELS).copy()
    found = from_arrays(str(path), torch.from_numpy(x), y, class_names(y))
    return replace(found, shuffled=True)


def is_idx(path: Path) -> bool:
    """Return whether a path is an IDX file of images, or a folder that holds some."""
    names = (entry.name for entry in path.iterdir()) if path.is_dir() else (path.name,)
    return any("idx3-ubyte" in name for name in names)


def keys(place: str, found: Iterable[str]) -> tuple[str, str]:
    """Return the names of inputs and labels among those of a file or dictionary."""
    found = list(found)
    for x, y in PAIRS:
        if x in found and y in found:
            return x, y
    known = ", ".join(f"{x} and {y}" for x, y in PAIRS)
    has = shorten(", ".join(map(str, found)) or "nothing")
    raise GameError(f"{place} holds {has}: {known} are known pairs of inputs and labels")


def of_mapping(place: str, values: dict[str, Any]) -> Classified:
    """Return the inputs and labels of a dictionary of arrays."""
    x, y = keys(place, values)
    return from_arrays(place, values[x], values[y])
