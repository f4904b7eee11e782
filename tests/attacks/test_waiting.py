"""Attacks on a device for which each look at a value waits: no look inside the loops, and the same results."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from robustgames import attacks
from robustgames.attacks import Victim, engine
from robustgames.attacks.fab import TargetedFAB
from robustgames.attacks.gradient import PGD
from robustgames.attacks.problem import pose_problem
from robustgames.attacks.square import Square

LOOKS = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal")
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


class Looks(TorchDispatchMode):
    """Counts the operations at which the host waits for a device."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += any(func.__name__.startswith(f"{name}.") for name in LOOKS)
        return func(*args, **(kwargs or {}))


def setting(device):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 5)).double().eval()
    x = torch.rand(40, 1, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        y = model(x).argmax(-1)
    return model.to(device), x.to(device), y.to(device)


@pytest.fixture
def patient(monkeypatch):
    """Let the CPU behave as a device that is looked at every 20 steps."""
    monkeypatch.setitem(engine.PATIENCE, "cpu", 20)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("attack", "looks_per_step"),
    [
        (PGD(early="last"), 0.0),
        (PGD(early="best"), 0.0),
        (PGD(early="drop"), 0.1),
        (attacks.auto_pgd.APGD(early="best"), 0.0),
        (attacks.auto_pgd.APGD(early="drop"), 0.1),
        (Square(), 0.1),
        (TargetedFAB(classes=1, early="drop"), 0.1),
    ],
    ids=repr,
)
def test_more_steps_take_no_more_looks(attack, looks_per_step, device, patient, monkeypatch):
    model, x, y = setting(device)
    monkeypatch.setattr(Victim, "_usable", lambda self, g, logits, dims: g)  # on a CPU it looks, on a GPU it does not
    name = "queries" if isinstance(attack, Square) else "steps"
    looks = {}
    for steps in (40, 140):
        with pose_problem(model, x, y, 1e-4, "linf") as p:  # no row is fooled
            p.victim.logits(x)
            with Looks() as mode:
                replace(attack, **{name: steps}).run(p)
        looks[steps] = mode.count
    assert looks[140] - looks[40] <= 100 * looks_per_step + 2


@pytest.mark.parametrize("early", ["drop", "best"])
@pytest.mark.parametrize("attack", [attacks.pgd, attacks.apgd])
def test_rows_that_leave_later_end_where_they_would_have(attack, early, monkeypatch):
    model, x, y = setting("cpu")
    at_once = attack(model, x, y, 0.05, steps=50, early=early)
    monkeypatch.setitem(engine.PATIENCE, "cpu", 20)
    later = attack(model, x, y, 0.05, steps=50, early=early)
    assert torch.equal(at_once, later)
    with torch.no_grad():
        assert 0 < int((model(later).argmax(-1) != y).sum()) < 40


def test_square_that_looks_rarely_searches_alike(monkeypatch):
    model, x, y = setting("cpu")
    at_once = attacks.square(model, x, y, 0.05, queries=300)
    monkeypatch.setitem(engine.PATIENCE, "cpu", 7)
    later = attacks.square(model, x, y, 0.05, queries=300)
    with torch.no_grad():
        fooled = [model(found).argmax(-1) != y for found in (at_once, later)]
    assert torch.equal(*fooled) and 0 < int(fooled[0].sum()) < 40


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_autoattack_on_a_gpu_leaves_the_accuracy_of_the_cpu():
    model, x, y = setting("cpu")
    here = attacks.evaluate(model, x, y, 0.05)
    there = attacks.evaluate(model.cuda(), x.cuda(), y.cuda(), 0.05)
    assert abs(here.robust_accuracy - there.robust_accuracy) <= 1 / 40
