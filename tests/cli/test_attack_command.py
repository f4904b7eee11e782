"""`robustgames attack`: table, files, Ctrl-C and wrong input, on a tiny digits run and on networks of the user's."""

import json
import shutil
import signal
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from in_process import in_an_empty_folder, users_module  # noqa: F401 (a fixture)
from torch import nn

import robustgames as rg
from robustgames import data, experiment
from robustgames.attacks import ensemble, linear_worst_case, members
from robustgames.attacks.attack import Attack
from robustgames.attacks.members import Member
from robustgames.attacks.saving import from_8_bit, load_examples
from robustgames.checkpoints import load_checkpoint, save_checkpoint
from robustgames.cli import main
from robustgames.cli.attack_report import FILES
from robustgames.experiment import classifiers
from robustgames.experiment.user_data import load_data
from robustgames.games import HeldOut, Network

NETS = """import torch
from torch import nn

def flat():
    torch.manual_seed(0)
    return nn.Linear(64, 10)

def square():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 10).double()).double()

ready = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Softmax(-1))
number = 3

def fails():
    raise OSError("no weights.pt")

def word():
    return "network"

class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(64, 10)
        self.linear.weight.data = torch.sin(torch.arange(640.0)).view(10, 64) * (torch.arange(10) < 2).view(10, 1)
        self.linear.bias.data = torch.tensor([0.0, 0.0] + [-1000.0] * 8)

    def forward(self, x):
        return self.linear(x + 0.3 * torch.randn_like(x))

def noisy():
    return Noisy()

def one_output():
    return nn.Linear(64, 1)

def no_axis():
    return nn.Sequential(nn.Linear(64, 1), nn.Flatten(0))

def images_to_images():
    return nn.Conv2d(1, 1, 3)

def nan():
    net = flat()
    nn.init.constant_(net.weight, float("nan"))
    return net

def two_classes():
    return nn.Linear(64, 2)
"""


