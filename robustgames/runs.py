"""A run on disk: its folder, its lock, its checkpoint, its results.

A checkpoint is one file: tensors as safetensors, everything else as JSON in its header, which also carries a digest of
both. It is written beside, flushed and renamed; the one before is kept. Whatever moment a run is killed at, one whole
checkpoint is left. Loading executes no code.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor

from robustgames.errors import GameError

CURRENT, PREVIOUS = "checkpoint.safetensors", "previous.safetensors"


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn a refusal of the file system into a `GameError` that names the folder."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise GameError(f"cannot write to {folder}: {reason}; choose another folder, e.g. --out /tmp/runs") from error


def create_folder(out: str | Path, env_id: str, agent: str, seed: int) -> Path:
    """Make and return the new folder out/<env>/<agent>/<time>-seed<k>."""
    parent = Path(out) / env_id.rpartition(":")[2].removeprefix("robustgames/").replace("/", "-") / agent
    name = f"{datetime.now():%Y%m%d-%H%M%S}-seed{seed}"
    with writing(parent):
        parent.mkdir(parents=True, exist_ok=True)
        for attempt in range(1, 1000):
            folder = parent / (name if attempt == 1 else f"{name}-{attempt}")
            try:
                folder.mkdir()
                return folder
            except FileExistsError:
                continue
    raise GameError(f"{parent / name} and its 999 successors exist: choose another folder with --out")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the run folder for this process.

    Raises:
        GameError: another process writes to it.
    """
    lock = FileLock(folder / ".lock")
    with writing(folder):
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise GameError(
                f"run folder {folder} is in use by another process: wait for it, or start a new run"
            ) from error
    try:
        yield
    finally:
        lock.release()


# -- checkpoints ----------------------------------------------------------------------------------------
def save_checkpoint(folder: str | Path, content: dict[str, Any]) -> None:
    """Write a tree of dictionaries, tensors, numbers and strings as the current checkpoint of a folder."""
    folder, tensors = Path(folder), {}
    text = json.dumps(_pack(content, "", tensors), sort_keys=True)
    data = tensors_to_bytes(tensors, {"content": text, "digest": _digest(text, tensors)})
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / f"{CURRENT}.new", data)
        if _read(folder / CURRENT)[0] is not None:  # a damaged one must not push out a good previous one
            os.replace(folder / CURRENT, folder / PREVIOUS)
        os.replace(folder / f"{CURRENT}.new", folder / CURRENT)


def load_checkpoint(folder: str | Path) -> dict[str, Any]:
    """Return the newest undamaged checkpoint of a folder; a warning says so where a damaged one was passed over.

    Raises:
        GameError: there is none.
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
    if (folder / CURRENT).exists():  # else a kill came between the two renames, and nothing is wrong
        warnings.warn(f"{folder}: {damage}; using the previous checkpoint", stacklevel=2)
    return previous


def _read(path: Path) -> tuple[dict[str, Any] | None, str]:
    """Return (content, "") of a checkpoint file, or (None, what is wrong with it)."""
    try:
        with safe_open(path, "pt") as file:
            tensors, header = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
        if header["digest"] != _digest(header["content"], tensors):
            return None, f"{path.name} was changed: its digest does not match"
        return _unpack(json.loads(header["content"]), tensors), ""
    except FileNotFoundError:
        return None, f"{path.name} is missing"
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        return None, f"{path.name} is cut off or no checkpoint ({type(error).__name__})"


def _pack(tree: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """Move the tensors of a tree to `tensors`, leaving {"$tensor": name} in their places."""
    if isinstance(tree, Tensor):
        tensors[path] = tree.detach().cpu().contiguous().clone()
        return {"$tensor": path}
    if isinstance(tree, dict):
        return {key: _pack(value, f"{path}/{key}" if path else key, tensors) for key, value in tree.items()}
    return tree


def _unpack(plain: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(plain, dict):
        if "$tensor" in plain:
            return tensors[plain["$tensor"]]
        return {key: _unpack(value, tensors) for key, value in plain.items()}
    return plain


def _digest(text: str, tensors: dict[str, Tensor]) -> str:
    return hashlib.sha256(text.encode() + tensors_to_bytes(tensors)).hexdigest()


def _write(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


# -- what a run says about itself ------------------------------------------------------------------------
def write_config(folder: Path, config: dict[str, Any]) -> None:
    """Write config.yaml, which is enough to repeat the run."""
    with writing(folder):
        _write(folder / "config.yaml", yaml.safe_dump(config, sort_keys=False).encode())


def read_config(folder: str | Path) -> dict[str, Any]:
    """Return the config of a run.

    Raises:
        GameError: the folder is not that of a run.
    """
    path = Path(folder) / "config.yaml"
    try:
        config = yaml.safe_load(path.read_text())
    except OSError as error:
        raise GameError(f"{folder} is not the folder of a run: it has no config.yaml") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise GameError(f"{path} is not valid YAML: restore it, or repeat the run") from error
    if not isinstance(config, dict) or "agent" not in config or "env" not in config:
        raise GameError(f"{path} does not name an agent and an env: restore it, or repeat the run")
    return config


def read_result(folder: Path) -> dict[str, Any] | None:
    """Return the content of result.json, with null as NaN; None where the run has not finished."""
    try:
        return _replaced(json.loads((folder / "result.json").read_text()), lambda leaf: leaf is None, float("nan"))
    except (OSError, ValueError):
        return None


def write_result(folder: Path, name: str, result: dict[str, Any]) -> None:
    """Write a dictionary of final numbers as `name`, e.g. result.json; NaN becomes null, as JSON has none."""
    with writing(folder):
        text = json.dumps(_replaced(result, _has_no_json, None), indent=2, allow_nan=False)
        _write(folder / f"{name}.new", text.encode())
        os.replace(folder / f"{name}.new", folder / name)


def _has_no_json(leaf: Any) -> bool:
    return isinstance(leaf, float) and not math.isfinite(leaf)


def _replaced(tree: Any, wrong: Callable[[Any], bool], by: Any) -> Any:
    """Return a tree of dictionaries and lists with its wrong leaves replaced."""
    if isinstance(tree, dict):
        return {key: _replaced(item, wrong, by) for key, item in tree.items()}
    if isinstance(tree, list):
        return [_replaced(item, wrong, by) for item in tree]
    return by if wrong(tree) else tree
