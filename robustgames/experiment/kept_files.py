"""Files from which runs start, kept in the run folder: so it can be moved, resumed and repeated without them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from robustgames.disk import read_plain, write_whole
from robustgames.errors import writing
from robustgames.experiment.base import A, Experiment
from robustgames.experiment.folder import read_config

KEPT = ("weights",)
"""Settings of an env that may name a file in which all runs start. Folders of data are not kept."""
LARGEST = 2**31
"""Largest number of bytes of such a file."""


def keep_files(experiment: Experiment, folder: Path) -> None:
    """Copy the files that settings of the env name into a run folder, unless it has them or they no longer exist."""
    for name, path in _paths(experiment.env_settings).items():
        if not (copy := _copy(folder, name, path)).exists() and path.is_file():
            with writing(folder):
                write_whole(copy, read_plain(path, LARGEST))


def with_kept_files(experiment: Experiment[A], folder: Path) -> Experiment[A]:
    """Return the experiment with the copies in its run folder instead of the files; a run without copies needs them."""
    copies = {name: _copy(folder, name, path) for name, path in _paths(experiment.env_settings).items()}
    found = {name: str(copy) for name, copy in copies.items() if copy.exists()}
    return replace(experiment, env_settings={**experiment.env_settings, **found}) if found else experiment


def kept_in(folder: Path) -> list[Path]:
    """Return the copies in a run folder of the files that its config names."""
    copies = (_copy(folder, name, path) for name, path in _paths(read_config(folder).get("env_settings")).items())
    return [copy for copy in copies if copy.is_file()]


def _paths(env_settings: Any) -> dict[str, Path]:
    """Return {setting: path} of the settings of an env that name a file."""
    settings = env_settings if isinstance(env_settings, dict) else {}
    given = ((name, settings.get(name)) for name in KEPT)
    return {name: Path(value) for name, value in given if isinstance(value, str) and value}


def _copy(folder: Path, name: str, path: Path) -> Path:
    return folder / f"{name}{path.suffix}"
