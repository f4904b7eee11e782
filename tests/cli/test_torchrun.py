"""`robustgames train` in several processes: one folder, one line of an error, and the files of one process."""

import csv
import json
import os
import re
import shlex
import signal
import sys
import time

import pytest
import torch
from in_process import in_an_empty_folder, only_run  # noqa: F401 (a fixture)
from several import Team

from robustgames.checkpoints import CURRENT, load_checkpoint
from robustgames.cli import main
from robustgames.tensors import tensors_of

CLASSIFIER = (
    "train adversarial_training robustgames/DigitsAdversarial-v0 --steps {steps} --runs 1 --checkpoint 40 --shards 2 "
    "--evaluations 4 "
    "--set hidden=[8] batch_size=16"
)
GAN = (
    "train extra_adam robustgames/DigitsGAN-v0 --steps {steps} --runs 1 --checkpoint 40 --shards 2 --evaluations 4 "
    "--set hidden=[8] batch_size=16 lipschitz=none"
)
WORKING = """
import os, torch, robustgames as rg
@rg.register("mine/Fails-v0")
class Fails(rg.ZeroSumGame):
    sizes, batch_size, calls = (2, 2), 4, 0
    def draw(self, shape, generator):
        return torch.rand((*shape, 4, 1), generator=generator)
    def payoff(self, x, y, sample):
        Fails.calls += 1
        if os.environ.get("RANK") == os.environ["FAILING"] and Fails.calls > 40:
            raise ArithmeticError("no more")
        return ((sample * x.unsqueeze(-2)).sum(-1) * (sample * y.unsqueeze(-2)).sum(-1)).mean(-1)
"""

LINEAR = """
import torch
from robustgames.data import digits
def load():
    data, layer = digits(), torch.nn.Linear(64, 10)
    x = torch.cat([data.train_images, torch.ones(len(data.train_images), 1)], 1).double()
    wanted = torch.nn.functional.one_hot(data.train_labels, 10).double()
    weights = torch.linalg.solve(x.T @ x + 3 * torch.eye(65), x.T @ wanted).float()
    layer.weight.data, layer.bias.data = weights[:-1].T.contiguous(), weights[-1]
    return layer
"""


def run(words, world, folder, seconds=100):
    """Run a command in W processes, each in a folder of its own except for the output; return the team."""

    def call(rank):
        (folder / f"home{rank}").mkdir(parents=True, exist_ok=True)
        os.chdir(folder / f"home{rank}")
        sys.path += [str(folder), str(folder.parent)]
        return main(shlex.split(words))

    return Team(call, world, folder)


def tables(folder):
    for path in sorted(folder.glob("progress*.csv")):
        for row in csv.DictReader(path.read_text().splitlines()):
            yield sorted((name, value) for name, value in row.items() if "fps" not in name)


