"""Runs that are continued: what may change, what is written once, what a full disk leaves."""

import csv
import errno
import json
import os
import shlex
import subprocess
import sys

import pytest
import torch
import yaml
from in_process import command, in_an_empty_folder, only_run  # noqa: F401 (a fixture)
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from robustgames import experiment
from robustgames.agents import GameAgent
from robustgames.checkpoints import load_checkpoint
from robustgames.cli import main
from robustgames.cli.experiment_words import parse
from robustgames.experiment import GameExperiment, complete
from robustgames.tensors import tensors_of

GAME = "train extra_adam robustgames/Forsaken-v0 --lr 0.05 --runs 2 --steps"
CONTROL = (
    "train robust_ddpg robustgames/ActionRobustPendulum-v0 --runs 1 --learning-starts 10 --batch-size 4 --hidden 8 8 "
    "--steps"
)


def refused(words, capsys):
    capsys.readouterr()
    assert command(words) == 2
    (line,) = [text for text in capsys.readouterr().err.splitlines() if text.startswith("robustgames:")]
    return line


def same_state(one, other):
    pairs = zip(tensors_of(load_checkpoint(one)), tensors_of(load_checkpoint(other)), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(("words", "short", "long"), [(GAME, 100, 200), (CONTROL, 30, 60)])
def test_steps_extend_a_run_to_what_it_would_have_been(words, short, long, tmp_path):
    assert command(f"{words} {short} --out short") == command(f"{words} {long} --out long") == 0
    folder, wanted = only_run(tmp_path / "short"), only_run(tmp_path / "long")
    assert command(f"train --resume {folder} --steps {long}") == 0
    assert same_state(folder, wanted)
    results = [json.loads((path / "result.json").read_text()) for path in (folder, wanted)]
    assert results[0]["metrics"] == results[1]["metrics"] and results[0]["timesteps"] >= long
    assert yaml.safe_load((folder / "config.yaml").read_text())["steps"] == long


def test_the_time_of_a_run_is_that_of_all_its_sessions(tmp_path):
    asked = GameExperiment("gda", "robustgames/Quadratic-v0", runs=1, steps=60, checkpoint=20)

    def stop(logger):
        if logger.name_to_value["time/timesteps"] >= 40:
            raise RuntimeError("power cut")

    for folder, content, least in (
        (tmp_path / "a", '{"seconds": 1000.0, "cpu_seconds": 500.0}', (1000, 500)),
        (tmp_path / "b", "[1]", (0, 0)),  # of somebody else
        (tmp_path / "c", '{"seconds": NaN, "cpu_seconds": 1}', (0, 0)),
    ):
        with pytest.raises(RuntimeError, match="power cut"):
            complete(asked, folder, stop)
        spent = json.loads((folder / ".seconds.json").read_text())
        assert 0 < spent["seconds"] < 300 and 0 <= spent["cpu_seconds"] < 100
        (folder / ".seconds.json").write_text(content)
        result = complete(asked, folder)
        assert result["timesteps"] == 60
        assert least[0] < result["seconds"] < least[0] + 300 and least[1] <= result["cpu_seconds"] < least[1] + 100


def test_the_command_that_continues_a_run_can_be_typed(tmp_path):
    def press(logger):
        raise KeyboardInterrupt

    asked = GameExperiment("gda", "robustgames/Quadratic-v0", runs=1, steps=20)
    for name, word in (("lr=0.1", "{}"), ("my runs", "'{}'")):
        with pytest.raises(KeyboardInterrupt) as stop:
            complete(asked, tmp_path / name, press)
        assert str(stop.value) == word.format(tmp_path / name)


def test_an_interrupted_main_job_names_the_rest_as_it_was_asked_for(monkeypatch, capsys):
    def press(job, out):
        raise KeyboardInterrupt("x/run")

    monkeypatch.setattr(experiment, "train", press)
    assert command("train --seed 3 --runs 2 --steps 80 --evaluations 7 --out x") == 130
    said = " ".join(capsys.readouterr().err.split())
    assert "continue with: robustgames train --resume x/run; then: robustgames train adversarial_training" in said
    words = shlex.split(said.partition("; then: ")[2])
    made, out, _ = parse(words[2:])
    assert (made.seed, made.runs, made.steps, made.evaluations, str(out)) == (3, 2, 80, 7, "x")


def test_what_cannot_change_in_a_run_is_refused_by_name(tmp_path, capsys):
    assert command(f"{GAME} 40 --anneal") == 0
    folder = only_run(tmp_path)
    before = (folder / "checkpoint.safetensors").read_bytes()
    for flag in ("--seed 9", "--runs 3", "--device cpu", "--out x", "--lr 0.1"):
        assert f"{flag.split()[0]} cannot change" in refused(f"train --resume {folder} {flag}", capsys)
    assert "only be extended" in refused(f"train --resume {folder} --steps 20", capsys)
    assert "--anneal" in refused(f"train --resume {folder} --steps 80", capsys)
    assert (folder / "checkpoint.safetensors").read_bytes() == before


def test_a_folder_without_a_checkpoint_begins(tmp_path):
    assert command(f"{GAME} 100 --out whole") == command(f"{GAME} 100 --out begun") == 0
    folder, wanted = only_run(tmp_path / "begun"), only_run(tmp_path / "whole")
    for path in folder.iterdir():
        if path.is_file() and path.name != "config.yaml":
            path.unlink()
    assert command(f"train --resume {folder}") == 0
    assert same_state(folder, wanted) and (folder / "result.json").exists()


def test_every_step_is_logged_once_after_a_kill(tmp_path, monkeypatch):
    assert command(f"{GAME} 200 --checkpoint 60 --out whole") == 0
    steps, saved = [], GameAgent.save

    def save(agent, path):
        if agent.num_timesteps > 150:  # as if killed: nothing after this step is saved
            steps.append(agent.num_timesteps)
            raise KeyboardInterrupt
        saved(agent, path)

    monkeypatch.setattr(GameAgent, "save", save)
    assert command(f"{GAME} 200 --checkpoint 60 --out killed") == 130
    monkeypatch.undo()
    os.chdir(tmp_path)
    folder = only_run(tmp_path / "killed")
    assert load_checkpoint(folder)["timesteps"] < steps[0] - 30  # rows and events after it are there
    assert command(f"train --resume {folder}") == 0

    def logged(folder):
        rows = [row for path in folder.glob("progress*.csv") for row in csv.DictReader(path.open())]
        events = EventAccumulator(str(folder)).Reload()
        tag = next(tag for tag in events.Tags()["scalars"] if "residual" in tag)
        curve = [event.step for event in events.Scalars(tag)]
        return sorted(int(row["time/timesteps"]) for row in rows), curve

    found, wanted = logged(folder), logged(only_run(tmp_path / "whole"))
    assert found == wanted and len(set(found[0])) == len(found[0]) > 40


@pytest.mark.parametrize("file", ["progress", "figures"])
def test_a_full_disk_is_named_and_the_run_resumes(file, tmp_path, monkeypatch, capsys):
    from stable_baselines3.common.logger import CSVOutputFormat

    from robustgames import figures

    def full(*arguments, **keywords):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(*((CSVOutputFormat, "write", full) if file == "progress" else (figures, "save", full)))
        line = refused(f"{GAME} 60", capsys)
    folder = only_run(tmp_path)
    assert "no space left on device" in line and f"--resume {folder.relative_to(tmp_path)}" in line
    assert not (folder / "result.json").exists()
    assert command(f"train --resume {folder}") == 0
    assert (folder / "result.json").exists() and len(list((folder / "figures").iterdir())) == 2


def test_ctrl_c_before_the_config_is_written_leaves_no_folder(tmp_path, monkeypatch, capsys):
    from robustgames.experiment import driver

    def pressed(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(driver, "write_config", pressed)
    assert command(f"{GAME} 20") == 130
    assert "interrupted: nothing is written" in capsys.readouterr().err
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", ["[red]x[/red]", "plus±", "a b"])
def test_names_of_folders_are_shown_as_they_are(name, tmp_path, capsys):
    assert main([*shlex.split(f"{GAME} 20"), "--out", name]) == 0
    assert f"run folder   {name}/Forsaken-v0" in capsys.readouterr().out
    assert only_run(tmp_path / name)


def test_the_home_folder_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert command(f"{GAME} 20 --out ~/runs") == 0
    assert only_run(tmp_path / "home" / "runs") and not (tmp_path / "~").exists()


@pytest.mark.parametrize("redirection", ["2>&-", "| head -c 10", ""])
def test_results_are_printed_on_any_stream(redirection, tmp_path):
    words = f"{sys.executable} -m robustgames.cli {GAME} 20 --out run {redirection}"
    settings = os.environ | {"PYTHONIOENCODING": "ascii:strict", "LC_ALL": "C"}
    done = subprocess.run(["bash", "-c", words], env=settings, capture_output=True)
    assert b"Traceback" not in done.stderr and done.returncode == 0
    assert len(list(tmp_path.rglob("result.json"))) == 1
    if not redirection:
        assert b"+-" in done.stdout and b"run/Forsaken-v0" in done.stdout


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("WORLD_SIZE", "WORLD_SIZE is 2, but RANK is not set"),
        ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_SIZE is 2: every process of mpirun"),
        ("PMI_SIZE", "PMI_SIZE is 2: every process of mpirun"),
    ],
)
def test_processes_that_cannot_find_each_other_are_refused(name, said, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv(name, "2")
    assert said in refused(f"{GAME} 20", capsys)
    assert not list(tmp_path.iterdir())
    monkeypatch.delenv(name)
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert command(f"{GAME} 20") == 0
