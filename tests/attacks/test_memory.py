"""A device without enough memory: batches are halved, said, and nothing else changes."""

import warnings
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from robustgames.attacks import Victim, evaluate, pgd
from robustgames.attacks.attack import Attack
from robustgames.attacks.halving import in_parts
from robustgames.attacks.members import MEMBERS, Member
from robustgames.cli.attack_report import predict


class Small(nn.Module):
    """A linear network for which so many rows are too many."""

    def __init__(self, most):
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.most = nn.Linear(20, 3), most

    def forward(self, x):
        if len(x) > self.most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return self.linear(x)


@dataclass(frozen=True)
class Large(Attack):
    """An attack that itself needs memory for its rows: x + 0.1 with at most 7 of them."""

    def run(self, p):
        if len(p.a) > 7:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return p.project(torch.full_like(p.a, 0.1))


def data(count=50):
    x = torch.rand(count, 20, generator=torch.Generator().manual_seed(0))
    return x, Small(10**9)(x).argmax(-1)


def test_a_network_with_little_memory_gives_the_same_result_and_says_so():
    x, y = data()
    whole = evaluate(Small(10**9), x, y, 0.05, attacks=["apgd-ce", "square"], settings={"queries": 50, "steps": 10})
    with pytest.warns(UserWarning, match="13 inputs pass at a time, as with --batch 13"):
        small = evaluate(Small(13), x, y, 0.05, attacks=["apgd-ce", "square"], settings={"queries": 50, "steps": 10})
    assert torch.equal(whole.robust, small.robust) and 0 < small.robust_accuracy < 1
    assert torch.allclose(whole.x_adv, small.x_adv, atol=1e-6)
    assert [tally.backwards for tally in whole.attacks] == [tally.backwards for tally in small.attacks]
    assert any("--batch 13" in note for note in small.warnings) and not any("memory" in note for note in whole.warnings)


def test_single_attacks_and_predictions_pass_fewer_rows_as_well():
    x, y = data()
    victim = Victim(Small(8))
    with pytest.warns(UserWarning, match="did not fit into the memory"):
        x_adv = pgd(victim, x, y, 0.05, "linf", 5)
    assert torch.allclose(x_adv, pgd(Small(99), x, y, 0.05, "linf", 5), atol=1e-6) and victim.fits == 7
    assert victim.backwards == 5 * len(x)  # passes that failed are not counted
    assert torch.equal(predict(Small(8), x), y)


def test_an_attack_with_little_memory_runs_on_halves_of_its_batches(monkeypatch):
    x, y = data()
    monkeypatch.setitem(MEMBERS, "large", Member(Large()))
    with pytest.warns(UserWarning, match="7 inputs pass at a time, as with --batch 7"):
        found = evaluate(Small(99), x, y, 0.1, attacks=["large"], self_checks=False, batch_size=28)
    exact = Small(99)((x + 0.1).clamp(0, 1)).argmax(-1) == y
    assert torch.equal(found.robust, exact) and not exact.all() and found.unfinished == 0


def test_a_single_row_that_does_not_fit_is_an_error():
    x, y = data(4)
    with pytest.raises(torch.cuda.OutOfMemoryError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluate(Small(0), x, y, 0.05, attacks=["fgsm"])
    assert in_parts(5, 2, lambda rows: (rows.start, rows.stop)) == ([(0, 2), (2, 4), (4, 6)], 2)
