"""Stochastic classifiers: attacks and verdicts over several passes, against the exact law of a linear model."""

import math
import warnings
from functools import partial

import pytest
import torch

from robustgames import attacks
from robustgames.attacks.passes import mean_over
from robustgames.attacks.saving import from_8_bit, to_8_bit
from robustgames.errors import GameError
from robustgames.evaluation.under_attack import accuracies_at, passes_at

EPS = 0.03
LEVELS = (0.02, 0.1, 0.5)


class Noisy(torch.nn.Module):
    """z = (-m / 2, m / 2) with m = <d, x + s n> + b, n ~ N(0, I): right with probability Φ(±(<d, x> + b) / (s |d|))."""

    def __init__(self, noise, count=60, width=20):
        super().__init__()
        g = torch.Generator().manual_seed(0)
        self.noise, self.d = noise, torch.randn(width, generator=g)
        self.x = 0.4 + 0.2 * torch.rand(count, width, generator=g)
        self.b = -(self.x @ self.d).mean()
        self.y = (self.x @ self.d + self.b > 0).long()

    def forward(self, x):
        m = (x + self.noise * torch.randn_like(x)) @ self.d + self.b
        return torch.stack([-m / 2, m / 2], 1)

    def right(self, x):
        """Return the probability of the right class at each input."""
        m = (x.double() @ self.d.double() + self.b) * (2 * self.y - 1)
        return (1 + torch.erf(m / (self.noise * self.d.double().norm()) / math.sqrt(2))) / 2

    def worst(self, norm="linf"):
        """Return the inputs of least probability: every margin decreases by eps |d|_dual, here inside the box."""
        w = torch.stack([-self.d / 2, self.d / 2])
        bias = torch.stack([-self.b / 2, self.b / 2])
        return attacks.linear_worst_case(w, self.x, self.y, EPS, norm, bias=bias)


IN_BALL = {
    "fgsm": attacks.fgsm,
    "pgd": partial(attacks.pgd, steps=10),
    "pgd drop": partial(attacks.pgd, steps=10, restarts=2, early="drop"),
    "pga": partial(attacks.pga, steps=5, step_size=1e3),
    "apgd": partial(attacks.apgd, steps=20),
    "apgd_targeted": partial(attacks.apgd_targeted, steps=20, loss="margin"),
    "mm": partial(attacks.mm, steps=5),
}


@pytest.mark.parametrize("noise", LEVELS)
@pytest.mark.parametrize("attack", IN_BALL.values(), ids=list(IN_BALL))
def test_attacks_reach_the_worst_case_of_the_law(attack, noise):
    model = Noisy(noise)
    x_adv = attack(model, model.x, model.y, EPS, eot=10)
    best = model.right(model.worst()).mean()
    assert best < model.right(model.x).mean() - 0.05
    assert float(model.right(x_adv).mean()) == pytest.approx(float(best), abs=0.003)
    assert (x_adv - model.x).abs().max() <= EPS + 1e-6


@pytest.mark.parametrize("noise", LEVELS)
def test_square_gets_most_of_the_worst_case(noise):
    model = Noisy(noise)
    x_adv = attacks.square(model, model.x, model.y, EPS, queries=150, eot=10)
    clean, best, found = (float(model.right(x).mean()) for x in (model.x, model.worst(), x_adv))
    assert found < clean - 0.7 * (clean - best)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("noise", LEVELS)
def test_the_accuracy_is_that_of_the_law_with_its_error(noise, norm):
    model = Noisy(noise)
    found = attacks.evaluate(model, model.x, model.y, EPS, norm, ("apgd-ce",), eot=20, self_checks=False)
    law, clean = (float(model.right(x).mean()) for x in (model.worst(norm), model.x))
    assert float(model.right(found.x_adv).mean()) == pytest.approx(law, abs=0.005)
    for got, error, exact in (
        (found.clean_accuracy, found.clean_standard_error, clean),
        (found.robust_accuracy, found.robust_standard_error, law),
    ):
        assert abs(got - exact) < 4 * error + 1e-3
    p = model.right(found.x_adv)
    exact = float((p * (1 - p)).mean() / 20 / len(p)) ** 0.5
    assert found.robust_standard_error == pytest.approx(exact, rel=0.6)
    assert found.table()["eot"] == 20 and found.table()["robust_standard_error"] == found.robust_standard_error


def test_the_random_version_takes_twenty_passes():
    model = Noisy(0.1, count=10)
    with pytest.warns(UserWarning, match="raises the margin instead"):
        found = attacks.evaluate(model, model.x, model.y, EPS, attacks="rand")
    assert found.eot == 20 and found.robust_passes.shape == (20, 10)
    assert not any("pass to pass" in note for note in found.warnings)


def test_one_pass_of_a_stochastic_model_is_warned_of():
    model = Noisy(0.1, count=10)
    with pytest.warns(UserWarning, match="judge the model by means over passes, eot=20"):
        found = attacks.evaluate(model, model.x, model.y, EPS, attacks="pgd")
    assert found.robust_standard_error is None and found.eot == 1


