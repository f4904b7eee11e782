"""The command line in this process, in an empty folder."""

import shlex
import sys

import pytest

from robustgames.cli import main


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))


def users_module(name, text):
    """Return a fixture that writes a module of the user's into the empty folder, and forgets it after the test."""

    @pytest.fixture(autouse=True)
    def written(in_an_empty_folder, tmp_path):
        (tmp_path / f"{name}.py").write_text(text)
        yield
        sys.modules.pop(name, None)

    return written


def command(words):
    return main(shlex.split(words))


def only_run(folder):
    (config,) = folder.rglob("config.yaml")
    return config.parent
