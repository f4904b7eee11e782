"""Checkpoints: one file each, which holds tensors as safetensors and everything else as JSON.

The JSON is in the header of the file, which also carries a digest of both. A checkpoint is written to a temporary
file, flushed and renamed, and the previous one is kept. Whenever a run is killed, one complete checkpoint is left.
Loading a checkpoint executes no code. A digest finds damage, not intent: whoever changes a file can also write its
digest, so what restores a checkpoint checks its content (`restoring`, `check_counts`, `check_like`).
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from robustgames.disk import check_plain, write_new
from robustgames.errors import GameError, writing
from robustgames.tensor_file import file_digest, file_pieces
from robustgames.tensors import Keys, rebuild

CURRENT, PREVIOUS = "checkpoint.safetensors", "previous.safetensors"
CHECKPOINT = "the checkpoint"
"""Name in messages of parts, which do not see the path of the file."""


def save_checkpoint(folder: str | Path, content: dict[str, Any]) -> None:
    """Write a tree of dictionaries, tensors, numbers and strings as the current checkpoint of a folder."""
    folder, tensors = Path(folder), {}
    text = json.dumps(_pack(content, tensors), sort_keys=True)
    pieces = file_pieces(text, tensors)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(f"{CURRENT}*.new"):  # by a save that was killed
            left.unlink(missing_ok=True)
        new = write_new(folder / CURRENT, *pieces)
        if _is_whole(folder / CURRENT):  # a damaged one must not push out a good previous one
            os.replace(folder / CURRENT, folder / PREVIOUS)
        os.replace(new, folder / CURRENT)


def load_checkpoint(folder: str | Path) -> dict[str, Any]:
    """Return the newest undamaged checkpoint of a folder, with a warning if it is not the current one.

    Raises:
        GameError: The folder has no undamaged checkpoint.
    """
    folder = Path(folder)
    current, damage = _read(folder / CURRENT)
    if current is not None:
        return current
    previous, worse = _read(folder / PREVIOUS)
    if previous is None and (folder / CURRENT).exists() | (folder / PREVIOUS).exists():
        raise GameError(f"no usable checkpoint in {folder}: {damage}; {worse}")
    if previous is None:
        raise GameError(f"no checkpoint in {folder}: expected {CURRENT}, written by save() or `robustgames train`")
    if (folder / CURRENT).exists():  # else the run was killed between the two renames, and nothing is wrong
        warnings.warn(f"{folder}: {damage}; using the previous checkpoint", stacklevel=2)
    return previous


def _read(path: Path) -> tuple[dict[str, Any] | None, str]:
    """Return (content, "") of a checkpoint file, or (None, the damage)."""
    try:
        check_plain(path)
        with open(path, "rb"):  # safetensors names no reason
            pass
        with safe_open(path, "pt") as file:
            tensors, text = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()["content"]  # noqa: SIM118
        if not _is_whole(path):
            return None, f"{path.name} was changed: its digest does not match"
        content = _unpack(json.loads(text), tensors)
    except FileNotFoundError:
        return None, f"{path.name} is missing"
    except PermissionError:
        return None, f"{path.name} cannot be read: permission denied"
    except GameError as error:
        return None, str(error)
    except Exception as error:  # of any kind: the bytes may have been written to cause one
        return None, f"{path.name} is cut off or not a checkpoint ({type(error).__name__})"
    return (content, "") if isinstance(content, dict) else (None, f"{path.name} has no entries")


def _pack(content: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Move the tensors of a tree to `tensors`, leaving {"$tensor": name} in their places."""

    def pack(node: Any, path: Keys) -> Any:
        if not isinstance(node, Tensor):
            return node
        name = "/".join(map(str, path))
        tensors[name] = node.detach().cpu().contiguous()
        return {"$tensor": name}

    return rebuild(content, pack)


def _unpack(plain: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Any]:
    return rebuild(plain, lambda node, _: tensors[node["$tensor"]] if _is_packed(node) else node)


def _is_packed(node: Any) -> bool:
    return isinstance(node, dict) and "$tensor" in node


def _is_whole(path: Path) -> bool:
    """Return whether a file is a checkpoint with the content of its digest."""
    try:
        found, stated = file_digest(path)
    except (OSError, KeyError, TypeError, ValueError, AttributeError):
        return False
    return found == stated


