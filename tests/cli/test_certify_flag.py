"""`robustgames attack --certify`: rows of the table, JSON and file, and the check of certificates against attacks."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from robustgames import experiment
from robustgames.attacks.saving import load_examples
from robustgames.certificates import IBP, clopper_pearson
from robustgames.cli import main

NETS = """import torch
from torch import nn

def deep():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))

class Function(nn.Module):
    def forward(self, x):
        return (x if x.sum() > 0 else -x).flatten(1)[:, :10]

def branching():
    return Function()
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return the folder of a certified training of two seeds on the digits."""
    settings = {"hidden": [16], "eps": 0.05, "attacker": "interval"}
    job = experiment.GameExperiment(
        "ibp_training",
        "robustgames/DigitsAdversarial-v0",
        settings={"horizon": 200, "lr": 0.01},
        env_settings=settings,
        steps=200,
        runs=2,
        device="cpu",
    )
    return experiment.train(job, tmp_path_factory.mktemp("trained"), progress_bar=False)[0]


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "my_nets.py").write_text(NETS)


def attack(words, capsys, code=0):
    assert main(["attack", *map(str, words)]) == code
    return capsys.readouterr()


def test_table_json_and_file_of_two_runs_agree(trained, capsys):
    words = [trained, "--attack", "fgsm", "apgd-ce", "--images", "40", "--out", "here", "--certify"]
    printed = attack([*words, "ibp", "crown", "milp", "ibp"], capsys).out
    content, about = json.loads(Path("here/attack.json").read_text()), load_examples("here/examples.safetensors").about
    rows = [row["certificates"] for row in content["classifiers"].values()]
    for method in ("ibp", "crown", "milp"):
        share = content[f"certified_{method}"]
        assert share["runs"] == [row[method]["certified_accuracy"] for row in rows]
        assert [len(found) for found in about["certified"][method]] == [row[method]["certified"] for row in rows]
        (line,) = [line for line in printed.splitlines() if line.startswith(f"certified {method}")]
        total = sum(row[method]["certified"] for row in rows)
        assert f"{100 * share['mean']:.1f} ± {100 * share['std']:.1f} %  ({total} certified, " in line
    for row, classifier in zip(rows, content["classifiers"].values(), strict=True):
        ibp, crown, exact = (row[method] for method in ("ibp", "crown", "milp"))
        assert 0 < ibp["certified"] <= crown["certified"] <= exact["certified"]
        assert exact["certified_accuracy"] <= classifier["robust_accuracy"] <= classifier["clean_accuracy"]
        assert all(sum(one[k] for k in ("certified", "falsified", "unknown")) == 40 for one in row.values())
        assert ibp["interval"] == list(clopper_pearson(ibp["certified"], 40))
    assert content["certify"] == ["ibp", "crown", "milp", "ibp"]


def test_one_classifier_has_an_interval_and_its_settings(trained, capsys):
    words = [trained, "--run", "1", "--attack", "fgsm", "--images", "20", "--out", "here"]
    words += ["--norm", "l2", "--eps", "0.1"]
    printed = attack([*words, "--certify", "smoothing", "--sigma", "0.1", "--draws", "300", "--seed", "3"], capsys).out
    row = json.loads(Path("here/attack.json").read_text())["classifiers"]["run 1"]["certificates"]["smoothing"]
    low, high = clopper_pearson(row["certified"], 20)
    (line,) = [line for line in printed.splitlines() if line.startswith("certified smoothing")]
    assert f"{100 * row['certified_accuracy']:.1f} %, 95 % interval {100 * low:.1f} to {100 * high:.1f}  (" in line
    assert line.endswith("unknown, of the smoothed classifier)") and 0 < row["certified"] < 20 and row["of_smoothed"]
    attack([*words, "--certify", "smoothing", "--sigma", "0.1", "--draws", "5"], capsys)
    row = json.loads(Path("here/attack.json").read_text())["classifiers"]["run 1"]["certificates"]["smoothing"]
    assert row["unknown"] == 20  # 5 draws are too few for a bound above 1/2


def test_a_certificate_that_an_attack_refutes_is_an_internal_error_in_one_line(trained, capsys, monkeypatch):
    real = IBP.run
    monkeypatch.setattr(IBP, "run", lambda self, task: replace(real(self, task), certified=task.labels >= 0))
    words = [trained, "--run", "0", "--attack", "apgd-ce", "--images", "40", "--certify", "ibp", "--out", "here"]
    lines = attack(words, capsys, 1).err.strip().splitlines()
    content = json.loads(Path("here/attack.json").read_text())["classifiers"]["run 0"]
    fooled = round(40 * (1 - content["robust_accuracy"]))
    assert len(lines) == 1 and fooled > 0
    start = f"robustgames: internal error: ibp certified {fooled} images of run 0 that an attack fools"
    assert lines[0].startswith(start)


def test_a_network_of_the_user_and_a_refusal_before_any_attack(capsys):
    words = ["--data", "digits", "--images", "20", "--attack", "fgsm", "--eps", "0.01", "--out", "here", "--certify"]
    printed = attack(["--model", "my_nets:deep", *words, "crown"], capsys).out
    assert "certified crown " in printed
    error = attack(["--model", "my_nets:branching", *words, "crown"], capsys, 2).err
    assert len(error.strip().splitlines()) == 1 and "the layers of Function cannot be listed (TraceError" in error


def test_without_the_flag_nothing_is_certified(trained, capsys):
    printed = attack([trained, "--attack", "fgsm", "--images", "10", "--out", "here"], capsys).out
    content = json.loads(Path("here/attack.json").read_text())
    assert "certified" not in printed and content["classifiers"]["run 0"]["certificates"] == {}
    assert load_examples("here/examples.safetensors").about["certified"] == {}


def test_ctrl_c_in_a_certificate_of_the_second_run_keeps_the_first(trained, capsys, monkeypatch):
    real, calls = IBP.run, []

    def second(self, task):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(self, task)

    monkeypatch.setattr(IBP, "run", second)
    attack([trained, "--attack", "fgsm", "--images", "20", "--certify", "ibp", "--out", "here"], capsys, 130)
    content = json.loads(Path("here/attack.json").read_text())
    assert list(content["classifiers"]) == ["run 0"] and content["interrupted"]
    row = content["classifiers"]["run 0"]["certificates"]["ibp"]
    assert content["certified_ibp"]["runs"] == [row["certified_accuracy"]]


@pytest.mark.parametrize("second_batch", [True, False], ids=["in the certificate", "after it"])
def test_ctrl_c_keeps_the_verdicts_there_are(trained, capsys, monkeypatch, second_batch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    real, calls = IBP.run, []
    monkeypatch.setattr(
        IBP, "run", lambda self, task: stop() if calls and second_batch else calls.append(1) or real(self, task)
    )
    monkeypatch.setattr(IBP, "batch", 50)
    monkeypatch.setattr("robustgames.cli.attack_run.evaluate", stop)
    words = [trained, "--attack", "fgsm", "--images", "80", "--run", "0", "--out", "here"]
    printed = attack([*words, "--certify", "ibp", "--eot", "2"], capsys, 130)
    content, shown = json.loads(Path("here/attack.json").read_text()), Path("here/report.md").read_text()
    (row,) = content["classifiers"].values()
    found, left = row["certificates"]["ibp"], 30 if second_batch else 0
    assert content["interrupted"] and row["attacks"] == [] and found["unreached"] == left
    assert found["certified"] + found["falsified"] + found["unknown"] == 80 and 0 < found["certified"] < 80 - left
    assert row["robust_accuracy"] == row["clean_accuracy"] and row["unfinished"] == round(80 * row["clean_accuracy"])
    assert ("Ctrl-C left out 30" in printed.out) == ("(30 not reached before Ctrl-C)" in shown) == second_batch
    kept = load_examples("here/examples.safetensors")
    assert torch.equal(kept.clean, kept.adversarial) and max(kept.about["certified"]["ibp"][0]) < 80 - left


def test_ctrl_c_in_the_first_batch_of_the_first_certificate_writes_nothing(trained, capsys, monkeypatch, tmp_path):
    def stop(self, task):
        raise KeyboardInterrupt

    monkeypatch.setattr(IBP, "run", stop)
    printed = attack([trained, "--attack", "fgsm", "--images", "20", "--certify", "ibp", "--out", "here"], capsys, 130)
    assert "interrupted: nothing is written" in printed.err and not Path("here").exists()


def test_the_metrics_of_certified_training_are_saved(trained):
    content = json.loads((trained / "result.json").read_text())
    certified, clean = content["metrics"]["certified_accuracy"], content["metrics"]["clean_accuracy"]
    assert 0 < certified["mean"] < clean["mean"] and len(certified["runs"]) == 2
    assert torch.tensor(certified["runs"]).max() <= 1
