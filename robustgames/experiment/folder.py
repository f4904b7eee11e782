"""A run on disk: its folder, its lock, its config and its results."""

from __future__ import annotations

import json
import math
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from robustgames.disk import KINDS, read_plain, write_whole
from robustgames.errors import GameError, writing
from robustgames.tensors import rebuild

Content = dict[str, Any]
"""Content of a JSON or YAML file: dictionaries with string keys, lists, strings, numbers, booleans and None."""

CONFIG = "config.yaml"
LARGEST_CONFIG, LARGEST_RESULT, DEEPEST = 2**18, 2**26, 20  # bytes, bytes, levels: far above what is written


def create_folder(out: str | Path, env_id: str, agent: str, *labels: str) -> Path:
    """Make and return the new folder out/<env>/<agent>/<time>-<label>-<label>….

    Raises:
        GameError: The folder cannot be written.
    """
    env, agent = (word.rpartition(":")[2] for word in (env_id, agent))  # without the modules of the user
    parent = Path(out) / env.removeprefix("robustgames/").replace("/", "-") / agent
    name = "-".join([f"{datetime.now():%Y%m%d-%H%M%S}", *filter(None, labels)])
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
def locked(folder: Path, seconds: float = 0.0) -> Iterator[None]:
    """Hold the run folder for this process; another one that holds it is awaited for so many seconds.

    Raises:
        GameError: Another process writes to the folder, or it holds something else than plain files, see `check_files`.
    """
    check_files(folder)
    lock = FileLock(folder / ".lock")
    with writing(folder):
        try:
            lock.acquire(timeout=seconds)
        except Timeout as error:
            raise GameError(
                f"run folder {folder} is in use by another process: wait for it, or start a new run"
            ) from error
    try:
        yield
    finally:
        lock.release()


def check_files(folder: Path) -> None:
    """Check that a run folder holds plain files and folders only, as it does when it is made.

    What is written into the folder (progress, figures, the lock) then stays in it.

    Raises:
        GameError: A link, a pipe, a socket or a device.
    """
    for parent, folders, names in os.walk(folder):
        for path in (Path(parent, name) for name in (*folders, *names)):
            mode = path.lstat().st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                kind = "a link" if stat.S_ISLNK(mode) else KINDS.get(stat.S_IFMT(mode), "something else")
                raise GameError(f"{path} is {kind}: a run folder holds plain files and folders; remove it")


# -- the files of a run ----------------------------------------------------------------------------------
def write_config(folder: Path, config: Content, name: str = CONFIG) -> None:
    """Write config.yaml, which is enough to repeat the run, or another file of this kind."""
    text = yaml.dump(config, Dumper=_Dumper, sort_keys=False)
    with writing(folder):
        write_whole(folder / name, text.encode())


def read_config(folder: str | Path, name: str = CONFIG) -> Content:
    """Return the config of a run, or the content of another file of this kind.

    Raises:
        GameError: The folder is not that of a run, or its config is damaged.
    """
    path = Path(folder) / name
    try:
        config = yaml.load(read_plain(path, LARGEST_CONFIG).decode(), _Loader)  # a safe loader, without aliases
    except (FileNotFoundError, NotADirectoryError) as error:
        kind = "run" if name == CONFIG else "sweep"
        raise GameError(f"{folder} is not the folder of a {kind}: it has no {name}") from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise GameError(f"{path} cannot be read: {reason}; give yourself the right to, or copy the folder") from error
    except GameError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise GameError(f"{path} is not valid YAML: restore it, or repeat the run") from error
    if not isinstance(config, dict) or "agent" not in config or "env" not in config:
        raise GameError(f"{path} does not name an agent and an env: restore it, or repeat the run")
    _check_tree(config, path)
    return config


class _Dumper(yaml.SafeDumper):
    """A safe dumper that writes what occurs twice twice."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


class _Loader(yaml.SafeLoader):
    """A safe loader that refuses aliases, of which a few lines denote a tree of any size."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases")
        return super().compose_node(parent, index)


def _check_tree(node: Any, path: Path, depth: int = 0) -> None:
    """Check that a tree of a file is as shallow as what is written, and that a terminal can print its words."""
    if depth > DEEPEST:
        raise GameError(f"{path} is nested more than {DEEPEST} levels deep: restore it, or repeat the run")
    if isinstance(node, str) and not node.isprintable():
        raise GameError(f"{path} contains {node[:50]!r}, which is not text: restore it, or repeat the run")
    if isinstance(node, dict):
        for key, item in node.items():
            if not isinstance(key, str):
                raise GameError(f"{path} has the key {str(key)[:50]!r}: keys must be words; restore it")
            _check_tree(key, path, depth)
            _check_tree(item, path, depth + 1)
    elif isinstance(node, list):
        for item in node:
            _check_tree(item, path, depth + 1)


def read_result(folder: Path) -> Content | None:
    """Return the content of result.json, with null as NaN; None if the run has not finished.

    A file that is not the result of a run is ignored with a warning.
    """
    path = folder / "result.json"
    try:
        content = json.loads(read_plain(path, LARGEST_RESULT))
        _check_tree(content, path)
        content = rebuild(content, lambda node, _: math.nan if node is None else node)
        _check_result(content, path)
    except OSError:
        return None
    except (ValueError, RecursionError) as error:  # a GameError also
        reason = error if isinstance(error, GameError) else f"{path} is not JSON"
        warnings.warn(f"{reason}; it is ignored", stacklevel=2)
        return None
    return content


def read_end(folder: Path) -> Content | None:
    """Return `read_result` of a run that is at its end; None also while a finished run is extended to more steps.

    The extension has written its number of steps to the config, and result.json is that of the steps before.
    """
    if (result := read_result(folder)) is None:
        return None
    config = read_config(folder)
    ends_early, steps = bool(config.get("patience")), config.get("steps", 0)
    return result if ends_early or not isinstance(steps, int) or result["timesteps"] >= steps else None


def _check_result(content: Any, path: Path) -> None:
    """Check the entries of a result that tables show; those of `OPTIONAL` may be missing."""
    if not isinstance(content, dict):
        raise GameError(f"{path} holds a {type(content).__name__}, not a result")
    for name, kind in {**REQUIRED, **{key: kind for key, kind in OPTIONAL.items() if key in content}}.items():
        if not isinstance(content.get(name), kind):
            raise GameError(f"{name} in {path} is {str(content.get(name))[:50]!r}")
    for row in (*content["metrics"].values(), *content["start"].values()):
        if not isinstance(row, dict) or not all(isinstance(row.get(key), int | float) for key in ("mean", "std")):
            raise GameError(f"a metric in {path} has no mean and std")
    if not all(isinstance(flag, bool) for flag in content.get("catastrophic_overfitting", [])):
        raise GameError(f"catastrophic_overfitting in {path} is not a list of true and false")


NUMBER = (int, float)
REQUIRED: dict[str, Any] = {
    "agent": str,
    "env": str,
    "timesteps": int,
    "runs": int,
    "diverged": int,
    "start": dict,
    "metrics": dict,
}
OPTIONAL: dict[str, Any] = {
    "timestep": str,
    "settings": dict,
    "seconds": NUMBER,
    "verdicts": dict,
    "catastrophic_overfitting": list,
}


def write_result(folder: Path, name: str, result: Content) -> None:
    """Write final numbers to the file `name` of a folder, e.g. result.json; NaN becomes null, as JSON has no NaN."""
    finite = rebuild(result, lambda node, _: None if isinstance(node, float) and not math.isfinite(node) else node)
    with writing(folder):
        write_whole(folder / name, json.dumps(finite, indent=2, allow_nan=False).encode())