# -- the content of a checkpoint -------------------------------------------------------------------------
@contextmanager
def restoring(what: object) -> Iterator[None]:
    """Turn every failure of code that restores something from a file into a `GameError` that names the file."""
    try:
        yield
    except GameError:
        raise
    except Exception as error:  # of any kind: the content may have been written to cause one
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}".removesuffix(": ")
        raise GameError(f"{what} does not fit ({reason}): it was changed, restore it or repeat the run") from error


def check_counts(content: Mapping[str, Any], what: object, *names: str) -> None:
    """Check that entries are whole numbers from 0 on.

    Raises:
        GameError: If one is missing, of another type or out of range.
    """
    for name in names:
        value = content.get(name)
        if type(value) is not int or not 0 <= value < 2**63:
            raise GameError(f"{name} in {what} is {str(value)[:50]!r}: it must be a whole number of at least 0")


@dataclass(frozen=True)
class Several:
    """A place in the second tree of `check_like` for any number of rows of a tensor, or of items of a list.

    Attributes:
        item: A row, or an item.
        most: Largest number of them.
    """

    item: Any
    most: int = 2**63


def check_like(found: Any, fresh: Any, what: object, path: Keys = (), optional: Collection[str] = ()) -> None:
    """Check that a tree has the keys, shapes, types and signs of counts of another one; it may have further keys.

    Args:
        found: Tree of a file.
        fresh: Tree of the object into which it is loaded.
        what: Name of the file.
        path: Path of the root.
        optional: Keys that files of earlier versions may lack.

    Raises:
        GameError: If an entry does not fit.
    """
    name = "/".join(map(str, path))
    items: Mapping[Any, Any] = {}
    if isinstance(fresh, Tensor):
        fits = isinstance(found, Tensor) and (found.shape, found.dtype) == (fresh.shape, fresh.dtype)
    elif isinstance(fresh, Several):
        fits, items = _fits_several(found, fresh), _items_of_several(found, fresh)
    elif isinstance(fresh, Mapping):
        fits = isinstance(found, Mapping) and set(found) >= set(fresh) - set(optional)
        items = {key: item for key, item in fresh.items() if fits and key in found}
    elif isinstance(fresh, list | tuple):
        fits, items = isinstance(found, list | tuple) and len(found) == len(fresh), dict(enumerate(fresh))
    elif type(fresh) is int:
        fits = type(found) is int and found >= 0
    else:
        fits = isinstance(found, type(fresh)) or (isinstance(fresh, float) and isinstance(found, int))
    if not fits:
        raise GameError(f"{name} in {what} is {_kind(found)}, expected {_kind(fresh)}: restore it or repeat the run")
    for key, item in items.items():  # none of a leaf
        check_like(found[key], item, what, (*path, key), optional)  # type: ignore[index]


def _fits_several(found: Any, fresh: Several) -> bool:
    if isinstance(row := fresh.item, Tensor):
        fits = isinstance(found, Tensor) and (found.shape[1:], found.dtype) == (row.shape, row.dtype)
        return fits and found.dim() == row.dim() + 1 and len(found) <= fresh.most
    return isinstance(found, list | tuple) and len(found) <= fresh.most


def _items_of_several(found: Any, fresh: Several) -> Mapping[Any, Any]:
    return dict.fromkeys(range(len(found)), fresh.item) if isinstance(found, list | tuple) else {}


def lacks(found: Any, fresh: Any) -> bool:
    """Return whether a tree lacks an optional key of another one, see `check_like`."""
    if isinstance(fresh, Mapping):
        return any(key not in found or lacks(found[key], item) for key, item in fresh.items())
    if isinstance(fresh, list | tuple):
        return any(lacks(one, other) for one, other in zip(found, fresh, strict=True))
    return False


def _kind(value: Any) -> str:
    """Return a short description of a node of a tree."""
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)} in {value.dtype}"
    if isinstance(value, Several):
        return f"several of {_kind(value.item)}"
    if isinstance(value, Mapping):
        return f"the entries {', '.join(map(str, value))}"[:200]
    return f"{len(value)} items" if isinstance(value, list | tuple) else str(value)[:50]
