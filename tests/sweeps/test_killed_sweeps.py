"""Workers and drivers of a sweep that are killed: the sweep ends, or is resumed, with the same bits."""

import json
import os
import signal
import subprocess
import sys
import time
from multiprocessing import active_children
from pathlib import Path

import pytest
import torch

from robustgames.checkpoints import load_checkpoint
from robustgames.disk import _is_alive
from robustgames.executors import in_pool

COMMAND = [sys.executable, "-m", "robustgames", "sweep"]
TRIALS = [
    "extragradient",
    "robustgames/Quadratic-v0",
    "--grid",
    "lr=0.05,0.1",
    "--set",
    "noise=0.1",
    "--seeds",
    "0:2",
    "--steps",
    "6000",
]
SECONDS = 240


def start(*words):
    return subprocess.Popen([*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def children(pid):
    """Return the processes whose parent is `pid`."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found


def wait_for(condition, process):
    end = time.monotonic() + SECONDS
    while not (found := condition()):
        assert process.poll() is None and time.monotonic() < end, process.communicate()
        time.sleep(0.02)
    return found


def running(out):
    """Return the trials that have a checkpoint and no result."""
    begun = {path.parent for path in out.rglob("checkpoint.safetensors")}
    return [folder for folder in begun if not (folder / "result.json").exists()]


def content(out):
    """Return the table, without times, and the last point of every trial."""
    (table,) = out.rglob("table.json")
    rows = [{**row, "cpu_seconds": 0} for row in json.loads(table.read_text())["rows"]]
    points = {
        path.parent.name + path.parent.parent.name: load_checkpoint(path.parent)["z"]
        for path in out.rglob("checkpoint.safetensors")
    }
    return rows, points


def assert_same(found, wanted):
    assert found[0] == wanted[0] and found[1].keys() == wanted[1].keys()
    for name, point in found[1].items():
        assert torch.equal(point, wanted[1][name])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    process = start(*TRIALS, "--out", str(out))
    assert process.communicate(timeout=SECONDS)[0] and process.returncode == 0
    return content(out)


def test_a_killed_worker_costs_nothing(undisturbed, tmp_path):
    process = start(*TRIALS, "--workers", "2", "--out", str(tmp_path))
    wait_for(lambda: running(tmp_path), process)
    workers = [pid for pid in children(process.pid) if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)
    _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, said
    assert "a worker was killed: another one takes its job" in said
    assert_same(content(tmp_path), undisturbed)


def die_once(job):
    """Kill this worker, unless the job has done so before."""
    name, path = job
    if path is not None and not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return name


def test_a_worker_may_be_killed_while_the_driver_is_elsewhere(tmp_path, capfd):
    killed, found = tmp_path / "killed", []
    for (name, _), done in in_pool(die_once, [("a", None), ("b", killed), ("c", None), ("d", None)], workers=2):
        assert name == done
        found.append(name)
        while len(found) == 1 and not (killed.exists() and not active_children()):
            time.sleep(0.02)
    assert sorted(found) == ["a", "b", "c", "d"]
    assert capfd.readouterr().err.count("a worker was killed: another one takes its job") == 1


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_killed_driver_takes_its_workers_along_and_is_resumed(undisturbed, tmp_path, workers):
    process = start(*TRIALS, "--workers", workers, "--out", str(tmp_path))
    wait_for(lambda: running(tmp_path), process)
    mine = children(process.pid)
    process.kill()
    process.communicate()
    end = time.monotonic() + 20
    while any(_is_alive(pid) for pid in mine):
        assert time.monotonic() < end
        time.sleep(0.1)
    (plan,) = tmp_path.rglob("sweep.yaml")
    resumed = start("--resume", str(plan.parent), "--workers", "2")
    _, said = resumed.communicate(timeout=SECONDS)
    assert resumed.returncode == 0, said
    assert_same(content(tmp_path), undisturbed)


def test_ctrl_c_ends_the_workers_and_names_the_command(undisturbed, tmp_path):
    process = start(*TRIALS, "--workers", "2", "--out", str(tmp_path))
    wait_for(lambda: running(tmp_path), process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=SECONDS)
    (plan,) = tmp_path.rglob("sweep.yaml")
    assert process.returncode == 130
    assert said.strip().endswith(f"interrupted; continue with: robustgames sweep --resume {plan.parent}")
    resumed = start("--resume", str(plan.parent))
    assert resumed.communicate(timeout=SECONDS)[0] and resumed.returncode == 0
    assert_same(content(tmp_path), undisturbed)


@pytest.mark.slow
def test_a_killed_worker_of_ray_costs_nothing(undisturbed, tmp_path):
    pytest.importorskip("ray")
    process = start(*TRIALS, "--workers", "2", "--ray", "auto", "--out", str(tmp_path))
    wait_for(lambda: running(tmp_path), process)
    tasks = [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if path.read_text().startswith("ray::_in_task")
    ]
    assert tasks
    os.kill(tasks[0], signal.SIGKILL)
    _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, said
    assert_same(content(tmp_path), undisturbed)
