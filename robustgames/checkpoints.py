"""Checkpoints: one file each, which holds tensors as safetensors and everything else as JSON.

The JSON is in the header of the file, which also carries a digest of both. A checkpoint is written to a temporary
file, flushed and renamed, and the previous one is kept. Whenever a run is killed, one complete checkpoint is left.
Loading a checkpoint executes no code.
"""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from robustgames.errors import GameError, writing
from robustgames.tensor_file import file_digest, file_pieces
from robustgames.tensors import Keys, rebuild

CURRENT, PREVIOUS = "checkpoint.safetensors", "previous.safetensors"


def save_checkpoint(folder: str | Path, content: dict[str, Any]) -> None:
    """Write a tree of dictionaries, tensors, numbers and strings as the current checkpoint of a folder."""
    folder, tensors = Path(folder), {}
    text = json.dumps(_pack(content, tensors), sort_keys=True)
    pieces = file_pieces(text, tensors)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_durably(folder / f"{CURRENT}.new", *pieces)
        if _is_whole(folder / CURRENT):  # a damaged one must not push out a good previous one
            os.replace(folder / CURRENT, folder / PREVIOUS)
        os.replace(folder / f"{CURRENT}.new", folder / CURRENT)


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
        with safe_open(path, "pt") as file:
            tensors, text = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()["content"]  # noqa: SIM118
        if not _is_whole(path):
            return None, f"{path.name} was changed: its digest does not match"
        return _unpack(json.loads(text), tensors), ""
    except FileNotFoundError:
        return None, f"{path.name} is missing"
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        return None, f"{path.name} is cut off or not a checkpoint ({type(error).__name__})"


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


def write_durably(path: Path, *pieces: bytes | memoryview) -> None:
    """Write a file and flush it to the disk."""
    with open(path, "wb") as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
