"""Searches by Optuna: the values are those of the runs, a killed study goes on, and bad trials are given up."""

import math

import pytest

from robustgames import sweeps
from robustgames.experiment import GameExperiment
from robustgames.sweeps import Plan, Range, Search, Sweep
from robustgames.sweeps.search import JOURNAL, Study, open_study
from robustgames.sweeps.sweep import _jobs, _run

optuna = pytest.importorskip("optuna")
BASE = GameExperiment("gda", "robustgames/Quadratic-v0", runs=1, steps=20, env_settings={"coupling": 1.0})
AXES = {"lr": Range(1e-3, 1e1), "set.coupling": (0.5, 1.0)}


def search(folder, trials=12, **settings):
    asked = Sweep(Plan(BASE, AXES), Search("tpe", trials, "residual", maximize=False, **settings))
    return asked, sweeps.begin(asked, folder)


def values(folder):
    return [(trial.params, trial.value, trial.state.name) for trial in open_study(folder / JOURNAL).trials]


def test_the_study_is_told_the_metric_of_every_trial(tmp_path):
    asked, folder = search(tmp_path)
    _, rows = sweeps.perform(asked, folder)
    found = {repr(row.settings): row for row in rows}
    study = open_study(folder / JOURNAL)
    assert len(study.trials) == 12 and study.direction.name == "MINIMIZE"
    for params, value, state in values(folder):
        (row,) = [row for row in found.values() if row.settings == params]
        if state == "COMPLETE":
            assert row.values == [value] and math.isfinite(value)
        else:  # a large rate diverges, if not in twenty steps then its residual is infinite
            assert state == "PRUNED" and not any(map(math.isfinite, row.values))
    assert rows[0].values == [study.best_value]
    exact = 2 / (2 + 1.0)  # the rate of the fastest decrease is of this order
    assert 0.05 * exact < rows[0].settings["lr"] < 3 * exact


def test_a_search_that_was_stopped_draws_what_it_would_have_drawn(tmp_path):
    whole, whole_folder = search(tmp_path / "whole")
    sweeps.perform(whole, whole_folder)
    part, folder = search(tmp_path / "part")
    study = Study(part.search, part.plan, folder)
    jobs = _jobs(part, folder, study)
    for _ in range(5):
        job = next(jobs)
        study.tell(job[-1], _run(job))
    next(jobs)  # drawn and not run: as if killed
    sweeps.perform(sweeps.load(folder), folder)
    assert values(folder) == values(whole_folder)


def test_what_is_drawn_again_is_not_run_again(tmp_path, monkeypatch):
    asked = Sweep(Plan(BASE, {"lr": (0.1, 0.2)}), Search("random", 10, "residual", maximize=False))
    folder = sweeps.begin(asked, tmp_path)
    ranking, rows = sweeps.perform(asked, folder)
    assert len(rows) == 2 and len(list(folder.rglob("result.json"))) == 2
    assert len(values(folder)) == 10 and {state for *_, state in values(folder)} == {"COMPLETE"}
    assert not ranking.maximize


def test_seeds_and_runs_are_averaged(tmp_path):
    plan = Plan(BASE, {"lr": Range(0.05, 0.2)}, seeds=(0, 1, 2))
    asked = Sweep(plan, Search("random", 2, "residual", maximize=False))
    folder = sweeps.begin(asked, tmp_path)
    _, rows = sweeps.perform(asked, folder)
    assert {len(row.values) for row in rows} == {3}
    assert sorted(value for _, value, _ in values(folder)) == pytest.approx(sorted(sum(row.values) / 3 for row in rows))


def test_trials_below_the_median_are_pruned(tmp_path):
    base = GameExperiment("gda", "robustgames/Quadratic-v0", runs=1, steps=400)
    rates = (0.1, 0.11, 0.12, 0.13, 0.14, 0.15, 1e-4, 1e-5)
    asked = Sweep(Plan(base, {"lr": rates}), Search("random", 60, "residual", maximize=False, prune=True))
    folder = sweeps.begin(asked, tmp_path)
    _, rows = sweeps.perform(asked, folder)
    ends = {row.settings["lr"]: next(iter(row.outcomes.values())) for row in rows}
    pruned = [rate for rate, end in ends.items() if end.status == "pruned"]
    assert pruned and set(pruned) <= {1e-4, 1e-5, 0.1, 0.11} and ends[0.15].status == "done"
    assert all("worse than the median" in ends[rate].line for rate in pruned)
    again = sweeps.perform(sweeps.load(folder), folder)[1]
    assert {row.settings["lr"] for row in again} == set(ends)


def test_trials_that_may_be_pruned_have_the_metric_at_the_same_logs():
    from robustgames.cli.sweep import LOOKS, _parse

    words = "extra_adam robustgames/DigitsGAN-v0 --grid lr=1e-4..1e-2 --search tpe --minimize frechet_digits --prune"
    assert _parse(words.split())[0].plan.base.evaluations == LOOKS
    assert _parse([*words.split(), "--evaluations", "7"])[0].plan.base.evaluations == 7
