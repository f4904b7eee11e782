"""Kill -9 at random moments and at every rename and flush: what is left is resumed to what an unkilled run writes."""

import csv
import json
import os
import random
import shlex
import signal
import sys
import time

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from robustgames.agents import GameAgent, RobustDDPG
from robustgames.checkpoints import load_checkpoint
from robustgames.cli import main
from robustgames.tensors import tensors_of

CASES = {
    "game": ("train extra_adam robustgames/Forsaken-v0 --lr 0.05 --steps 200 --runs 2 --checkpoint 50", 50),
    "control": (
        "train robust_td3 robustgames/ActionRobustPendulum-v0 --steps 60 --runs 2 --checkpoint 15 --learning-starts 20 "
        "--batch-size 8 --hidden 8 8",
        15,
    ),
    "patience": (
        "train adversarial_training robustgames/DigitsAdversarial-v0 --steps 2000 --lr 0.1 --runs 2 --patience 3 "
        "--checkpoint 100 --set validation=200 hidden=[8] batch_size=32",
        100,
    ),
}
ROUND = 10  # timesteps of a step, at most


def child(words, count=None, at=None, after=None):
    """Run a command in a fork; kill it before call `at` of os.replace and os.fsync, or `after` seconds.

    Returns its exit code, -9 if it was killed. The calls are written to `count`, with the timesteps reached.
    """
    pid = os.fork()
    if pid == 0:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1), os.dup2(silence, 2)
        sys.stdout = sys.stderr = open(1, "w", closefd=False)  # noqa: SIM115
        _watch(count, at)
        code = 1
        try:
            code = main(words)
        finally:
            os._exit(code)
    if after is not None:
        time.sleep(after)
        os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _watch(count, at):
    calls, reached = 0, 0

    def note():
        if count is not None:  # whole or not at all: a kill may come at any moment
            count.with_suffix(".new").write_text(f"{calls} {reached}")
            os.rename(count.with_suffix(".new"), count)

    def counted(real):
        def call(*arguments, **keywords):
            nonlocal calls
            calls += 1
            note()
            if calls == at:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **keywords)

        return call

    def stepped(real):
        def step(self, *arguments):
            nonlocal reached
            real(self, *arguments)
            reached = self.num_timesteps
            note()

        return step

    os.replace, os.fsync = counted(os.replace), counted(os.fsync)
    for kind in (GameAgent, RobustDDPG):
        kind._advance = stepped(kind._advance)


def only_run(folder):
    found = [path.parent for path in folder.rglob("config.yaml")]
    return found[0] if found else None


def content(folder):
    """Return all that a run folder says, without times."""
    checkpoint = load_checkpoint(folder)
    result = json.loads((folder / "result.json").read_text())
    timed = ("seconds", "cpu_seconds")
    return {
        "tensors": list(tensors_of(checkpoint)),
        "timesteps": checkpoint["timesteps"],
        "result": {key: value for key, value in result.items() if key not in timed},
        "figures": sorted(path.name for path in (folder / "figures").iterdir()),
        "rows": sorted(rows(folder)),
        "events": events(folder),
    }


def rows(folder):
    for path in folder.glob("progress*.csv"):
        for row in csv.DictReader(path.read_text().splitlines()):
            yield (
                int(float(row["time/timesteps"])),
                tuple(sorted((k, v) for k, v in row.items() if v and "fps" not in k)),
            )


def events(folder):
    found = EventAccumulator(str(folder)).Reload()
    return {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"] if "fps" not in tag}


def assert_equal(found, wanted):
    assert len(found["tensors"]) == len(wanted["tensors"])
    for one, other in zip(found["tensors"], wanted["tensors"], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
    for name in ("timesteps", "result", "figures"):
        assert found[name] == wanted[name]
    steps = [step for step, _ in found["rows"]]
    assert len(steps) == len(set(steps))
    assert set(steps) >= {step for step, _ in wanted["rows"]} - {found["timesteps"]}
    for tag, points in found["events"].items():
        assert len({step for step, _ in points}) == len(points), tag


@pytest.fixture(scope="module", params=CASES)
def case(request, tmp_path_factory):
    words, interval = CASES[request.param]
    out = tmp_path_factory.mktemp(request.param)
    assert child([*shlex.split(words), "--out", str(out)], out / "count") == 0
    calls = int((out / "count").read_text().split()[0])
    return words, interval, calls, content(only_run(out))


def kill_and_resume(case, out, **when):
    """Train with a kill, resume, and compare; return whether something was left to resume."""
    words, interval, _, wanted = case
    code = child([*shlex.split(words), "--out", str(out)], out / "count", **when)
    assert code in (0, -signal.SIGKILL)
    folder = only_run(out)
    if folder is None:
        return False
    reached = int((out / "count").read_text().split()[1]) if (out / "count").exists() else 0
    if any(folder.glob("*.safetensors")):
        assert load_checkpoint(folder)["timesteps"] >= reached - interval - ROUND
    else:
        assert reached == 0
    assert child(["train", "--resume", str(folder)]) == 0
    assert_equal(content(folder), wanted)
    return True


@pytest.mark.slow
def test_a_kill_at_any_rename_or_flush_loses_at_most_an_interval(case, tmp_path):
    for at in range(1, case[2] + 1):
        (tmp_path / str(at)).mkdir()
        kill_and_resume(case, tmp_path / str(at), at=at)


@pytest.mark.slow
def test_a_kill_at_any_moment_loses_at_most_an_interval(case, tmp_path):
    began = time.perf_counter()
    (tmp_path / "whole").mkdir()
    child([*shlex.split(case[0]), "--out", str(tmp_path / "whole")])
    whole, draw = time.perf_counter() - began, random.Random(0)
    for number in range(int(os.environ.get("KILLS", "10"))):
        (tmp_path / str(number)).mkdir()
        kill_and_resume(case, tmp_path / str(number), after=draw.uniform(0, whole))


def test_a_kill_between_the_last_checkpoint_and_the_result_keeps_the_best_weights(tmp_path):
    words, interval = CASES["patience"]
    (tmp_path / "whole").mkdir()
    assert child([*shlex.split(words), "--out", str(tmp_path / "whole")], tmp_path / "count") == 0
    calls, wanted = int((tmp_path / "count").read_text().split()[0]), content(only_run(tmp_path / "whole"))
    assert wanted["timesteps"] < 2000  # patience has ended it
    for at in (calls // 2, calls):  # in the middle, and before the rename of result.json
        (tmp_path / str(at)).mkdir()
        assert kill_and_resume((words, interval, calls, wanted), tmp_path / str(at), at=at)
