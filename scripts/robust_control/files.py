"""Settings beside results, so that those of different settings are not mixed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from robustgames.errors import GameError
from robustgames.experiment.folder import write_result


def claim(path: Path, settings: dict[str, Any]) -> None:
    """Write the settings of what a folder will hold, or check that they are those that it has.

    Raises:
        GameError: it holds results of other settings; the message names them.
    """
    if path.exists():
        check_same(path, json.loads(path.read_text()), settings)
    else:
        write_result(path.parent, path.name, settings)


def check_same(path: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Check that results on disk are of the settings that are wanted."""
    here, asked = _flat(found), _flat(wanted)
    other = [key for key in {**here, **asked} if here.get(key) != asked.get(key)]
    if other:
        told = ", ".join(f"{key} {here.get(key)} and not {asked.get(key)}" for key in other[:4])
        raise GameError(f"{path} is of {told}: repeat the settings, or begin another folder, e.g. --out other")


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    parts: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        parts |= _flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return parts