@dataclass(frozen=True)
class Custom(Attack):
    """An attack that calls a function."""

    find: Callable

    def run(self, p):
        return self.find(p)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return the folders of a digits run of two seeds and of a toy run."""
    out = tmp_path_factory.mktemp("trained")
    settings = {"hidden": [24], "batch_size": 32, "eps": 0.08}
    job = experiment.GameExperiment(
        "standard_training", "robustgames/DigitsAdversarial-v0", env_settings=settings, steps=150, runs=2, device="cpu"
    )
    folder, _ = experiment.train(job, out, progress_bar=False)
    toy, _ = experiment.train(
        experiment.GameExperiment("gda", "robustgames/Bilinear-v0", steps=5, runs=1), out, progress_bar=False
    )
    return folder, toy


my_nets = users_module("my_nets", NETS)


def attack(words, capsys, code=0):
    """Run the command; return (table, errors) as printed."""
    assert main(["attack", *map(str, words)]) == code
    return capsys.readouterr()


def told(folder):
    """Return what attack.json says."""
    return json.loads((Path(folder) / "attack.json").read_text())


def refused(words, capsys):
    """Run a command that must be refused, in one line; return the line."""
    error = attack(words, capsys, 2).err
    assert "Traceback" not in error and len(error.strip().splitlines()) == 1
    return error


def test_table_and_files_of_two_runs_agree(trained, capsys):
    printed = attack([trained[0], "--attack", "fgsm", "apgd-ce", "--images", "80", "--device", "cpu"], capsys).out
    assert "DigitsAdversarial-v0, standard_training: linf eps 0.08, 80 images, mean ± std over 2 runs" in printed
    folder = trained[0] / "attacks" / "fgsm+apgd-ce-linf-0.08-images=80"
    assert str(folder) in printed and {p.name for p in folder.iterdir()} == {*FILES, "events.out.tfevents.attack"}
    content = told(folder)
    assert list(content["classifiers"]) == ["run 0", "run 1"] and content["interrupted"] is False
    for i, row in enumerate(content["classifiers"].values()):
        clean, robust = row["clean_accuracy"], row["robust_accuracy"]
        assert clean == content["clean_accuracy"]["runs"][i] and robust == content["robust_accuracy"]["runs"][i]
        one, two = row["attacks"]
        assert one["attacked"] == round(80 * clean) and two["attacked"] == one["attacked"] - one["fooled"]
        assert row["examples"] == one["fooled"] + two["fooled"] == round(80 * (clean - robust)) > 0
        assert 0 <= row["lost_in_8_bits"] < row["examples"] and row["unfinished"] == 0
    for key in ("clean_accuracy", "robust_accuracy"):
        mean, std = 100 * content[key]["mean"], 100 * content[key]["std"]
        assert f"{key.replace('_', ' '):<16} {mean:.1f} ± {std:.1f} %" in printed
    fell = sum(row["attacks"][0]["fooled"] for row in content["classifiers"].values())
    (line,) = (line for line in printed.splitlines() if "│ fgsm" in line)
    assert f" {fell} " in line and "2.0" in line and "1.0" in line  # two passes forward, one back per image


def test_examples_on_disk_fool_the_saved_classifiers(trained, capsys):
    out = ["--out", "found", "--attack", "apgd-ce", "--images", "50"]
    attack([trained[0], *out], capsys)
    found, content = load_examples("found/examples.safetensors"), told("found")
    assert found.adversarial.shape == (2, 50, 64) and found.about["classifiers"] == ["run 0", "run 1"]
    assert torch.equal(found.clean, data.digits().test_images[:50])
    assert (found.adversarial - found.clean).abs().max() <= 0.08 + 1e-6
    z = load_checkpoint(trained[0])["z"]
    game = experiment.read_experiment(trained[0]).make_agent().game
    for i, row in enumerate(content["classifiers"].values()):
        weights = z[i, : game.sizes[0]]
        guess = game.held_out.logits(weights, found.adversarial[i]).argmax(-1)
        assert torch.equal(guess, found.predictions[i])
        assert float((guess == found.labels).double().mean()) == row["robust_accuracy"]
        seen = from_8_bit(found.images[i])
        assert (seen - found.clean).abs().max() <= 0.08 + 1e-6
        errs = game.held_out.logits(weights, seen).argmax(-1) != found.labels
        assert torch.equal(errs, found.images_adversarial[i])


def test_one_run_can_be_picked(trained, capsys):
    words = [trained[0], "--attack", "fgsm", "--images", "40"]
    attack([*words, "--out", "both"], capsys)
    printed = attack([*words, "--run", "1"], capsys).out
    folder = trained[0] / "attacks" / "fgsm-linf-0.08-run1-images=40"
    content = told(folder)
    both = told("both")["classifiers"]
    assert list(content["classifiers"]) == ["run 1"] and "±" not in printed and "standard_training, run 1:" in printed
    row, other = content["classifiers"]["run 1"], both["run 1"]
    assert (row["clean_accuracy"], row["robust_accuracy"]) == (other["clean_accuracy"], other["robust_accuracy"])
    assert load_examples(
        trained[0] / "attacks/fgsm-linf-0.08-run1-images=40/examples.safetensors"
    ).adversarial.shape == (40, 64)


def test_attacks_of_other_settings_have_folders_of_their_own(trained, capsys):
    words = [trained[0], "--attack", "pgd", "--run", "0"]
    others = [["--seed", "1"], ["--images", "20"], ["--attack-set", "steps=2"], ["--attack-set", "steps=3"]]
    others += [["--data", "mnist_8x8.npz"], ["--data", "./mnist_8x8.npz"], ["--precision", "bfloat16"], ["--curve"]]
    digits = data.digits()
    np.savez("mnist_8x8.npz", images=digits.test_images[:30], labels=digits.test_labels[:30])
    for more in ([], *others):
        attack([*words, *more], capsys)
    folders = list((trained[0] / "attacks").glob("pgd-linf-0.08-run0*"))
    assert len(folders) == 1 + len(others)
    assert {tuple(told(folder)["attack_set"]) for folder in folders} == {(), ("steps=2",), ("steps=3",)}
    attack([*words, "--batch", "50", *others[0]], capsys)  # the same numbers
    assert len(list((trained[0] / "attacks").glob("pgd-linf-0.08-run0*"))) == len(folders)


def test_versions_and_names_mix_and_run_once(trained, capsys, monkeypatch):
    begun = []
    for name in {*members.VERSIONS["standard"], "fgsm"}:
        attack_of_that_name = Custom(find=lambda p, n=name: begun.append(n) or torch.zeros_like(p.a))
        monkeypatch.setitem(members.MEMBERS, name, Member(attack_of_that_name))
    words = ["--attack", "fgsm", "autoattack", "square", "--images", "10", "--run", "0"]
    attack([trained[0], *words], capsys)
    assert begun == ["fgsm", "apgd-ce", "apgd-t", "fab-t", "square"]


@pytest.mark.parametrize(("norm", "eps"), [("l2", "0.5"), ("l1", "1.5"), ("linf", "0")])
def test_other_balls(trained, capsys, norm, eps):
    words = ["--attack", "pgd", "fmn", "--norm", norm, "--eps", eps, "--images", "30", "--run", "0", "--out", "here"]
    printed = attack([trained[0], *words], capsys).out
    assert f"{norm} eps {eps}, 30 images" in printed
    content, found = told("here"), load_examples("here/examples.safetensors")
    order = {"linf": float("inf"), "l2": 2, "l1": 1}[norm]
    size = torch.linalg.vector_norm(found.adversarial - found.clean, order, dim=-1)
    assert (size <= float(eps) + 1e-5).all()
    clean, robust = content["clean_accuracy"]["mean"], content["robust_accuracy"]["mean"]
    assert robust == clean if eps == "0" else robust < clean


def test_minimum_norm_attacks_count_what_they_find_in_the_ball(trained, capsys):
    words = ["--attack", "deepfool", "ddn", "--norm", "l2", "--eps", "0.4", "--images", "60", "--run", "0"]
    attack([trained[0], *words, "--out", "here"], capsys)
    (row,) = told("here")["classifiers"].values()
    found = load_examples("here/examples.safetensors")
    moved = (found.adversarial != found.clean).any(-1)
    assert 0 < int(moved.sum()) == row["examples"] == sum(t["fooled"] for t in row["attacks"])
    assert (found.adversarial - found.clean).norm(dim=-1).max() <= 0.4 + 1e-5


def test_ctrl_c_keeps_what_is_found(trained, capsys, monkeypatch):
    def stop(p):
        raise KeyboardInterrupt

    monkeypatch.setitem(members.MEMBERS, "square", Member(Custom(find=stop), "margin"))
    words = ["--attack", "fgsm", "square", "--images", "60", "--out", "here"]
    printed = attack([trained[0], *words], capsys, 130)
    assert printed.err.strip() == "robustgames: interrupted; the results so far are in here"
    content = told("here")
    (row,) = content["classifiers"].values()  # run 1 was not begun
    assert content["interrupted"] and row["interrupted"] and row["examples"] == row["attacks"][0]["fooled"] > 0
    assert row["unfinished"] == round(60 * row["robust_accuracy"])
    assert f"{row['unfinished']} images count as robust, though not every attack was tried" in printed.out
    assert load_examples("here/examples.safetensors").about["interrupted"] is True


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("attacks.ensemble", "lost_gradients"),
        ("cli.attack_run", "to_8_bit"),
        ("cli.attack_report", "predict"),
        ("cli.attack_report", "examples_of"),
    ],
)
def test_ctrl_c_after_an_attack_keeps_its_results(module, name, trained, capsys, monkeypatch):
    module = import_module(f"robustgames.{module}")
    goes_on = getattr(module, name)

    def pressed(*args, **settings):
        signal.raise_signal(signal.SIGINT)
        monkeypatch.setattr(module, name, goes_on)
        return goes_on(*args, **settings)

    words = [trained[0], "--run", "0", "--attack", "fgsm", "--images", "60", "--out", "here"]
    attack(words, capsys)
    (expected,) = told("here")["classifiers"].values()
    shutil.rmtree("here")
    monkeypatch.setattr(module, name, pressed)
    printed = attack(words, capsys, 130)
    assert printed.err.strip() == "robustgames: interrupted; the results so far are in here"
    (row,) = told("here")["classifiers"].values()
    for key in ("robust_accuracy", "examples", "lost_in_8_bits", "confusion", "unfinished"):
        assert row[key] == expected[key], key
    assert {"report.html", "report.md", "examples.safetensors"} < {path.name for path in Path("here").iterdir()}


def test_ctrl_c_before_an_attack_writes_nothing(trained, capsys, monkeypatch, tmp_path):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(classifiers, "read_experiment", stop)
    handler = signal.getsignal(signal.SIGINT)
    printed = attack([trained[0], "--attack", "fgsm", "--out", "here"], capsys, 130)
    assert signal.getsignal(signal.SIGINT) is handler is not signal.SIG_IGN  # the caller can still be interrupted
    assert printed.err.strip() == "robustgames: interrupted: nothing is written" and not (tmp_path / "here").exists()


def test_ctrl_c_in_the_second_run_keeps_the_first(trained, capsys, monkeypatch):
    calls = []

    def second(*args, **settings):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return ensemble.evaluate(*args, **settings)

    monkeypatch.setattr("robustgames.cli.attack_run.evaluate", second)
    attack([trained[0], "--attack", "fgsm", "--images", "20", "--out", "here"], capsys, 130)
    content = told("here")
    assert list(content["classifiers"]) == ["run 0"] and content["interrupted"]


def test_a_run_that_diverged_is_left_out_and_named(trained, capsys, tmp_path):
    content = load_checkpoint(trained[0])
    content["z"][0] = float("nan")
    folder = tmp_path / "run"
    save_checkpoint(folder, content)
    (folder / "config.yaml").write_text((trained[0] / "config.yaml").read_text())
    printed = attack([folder, "--attack", "fgsm", "--images", "20"], capsys).out
    assert "warning: run 0 has diverged: its weights are not finite, and it is left out" in printed
    assert "20 images\n" in printed  # one run: no mean over runs
    assert "the weights of the run are not finite: there is nothing to attack" in refused(
        [folder, "--attack", "fgsm", "--run", "0"], capsys
    )


def test_catastrophic_overfitting_is_told(trained, capsys, monkeypatch):
    monkeypatch.setattr("robustgames.cli.attack_run.fgsm", lambda model, x, *_, **__: x)  # as if one step did nothing
    words = ["--attack", "fgsm", "--images", "60", "--run", "0", "--eps", "0.3", "--out", "here"]
    printed = attack([trained[0], *words], capsys).out
    assert "warning: catastrophic overfitting of run 0: FGSM leaves" in printed
    assert "catastrophic overfitting" in told("here")["warnings"][-1]
    words[3] = "3"  # images: too few for such a claim
    assert "catastrophic overfitting" not in attack([trained[0], *words], capsys).out
    words[3], moves = "60", ["--norm", "l1", "--eps", "10"]  # one step moves one pixel, which is no attack
    assert "catastrophic overfitting" not in attack([trained[0], *words, *moves], capsys).out


def test_a_network_of_the_user_is_attacked_on_flat_or_square_images(capsys):
    for name, shape in (("flat", (30, 64)), ("square", (30, 1, 8, 8))):
        words = ["--model", f"my_nets:{name}", "--data", "digits", "--images", "30", "--attack", "pgd"]
        printed = attack(words, capsys).out
        folder = f"attacks/my_nets-{name}/pgd-linf-0.1-images=30-data=digits"
        assert f"my_nets:{name}: linf eps 0.1, 30 images" in printed and folder in printed
        found = load_examples(f"{folder}/examples.safetensors")
        assert found.adversarial.shape == shape
        assert found.adversarial.dtype == (torch.float32 if name == "flat" else torch.float64)
        assert torch.equal(found.labels, data.digits().test_labels[:30])


def right_under_noise(linear, x, y):
    """Return the exact probability of the right class of `Noisy`: labels 0 and 1 compete, the others never win."""
    w, b = linear.weight.double(), linear.bias.double()
    m = (x.double() @ (w[1] - w[0]) + b[1] - b[0]) * (2 * y - 1)
    p = (1 + torch.erf(m / (0.3 * (w[1] - w[0]).norm()) / 2**0.5)) / 2
    return torch.where(y < 2, p, 0)


@torch.no_grad()
def test_eot_at_the_command_line_gives_the_accuracy_of_the_law_with_its_error(capsys):
    words = "--model my_nets:noisy --data digits --eps 0.05 --attack apgd-ce --images 200 --eot 50 --out noisy"
    out, err = attack(words.split(), capsys)
    linear, entry = sys.modules["my_nets"].noisy().linear, told("noisy")
    _, _, x, y = data.digits()
    x, y = x[:200], y[:200]
    worst = linear_worst_case(linear.weight, x, y.clamp_max(1), 0.05, bias=linear.bias)
    clean, law = (float(right_under_noise(linear, images, y).mean()) for images in (x, worst))
    found = next(iter(entry["classifiers"].values()))
    assert law < clean - 0.02 and found["eot"] == 50
    for name, exact in (("clean", clean), ("robust", law)):
        error = found[f"{name}_standard_error"]
        assert 0 < error < 0.01 and abs(found[f"{name}_accuracy"] - exact) < 4 * error
    assert f"(standard error of the noise {100 * found['robust_standard_error']:.2f}, over 50 passes)" in out
    kept = load_examples("noisy/examples.safetensors")
    assert float(right_under_noise(linear, kept.adversarial, y).mean()) == pytest.approx(law, abs=0.002)
    p = right_under_noise(linear, from_8_bit(kept.images), y)
    clear = (p - 0.5).abs() > 4 * 0.5 / 50**0.5
    assert clear.sum() > 150 and torch.equal(kept.images_adversarial[clear], p[clear] < 0.5)
    assert "pass to pass" not in err


def test_a_module_that_returns_probabilities_is_warned_of(capsys):
    words = ["--model", "my_nets:ready", "--data", "digits", "--images", "20", "--attack", "fgsm"]
    assert "warning: the model returns probabilities" in attack(words, capsys).out


def test_bfloat16_searches_and_the_own_precision_judges(trained, capsys):
    words = ["--attack", "apgd-ce", "--images", "40", "--run", "0", "--precision", "bfloat16", "--out", "here"]
    attack([trained[0], *words], capsys)
    found = load_examples("here/examples.safetensors")
    (row,) = told("here")["classifiers"].values()
    assert int((found.predictions == found.labels).sum()) == round(40 * row["robust_accuracy"])


def test_a_convolutional_run_is_attacked_as_a_module():
    """The module with the run's weights gives the logits of the game, and leaves the game's own module alone."""

    def build():
        return nn.Sequential(nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 10))

    game = HeldOut(data.digits(), Network(build), eps=0.1, batch_size=16)
    before = nn.utils.parameters_to_vector(game.network.module.parameters()).clone()
    weights = game.start(0, (2,), torch.Generator().manual_seed(0))
    models = classifiers._models(game.held_out, weights, None)
    images = game.held_out.images[:7]
    for i, model in enumerate(models.values()):
        assert isinstance(model, nn.Module)
        assert torch.allclose(model(images), game.held_out.logits(weights[i], images), atol=1e-6)
    assert torch.equal(nn.utils.parameters_to_vector(game.network.module.parameters()), before)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("", "neither a run nor --model is given: give one of them, e.g. robustgames attack runs/"),
        ("RUN --model my_nets:flat", "both a run and --model are given: give one of them"),
        ("--attack fgsm RUN", "is listed as an attack: put it first, robustgames attack "),
        ("nothing", "nothing is not the folder of a run: it has no config.yaml"),
        ("TOY", "robustgames/Bilinear-v0 has no classifier to attack: give a run of robustgames/DigitsAdversarial-v0"),
        ("RUN --attack apgd-cee", "unknown version or attack 'apgd-cee': did you mean apgd-ce"),
        ("RUN --attack fgsm sqare", "unknown version or attack 'sqare': did you mean square"),
        ("RUN --norm l3", "unknown norm 'l3': did you mean"),
        ("RUN --norm l2", "--norm l2 differs from the game's linf: give its radius too, e.g. --eps 1"),
        ("RUN --attack ddn", "ddn attacks in l2, not in linf: use fmn or apgd-ce"),
        ("RUN --eps -0.1", "eps is -0.1: the radius of an attack is a finite number >= 0, e.g. eps=0.3"),
        ("RUN --eps nan", "eps is nan: the radius of an attack is a finite number >= 0"),
        ("RUN --images 0", "images is 0: it must be a whole number of at least 1, e.g. --images 100"),
        ("RUN --batch 0", "batch is 0: it must be a whole number of at least 1"),
        ("RUN --seed -1", "seed is -1: it must be a whole number of at least 0"),
        ("RUN --run 2", "--run is 2: the folder holds 2 runs, --run 0 to --run 1"),
        ("RUN --precision float8", "unknown precision 'float8': did you mean"),
        ("RUN --device tpu0", "device 'tpu0' is not usable here: use auto or cpu"),
        ("RUN --data mnist", "--data mnist has 784 pixels, the run's images have 64"),
        (
            "RUN --data nowhere",
            "no data 'nowhere': digits, mnist, a folder of images by class",
        ),
        ("RUN --out my_nets.py/there", "cannot write to my_nets.py/there"),
        ("--model my_nets", "--model is 'my_nets': give module:function, e.g. --model my_nets:load"),
        ("--model nowhere:load", "no module 'nowhere' for --model nowhere:load: run from the folder of nowhere.py"),
        ("--model my_nets:flatt", "unknown name in my_nets 'flatt': did you mean flat?"),
        (
            "--model my_nets:number",
            "my_nets:number gives an object of type int: a torch.nn.Module, or a function that returns one",
        ),
        (
            "--model my_nets:word",
            "my_nets:word gives an object of type str: a torch.nn.Module, or a function that returns one",
        ),
        ("--model my_nets:fails", "my_nets:fails() failed with OSError: no weights.pt"),
        (
            "--model my_nets:images_to_images --data digits",
            "my_nets:images_to_images does not map images to logits (N, classes >= 2): it gave for (2, 1, 8, 8) "
            "(2, 1, 6, 6); for (2, 64) ",
        ),
        ("--model my_nets:flat", "for (2, 1, 28, 28) RuntimeError: "),
        ("--model my_nets:nan --data digits", "logits that are not finite"),
        ("--model my_nets:two_classes --data digits", "labels or targets go up to 9, but the model has 2 classes"),
        (
            "--model my_nets:one_output --data digits",
            "go up to 9, but the model has 2 classes, one output z being the logits [-z, z]: class numbers 0 … 1",
        ),
        ("--model my_nets:no_axis --data digits", "2 classes, one output z being the logits [-z, z]"),
        ("--model my_nets:noisy --data digits --eot 0", "eot is 0: it is the number of passes of a stochastic model"),
        ("--model my_nets:flat --norm l2 --data digits", "--norm l2 needs its radius: give --eps too"),
        ("--model my_nets:flat --run 0", "--run picks a run of a folder: leave it out with --model"),
    ],
)
def test_wrong_input_gets_one_line_and_exit_code_2(words, says, trained, capsys, tmp_path):
    named = {"RUN": str(trained[0]), "TOY": str(trained[1])}
    before = {p for folder in trained for p in folder.rglob("*")}
    assert says in refused([named.get(word, word) for word in words.split()], capsys)
    assert {p.name for p in tmp_path.iterdir()} <= {"my_nets.py", "__pycache__"}  # and leaves nothing behind
    assert {p for folder in trained for p in folder.rglob("*")} == before


def test_a_module_that_cannot_be_imported_is_named(capsys, tmp_path):
    (tmp_path / "broken.py").write_text("import a_module_that_is_not_there")
    error = refused(["--model", "broken:net"], capsys)
    assert "importing 'broken' failed with ModuleNotFoundError: No module named 'a_module_that_is_not_there'" in error


def test_truncated_data_is_named(capsys, tmp_path):
    folder = tmp_path / "mnist"
    folder.mkdir()
    (folder / "t10k-images-idx3-ubyte").write_bytes((2051).to_bytes(4, "big") + b"\0\0")
    (folder / "t10k-labels-idx1-ubyte").write_bytes(b"")
    error = refused(["--model", "my_nets:flat", "--data", "mnist"], capsys)
    assert "t10k-images-idx3-ubyte is truncated: at least 16 bytes expected, 6 found; download it again" in error


def test_a_folder_goes_before_a_keyword_of_its_name(tmp_path):
    (tmp_path / "digits").mkdir()
    with pytest.raises(rg.GameError, match="digits holds no image"):
        load_data("digits", 10)


def test_help_and_usage_tell_of_the_command(capsys):
    assert main(["--help"]) == 0 and "robustgames attack RUN" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        main(["attack", "--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0
    for name in set(members.MEMBERS) - {"apgd-ce-5", "apgd-dlr-5", "fab-5"}:
        assert name.removesuffix("-rand") in text, name
    assert "--precision" in text and rg.__version__


def test_a_terminal_sees_how_far_each_attack_is(trained, capsys, monkeypatch):
    words = [trained[0], "--attack", "fgsm", "apgd-ce", "--images", "40", "--batch", "10", "--run", "0"]
    assert attack(words, capsys).err == ""  # a log file sees nothing of it
    monkeypatch.setenv("FORCE_COLOR", "1")
    shown = attack(words, capsys).err
    assert "run 0  fgsm" in shown and "run 0  apgd-ce" in shown and "robust" in shown


def test_an_attack_repeats_itself(trained, capsys):
    words = [trained[0], "--attack", "pgd", "--images", "30", "--run", "0", "--seed", "5"]
    for out in ("one", "two"):
        attack([*words, "--out", out], capsys)
    one, two = (load_examples(f"{out}/examples.safetensors") for out in ("one", "two"))
    assert torch.equal(one.adversarial, two.adversarial) and torch.equal(one.images, two.images)
    attack([*words[:-1], "6", "--out", "three"], capsys)
    assert not torch.equal(load_examples("three/examples.safetensors").adversarial, one.adversarial)


def test_no_warning_is_lost_and_none_escapes(trained, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attack([trained[0], "--attack", "fgsm", "--images", "10"], capsys)
