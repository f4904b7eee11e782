"""Code that the config of a run names: imported without a question for the owner of the run only."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

from robustgames.envs.control.grid_words import parse_box
from robustgames.errors import GameError

PATHS = ("data", "versions")
"""Keys of a config whose values never name code."""


def check_code(config: Any, folder: Path, trust: bool) -> None:
    """Check that the user consents to importing the modules that the config of a run names, and make them importable.

    A word "module:name" in a config names code: an env, a game, the env inside of a control env. It is accepted if

    * `trust` is true: the user read the question, and answered it;
    * or the module is imported already, by the program that calls this;
    * or the run is the user's own: the file of the module (the folder of a package) lies in a folder that contains the
      folder of the run, at any depth. A module in the folder of the run itself came with it, and does not count.

    No module is imported to find this out. The current folder comes after all others in the search, and it is appended
    to sys.path only if an accepted module lies there.

    Args:
        config: Content of config.yaml.
        folder: Folder of the run.
        trust: Whether the user consents to every import.

    Raises:
        GameError: A module is named for which nothing of this holds; the message names it and its file.
    """
    for key, word in _words(config):
        for module in {word.partition(":")[0], word.rpartition(":")[0]} - {"", *sys.modules}:
            spec = _find(module.partition(".")[0])
            place = None if spec is None else _place(spec)
            if not trust and (place is None or not _owns(place, folder)):
                raise _question(folder, key, word, module, spec)
            if place is not None and place == Path.cwd() and str(place) not in sys.path:
                sys.path.append(str(place))


def _words(node: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield (key, word) of the words in a config that may name code."""
    if key == "uncertainty" and isinstance(node, str) and _is_box(node):
        return  # mass=0.5:2 has a colon, and is never imported
    if isinstance(node, str) and (":" in node or key == "game"):  # a game is imported without a colon also
        yield key, node
    elif isinstance(node, dict):
        for name in node.keys() - {*PATHS}:
            yield from _words(name)
            yield from _words(node[name], name)
    elif isinstance(node, list):
        for item in node:
            yield from _words(item, key)


def _is_box(word: str) -> bool:
    try:
        return bool(parse_box(word))
    except GameError:
        return False


def _find(top: str) -> ModuleSpec | None:
    """Return where a module or package at the top level would be imported from; nothing is imported."""
    importlib.invalidate_caches()
    try:
        return importlib.util.find_spec(top) or PathFinder.find_spec(top, [os.getcwd()])
    except (ImportError, ValueError):
        return None


def _place(spec: ModuleSpec) -> Path | None:
    """Return the folder that holds the file of a module or the folder of a package; None if it is built in."""
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).resolve().parent
    return Path(spec.origin).resolve().parent if spec.has_location and spec.origin else None


def _owns(place: Path, folder: Path) -> bool:
    return place in folder.resolve().parents


def _question(folder: Path, key: str, word: str, module: str, spec: ModuleSpec | None) -> GameError:
    named = f"{folder / 'config.yaml'} names code ({key}: {word})"
    if spec is None:
        return GameError(f"{named}, and there is no module {module!r} here: run from the folder of {module}.py")
    file = spec.origin or next(iter(spec.submodule_search_locations or ()), "built in")
    return GameError(
        f"{named}: importing {module} runs {file}; if you trust whoever wrote it, add --trust (in Python trust=True)"
    )
