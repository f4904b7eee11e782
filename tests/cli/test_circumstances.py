"""Commands under odd circumstances: no right to read or write, a clock that stands still, odd names of folders."""

import os
import tempfile
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from robustgames import cli

TRAIN = ["train", "extra_adam", "robustgames/Quadratic-v0", "--lr", "0.01", "--steps", "40", "--runs", "2", "--out"]
SMALL = ["--runs", "1", "--learning-starts", "5", "--out"]
CONTROL = ["train", "robust_ddpg", "robustgames/ActionRobustPendulum-v0", "--steps", "30", *SMALL]
NOBODY = 65534


@contextmanager
def without_rights():
    """Act as a user who owns nothing, if the tests run as root, whom no mode of a file stops."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def refusal(words, capsys):
    capsys.readouterr()
    with without_rights():
        code = cli.main(words)
    lines = capsys.readouterr().err.splitlines()
    assert code == 2 and len(lines) == 1
    return lines[0]


@pytest.fixture
def run(monkeypatch):
    """A finished run in the current folder, which others may read: the folder of pytest is closed to them."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        monkeypatch.chdir(folder)
        assert cli.main([*TRAIN, "out"]) == 0
        run = next(Path("out").glob("*/*/*"))
        yield run
        for path in (run, *run.rglob("*")):
            path.chmod(0o755)


def test_what_cannot_be_read_is_named_with_its_reason(run, capsys):
    run.chmod(0o777)
    files = [run / name for name in ("checkpoint.safetensors", "previous.safetensors")]
    for path in files:
        path.chmod(0)
    said = refusal(["evaluate", str(run)], capsys)
    assert "no usable checkpoint in out/" in said and "checkpoint.safetensors cannot be read: permission denied" in said
    (run / "config.yaml").chmod(0)
    for words in (["evaluate", str(run)], ["train", "--resume", str(run)], ["attack", str(run)]):
        assert f"{run}/config.yaml cannot be read: permission denied; give yourself" in refusal(words, capsys)


def test_what_cannot_be_written_is_named_before_the_work(run, capsys):
    for path in (run, Path("out")):
        path.chmod(0o555)
    for words in (["evaluate", str(run)], ["train", "--resume", str(run), "--steps", "80"]):
        said = refusal(words, capsys)
        assert f"cannot write to {run}: {run} is not a folder" in said and said.endswith(
            "copy the run to a folder of yours"
        )
    assert "cannot write to out: out is not a folder that you can write to" in refusal([*TRAIN, "out"], capsys)


@pytest.mark.parametrize("words", [TRAIN, CONTROL], ids=["game", "control"])
def test_a_clock_that_stands_still_stops_nothing(words, tmp_path, monkeypatch, capsys):
    for name in ("time", "perf_counter", "monotonic", "process_time"):
        monkeypatch.setattr(time, name, partial(float, getattr(time, name)()))
    assert cli.main([*words, str(tmp_path)]) == 0
    run = next(tmp_path.glob("*/*/*"))
    assert cli.main(["evaluate", str(run), *([] if words is TRAIN else ["--grid", "mass=1,2", "--episodes", "1"])]) == 0
    assert "Traceback" not in capsys.readouterr().err


def test_signs_that_a_terminal_acts_upon_are_printed_as_escapes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    name = "a\x1b[2J\x1b]0;title\x07[red]b[/red]"
    for words in (TRAIN, CONTROL):
        assert cli.main([*words, name]) == 0
    for run in Path(name).glob("*/*/*"):
        grid = (
            ["--grid", "mass=1,2", "--episodes", "1", "--video", f"{name}/film.gif"] if "Pendulum" in str(run) else []
        )
        assert cli.main(["evaluate", str(run), *grid]) == 0
    said = capsys.readouterr()
    assert "\x1b" not in said.out + said.err and "\x07" not in said.out + said.err
    shown = r"a\x1b[2J\x1b]0;title\x07[red]b[/red]"
    for label in ("run folder  ", "curves  ", "figure  ", "video  "):
        assert any(line.startswith(label) and shown in line for line in said.out.splitlines()), label