def assert_same_run(found, wanted):
    assert (found / CURRENT).read_bytes() == (wanted / CURRENT).read_bytes()
    assert {tuple(row) for row in tables(found)} >= {tuple(row) for row in tables(wanted)}
    one, other = (untimed(json.loads((folder / "result.json").read_text())) for folder in (found, wanted))
    assert one == other


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The folders of runs of one process, by command."""
    folder, cwd = tmp_path_factory.mktemp("alone"), os.getcwd()
    found = {}
    for name, words in {"classifier": CLASSIFIER, "gan": GAN}.items():
        assert main(shlex.split(words.format(steps=120) + f" --out {folder / name}")) == 0
        found[name] = only_run(folder / name)
    os.chdir(cwd)
    return found


@pytest.mark.parametrize(("name", "words"), [("classifier", CLASSIFIER), ("gan", f"{GAN} --shard-optimizer")])
def test_two_processes_write_the_run_of_one_and_the_second_nothing(alone, name, words, tmp_path):
    team = run(words.format(steps=120), 2, tmp_path)
    assert team.wait() == [0, 0], team.printed()
    found = only_run(tmp_path)
    assert found.is_relative_to(tmp_path / "home0")
    assert not any((tmp_path / "home1").iterdir()) and not team.printed()
    assert "run folder" not in (tmp_path / "1").read_text()
    assert_same_run(found, alone[name])
    assert {path.name for path in found.iterdir()} >= {
        path.name for path in alone[name].iterdir() if "tf" not in path.name
    }


CONTROL = (
    "train robust_td3 robustgames/ActionRobustPendulum-v0 --steps {steps} --runs 4 --checkpoint 40 "
    "--learning-starts 20 --batch-size 8 --hidden 8 8 --set alpha=[0.1,0.2,0.3,0.4]"
)
BATCHED = CONTROL.replace("ActionRobustPendulum", "RobustPendulum") + " coupling=probabilistic"


@pytest.mark.parametrize("words", [CONTROL, BATCHED])
def test_runs_of_control_are_divided_and_resumed_on_another_number_of_processes(words, tmp_path):
    for world in (1, 2):
        team = run(words.format(steps=60), world, tmp_path / str(world))
        assert team.wait() == [0] * world, team.printed()
    one, two = (only_run(tmp_path / str(world)) for world in (1, 2))
    assert not any((tmp_path / "2" / "home1").iterdir())
    assert_same_training(two, one)
    for folder, world in ((one, 2), (two, 1)):
        team = run(f"train --resume {folder} --steps 80", world, tmp_path / f"again{world}")
        assert team.wait() == [0] * world, team.printed()
    assert_same_training(two, one)


def assert_same_training(found, wanted):
    """Compare all up to the rounding of kernels, which depends on how many runs a batch has; the streams exactly."""
    for one, other in zip(tensors_of(load_checkpoint(found)), tensors_of(load_checkpoint(wanted)), strict=True):
        exact = {"rtol": 0, "atol": 0} if one.dtype == torch.uint8 else {"rtol": 1e-4, "atol": 1e-4}
        torch.testing.assert_close(one, other, **exact)
    one, other = (numbers_of(untimed(json.loads((f / "result.json").read_text()))) for f in (found, wanted))
    assert all(x == (y if isinstance(y, str) else pytest.approx(y, rel=1e-4)) for x, y in zip(one, other, strict=True))
    for row, like in zip(tables(found), tables(wanted), strict=True):
        assert [name for name, _ in row] == [name for name, _ in like]
        for (name, value), (_, other) in zip(row, like, strict=True):
            assert (value == other == "") or float(value) == pytest.approx(float(other), rel=1e-4, nan_ok=True), name


def numbers_of(content):
    if isinstance(content, dict):
        content = list(content.values())
    return [x for item in content for x in numbers_of(item)] if isinstance(content, list) else [content]


def begun(folder, timesteps, seconds=60):
    """Wait for a checkpoint after so many timesteps; return the run's folder."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        configs = list(folder.rglob("config.yaml"))
        folder_of_run = configs[0].parent if configs else folder
        if (folder_of_run / CURRENT).exists() and load_checkpoint(folder_of_run)["timesteps"] >= timesteps:
            return folder_of_run
        time.sleep(0.05)
    raise AssertionError("no checkpoint")


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_the_other_within_seconds(rank, tmp_path):
    team = run(CLASSIFIER.format(steps=10**6), 2, tmp_path)
    found = begun(tmp_path, 40)
    team.kill(rank)
    began = time.monotonic()
    codes = team.wait(20)
    assert time.monotonic() - began < 10
    assert codes[rank] == -signal.SIGKILL and codes[1 - rank] == 2
    (line,) = team.printed()
    assert "another of the 2 processes has ended" in line
    assert f"to continue: robustgames train --resume {found.relative_to(tmp_path / 'home0')}" in line


def test_a_run_that_was_killed_resumes_on_any_number_of_processes_to_the_same_bits(alone, tmp_path):
    team = run(CLASSIFIER.format(steps=120), 2, tmp_path)
    found = begun(tmp_path, 40)
    team.kill(1)
    assert team.wait(20) == [2, -signal.SIGKILL]
    assert 40 <= load_checkpoint(found)["timesteps"] < 120
    resumed = run(f"train --resume {found}", 1, tmp_path / "again")
    assert resumed.wait() == [0], resumed.printed()
    assert_same_run(found, alone["classifier"])


