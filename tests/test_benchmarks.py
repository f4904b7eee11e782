"""The numbers of scripts/benchmark.py: rows, their ranges, and the comparison of two files."""

import copy
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

SCRIPTS = Path(__file__).parents[1] / "scripts"
sys.path.insert(0, str(SCRIPTS))
from benchmarks.c_loop import STEPS, c_steps  # noqa: E402
from benchmarks.compare import changes, read_rows  # noqa: E402
from benchmarks.harness import Contestant, Measured, Row, machine, seconds_per_step  # noqa: E402
from benchmarks.peers import numpy_step, slope  # noqa: E402


def row(name, ratios, at_least=None, at_most=None, suite="games"):
    """Return the entry of a row whose peer always takes 2 seconds."""
    ours, peer = Measured([2 * r for r in ratios]), Measured([2.0] * len(ratios))
    return Row(name, "s", ours, peer, at_least, at_most).entry(suite)


def file_of(path, *rows, cpu="A"):
    path.write_text(json.dumps({"machine": {"cpu": cpu, "torch": "1"}, "device": "cpu", "rows": list(rows)}))
    return path


def test_a_ratio_is_the_median_of_the_rounds_and_a_load_on_a_round_cancels():
    load = np.array([1.0, 3.0, 1.5])
    ours, peer = Measured(2.0 * load), Measured(1.0 * load[:])
    made = Row("x", "s", 1e6 * ours, 1e6 * peer)
    assert made.ratios == (2.0, 2.0, 2.0) and made.ratio == 2.0 and made.ours == 3e6
    mixed = Row("x", "1/s", 100 / Measured([1.0, 2.0, 4.0]), 100 / Measured([1.0, 1.0, 1.0]))
    assert mixed.ratios == (1.0, 0.5, 0.25) and mixed.cells()[5] == "0.25 – 1"
    plain = Row("x", "s", 3.0, 2.0)
    assert plain.ratios == (1.5,) and plain.cells()[5] == ""
    assert asdict(mixed)["ours"].rounds == copy.deepcopy(mixed.ours).rounds == mixed.ours.rounds
    entry = json.loads(json.dumps(mixed.entry("games")))
    assert (entry["low"], entry["ratio"], entry["high"], entry["rounds"]) == (0.25, 0.5, 1.0, 3)
    assert entry["at_least"] is None and entry["suite"] == "games" and entry["passed"]


def test_contestants_run_in_turn_after_a_warm_up():
    calls = []
    contestants = {name: Contestant(lambda n, name=name: calls.append((name, n)), 20) for name in ("a", "b")}
    times = seconds_per_step(contestants, 2, "cpu")
    assert calls == [("a", 5), ("b", 5), *([("a", 20)] * 3 + [("b", 20)] * 3) * 2]
    assert all(len(value.rounds) == 2 for value in times.values())


OLD = [1.0, 1.1, 1.2]


@pytest.mark.parametrize(
    "new, target, verdict",
    [
        ([1.15, 1.3, 1.4], {}, "within noise"),
        ([1.2, 1.3, 1.4], {}, "within noise"),  # they touch
        ([1.3, 1.4, 1.5], {}, "moved"),
        ([1.3, 1.4, 1.5], {"at_least": 1.0}, "better"),
        ([1.3, 1.4, 1.5], {"at_most": 1.0}, "worse"),
        ([0.5, 0.6, 0.7], {"at_least": 1.0}, "worse"),
        ([0.5, 0.6, 0.7], {"at_most": 1.0}, "better"),
        ([9.0], {}, "one round"),
    ],
)
def test_a_row_has_moved_if_the_ranges_do_not_overlap(tmp_path, new, target, verdict):
    paths = [file_of(tmp_path / f"{k}.json", row("x", ratios, **target)) for k, ratios in enumerate((OLD, new))]
    [change] = changes(*(read_rows(path)[1] for path in paths))
    assert change.verdict == verdict
    assert change.flagged == (verdict in ("moved", "better", "worse"))


def test_rows_that_appear_or_go_are_listed_and_suites_are_kept_apart(tmp_path):
    old = file_of(tmp_path / "a.json", row("x", OLD), row("y", OLD))
    new = file_of(tmp_path / "b.json", row("x", OLD), row("x", OLD, suite="gans"))
    found = {(c.suite, c.name): c.verdict for c in changes(read_rows(old)[1], read_rows(new)[1])}
    assert found == {("games", "x"): "within noise", ("games", "y"): "gone", ("gans", "x"): "new"}


def compare(*words):
    command = [sys.executable, str(SCRIPTS / "benchmark.py"), "compare", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_command_compares_two_files_and_strict_exits_with_1(tmp_path):
    old = file_of(tmp_path / "a.json", row("x", OLD, at_least=1.0))
    new = file_of(tmp_path / "b.json", row("x", [0.4, 0.5, 0.6], at_least=1.0), cpu="B")
    done = compare(old, new, "--strict")
    assert done.returncode == 1 and "worse" in done.stdout and "cpu: A : B" in done.stdout
    assert compare(old, old, "--strict").returncode == 0
    (tmp_path / "c.json").write_text("[]")
    for broken in (tmp_path / "c.json", tmp_path / "missing.json"):
        failed = compare(old, broken)
        assert failed.returncode == 1 and str(broken) in failed.stderr and "Traceback" not in failed.stderr


def test_the_machine_is_named():
    found = machine("cpu")
    assert found["cpu"] and found["gpu"] is None and found["torch"] == torch.__version__


def test_the_loop_in_c_takes_the_steps_of_numpy():
    z0 = (2 * torch.rand(3000, 2, generator=torch.Generator().manual_seed(0)) - 1) * 1.2
    if (run := c_steps(z0)) is None:
        pytest.skip("no C compiler")
    run()
    other = numpy_step(z0, slope)
    for _ in range(STEPS):
        other()
    ours, at = (
        run.__defaults__[0],
        next(c.cell_contents for c in other.__closure__ if isinstance(c.cell_contents, list)),
    )
    assert np.abs(np.stack(ours) - np.stack(at)).max() < 1e-4
