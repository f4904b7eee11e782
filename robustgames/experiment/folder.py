"""A run on disk: its folder, its lock, its config and its results."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from robustgames.checkpoints import write_durably
from robustgames.errors import GameError, writing
from robustgames.tensors import rebuild

Content = dict[str, Any]
"""Content of a JSON or YAML file: dictionaries with string keys, lists, strings, numbers, booleans and None."""


def create_folder(out: str | Path, env_id: str, agent: str, seed: int) -> Path:
    """Make and return the new folder out/<env>/<agent>/<time>-seed<k>.

    Raises:
        GameError: The folder cannot be written.
    """
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
        GameError: Another process writes to the folder.
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


# -- the files of a run ----------------------------------------------------------------------------------
def write_config(folder: Path, config: Content) -> None:
    """Write config.yaml, which is enough to repeat the run."""
    with writing(folder):
        write_durably(folder / "config.yaml", yaml.safe_dump(config, sort_keys=False).encode())


def read_config(folder: str | Path) -> Content:
    """Return the config of a run.

    Raises:
        GameError: The folder is not that of a run, or its config is damaged.
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


def read_result(folder: Path) -> Content | None:
    """Return the content of result.json, with null as NaN; None if the run has not finished."""
    try:
        content = json.loads((folder / "result.json").read_text())
    except (OSError, ValueError):
        return None
    return rebuild(content, lambda node, _: math.nan if node is None else node)


def write_result(folder: Path, name: str, result: Content) -> None:
    """Write final numbers to the file `name` of a folder, e.g. result.json; NaN becomes null, as JSON has no NaN."""
    finite = rebuild(result, lambda node, _: None if isinstance(node, float) and not math.isfinite(node) else node)
    with writing(folder):
        write_durably(folder / f"{name}.new", json.dumps(finite, indent=2, allow_nan=False).encode())
        os.replace(folder / f"{name}.new", folder / name)
