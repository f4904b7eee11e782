"""`robustgames attack` with attacks of other libraries, --attack-set, --transfer and --corruptions."""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from in_process import in_an_empty_folder, users_module  # noqa: F401 (a fixture)

from robustgames.attacks.report import Report
from robustgames.attacks.transfers import Transfers
from robustgames.cli import main
from robustgames.cli import transfer as transfer_flag
from robustgames.data import digits
from robustgames.data.corruptions import STANDARD
from robustgames.evaluation import under_corruption as evaluation
from robustgames.evaluation.under_corruption import under_corruption

NETS = """import torch
from torch import nn

def linear(seed=0):
    torch.manual_seed(seed)
    return nn.Linear(64, 10)

def other():
    return linear(1)

def conv():
    torch.manual_seed(2)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 10))

class Masked(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = linear()

    def forward(self, x):
        return self.net((8 * x).round() / 8)

def masked():
    return Masked()

def small():
    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = linear()
        def forward(self, x):
            if len(x) > 9:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
            return self.net(x)
    return Small()

class Noisy(nn.Module):
    def forward(self, x):  # right with probability 0.7 or 0.3, wherever the input is
        z = linear()(x)
        chance = 0.5 + 0.2 * torch.sin(1000.0 * torch.arange(len(x))).sign()
        return torch.where((torch.rand(len(x)) < chance).unsqueeze(1), z, -z)

def noisy():
    return Noisy()

def zero():
    return lambda x: torch.zeros(len(x), 10) + 0 * x[:, :1]

def labeled():
    from robustgames.data import digits
    x = digits().test_images[:60]
    return x, linear()(x).argmax(1)

def words():
    return torch.rand(20, 7), torch.zeros(20, dtype=torch.long)
"""

nets_of_more = users_module("nets_of_more", NETS)
WORDS = ["--data", "nets_of_more:labeled", "--eps", "0.05", "--bounds", "0,1", "--out", "here"]


def attack(words, capsys, code=0):
    """Run the command; return (table, errors) as printed."""
    assert main(["attack", *words, *WORDS]) == code
    return capsys.readouterr()


def content():
    with open("here/attack.json") as file:
        return json.load(file)


def reports():
    return [open(f"here/report.{kind}").read() for kind in ("html", "md")]


def test_transfer_gives_a_matrix_everywhere(nets_of_more, capsys):
    words = [
        "--model",
        "nets_of_more:linear",
        "--attack",
        "fgsm",
        "--transfer",
        "nets_of_more:other",
        "nets_of_more:conv",
    ]
    printed = attack(words, capsys)
    found = content()["transfers"]
    assert found["models"] == ["nets_of_more:linear", "nets_of_more:other", "nets_of_more:conv"]
    assert found["clean"][0] == 1 and found["images"] == 60
    x = digits().test_images[:60]
    models = [torch.nn.Linear(64, 10) for _ in range(2)]
    for seed, model in enumerate(models):
        torch.manual_seed(seed)
        model.reset_parameters()
    assert found["accuracy"][0][0] < found["clean"][0]
    assert found["clean"][1] == pytest.approx(float((models[1](x).argmax(1) == models[0](x).argmax(1)).double().mean()))
    for text in (printed.out, *reports()):
        assert "perturbed against" in text and "none (clean)" in text
        assert f"{100 * found['accuracy'][1][0]:.1f} %" in text


def test_transfer_that_beats_the_attacks_is_warned_of(nets_of_more, capsys):
    words = ["--model", "nets_of_more:masked", "--attack", "fgsm", "--transfer", "nets_of_more:linear"]
    printed = attack(words, capsys)
    assert "perturbations found on nets_of_more:linear fool" in " ".join(printed.out.split())
    assert "gradient masking" in reports()[0]


