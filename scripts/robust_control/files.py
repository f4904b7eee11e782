"""Settings next to results, so that results of different settings are not mixed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from robustgames.errors import GameError
from robustgames.experiment.folder import write_result


def claim(path: Path, settings: dict[str, Any]) -> None:
    """Write the settings of the results of a folder, or check that the folder has the same ones.

    Raises:
        GameError: The folder has results of other settings; the message names them.
    """
    if path.exists():
        check_same(path, json.loads(path.read_text()), settings)
    else:
        write_result(path.parent, path.name, settings)


def check_same(path: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Check that results on disk have the wanted settings."""
    here, given = _flat(found), _flat(wanted)
    other = [key for key in {**here, **given} if here.get(key) != given.get(key)]
    if other:
        conflicts = ", ".join(f"{key} {here.get(key)} and not {given.get(key)}" for key in other[:4])
        raise GameError(f"{path} has {conflicts}: repeat the settings, or choose another folder, e.g. --out other")


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    parts: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        parts |= _flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return parts
