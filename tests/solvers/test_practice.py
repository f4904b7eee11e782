"""scripts/practice.py: equal search for all, the best rate is trained on fresh runs, and diverged ones do not win."""

import math
import sys
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import practice
import practice_tasks
import pytest
from practice_tasks import SOLVERS, TASKS, trial
from results import Log, Table
from rich.text import Text

import robustgames as rg


def test_every_solver_has_the_same_search():
    options = practice.Options()
    for task in TASKS:
        jobs = [list(practice.search(task, solver, options)) for solver in SOLVERS]
        alike = {(len(own), own[0]["budget"], own[0]["runs"], own[0]["seed"]) for own in jobs}
        assert len(alike) == 1 and jobs[0][0]["seed"] != options.seed
        for own in jobs:
            assert all(2.9 < b["lr"] / a["lr"] < 3.4 for a, b in pairwise(own))


def test_the_best_rate_that_did_not_diverge_is_trained_on_fresh_runs(tmp_path):
    options, log = practice.Options(), Log(tmp_path)
    values = iter([0.5, 0.3, math.nan, 0.4, 0.9])
    list(
        log.complete(
            lambda **job: {"found": {"sliced_wasserstein": [next(values)] * 2}},
            practice.search("gaussians", "adam", options),
        )
    )
    job = practice.fresh("gaussians", "adam", options, log)
    assert job["lr"] == SOLVERS["adam"].rates[1] and job["budget"] == TASKS["gaussians"].budget
    assert (job["runs"], job["seed"], job["search"]) == (6, 0, False)


def test_trials_with_and_without_falling_rates_end_with_metrics():
    found = {name: trial("gaussians", name, 1e-3, 6, 1, 0, True) for name in ("adam", "alt_adam", "curvature_eg_plus")}
    assert all(math.isfinite(line["found"]["sliced_wasserstein"][0]) for line in found.values())


def test_a_solver_of_adversarial_training_moves_the_weights_and_signs_move_the_perturbations(monkeypatch):
    monkeypatch.setattr(practice_tasks, "ATTACKED", 3)
    moving = {}
    for name, candidate in SOLVERS.items():
        try:
            solver = practice_tasks.with_signs(candidate.make(1e-3, gan=False), 0.1)
        except rg.GameError as error:
            assert "moves both players alike" in str(error)
            continue
        moving[name] = repr(solver)
        assert "Sign(lr=0.1))" in moving[name]
    assert set(SOLVERS) - set(moving) == {"smoothed_gda", "half_turn", "curvature_eg_plus"}
    found = [trial("adversarial", "adam", 1e-3, 1, 2, seed, True)["found"] for seed in (0, 0)]
    assert found[0] == found[1] and all(len(values) == 2 for values in found[0].values())
    assert "error" in trial("adversarial", "half_turn", 0.1, 1, 1, 0, True)


@pytest.mark.parametrize(
    ("cell", "shown", "style"),
    [
        ("0.02*", "0.02*", None),
        ("**0.02**", "0.02", "bold"),
        ("*0.02*", "0.02", "dim"),
        ("**0.02***", "0.02*", "bold"),
        ("*", "*", None),
        ("**", "**", None),
        ("*0.02", "*0.02", None),
        ("[0.1, 0.2]*", "[0.1, 0.2]*", None),
    ],
)
def test_a_star_of_a_cell_is_shown_in_the_terminal(cell, shown, style, capsys):
    table = Table(["lr"], [[cell]])
    table.show()
    assert shown in capsys.readouterr().out.splitlines()[3].strip("│ ").split("  ")
    text = Text.from_markup(next(iter(table.rich().columns[0].cells)))
    assert text.plain == shown and [str(span.style) for span in text.spans] == ([style] if style else [])
    assert f"| {cell} |" in table.markdown()
