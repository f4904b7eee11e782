"""A run on disk: its folder, its lock, its checkpoint, its results.

A checkpoint is a pair of files: tensors in `checkpoint.safetensors`, everything else in `checkpoint.json`, which also
carries one digest of both. Each is written beside, flushed and renamed; the pair before is kept as `previous.*`.
Whatever moment a run is killed at, one pair with a matching digest is left. Loading executes no code.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor

from robustgames.errors import GameError

CURRENT, PREVIOUS = "checkpoint", "previous"


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
    plain = _pack(content, "", tensors)
    data = tensors_to_bytes(tensors)
    text = json.dumps({"digest": _digest(plain, data), "content": plain}, indent=1)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / f"{CURRENT}.safetensors.new", data)
        _write(folder / f"{CURRENT}.json.new", text.encode())
        for suffix in ("safetensors", "json"):
            if (folder / f"{CURRENT}.{suffix}").exists():
                os.replace(folder / f"{CURRENT}.{suffix}", folder / f"{PREVIOUS}.{suffix}")
        for suffix in ("safetensors", "json"):
            os.replace(folder / f"{CURRENT}.{suffix}.new", folder / f"{CURRENT}.{suffix}")


def load_checkpoint(folder: str | Path) -> dict[str, Any]:
    """Return the newest undamaged checkpoint of a folder; a warning says so where it is the previous one.

    Raises:
        GameError: there is none.
    """
    folder = Path(folder)
    if not any((folder / f"{name}.json").exists() for name in (CURRENT, PREVIOUS)):
        raise GameError(f"no checkpoint in {folder}: expected {CURRENT}.json, written by save() or `robustgames train`")
    damage = []
    for name in (CURRENT, PREVIOUS):
        # a kill between two renames leaves the tensors of one pair under the other name: the digest tells
        for tensors in (CURRENT, PREVIOUS):
            content, reason = _read_pair(folder / f"{name}.json", folder / f"{tensors}.safetensors")
            if content is not None:
                if damage and all((folder / f"{CURRENT}.{suffix}").exists() for suffix in ("safetensors", "json")):
                    warnings.warn(f"{folder}: {damage[0]}; using the previous checkpoint", stacklevel=2)
                return content
            damage.append(reason)
    raise GameError(f"no usable checkpoint in {folder}: {damage[0]}, and the previous one is damaged too")


def _read_pair(json_file: Path, tensor_file: Path) -> tuple[dict[str, Any] | None, str]:
    try:
        stored = json.loads(json_file.read_bytes())
        data = tensor_file.read_bytes()
        if stored["digest"] != _digest(stored["content"], data):
            return None, f"{tensor_file.name} or {json_file.name} was changed or cut off (its digest does not match)"
        return _unpack(stored["content"], tensors_from_bytes(data)), ""
    except FileNotFoundError as error:
        return None, f"{Path(error.filename).name} is missing"
    except (ValueError, KeyError, TypeError) as error:
        return None, f"{json_file.name} cannot be read ({type(error).__name__})"


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


def _digest(plain: Any, data: bytes) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode() + data).hexdigest()


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
    except yaml.YAMLError as error:
        raise GameError(f"{path} is not valid YAML: restore it, or repeat the run") from error
    if not isinstance(config, dict) or "agent" not in config or "env" not in config:
        raise GameError(f"{path} does not name an agent and an env: restore it, or repeat the run")
    return config


def read_result(folder: Path) -> dict[str, Any] | None:
    """Return the content of result.json, with null as NaN; None where the run has not finished."""
    try:
        return json.loads((folder / "result.json").read_text().replace("null", "NaN"))
    except (OSError, ValueError):
        return None


def write_result(folder: Path, name: str, result: dict[str, Any]) -> None:
    """Write a dictionary of final numbers as `name`, e.g. result.json; NaN becomes null, as JSON has none."""
    with writing(folder):
        text = json.dumps(_finite(result), indent=2, allow_nan=False)
        _write(folder / f"{name}.new", text.encode())
        os.replace(folder / f"{name}.new", folder / name)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not (float("-inf") < value < float("inf")):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list) else value
