"""`robustgames attack --model` on networks of every kind, small, against accuracies that the test computes itself.

Exact robust accuracies where a closed form exists (linear in the input, with column bounds, one output, or noise);
elsewhere the accuracy of the saved examples, and PGD written out here, which the attack has to match or beat.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from in_process import in_an_empty_folder, users_module  # noqa: F401 (a fixture)
from PIL import Image

from robustgames.attacks.saving import load_examples
from robustgames.cli import main

EPS = 0.02
MODULE = """
import torch
from torch import nn

def photo_network(dtype="float32", scaled=False):
    torch.manual_seed(1)
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, 3)]
    return nn.Sequential(*([Scaled()] if scaled else []), *layers).to(getattr(torch, dtype))

class Scaled(nn.Module):
    def forward(self, x):
        return (x - 0.4) / 0.2

class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.patches, self.place = nn.Conv2d(3, 16, 8, 8), nn.Parameter(torch.randn(16, 16) / 4)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=True)
        self.encoder, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.encoder(self.patches(x).flatten(2).transpose(1, 2) + self.place).mean(1))

class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.rnn, self.head = nn.LSTM(4, 16, batch_first=True), nn.Linear(16, 3)
        with torch.no_grad():
            x = torch.rand(100, 7, 4, generator=torch.Generator().manual_seed(1))
            self.head.bias -= self(x).mean(0)  # all three classes occur

    def forward(self, x):
        return self.head(self.rnn(x)[0][:, -1])

class Noisy(nn.Module):
    '''sign(w x) under Gaussian noise on the score: right with probability Φ(margin).'''

    def forward(self, x):
        z = 40 * x.flatten(1) @ direction(x[0].numel()) + torch.randn(len(x))
        return torch.stack([-z, z], 1)

def direction(n):
    return torch.cos(torch.arange(float(n))) / n**0.5

def table_network():
    torch.manual_seed(4)
    return nn.Linear(6, 3)

def one_output(axis=True):
    torch.manual_seed(5)
    first = nn.Linear(6, 1)
    with torch.no_grad():
        first.bias -= first(torch.full((1, 6), 0.5)).squeeze()
    return nn.Sequential(first, *([] if axis else [nn.Flatten(0)]))

def probability():
    return nn.Sequential(one_output(), nn.Sigmoid())

def in_place(net):
    net = globals()[net]()
    return lambda x: net(2 * x.mul_(0.5))

def own_labels(net, x):
    with torch.no_grad():
        y = net(x).argmax(1)
    return x, torch.where(torch.arange(len(x)) % 5 == 0, (y + 1) % 3, y)  # every fifth is wrong

def sequences():
    return own_labels(Recurrent(), torch.rand(40, 7, 4, generator=torch.Generator().manual_seed(0)))

def table():
    scale = torch.tensor([1.0, 10.0, 0.1, 3.0, 1.0, 5.0])
    return own_labels(table_network(), torch.randn(60, 6, generator=torch.Generator().manual_seed(1)) * scale)

def two_classes():
    x = torch.rand(60, 6, generator=torch.Generator().manual_seed(2))
    z = one_output()(x).squeeze(1)
    return x, (z + 0.05 * torch.randn(60, generator=torch.Generator().manual_seed(3)) > 0).long()

def signs():
    x = torch.rand(200, 1, 4, 4, generator=torch.Generator().manual_seed(3)) * 0.6 + 0.2
    return x, (x.flatten(1) @ direction(16) > 0).long()
