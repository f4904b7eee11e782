"""Attacks of foolbox and ART through the adapter: closed forms of a linear model, and a judge that is not theirs."""

import random
import warnings

import numpy as np
import pytest
import torch

from robustgames.attacks import Victim, borrowed, evaluate
from robustgames.attacks import borrowed as public
from robustgames.errors import GameError
from robustgames.games.threat import NORMS

SIDE = 6
DUAL = {"linf": 1.0, "l2": 2.0, "l1": float("inf")}
EPS = {"linf": 0.02, "l2": 0.1, "l1": 0.3}
# ten of each kind: fixed radius and none, with gradients and without, foolbox and ART
TEN = [
    ("foolbox:LinfPGD", "linf", {"steps": 40, "rel_stepsize": 0.1}),
    ("foolbox:L2CarliniWagnerAttack", "l2", {"steps": 60, "binary_search_steps": 3, "initial_const": 1.0}),
    ("foolbox:EADAttack", "l1", {"steps": 60, "binary_search_steps": 3, "initial_const": 1.0}),
    ("foolbox:BoundaryAttack", "l2", {"steps": 400}),
    ("foolbox:LinfDeepFoolAttack", "linf", {}),
    ("foolbox:L1FMNAttack", "l1", {}),
    ("art:ProjectedGradientDescent", "linf", {"max_iter": 20}),
    ("art:ElasticNet", "l2", {"max_iter": 15, "binary_search_steps": 2, "initial_const": 1.0}),
    ("art:CarliniL2Method", "l2", {"max_iter": 20, "binary_search_steps": 3, "initial_const": 1.0}),
    ("art:SquareAttack", "linf", {"max_iter": 100}),
]
EXACT = {"foolbox:LinfPGD", "foolbox:LinfDeepFoolAttack", "foolbox:L1FMNAttack", "art:ProjectedGradientDescent"}


def linear(seed=0):
    """Return a network of two classes on images of 6 x 6 pixels, with gray on its boundary."""
    torch.manual_seed(seed)
    layer = torch.nn.Linear(SIDE * SIDE, 2)
    layer.bias.data = -0.5 * layer.weight.data.sum(-1)
    return torch.nn.Sequential(torch.nn.Flatten(), layer)


def inputs(net, count=40):
    """Return images away from the box, and labels of which some are wrong."""
    x = 0.3 + 0.4 * torch.rand(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        y = net(x).argmax(-1)
    y[:3] = 1 - y[:3]
    return x, y


def distances(net, x, y, norm):
    """Return the distance of each input to the boundary, 0 if it is misclassified."""
    weight, bias = net[1].weight.detach(), net[1].bias.detach()
    w, b = weight[1] - weight[0], bias[1] - bias[0]
    margin = (1 - 2 * y) * -(x.flatten(1) @ w + b)
    return margin.clamp_min(0) / torch.linalg.vector_norm(w, DUAL[norm])


def skip_without(name):
    pytest.importorskip(name.partition(":")[0])


@pytest.mark.parametrize(("name", "norm", "settings"), TEN, ids=[name for name, _, _ in TEN])
def test_ten_borrowed_attacks_are_judged_as_exactly_as_a_linear_model_can_be(name, norm, settings):
    skip_without(name)
    net = linear()
    x, y = inputs(net)
    victim, eps = Victim(net), EPS[norm]
    exact = distances(net, x, y, norm) > eps
    before = np.random.get_state()[1].copy(), random.getstate(), torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # none leaves its ball
        found = evaluate(victim, x, y, eps, norm, [name], settings=settings, self_checks=False)
    assert bool((found.robust | ~exact).all())  # no attack can do what is impossible
    assert 0 < found.attacks[0].fooled <= int((found.clean & ~exact).sum())
    if name in EXACT:
        assert int((found.robust & ~exact).sum()) <= 1
    eta = (found.x_adv - x).flatten(1)
    assert float(torch.linalg.vector_norm(eta, NORMS[norm], dim=-1).max()) <= eps * (1 + 1e-5)
    assert bool((net(found.x_adv).argmax(-1) != y)[found.clean & ~found.robust].all())
    assert found.attacks[0].forwards > 0
    assert (found.attacks[0].backwards > 0) == (name not in ("foolbox:BoundaryAttack", "art:SquareAttack"))
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    assert np.array_equal(np.random.get_state()[1], before[0]) and random.getstate() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])


def test_a_borrowed_attack_is_repeated_by_its_seed():
    skip_without("foolbox")
    net = linear()
    x, y = inputs(net)
    once, again, other = (
        borrowed("foolbox:LinfPGD", net, x, y, 0.05, "linf", generator=torch.Generator().manual_seed(seed))
        for seed in (0, 0, 1)
    )
    assert torch.equal(once, again) and not torch.equal(once, other)


@pytest.mark.parametrize("name", ["foolbox:LinfAdditiveUniformNoiseAttack", "foolbox:SpatialAttack"])
def test_what_leaves_its_ball_is_caught(name):
    # foolbox scales its uniform noise by the wrong norm; a rotation keeps to no ball
    skip_without(name)
    net = linear()
    x, y = inputs(net)
    with pytest.warns(UserWarning, match=rf"of {name} left the ball or the box: they count as robust"):
        found = evaluate(net, x, y, 0.02, "linf", [name], self_checks=False)
    assert f"examples of {name} left the ball" in found.warnings[0]
    assert float((found.x_adv - x).abs().max()) <= 0.02 + 1e-6
    with pytest.warns(UserWarning, match="left the ball"):
        x_adv = borrowed(name, net, x, y, 0.02, "linf")
    assert float((x_adv - x).abs().max()) <= 0.02 + 1e-6


