"""A run on disk: its folder, its lock, its config and its results."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from robustgames.checkpoints import write_durably
from robustgames.errors import GameError, writing


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


# -- what a run says about itself ------------------------------------------------------------------------
def write_config(folder: Path, config: dict[str, Any]) -> None:
    """Write config.yaml, which is enough to repeat the run."""
    with writing(folder):
        write_durably(folder / "config.yaml", yaml.safe_dump(config, sort_keys=False).encode())


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
        write_durably(folder / f"{name}.new", text.encode())
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