"""
written = users_module("kinds", MODULE)


def kinds():
    return sys.modules["kinds"]


def photos(home, size=(32, 32), count=12):
    """Write random photos of three classes; return their pixels (N, 3, H, W) in the order of their paths."""
    random, found = np.random.RandomState(0), []
    for name in ("ant", "bee", "cow"):
        (home / name).mkdir(parents=True)
        for i in range(count):
            coarse = random.randint(0, 256, (4, 4, 3), dtype=np.uint8)
            picture = Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC)
            picture.save(home / name / f"{i:02}.png")
            found.append(torch.from_numpy(np.array(picture)).permute(2, 0, 1))
    return torch.stack(found)


def attack(words, capsys, code=0):
    assert main(["attack", *words.split(), "--device", "cpu", "--out", "found"]) == code
    return capsys.readouterr()


def results():
    """Return the saved examples and the row of the classifier in attack.json."""
    content = json.loads(Path("found/attack.json").read_text())
    return load_examples("found/examples.safetensors"), next(iter(content["classifiers"].values()))


@torch.no_grad()
def share(model, x, y):
    return float((model(x).argmax(1) == y).double().mean())


def pgd(model, x, y, eps, steps=20):
    """Return x after sign steps of size eps / 4 on the cross-entropy, projected on the ball and on [0, 1]."""
    a = x.clone()
    for _ in range(steps):
        a.requires_grad_()
        (g,) = torch.autograd.grad(torch.nn.functional.cross_entropy(model(a).float(), y), a)
        a = (a.detach() + eps / 4 * g.sign()).clamp(x - eps, x + eps).clamp(0, 1)
    return a


NETWORKS = {  # words of the command, and the network with its normalization as the test builds it
    "convolutions": ("--model kinds:photo_network", lambda k: k.photo_network()),
    "normalization of the user's inside": (
        "--model kinds:photo_network --model-set scaled=true",
        lambda k: k.photo_network(scaled=True),
    ),
    "normalization by flags": (
        "--model kinds:photo_network --mean 0.4 --std 0.2",
        lambda k: k.photo_network(scaled=True),
    ),
    "transformer": ("--model kinds:Transformer", lambda k: k.Transformer()),
    "float16": ("--model kinds:photo_network --model-set dtype=float16", lambda k: k.photo_network("float16")),
    "bfloat16": ("--model kinds:photo_network --model-set dtype=bfloat16", lambda k: k.photo_network("bfloat16")),
    "recurrent": ("--model kinds:Recurrent --data kinds:sequences", lambda k: k.Recurrent()),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_accuracies_are_those_of_the_network_itself(kind, capsys, tmp_path):
    words, build = NETWORKS[kind]
    pixels = photos(tmp_path / "photos")
    data = "" if "--data" in words else "--data photos"
    attack(f"{words} {data} --eps {EPS} --attack apgd-ce", capsys)
    found, row = results()
    net = build(kinds()).eval()
    dtype = next(net.parameters()).dtype
    if data:
        x, y = (pixels / 255).to(dtype), torch.arange(3).repeat_interleave(12)
    else:
        x, y = kinds().sequences()
    assert torch.equal(found.clean, x) and torch.equal(found.labels, y) and found.adversarial.dtype == dtype
    assert row["clean_accuracy"] == share(net, x, y) > 0
    slack = 1e-7 if dtype == torch.float32 else 1e-9  # of rounding; narrow types round into the ball
    assert (found.adversarial.double() - x.double()).abs().max() <= EPS + slack
    assert float(found.adversarial.min()) >= 0 and float(found.adversarial.max()) <= 1
    right, kept = (net(a).argmax(1) == y for a in (x, found.adversarial))
    assert row["robust_accuracy"] == float((right & kept).double().mean()) < row["clean_accuracy"]
    ours = net(pgd(net, x, y, EPS).to(dtype)).argmax(1) == y
    assert row["robust_accuracy"] <= float((right & ours).double().mean())


def worst(w, b, x, y, low, high, eps):
    """Return the least margin of class y over the box around x inside [low, high], (N,): linear, so exact."""
    down, up = (x - eps).clamp_min(low), (x + eps).clamp_max(high)
    margins = torch.full((len(x), len(w)), math.inf, dtype=torch.float64)
    for k in range(len(w)):
        d = w[y] - w[k]
        value = torch.where(d > 0, d * down, d * up).sum(1) + b[y] - b[k]
        margins[:, k] = torch.where(y == k, math.inf, value)
    return margins.amin(1)


def test_a_table_with_bounds_of_its_columns_meets_the_closed_form(capsys):
    attack("--model kinds:table_network --data kinds:table --eps 0.5 --attack apgd-ce apgd-t", capsys)
    found, row = results()
    x, y = kinds().table()
    net = kinds().table_network()
    low, high = x.amin(0), x.amax(0)
    assert row["clean_accuracy"] == share(net, x, y) == 0.8
    w, b = net.weight.detach().double(), net.bias.detach().double()
    exact = worst(w, b, x.double(), y, low.double(), high.double(), 0.5)
    assert row["robust_accuracy"] == float((exact > 0).double().mean()) and 0.2 < row["robust_accuracy"] < 0.75
    assert row["lost_in_8_bits"] is None and found.images is None  # a table has no levels
    assert "8-bit" not in Path("found/report.html").read_text() and row["examples"] > 0
    free = worst(w, b, x.double(), y, torch.tensor(-math.inf), torch.tensor(math.inf), 0.5)
    assert (free > 0).sum() < (exact > 0).sum()  # the bounds matter
    assert bool(((found.adversarial >= low) & (found.adversarial <= high)).all())


@pytest.mark.parametrize("axis", ["true", "false"])
def test_one_output_for_two_classes_meets_the_closed_form_and_is_certified(axis, capsys):
    words = f"--model kinds:one_output --model-set axis={axis} --data kinds:two_classes --bounds 0,1 --eps 0.02"
    if axis == "false":  # a value without an axis of its own
        assert "Flatten (0.1) has no bounds" in attack(f"{words} --certify linear", capsys, 2).err
    attack(f"{words} --attack apgd-ce{' --certify linear' if axis == 'true' else ''}", capsys)
    _, row = results()
    net, (x, y) = kinds().one_output()[0], kinds().two_classes()
    w, b = net.weight.detach().double(), net.bias.detach().double()
    both = torch.cat([-w, w]), torch.cat([-b, b])
    exact = worst(*both, x.double(), y, torch.tensor(0.0), torch.tensor(1.0), 0.02)
    right = (x.double() @ w[0] + b > 0) == (y == 1)
    assert row["clean_accuracy"] == float(right.double().mean())
    assert row["robust_accuracy"] == float((exact > 0).double().mean()) < row["clean_accuracy"] < 1
    if axis == "true":
        assert row["certificates"]["linear"]["certified"] == int((exact > 0).sum())


@pytest.mark.parametrize(("net", "data"), [("one_output", "two_classes"), ("table_network", "table")])
def test_a_network_that_changes_its_input_in_place_has_the_report_of_one_that_does_not(net, data, capsys):
    words = f"--data kinds:{data} --bounds -60,60 --eps 0.02 --attack apgd-ce"
    attack(f"--model kinds:{net} {words}", capsys)
    expected, (_, row) = load_examples("found/examples.safetensors"), results()
    attack(f"--model kinds:in_place --model-set net={net} {words}", capsys)
    found, (_, other) = load_examples("found/examples.safetensors"), results()
    for key in ("clean_accuracy", "robust_accuracy", "examples", "lost_in_8_bits", "confusion"):
        assert other[key] == row[key], key
    for key in ("clean", "adversarial", "predictions"):
        torch.testing.assert_close(getattr(found, key), getattr(expected, key))


def test_one_output_that_is_a_probability_is_refused(capsys):
    error = attack("--model kinds:probability --data kinds:two_classes --eps 0.02 --attack fgsm", capsys, 2).err
    assert "the one output of kinds:probability lies in [0, 1] at all of 60 inputs: if it is a probability" in error


def test_a_randomized_network_is_right_with_the_probability_of_the_closed_form(capsys):
    passes, eps = 40, 0.01
    attack(f"--model kinds:Noisy --data kinds:signs --eps {eps} --attack apgd-ce --eot {passes}", capsys)
    _, row = results()
    x, y = kinds().signs()
    w = 40 * kinds().direction(16)
    margin = (2.0 * y - 1) * (x.flatten(1) @ w)

    def right(value):
        return float((0.5 * (1 + torch.erf(value / 2**0.5))).mean())

    shown = Path("found/report.html").read_text()
    counts = {key: sum(one[key] for one in row["classes"]) for key in ("images", "clean", "robust")}
    assert counts["images"] == len(x) and counts["clean"] - counts["robust"] == row["examples"] > 0
    assert f">{row['examples']}</p>" in shown and f"{row['examples']} fooled by an attack" in shown
    assert all(one["robust"] <= one["clean"] for one in row["classes"]) and row["unfinished"] == 0
    slack = 4 * 0.5 / (len(x) * passes) ** 0.5  # four standard errors
    assert row["eot"] == passes and abs(row["clean_accuracy"] - right(margin)) < slack
    assert abs(row["robust_accuracy"] - right(margin - eps * float(w.abs().sum()))) < slack
    assert right(margin) - right(margin - eps * float(w.abs().sum())) > 3 * slack