def test_ctrl_c_in_one_process_stops_both_between_two_steps(alone, tmp_path):
    team = run(CLASSIFIER.format(steps=120), 2, tmp_path)
    found = begun(tmp_path, 40)
    team.kill(1, signal.SIGINT)
    assert team.wait(20) == [130, 130]
    (line,) = team.printed()
    assert f"interrupted; continue with: robustgames train --resume {found.relative_to(tmp_path / 'home0')}" in line
    resumed = run(f"train --resume {found}", 2, tmp_path / "again")
    assert resumed.wait() == [0, 0], resumed.printed()
    assert_same_run(found, alone["classifier"])


@pytest.mark.parametrize("rank", [0, 1])
def test_an_error_in_one_process_ends_both_with_one_line(rank, tmp_path, monkeypatch):
    (tmp_path / "failing.py").write_text(WORKING)
    monkeypatch.setenv("FAILING", str(rank))
    team = run("train gda failing:mine/Fails-v0 --steps 1000 --runs 1 --shards 2", 2, tmp_path)
    assert team.wait(60) == [2, 2]
    (line,) = team.printed()
    assert "failing.py" in line and "ArithmeticError: no more" in line and "--resume" in line


def test_processes_that_drift_apart_are_stopped_at_the_next_log(tmp_path):
    from robustgames.agents import GameAgent

    advance = GameAgent._advance

    def drifting(self, room=0):
        advance(self, room)
        if self.oracle.processes.rank == 1 and self.steps == 20:
            self.z = self.z.nextafter(torch.ones(()))

    GameAgent._advance = drifting
    try:
        team = run(GAN.format(steps=1000), 2, tmp_path)
        assert team.wait(60) == [2, 2]
    finally:
        GameAgent._advance = advance
    (line,) = team.printed()
    assert "the joint strategy of process 1 differs from that of process 0" in line


def test_an_attack_by_three_processes_is_that_of_one(tmp_path):
    (tmp_path / "linear.py").write_text(LINEAR)
    words = "attack --model linear:load --data digits --eps 0.05 --images 60 --batch 9 "
    words += f"--attack pgd apgd-ce-5 --out {tmp_path}/"
    for world in (1, 3):
        team = run(f"{words}{world}", world, tmp_path / f"team{world}")
        assert team.wait() == [0] * world, team.printed()
    one, three = (json.loads((tmp_path / str(world) / "attack.json").read_text()) for world in (1, 3))
    assert untimed(three) == untimed(one)
    attacks = one["classifiers"]["linear:load"]["attacks"]
    assert attacks[1]["attacked"] > 27 and attacks[0]["fooled"] > 0  # each process has batches
    examples = [(tmp_path / str(world) / "examples.safetensors").read_bytes() for world in (1, 3)]
    assert examples[0] == examples[1]


def untimed(content):
    """Return the content of attack.json without times and the folder."""
    own = ("seconds", "cpu_seconds", "out", "command")
    if isinstance(content, list):
        return [untimed(item) for item in content]
    if isinstance(content, dict):
        return {key: untimed(item) for key, item in content.items() if key not in own}
    return content


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("train gda robustgames/Bilinear-v0 --shards 2", "Bilinear has no minibatch"),
        ("train gda robustgames/DigitsGAN-v0", "shards is 1: 2 processes need a multiple of 2, --shards 2"),
        ("train gda robustgames/DigitsGAN-v0 --shards 5", "shards is 5"),
        ("train gda robustgames/DigitsGAN-v0 --shards 2 --compile", "leave out --shards or --compile"),
        ("train gda robustgames/DigitsGAN-v0 --shards 2 --shard-optimizer", "no state to divide"),
        ("train extra_adam robustgames/MnistGAN-v0 --shards 2", "BatchNorm2d at '2' of the generator"),
        ("train", "name an agent"),
        ("train robust_ddpg robustgames/ActionRobustPendulum-v0", "runs is 5: 2 processes .* --runs 6"),
        ("evaluate runs/x", "evaluate has nothing to divide"),
    ],
)
def test_bad_input_is_one_line_of_both_processes(words, said, tmp_path):
    team = run(words, 2, tmp_path)
    assert team.wait(60) == [2, 2]
    (line,) = team.printed()
    assert re.search(said, line)
