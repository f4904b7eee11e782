"""Sweeps on disk: idempotent trials, tables, failures, resumption; the command in this process."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from in_process import command, in_an_empty_folder  # noqa: F401 (a fixture)

import robustgames as rg
from robustgames import sweeps
from robustgames.checkpoints import load_checkpoint
from robustgames.cli.sweep_report import _cells, _runs_of_a_trial
from robustgames.executors import here
from robustgames.experiment import GameExperiment, complete
from robustgames.experiment.folder import locked
from robustgames.sweeps import Outcome, Plan, Sweep
from robustgames.sweeps.table import rows_of
from robustgames.sweeps.trial import read_outcome, run

GAN = "robustgames/DiracGAN-v0"
GAME = "robustgames/Quadratic-v0"


def only(pattern, folder="."):
    (found,) = Path(folder).rglob(pattern)
    return found


def noisy(steps=60, **settings):
    """A game that draws, so its trials are runs of their own."""
    env = {"noise": 0.1, "coupling": 1.0}
    return GameExperiment("extragradient", GAME, runs=1, steps=steps, env_settings=env, settings=settings)


def test_a_trial_is_done_once_and_the_same_whoever_stopped_it(tmp_path, monkeypatch):
    whole = complete(noisy(), tmp_path / "whole")
    stopped = RuntimeError("stopped")

    def stop(logger):
        if logger.name_to_value["time/timesteps"] >= 30:
            raise stopped

    with pytest.raises(RuntimeError):
        complete(noisy(), tmp_path / "part", stop)
    assert not (tmp_path / "part" / "result.json").exists()
    left = complete(noisy(), tmp_path / "part")
    assert left["metrics"] == whole["metrics"]
    assert torch.equal(load_checkpoint(tmp_path / "part")["z"], load_checkpoint(tmp_path / "whole")["z"])
    monkeypatch.setattr(rg.GameAgent, "learn", None)  # the third time nothing is trained
    assert complete(noisy(), tmp_path / "part")["metrics"] == whole["metrics"]
    with pytest.raises(rg.GameError, match="has a run with steps 60, this one has 70"):
        complete(noisy(70), tmp_path / "part")


def test_a_trial_that_fails_says_why_and_only_some_failures_are_final(tmp_path):
    bad = run(noisy(lr=1e6, steps=4000), tmp_path / "bad")
    assert bad.status == "diverged" and "diverged" in bad.line and "\n" not in bad.line
    assert read_outcome(tmp_path / "bad") == bad.__class__(tmp_path / "bad", "diverged", bad.line)

    def broken(logger):
        raise OSError("no space")

    failed = run(noisy(), tmp_path / "failed", broken)
    assert failed.status == "failed" and failed.line == "OSError: no space"
    assert run(noisy(), tmp_path / "failed").status == "done"
    assert not (tmp_path / "failed" / "failure.json").exists()


def test_rows_are_means_over_the_runs_of_all_seeds_the_best_first(tmp_path):
    plan = Plan(noisy(), {"lr": (0.01, 0.2, 1e6), "steps": (600,)}, seeds=(0, 1, 2, 3, 4))
    asked = Sweep(plan)
    folder = sweeps.begin(asked, tmp_path)
    ranking, rows = sweeps.perform(asked, folder, here)
    assert (ranking.metric, ranking.maximize) == ("residual", False)
    assert [row.settings["lr"] for row in rows] == [0.01, 0.2, 1e6]  # noise grows with the rate
    each = [run(plan.experiment({"lr": 0.01, "steps": 600}, seed), tmp_path / str(seed)) for seed in range(5)]
    assert rows[0].values == [end.result["metrics"]["residual"]["mean"] for end in each]
    mean = sum(rows[0].values) / 5
    assert rows[0].interval.estimate == pytest.approx(mean) and rows[0].interval.low < mean < rows[0].interval.high
    assert rows[2].values == [] and {end.status for end in rows[2].outcomes.values()} == {"diverged"}


def test_a_resumed_sweep_repeats_nothing_and_finds_the_same(tmp_path):
    asked = Sweep(Plan(noisy(), {"lr": (0.05, 0.1)}, seeds=(0, 1)))
    folder = sweeps.begin(asked, tmp_path)
    _, whole = sweeps.perform(asked, folder)
    for path in folder.rglob("seed1"):
        shutil.rmtree(path)
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("seed0/result.json")}
    _, again = sweeps.perform(sweeps.load(folder), folder)
    assert [row.values for row in again] == [row.values for row in whole]
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("seed0/result.json")} == times and len(times) == 2


def test_rates_and_seeds_of_a_small_game_are_runs_of_one_tensor(tmp_path):
    base = GameExperiment("extragradient", GAME, runs=1, steps=100)
    rates = tuple(0.002 * k for k in range(1, 101))
    asked = Sweep(Plan(base, {"lr": rates}, seeds=tuple(range(10))))
    folder = sweeps.begin(asked, tmp_path)
    _, rows = sweeps.perform(asked, folder)
    assert len(rows) == 100 and sum(len(row.values) for row in rows) == 1000
    assert [path.name for path in folder.iterdir() if path.is_dir()] == ["together"]
    row = next(row for row in rows if row.settings["lr"] == rates[40])
    for seed in (0, 7):
        alone = run(asked.plan.experiment({"lr": rates[40]}, seed), tmp_path / str(seed))
        assert row.values[seed] == pytest.approx(alone.result["metrics"]["residual"]["mean"], rel=1e-4)
    assert len({row.values[0] for row in rows}) > 50  # rates do differ


def test_settings_of_which_runs_diverged_come_after_those_of_which_none_did(tmp_path):
    base = GameExperiment("gda", "robustgames/Forsaken-v0", runs=1, steps=300)
    asked = Sweep(Plan(base, {"lr": (0.1, 0.35)}, seeds=tuple(range(10))))
    _, rows = sweeps.perform(asked, sweeps.begin(asked, tmp_path))
    assert [row.settings["lr"] for row in rows] == [0.1, 0.35]
    assert len(rows[0].finite) == 10 and 0 < len(rows[1].finite) < 10


@pytest.mark.parametrize(
    "base",
    [
        noisy(),
        GameExperiment("langevin", GAME, runs=1, steps=10),
        GameExperiment("adversarial_training", GAME, runs=1, steps=10),
        GameExperiment("fast_training", GAME, runs=1, steps=10),
        GameExperiment("gda", GAME, runs=2, steps=10),
        GameExperiment("extra_adam", "robustgames/GaussianMixture-v0", runs=1, steps=10),
    ],
)
def test_what_draws_is_run_by_run(base):
    from robustgames.sweeps.together import together

    assert together(Plan(base, {"lr": (0.1, 0.2)})) is None
    assert together(Plan(GameExperiment("gda", GAME, runs=1), {"lr": (0.1,), "steps": (1, 2)})) is None
    annealed = GameExperiment("gda", GAME, runs=1, anneal=True)
    assert together(Plan(annealed, {"lr": (0.1, 0.2)})) is None and together(Plan(annealed, seeds=(0, 1))) is not None


def test_the_command_prints_a_table_and_continues_a_sweep(capsys):
    words = f"sweep extragradient {GAME} --grid lr=0.05,0.1,1e6 --set noise=0.1 coupling=0.5,1 --seeds 0:2 --steps 2000"
    assert command(f"{words} --out here") == 0
    printed = capsys.readouterr().out
    assert "12 trials, 2 seeds each" in printed and "diverged" in printed and "0 of 2" in printed
    table = only("table.json", "here")
    rows = json.loads(table.read_text())["rows"]
    assert len(rows) == 6 and rows[0]["settings"]["set.coupling"] in (0.5, 1) and len(rows[0]["runs"]) == 2
    first = (table.parent / "table.md").read_text()
    assert first.startswith("| lr | coupling | residual | runs | CPU s |")
    assert command(f"sweep --resume {table.parent}") == 0
    assert json.loads(table.read_text())["rows"] == rows
    assert command(f"compare {table.parent} --out both") == 0
    assert {row["name"] for row in json.loads(Path("both/table.json").read_text())["methods"]} == {
        f"lr={lr} coupling={coupling}" for lr in ("0.05", "0.1", "1e+06") for coupling in (0.5, 1)
    }
    assert only("curves.png", "both") and len(list(only("hparams", "both").iterdir())) == 6


def test_a_sweep_from_a_file(tmp_path, capsys):
    (tmp_path / "plan.yaml").write_text(
        f"agent: gda\nenv: {GAME}\ngrid: {{lr: [0.1, 0.2]}}\nset: {{noise: 0.1}}\nseeds: 0:2\nsteps: 20\nout: here\n"
    )
    assert command("sweep plan.yaml") == 0 and "4 trials" in capsys.readouterr().out


def test_all_runs_of_a_trial_without_a_result_are_lost():
    def done(value):
        return Outcome(Path(), "done", "", {"runs": 3, "metrics": {"residual": {"runs": [value] * 3}}})

    lost = Outcome(Path(), "diverged", "all did")
    found = [({"lr": 0.1}, 0, done(1.0)), ({"lr": 0.1}, 1, lost), ({"lr": 0.2}, 0, lost), ({"lr": 0.2}, 1, lost)]
    ranking, rows = rows_of(found, sweeps.Ranking("residual"))
    assert [_cells(row, ranking, _runs_of_a_trial(row, rows))[2] for row in rows] == ["3 of 6", "0 of 6"]


def test_seeds_of_a_file_are_not_minutes(tmp_path, capsys):
    (tmp_path / "plan.yaml").write_text(
        f"agent: gda\nenv: {GAME}\ngrid: {{average: [null, uniform]}}\nseeds: 10:12\nsteps: 20\nout: here\n"
    )
    assert command("sweep plan.yaml") == 0
    rows = json.loads(only("table.json", "here").read_text())["rows"]
    assert [[*row["trials"]] for row in rows] == [["seed 10", "seed 11"]] * 2  # 10:12 was 612
    assert {row["settings"]["average"] for row in rows} == {None, "uniform"}


def test_two_drivers_do_not_share_a_sweep(tmp_path):
    asked = Sweep(Plan(noisy(), {"lr": (0.1, 0.2)}))
    folder = sweeps.begin(asked, tmp_path)
    with locked(folder), pytest.raises(rg.GameError, match="in use by another process"):
        sweeps.perform(asked, folder)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--grid lrr=1,2", "unknown setting of gda 'lrr': did you mean lr or lr_y?"),
        ("--grid lr=", "--grid lr has an empty value"),
        ("--grid lr=0.1,0.2 --seeds 3:3", "seeds is empty"),
        ("--grid lr=0.1..0.2", "a grid needs values"),
        ("--grid lr=0.1,zebra", "with lr=zebra: lr is 'zebra'"),
        ("--set coupling=1,oops", "with coupling=oops"),
        ("--grid lr=0.1,0.2 --seed 3", "a sweep takes --seeds"),
        ("--grid lr=0.1,0.2 --maximize moods", "unknown metric 'moods'"),
        ("--grid lr=0.1,0.2 --maximize residual --minimize residual", "exclude each other"),
        ("--grid lr=0.1..0.2 --search tpe", "--search needs a metric"),
        ("--search tpe --minimize residual", "nothing to vary"),
        ("--grid lr=0.1,0.2 --prune", "--prune is of a search"),
        ("--data a --set data=b,c", "--set varies data, and --data has one"),
        ("--grid lr=0.1,0.2 --workers 0", "workers is 0"),
        ("--grid lr=0.1,0.2 --seeds 0:100000", "200,000 trials: vary less, or add --yes"),
        ("--grid lr=0.1,0.2 --stepz 3", "unknown flag --stepz: did you mean --steps"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(words, said, capsys, tmp_path):
    assert command(f"sweep gda {GAME} {words}") == 2
    printed = capsys.readouterr().err.strip()
    assert said in printed and "\n" not in printed and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "has no sweep.yaml"),
        ("a: 1", "does not name an agent and an env"),
        (f"agent: gda\nenv: {GAME}\n", "it has no entry sweep"),
        (f"agent: gda\nenv: {GAME}\nsweep: {{axes: {{lr: 3}}, seeds: [0]}}\n", "the axis lr is neither"),
        (f"agent: gda\nenv: {GAME}\nsweep: {{axes: {{lr: [1]}}, seeds: [x]}}\n", "axes or seeds"),
        (f"agent: gda\nenv: {GAME}\nsweep: {{axes: {{}}, seeds: [0], search: {{nope: 1}}}}\n", "nope"),
        ("agent: gda\nenv: stranger:X-v0\nsweep: {axes: {}, seeds: [0]}\n", "names code"),
    ],
)
def test_a_damaged_sweep_is_one_line(content, said, capsys, tmp_path):
    (tmp_path / "s").mkdir()
    if content is not None:
        (tmp_path / "s" / "sweep.yaml").write_text(content)
    assert command("sweep --resume s") == 2
    assert said in capsys.readouterr().err
