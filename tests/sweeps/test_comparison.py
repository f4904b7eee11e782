"""Comparisons: methods, paired differences, joined curves."""

import json

import numpy as np
import pytest
from in_process import command, in_an_empty_folder  # noqa: F401 (a fixture)

from robustgames.evaluation.reliability import paired, probability_of_improvement
from robustgames.figures import curves
from robustgames.sweeps.comparison import against_first, in_seconds, joined, methods_in, names

GAME = "robustgames/Quadratic-v0"


def fake(folder, agent, seed, values, lr=0.1, steps=10, metric="return"):
    """A run folder with these values of its runs."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(
        json.dumps(
            {"agent": agent, "env": GAME, "settings": {"lr": lr}, "seed": seed, "runs": len(values), "steps": steps}
        )
    )
    row = {"mean": float(np.mean(values)), "std": 0.0, "runs": values}
    content = {"agent": agent, "env": GAME, "timesteps": steps, "runs": len(values), "diverged": 0, "start": {}}
    (folder / "result.json").write_text(json.dumps({**content, "metrics": {metric: row}, "cpu_seconds": 2.0}))
    (folder / "progress.csv").write_text(
        f"time/timesteps,eval/{metric},eval_std/{metric}\n0,0,0\n{steps},{row['mean']},{np.std(values)}\n"
    )


def test_runs_of_other_seeds_are_one_method_and_differences_are_paired(tmp_path):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 3, 2)), rng.normal(1.0, size=(2, 3, 2))
    a, b = a[0], b[0]
    for seed in range(3):
        fake(tmp_path / f"a{seed}", "gda", seed, a[seed].tolist())
        fake(tmp_path / f"b{seed}", "extragradient", seed, b[seed].tolist())
    first, second = methods_in([tmp_path])
    assert (first.name, second.name) == ("gda", "extragradient") and len(first.folders) == 3
    assert first.values["return"] == {(s, r): a[s, r] for s in range(3) for r in range(2)}
    none, found = against_first([first, second], "return")
    wanted = paired(b.reshape(-1), a.reshape(-1))
    assert none is None and found.paired == wanted and found.difference == wanted.difference
    assert found.improvement == probability_of_improvement(b.reshape(-1, 1), a.reshape(-1, 1))
    assert found.p_value == wanted.p_value  # Holm of one comparison


def test_other_seeds_are_not_paired_and_lower_may_be_better(tmp_path):
    fake(tmp_path / "a", "gda", 0, [1.0, 2.0, 3.0, 4.0, 5.0], metric="residual")
    fake(tmp_path / "b", "extragradient", 1, [0.0, 1.0, 2.0, 3.0, 4.0], metric="residual")
    methods = methods_in([tmp_path / "a", tmp_path / "b"])
    found = against_first(methods, "residual")[1]
    assert (
        found.paired is None and found.difference.estimate == -1 and found.difference.low < -1 < found.difference.high
    )
    assert found.improvement.estimate == pytest.approx(17 / 25) and np.isnan(found.p_value)


def test_holm_corrects_over_the_methods(tmp_path):
    values = np.arange(6.0)
    fake(tmp_path / "0", "gda", 0, values.tolist())
    noise = np.array([0.3, 0.1, 0.5, 0.2, 0.1, 0.4])
    for k, shift in enumerate((0.5, 1.0)):
        fake(tmp_path / str(k + 1), "gda", 0, (values + shift + noise).tolist(), lr=k + 1)
    found = against_first(methods_in([tmp_path]), "return")[1:]
    single = [row.paired.p_value for row in found]
    assert [row.p_value for row in found] == pytest.approx([max(single), 2 * min(single)])


def test_a_method_is_named_by_what_differs():
    configs = [
        {"agent": "gda", "env": GAME, "settings.lr": 0.1, "steps": 5},
        {"agent": "gda", "env": GAME, "settings.lr": 0.2, "steps": 5},
        {"agent": "adam", "env": GAME, "settings.lr": 0.2, "steps": 5},
    ]
    assert names(configs) == ["gda lr=0.1", "gda lr=0.2", "adam"]
    assert names(configs[:1]) == ["gda"]


def test_curves_of_folders_join_to_that_of_all_runs():
    rng = np.random.default_rng(1)
    runs = rng.normal(size=(5, 4))  # five runs at four steps
    steps = np.array([0.0, 10.0, 20.0, 30.0])

    def curve(rows, at):
        spread = rows.std(0, ddof=1) if len(rows) > 1 else np.zeros(rows.shape[1])
        return {"time/timesteps": steps[at], "eval/x": rows.mean(0)[at], "eval_std/x": spread[at]}

    found = joined([curve(runs[:2], [0, 1, 2, 3]), curve(runs[2:], [0, 2, 3])], [2, 3])
    assert found["time/timesteps"].tolist() == [0, 20, 30]
    assert found["eval/x"] == pytest.approx(runs.mean(0)[[0, 2, 3]])
    assert found["eval_std/x"] == pytest.approx(runs.std(0, ddof=1)[[0, 2, 3]])
    assert in_seconds(found, 6.0)["time/timesteps"].tolist() == [0, 4, 6]


def test_the_command(tmp_path, capsys):
    for seed in range(5):
        fake(tmp_path / "runs" / f"a{seed}", "gda", seed, [float(seed)])
        fake(tmp_path / "runs" / f"b{seed}", "extragradient", seed, [seed + 1.0])
    assert command("compare runs --by seconds --out both") == 0
    printed = capsys.readouterr().out
    assert "extragradient" in printed and "1 [1, 1]" in (tmp_path / "both" / "table.md").read_text()
    assert "more in 5 of 5" in (tmp_path / "both" / "table.md").read_text()
    names = sorted(path.name for path in (tmp_path / "both").iterdir())
    assert names == ["curves.png", "hparams", "table.json", "table.md"]
    content = json.loads((tmp_path / "both" / "table.json").read_text())
    assert [m["metrics"]["return"]["runs"] for m in content["methods"]] == [[0, 1, 2, 3, 4], [1, 2, 3, 4, 5]]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "takes folders of runs"),
        ("nowhere", "nowhere has no run"),
        ("runs --metric retrun", "unknown metric 'retrun': did you mean return?"),
        ("runs/c", "has a result: finish one"),
    ],
)
def test_bad_input_is_one_line(words, said, tmp_path, capsys):
    fake(tmp_path / "runs" / "a", "gda", 0, [1.0])
    fake(tmp_path / "runs" / "c", "gda", 1, [1.0])
    (tmp_path / "runs" / "c" / "result.json").unlink()
    assert command(f"compare {words}") == 2
    printed = capsys.readouterr().err.strip()
    assert said in printed and "\n" not in printed and not (tmp_path / "comparison").exists()


def test_runs_of_two_kinds_cannot_be_compared(tmp_path, capsys):
    fake(tmp_path / "a", "gda", 0, [1.0])
    fake(tmp_path / "b", "gda", 0, [1.0], lr=1, metric="residual")
    assert command("compare a b") == 2 and "no metric in common" in capsys.readouterr().err


def drawn(words, monkeypatch):
    """{name of a method: its curve}, and the number of runs below the figure that `compare` draws."""
    found = {}

    def draw(tables, title, runs, against):
        found.update(tables=tables, runs=runs)
        return original(tables, title, runs, against)

    original = curves.draw_curves
    monkeypatch.setattr(curves, "draw_curves", draw)
    assert command(words) == 0
    return found.get("tables", {}), found.get("runs")


def test_runs_of_one_tensor_have_no_curves_of_their_own(tmp_path, monkeypatch, capsys):
    assert command(f"sweep gda {GAME} --grid lr=0.1,0.2 --seeds 0:3 --steps 20 --out a") == 0
    assert drawn("compare a --out both", monkeypatch) == ({}, None)
    assert "no curves of lr=0.1, lr=0.2" in capsys.readouterr().out
    assert command(f"sweep gda {GAME} --seeds 0:3 --steps 20 --out b") == 0
    tables, runs = drawn("compare b --out both", monkeypatch)  # one method, whose runs are those of the log
    assert [*tables] == ["gda"] and runs == 3


def test_a_curve_is_that_of_the_finished_runs(tmp_path, monkeypatch):
    for seed in range(3):
        fake(tmp_path / "runs" / f"{seed}", "gda", seed, [seed + 1.0, seed + 1.0])
    (tmp_path / "runs" / "2" / "result.json").unlink()
    (tmp_path / "runs" / "2" / "progress.csv").write_text("time/timesteps,eval/return\n0,0\n5,7\n")
    tables, runs = drawn("compare runs --by seconds", monkeypatch)
    assert tables["gda"]["time/timesteps"].tolist() == [0, 2] and tables["gda"]["eval/return"].tolist() == [0, 1.5]
    assert runs == 4


def test_a_run_that_is_being_extended_has_no_result(tmp_path, capsys):
    for name, seed in (("a", 0), ("b", 1)):
        fake(tmp_path / name, "gda", seed, [1.0 + seed])
        config = json.loads((tmp_path / name / "config.yaml").read_text())
        (tmp_path / name / "config.yaml").write_text(json.dumps({**config, "steps": 1000}))
    result = json.loads((tmp_path / "a" / "result.json").read_text())
    (tmp_path / "a" / "result.json").write_text(json.dumps({**result, "timesteps": 1000}))
    [method] = methods_in([tmp_path])
    assert method.values["return"] == {(0, 0): 1.0} and len(method.folders) == 2
    assert command("push b me/it --dry-run") == 2 and "b has no result: finish the run first" in capsys.readouterr().err


def test_nothing_of_an_earlier_comparison_is_left(tmp_path):
    for k in range(3):
        fake(tmp_path / "runs" / f"{k}", "gda", 0, [1.0], lr=k + 1)
    assert command("compare runs --out both") == 0
    assert command("compare runs/0 --out both") == 0
    assert len([*(tmp_path / "both" / "hparams").glob("*/events*")]) == 1
    (tmp_path / "runs" / "0" / "progress.csv").unlink()
    assert command("compare runs/0 --out both") == 0 and not (tmp_path / "both" / "curves.png").exists()


def test_the_same_run_again_is_no_further_run(tmp_path, capsys):
    for k in range(2):
        fake(tmp_path / "runs" / f"{k}", "gda", 0, [1.0 + k, 3.0])
    fake(tmp_path / "runs" / "2", "gda", 1, [5.0, 5.0])
    [method] = methods_in([tmp_path])
    assert method.values["return"] == {(0, 0): 2.0, (0, 1): 3.0, (1, 0): 5.0, (1, 1): 5.0}
    assert [path.name for path in method.finished] == ["1", "2"] and method.seconds == [2.0, 2.0]
    assert command("compare runs") == 0
    said = capsys.readouterr().out
    assert "left out 1 of the results" in said and "unfinished" not in said


def test_trials_of_one_tensor_are_paired_by_their_seeds(tmp_path):
    for k in range(2):
        folder = tmp_path / str(k)
        fake(folder, "gda", 0, [1.0 + k, 2.0 + k])
        config = json.loads((folder / "config.yaml").read_text())
        own = {"settings": {"lr": [0.1, 0.2]}, "seeds": [k, k], "seed": k, "runs": 2}
        (folder / "config.yaml").write_text(json.dumps({**config, **own}))
    first, second = methods_in([tmp_path])
    assert first.values["return"] == {(0, 0): 1.0, (1, 0): 2.0}
    found = against_first([first, second], "return")[1]
    assert found is not None and found.paired is not None and found.paired.wins == 2