def test_transfer_on_a_randomized_network_takes_the_passes_of_the_attack(nets_of_more, capsys, monkeypatch):
    passes = []
    own = transfer_flag.transfer
    monkeypatch.setattr(transfer_flag, "transfer", lambda *a, **s: (passes.append(s["eot"]), own(*a, **s))[1])
    words = ["--model", "nets_of_more:noisy", "--attack", "rand", "--attack-set", "steps=3"]
    printed = attack([*words, "--transfer", "nets_of_more:zero"], capsys)
    assert passes == [20]
    row = next(iter(content()["classifiers"].values()))
    assert 0.3 < row["robust_accuracy"] < 0.7
    assert "perturbations found on" not in printed.out  # a single pass would fool a third of the inputs


@pytest.mark.parametrize(("passes", "chance"), [(1, 0), (20, 2)])
def test_transfer_has_to_beat_the_attacks_by_more_than_chance(passes, chance):
    """Of 60 inputs 0.42 are surely robust in 20 passes and not in 20 others, at most, whatever the network does."""
    right = torch.ones(60, dtype=torch.bool)
    report = Report(torch.zeros(60, 1), right, right, (), eot=passes)
    if passes > 1:
        report = replace(report, robust_passes=right.expand(passes, 60))
    for fooled, warns in ((chance, False), (chance + 1, True)):
        verdicts = torch.ones(2, 2, 60, dtype=torch.bool)
        verdicts[1, 0, :fooled] = False
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            transfer_flag._warn_of_masking(Transfers(("own", "other"), verdicts[0], verdicts), {"own": report})
        assert [f"found on other fool {fooled} of 60" in str(one.message) for one in caught] == [True] * warns


def test_corruptions_are_reported_everywhere(nets_of_more, capsys):
    printed = attack(["--model", "nets_of_more:linear", "--attack", "fgsm", "--corruptions", "all"], capsys)
    found = content()["classifiers"]["nets_of_more:linear"]["corruptions"]
    assert list(found["accuracy"]) == list(STANDARD) and found["clean"] == 1
    x = digits().test_images[:60]
    torch.manual_seed(0)
    net = torch.nn.Linear(64, 10)
    again = under_corruption(net, x, net(x).argmax(1), ("fog", "jpeg_compression"))
    assert found["accuracy"]["fog"] == list(again.accuracy["fog"])
    for text in (printed.out, *reports()):
        text = " ".join(text.replace("\\", "").split())
        assert f"ean corruption error {100 * found['mean_error']:.1f} %" in text and "jpeg_compression" in text


def test_ctrl_c_keeps_the_corruptions_that_are_done(nets_of_more, capsys, monkeypatch):
    corrupt = evaluation.corrupt

    def stop(x, kind, severity, generator):
        if kind == "contrast":
            raise KeyboardInterrupt
        return corrupt(x, kind, severity, generator)

    monkeypatch.setattr(evaluation, "corrupt", stop)
    words = ["--model", "nets_of_more:linear", "--attack", "fgsm", "--corruptions", "fog", "contrast"]
    printed = attack(words, capsys, 130)
    assert "interrupted; the results so far are in here" in printed.err and content()["interrupted"]
    assert list(content()["classifiers"]["nets_of_more:linear"]["corruptions"]["accuracy"]) == ["fog"]