def test_what_left_its_ball_is_left_to_the_next_attack():
    skip_without("foolbox")
    net = linear()
    x, y = inputs(net)
    names = ["foolbox:SpatialAttack", "fgsm"]
    with pytest.warns(UserWarning, match="left the ball"):
        both = evaluate(net, x, y, 0.05, "linf", names, self_checks=False)
    assert torch.equal(both.robust, evaluate(net, x, y, 0.05, "linf", ["fgsm"], self_checks=False).robust)
    assert torch.equal(both.robust, distances(net, x, y, "linf") > 0.05)


def test_every_attack_is_offered_with_its_norms_and_settings():
    skip_without("foolbox")
    skip_without("art")
    from robustgames.attacks import borrowed_art, borrowed_foolbox

    both = [(peer, name) for peer in (borrowed_art, borrowed_foolbox) for name in peer.names()]
    assert len(both) >= 60
    for peer, name in both:
        assert peer.norms(name) and peer.minimal(name) in (True, False)
        assert not {"eps", "norm", "targeted"} & set(peer.arguments(name))


def test_radii_of_their_own_bounds_of_features_and_passes_of_a_stochastic_model():
    skip_without("foolbox")
    net = linear()
    x, y = inputs(net)
    eps = torch.where(torch.arange(len(x)) % 2 == 0, 0.01, 0.03)
    x_adv = borrowed("foolbox:LinfPGD", net, x, y, eps, "linf", settings={"steps": 40, "rel_stepsize": 0.1})
    assert bool(((x_adv - x).flatten(1).abs().amax(-1) <= eps + 1e-6).all())
    robust = net(x_adv).argmax(-1) == y
    assert int((robust != (distances(net, x, y, "linf") > eps)).sum()) <= 1
    high = torch.full((1, SIDE, SIDE), 0.71)
    high[0, 0] = 5.0
    x_adv = borrowed("foolbox:LinfPGD", net, x, y, 0.06, "linf", bounds=(-float("inf"), high))
    assert bool((x_adv <= high).all()) and float((x_adv - x).abs().max()) == pytest.approx(0.06, abs=1e-6)
    victim = Victim(lambda a: net(a + 0.01 * torch.randn_like(a)))
    borrowed("foolbox:LinfFastGradientAttack", victim, x, y, 0.05, "linf", eot=3)
    assert victim.forwards == 3 * len(x) == victim.backwards


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", ["foolbox:LinfPGD", "art:FastGradientMethod"])
def test_other_precisions_stay_in_the_ball(name, dtype):
    skip_without(name)
    net = linear().to(dtype)
    x, y = inputs(linear())
    x = x.to(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        found = evaluate(net, x, y, 0.05, "linf", [name], self_checks=False)
    assert found.x_adv.dtype == dtype and found.attacks[0].fooled > 0
    assert float((found.x_adv.double() - x.double()).abs().max()) <= 0.05 * (1 + 1e-6)


def test_errors_say_what_to_type(monkeypatch):
    skip_without("foolbox")
    net = linear()
    x, y = inputs(net)
    for name, norm, settings, said in (
        ("foolbox:LinfinityPGD", "linf", {}, "did you mean LinfPGD"),
        (
            "foolbox:L2PGD",
            "linf",
            {},
            "not in linf: give --norm l2 with its --eps, or --attack foolbox:LinfPGD",
        ),
        (
            "foolbox:L0FMNAttack",
            "linf",
            {},
            "attacks in l0, not in linf: give --norm l0 with its --eps, or --attack foolbox:LInfFMNAttack",
        ),
        ("foolbox:LinfPGD", "linf", {"step": 3}, "did you mean steps"),
        ("foolbox:LinfPGD", "linf", {"steps": "x"}, "foolbox:LinfPGD failed with TypeError"),
        ("other:LinfPGD", "linf", {}, "unknown library of attacks 'other': known: art, foolbox"),
    ):
        with pytest.raises(GameError, match=said):
            borrowed(name, net, x, y, 0.05, norm, settings=settings)
    with pytest.raises(GameError, match="eps of foolbox:LinfPGD is that of the evaluation: give --eps"):
        borrowed("foolbox:LinfPGD", net, x, y, 0.05, "linf", settings={"eps": 3})
    with pytest.raises(GameError, match="unknown setting of fgsm and pgd 'stepz': did you mean steps"):
        evaluate(net, x, y, 0.05, "linf", ["fgsm", "pgd"], settings={"stepz": 3})
    with pytest.raises(GameError, match="fgsm has no settings: leave out steps=3"):
        evaluate(net, x, y, 0.05, "linf", ["fgsm"], settings={"steps": 3})


def test_a_library_that_is_not_installed_is_named(monkeypatch):
    module = __import__("sys").modules[public.__module__]
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(GameError, match=r'needs art: pip install "robustgames\[peers\]"'):
        borrowed("art:ElasticNet", linear(), *inputs(linear()), 0.05, "linf")


def test_settings_reach_our_own_attacks():
    net = linear()
    x, y = inputs(net)
    found = evaluate(net, x, y, 0.01, "linf", ["pgd", "square"], settings={"steps": 7, "queries": 5}, self_checks=False)
    assert found.attacks[0].backwards <= 7 and found.attacks[1].forwards <= 10


@pytest.mark.slow
def test_brendel_and_bethge_after_its_compilation():
    skip_without("foolbox")
    pytest.importorskip("numba")
    net = linear()
    x, y = inputs(net, 10)
    found = evaluate(net, x, y, 0.05, "linf", ["foolbox:LinfinityBrendelBethgeAttack"], settings={"steps": 100})
    exact = distances(net, x, y, "linf") > 0.05
    assert bool((found.robust | ~exact).all()) and int((found.robust & ~exact).sum()) <= 2