def test_the_noise_is_seeded_and_the_global_generator_restored():
    model = Noisy(0.1)
    every = {
        **IN_BALL,
        "square": partial(attacks.square, queries=20),
        "fab": partial(attacks.fab, steps=5),
        "fab_targeted": partial(attacks.fab_targeted, steps=5),
    }
    small = {
        "ddn": partial(attacks.ddn, steps=5),
        "fmn": partial(attacks.fmn, steps=5),
        "deepfool": partial(attacks.deepfool, steps=5),
    }
    for name, attack in (every | small).items():
        more = () if name in small else (EPS,)
        state = torch.get_rng_state()
        one = attack(model, model.x, model.y, *more, eot=3)
        assert torch.equal(state, torch.get_rng_state()), name
        torch.rand(5)
        assert torch.equal(one, attack(model, model.x, model.y, *more, eot=3)), name
    eta = attacks.universal(model, model.x, torch.ones_like(model.y), EPS, epochs=2, eot=3)
    torch.testing.assert_close(eta, -EPS * model.d.sign(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["deepfool", "ddn", "fmn", "fab"])
def test_minimum_norm_attacks_end_where_most_passes_are_fooled(name):
    model = Noisy(0.02)
    more = {"norm": "l2"} | ({"eps": 9.0} if name == "fab" else {})
    more = {} if name == "ddn" else more
    x_adv = getattr(attacks, name)(model, model.x, model.y, **more, eot=20)
    assert 0.2 < float(model.right(x_adv).mean()) < 0.6
    least = (model.x @ model.d + model.b).abs() / model.d.norm()
    size = torch.linalg.vector_norm(x_adv - model.x, dim=-1)
    assert (size - least).abs().quantile(0.95) < 0.04  # two standard deviations of the noise


@pytest.mark.parametrize("name", ["deepfool", "ddn", "fmn", "fab", "fab_targeted"])
def test_minimum_norm_attacks_with_one_pass_are_warned_of(name):
    model = Noisy(0.02)
    more = (9.0,) if name.startswith("fab") else ()
    with pytest.warns(UserWarning, match="from pass to pass: judge the model by means over passes, eot=20"):
        getattr(attacks, name)(model, model.x, model.y, *more, steps=5)
    for quiet, eot in ((model, 2), (Noisy(0.0), 1)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            getattr(attacks, name)(quiet, quiet.x, quiet.y, *more, steps=5, eot=eot)


@pytest.mark.parametrize("noise", LEVELS)
def test_images_of_8_bits_are_judged_by_most_passes(noise):
    model = Noisy(noise, count=200)
    x_adv = model.worst()
    found = to_8_bit(model, model.x, x_adv, model.y, EPS, eot=200)
    right = model.right(from_8_bit(found.images))
    clear = (right - 0.5).abs() > 4 * 0.5 / 200**0.5
    assert (clear.sum() > 20 or noise == 0.5) and torch.equal(found.adversarial[clear], right[clear] < 0.5)
    before = model.right(x_adv)
    sure = (before - 0.5).abs() > 4 * 0.5 / 200**0.5
    assert found.lost <= int((~(clear & sure)).sum())
    state = torch.get_rng_state()
    again = to_8_bit(model, model.x, x_adv, model.y, EPS, eot=200)
    assert torch.equal(found.adversarial, again.adversarial) and torch.equal(state, torch.get_rng_state())


def test_a_deterministic_model_has_the_same_accuracy_whatever_the_passes():
    model = Noisy(0.0)
    one, many = (
        attacks.evaluate(model, model.x, model.y, EPS, attacks=("apgd-ce",), eot=eot, self_checks=False)
        for eot in (1, 3)
    )
    assert torch.equal(one.robust, many.robust) and one.robust_accuracy == many.robust_accuracy < one.clean_accuracy
    assert many.robust_standard_error == 0


@pytest.mark.parametrize("eot", [0, -1, 1.5, True])
def test_passes_are_a_whole_number(eot):
    model = Noisy(0.1)
    with pytest.raises(GameError, match=r"eot is .*: it is the number of passes of a stochastic model, at least 1"):
        attacks.pgd(model, model.x, model.y, EPS, eot=eot)


def test_means_are_those_of_the_passes():
    parts = iter([(torch.tensor([1.0]), torch.tensor([True])), (torch.tensor([3.0]), torch.tensor([False]))])
    value, share = mean_over(2, lambda: next(parts))
    assert value.tolist() == [2.0] and share.tolist() == [0.5]


def test_no_pass_of_an_ordinary_model_is_warned_of():
    model = Noisy(0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attacks.pgd(model, model.x, model.y, EPS, eot=2)


@pytest.mark.parametrize("noise", LEVELS[:2])
def test_the_curve_is_that_of_the_law(noise):
    model = Noisy(noise)
    radii = [0.0, 0.25 * EPS, 0.5 * EPS, EPS, 1.5 * EPS]
    generator = torch.Generator().manual_seed(0)
    attack = partial(attacks.apgd, steps=5, early="drop", eot=20, generator=generator)
    passes = passes_at(model, model.x, model.y, radii, "linf", attack, 20, generator)
    w, bias = torch.stack([-model.d / 2, model.d / 2]), torch.stack([-model.b / 2, model.b / 2])
    worst = [attacks.linear_worst_case(w, model.x, model.y, radius, bias=bias) for radius in radii]
    law = [float(model.right(x).mean()) for x in worst]
    found = [float(right.double().mean()) for right in passes]
    assert found == pytest.approx(law, abs=0.04) and found == sorted(found, reverse=True)
    lucky = accuracies_at(model, model.x, model.y, radii, "linf", attack)  # one pass of each radius has the last word
    assert noise < 0.1 or lucky[3] < law[3] - 0.1


def test_inputs_that_every_pass_misclassifies_are_not_unfinished():
    def coin(x):
        return torch.randn(len(x), 2) + 0 * x[:, :1]

    x, y = torch.rand(200, 3), torch.zeros(200, dtype=torch.long)
    found = attacks.evaluate(coin, x, y, 0.1, "linf", ["fgsm", "pgd"], settings={"steps": 3}, eot=3, self_checks=False)
    assert found.attacks[0].attacked < 190 and bool((found.robust & ~found.clean).any())  # new passes are others
    assert found.unfinished == 0 and not found.interrupted