def test_ctrl_c_in_transfer_keeps_the_attacks(nets_of_more, capsys, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(transfer_flag, "transfer", stop)
    words = ["--model", "nets_of_more:linear", "--attack", "fgsm", "--transfer", "nets_of_more:other"]
    attack(words, capsys, 130)
    assert content()["interrupted"] and content()["transfers"] is None
    assert content()["classifiers"]["nets_of_more:linear"]["examples"] > 0


def test_out_of_memory_halves_the_batch_and_says_so(nets_of_more, capsys):
    words = ["--attack", "pgd", "--attack-set", "steps=5", "--transfer", "nets_of_more:other", "--corruptions", "fog"]
    printed = attack(["--model", "nets_of_more:small", *words], capsys)
    assert "8 inputs pass at a time, as with --batch 8" in " ".join(printed.out.split())
    small = content()["classifiers"]["nets_of_more:small"]
    attack(["--model", "nets_of_more:linear", *words], capsys)
    whole = content()["classifiers"]["nets_of_more:linear"]
    assert small["robust_accuracy"] == whole["robust_accuracy"] < 1 and small["corruptions"] == whole["corruptions"]
    assert small["attacks"][0]["backwards"] == whole["attacks"][0]["backwards"] <= 5


def test_a_borrowed_attack_is_named_like_ours(nets_of_more, capsys):
    pytest.importorskip("foolbox")
    words = ["--model", "nets_of_more:linear", "--attack", "foolbox:LinfPGD", "fgsm", "--attack-set", "steps=9"]
    printed = attack(words, capsys)
    row = content()["classifiers"]["nets_of_more:linear"]["attacks"][0]
    assert row["name"] == "foolbox:LinfPGD" and row["backwards"] == 9 and row["fooled"] > 0
    assert "foolbox:LinfPGD" in printed.out and "steps=9" in reports()[0]
    attack(["--model", "nets_of_more:linear", "--attack", "foolbox:SpatialAttack", "--norm", "l2"], capsys, 2)
    attack(["--model", "nets_of_more:linear", "--attack", "foolbox:LinfAdditiveUniformNoiseAttack"], capsys)
    assert "left the ball or the box" in content()["classifiers"]["nets_of_more:linear"]["warnings"][0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--attack fgsm --corruptions frog", "unknown corruption 'frog': did you mean fog"),
        ("--attack fgsm --corruptions saturate", "the images are gray"),
        ("--attack fgsm --transfer nets_of_more:linear", "--transfer names nets_of_more:linear twice"),
        ("--attack fgsm --transfer nets_of_more:none", "nets_of_more"),
        ("--attack pgd --attack-set step=3", "did you mean steps"),
        ("--attack pgd --attack-set steps=many", "steps of pgd is many: it must be a whole number"),
        ("--attack pgd --attack-set steps=10.5", "steps of pgd is 10.5: it must be a whole number"),
        ("--attack pgd --attack-set steps=.inf", "steps of pgd is inf: it must be a whole number"),
        ("--attack pgd --attack-set restarts=true", "restarts of pgd is True: it must be a whole number"),
        ("--attack pgd --attack-set step_size=big", "step_size of pgd is big: it must be a number or None"),
        ("--attack pgd --attack-set direction=1", "direction of pgd is 1: it must be a word"),
        ("--attack apgd-t --attack-set classes=2.5", "classes of apgd-t is 2.5: it must be a whole number"),
        ("--attack bar:PGD", "unknown library of attacks 'bar'"),
    ],
)
def test_errors_are_one_line(words, said, nets_of_more, capsys):
    printed = attack(["--model", "nets_of_more:linear", *words.split()], capsys, 2)
    assert said in printed.err and printed.err.count("\n") == 1


def test_whole_settings_may_be_written_as_other_numbers_are(nets_of_more, capsys):
    words = ["--model", "nets_of_more:linear", "--data", "digits", "--images", "9", "--attack", "square"]
    attack([*words, "--attack-set", "queries=1e1"], capsys)
    (row,) = content()["classifiers"].values()
    assert content()["attack_set"] == ["queries=1e1"] and 0 < row["attacks"][0]["forwards"] <= 12


def test_a_folder_in_the_current_one_may_have_the_name_of_an_attack(nets_of_more, capsys):
    Path("pgd").mkdir()
    attack(["--model", "nets_of_more:linear", "--data", "digits", "--images", "9", "--attack", "pgd"], capsys)
    assert [tally["name"] for tally in content()["classifiers"]["nets_of_more:linear"]["attacks"]] == ["pgd"]


def test_inputs_that_are_not_images_have_no_corruptions(nets_of_more, capsys):
    words = ["--model", "torch.nn:Linear", "--model-set", "in_features=7", "out_features=2", "--attack", "fgsm"]
    words += ["--data", "nets_of_more:words", "--eps", "0.1", "--corruptions", "fog"]
    assert main(["attack", *words]) == 2 and "--corruptions are of images" in capsys.readouterr().err
