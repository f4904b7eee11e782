"""White-box attacks: exact where the answer is known, equal where two ways must agree, and clean in behavior."""

import copy
from dataclasses import fields
from functools import partial

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import nn

import robustgames as rg
from robustgames.attacks import Victim, apgd, apgd_targeted, fgsm, nes, pga, pgd
from robustgames.attacks.majorize import majorize_step, mm
from robustgames.attacks.members import MEMBERS, members_of
from robustgames.attacks.universal import linear_worst_case, universal
from robustgames.errors import GameError
from robustgames.evaluation.certificates import attack as attack_by_game
from robustgames.games import Oracle
from robustgames.games.threat import ThreatModel
from robustgames.solvers import SGD, BestResponse, Sign, respond

F64 = torch.float64
EPS = {"linf": 0.1, "l2": 0.5, "l1": 1.5}
ATTACKS = {
    "fgsm": fgsm,
    "pgd": partial(pgd, steps=5),
    "pgd momentum": partial(pgd, steps=5, momentum=1.0),
    "pgd drop": partial(pgd, steps=5, early="drop"),
    "pga": partial(pga, steps=5, step_size=10.0),
    "apgd": partial(apgd, steps=8),
    "apgd_targeted": partial(apgd_targeted, steps=5, classes=2, loss="margin"),
    "mm": lambda model, x, y, eps, norm="linf", **more: mm(model, x, y, eps, 5, **more),
}
every_attack = pytest.mark.parametrize("attack", ATTACKS.values(), ids=list(ATTACKS))
every_norm = pytest.mark.parametrize("norm", EPS)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def linear(width=40, count=20, active=False, classes=2):
    """A linear classifier with images inside the box, or with pixels near its walls."""
    g = generator(3)
    w = torch.randn(classes, width, dtype=F64, generator=g)
    x = torch.rand(count, width, dtype=F64, generator=g)
    x = x**3 if active else 0.45 + 0.1 * x
    return w, x, torch.randint(classes, (count,), generator=g)


def margins(w, x, y):
    z = x.flatten(1) @ w.T
    return rg.attacks.losses.margin(z, y)


def network(width=12, classes=4, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(width, 16), nn.ReLU(), nn.Linear(16, classes)).eval()


def images(count=8, shape=(3, 2, 2), seed=1, dtype=torch.float32):
    g = generator(seed)
    return torch.rand(count, *shape, generator=g, dtype=dtype), torch.randint(4, (count,), generator=g)


@pytest.fixture(scope="module")
def digits():
    """A small network trained on the digits, with the 360 images held out."""
    data = rg.data.digits()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        optimizer = torch.optim.Adam(net.parameters(), 3e-3)
        for _ in range(12):
            for index in torch.randperm(len(data.train_images)).split(64):
                optimizer.zero_grad()
                nn.functional.cross_entropy(net(data.train_images[index]), data.train_labels[index]).backward()
                optimizer.step()
    for p in net.parameters():
        p.grad = None
    return net.eval(), data.test_images.view(-1, 1, 8, 8), data.test_labels


def accuracy(net, x, y):
    with torch.no_grad():
        return float((net(x).argmax(-1) == y).double().mean())


# -- exact oracles ---------------------------------------------------------------------------------------------
EXACT = {
    "fgsm": fgsm,
    "pgd": partial(pgd, steps=40, step_size=1e6),
    "pgd from zero": partial(pgd, steps=40, start="zero"),
    "pga": partial(pga, step_size=1e3),
    "apgd": apgd,
    "apgd margin": partial(apgd, loss="margin"),
    "apgd targeted": partial(apgd_targeted, loss="margin"),
}


@every_norm
@pytest.mark.parametrize("attack", EXACT.values(), ids=list(EXACT))
def test_attacks_reach_the_dual_norm_on_linear_models(attack, norm):
    w, x, y = linear()
    eps = {"linf": 0.2, "l2": 0.3, "l1": 0.4}[norm]
    out = attack(lambda a: a @ w.T, x, y, eps, norm)
    dual = {"linf": 1, "l2": 2, "l1": float("inf")}[norm]
    gain = eps * torch.linalg.vector_norm(w[0] - w[1], dual)
    torch.testing.assert_close(margins(w, out, y), margins(w, x, y) + gain, rtol=0, atol=1e-6)
    assert ThreatModel(norm).size(out - x).max() <= eps + 1e-9


@every_norm
@pytest.mark.parametrize("attack", [EXACT[k] for k in EXACT if k != "fgsm"], ids=[k for k in EXACT if k != "fgsm"])
def test_attacks_reach_the_optimum_of_ball_and_box_on_linear_models(attack, norm):
    w, x, y = linear(active=True)
    eps = {"linf": 0.3, "l2": 1.0, "l1": 2.5}[norm]
    if norm == "l1" and isinstance(attack, partial) and attack.func is pgd:
        attack = partial(pgd, direction="raw", start="zero", step_size=1e3)  # SLIDE moves a fixed share of the pixels
    out = attack(lambda a: a @ w.T, x, y, eps, norm)
    best = linear_worst_case(w, x, y, eps, norm)
    torch.testing.assert_close(margins(w, out, y), margins(w, best, y), rtol=0, atol=1e-6)
    assert ThreatModel(norm).size(out - x).max() <= eps + 1e-9 and out.min() >= 0 and out.max() <= 1
    assert (best == 0).any() and (best == 1).any() | (norm != "linf")  # the box is active


@every_norm
def test_linear_worst_case_is_beaten_by_no_attack_with_many_classes(norm):
    w, x, y = linear(active=True, classes=5)
    best = margins(w, linear_worst_case(w, x, y, EPS[norm], norm), y)
    found = margins(w, apgd_targeted(lambda a: a @ w.T, x, y, EPS[norm], norm, loss="margin"), y)
    torch.testing.assert_close(found.clamp_max(0), torch.minimum(best, torch.zeros_like(best)), rtol=0, atol=1e-6)
    towards = torch.where(y == 2, 0, 2)
    bias = torch.arange(5, dtype=F64)
    out = linear_worst_case(w, x, y, EPS[norm], norm, bias=bias, targets=towards)
    slope = w[towards] - w[y]
    eta = ThreatModel(norm, EPS[norm]).at(x).maximize(slope)
    torch.testing.assert_close(out, x + eta, rtol=0, atol=1e-12)


def test_majorize_minimize_reaches_the_corner_of_linear_models():
    w, x, y = linear(active=True)
    torch.testing.assert_close(mm(lambda a: a @ w.T, x, y, 0.3), linear_worst_case(w, x, y, 0.3), rtol=0, atol=1e-9)


# -- two ways to the same point ----------------------------------------------------------------------------------
def test_one_huge_step_of_projected_gradient_ascent_is_fgsm():
    net, (x, y) = network(), images()
    assert torch.equal(pga(net, x, y, 0.1, steps=1, step_size=1e9, early="last"), fgsm(net, x, y, 0.1))


def test_one_step_of_pgd_from_zero_is_fgsm():
    net, (x, y) = network(), images()
    one = pgd(net, x, y, 0.1, steps=1, step_size=0.1, start="zero", early="last")
    assert torch.equal(one, fgsm(net, x, y, 0.1))


def test_majorize_minimize_without_curvature_is_fgsm():
    net, (x, y) = network(), images()
    assert torch.equal(mm(net, x, y, 0.1, 1, smoothness=1e-20, early="last"), fgsm(net, x, y, 0.1))
    torch.testing.assert_close(mm(net, x, y, 0.1, 1, early="loss"), fgsm(net, x, y, 0.1), rtol=0, atol=1e-6)


def game(eps=0.1, width=6, count=9):
    g = generator(5)
    data = torch.rand(count, width, dtype=F64, generator=g), torch.randint(3, (count,), generator=g)
    mlp = rg.games.MLP((width, 8, 3))
    return rg.games.AdversarialClassification(*data, mlp, eps=eps, batch_size=None).to(dtype=F64)


@pytest.mark.parametrize("steps", [1, 7])
def test_pgd_is_the_attacker_of_the_game(steps):
    g = game()
    z = g.initial((), generator(1))
    x = z[: g.sizes[0]]
    oracle = Oracle(g, (), generator())
    oracle.draw()
    rule = Sign(0.03)
    start = oracle.restart(torch.cat([x, torch.zeros(g.sizes[1], dtype=F64)]), 1, zero=True)
    played, _ = respond(rule, oracle, start, 1, steps, rule.init(start))
    eta = g.split(played)[1].view(g.images.shape)
    out = pgd(
        lambda a: g.logits(x, a), g.images, g.labels, 0.1, steps=steps, step_size=0.03, start="zero", early="last"
    )
    torch.testing.assert_close(out, g.images + eta, rtol=0, atol=1e-12)


def test_the_certificate_attack_is_as_strong_as_pgd():
    g = game()
    z = g.initial((), generator(1))
    x = z[: g.sizes[0]]
    by_game = g.images + attack_by_game(g, z, 40).view(g.images.shape)
    ours = pgd(lambda a: g.logits(x, a), g.images, g.labels, 0.1, steps=40, early="last")
    losses = [nn.functional.cross_entropy(g.logits(x, a), g.labels, reduction="none") for a in (by_game, ours)]
    torch.testing.assert_close(losses[0], losses[1], rtol=0, atol=1e-9)  # on this net all corners agree


def test_best_response_with_one_step_of_size_eps_is_fgsm_training():
    g = game()
    z = g.initial((), generator(1))
    scheme = BestResponse(SGD(0.1), Sign(0.1), inner_steps=1, start="zero")
    oracle = Oracle(g, (), generator())
    moved, _ = scheme.step(oracle, z, scheme.init(oracle, z))
    x = z[: g.sizes[0]].clone().requires_grad_()
    attacked = fgsm(lambda a: g.logits(x.detach(), a), g.images, g.labels, 0.1)
    nn.functional.cross_entropy(g.logits(x, attacked), g.labels).backward()
    torch.testing.assert_close(moved[: g.sizes[0]], (x - 0.1 * x.grad).detach(), rtol=0, atol=1e-12)


# -- majorize-minimize -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(50))
def test_majorize_step_solves_the_quadratic_program(seed):
    random = np.random.default_rng(seed)
    n = 6
    g, room = random.normal(size=n), random.uniform(0, 0.5, size=n) * (random.random(n) > 0.2)
    curvature = 10 ** random.uniform(-1, 2)
    step = majorize_step(*(torch.tensor(v).unsqueeze(0) for v in (g, room)), torch.tensor([[curvature]])).numpy()[0]
    solved = minimize(  # variables (d, t), |d_i| <= t
        lambda v: -(g @ v[:n]) + curvature / 2 * v[n] ** 2,
        np.zeros(n + 1),
        jac=lambda v: np.r_[-g, curvature * v[n]],
        bounds=[(0, r) if slope > 0 else (-r, 0) for slope, r in zip(g, room, strict=True)] + [(0, 1)],
        constraints={
            "type": "ineq",
            "fun": lambda v: np.r_[v[n] - v[:n], v[n] + v[:n]],
            "jac": lambda v: np.c_[np.r_[-np.eye(n), np.eye(n)], np.ones(2 * n)],
        },
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 500},
    )
    value = g @ step - curvature / 2 * np.abs(step).max() ** 2
    assert (np.abs(step) <= room + 1e-15).all() and (step * g >= 0).all()
    assert value == pytest.approx(-solved.fun, abs=1e-7)
    np.testing.assert_allclose(step, solved.x[:n], atol=2e-4)


def ascend_quadratic(sign, steps=50):
    """Steps on η'Aη/2 + b'η, A indefinite, in |η|_inf <= 1; sign = -1 is the step as the lecture prints it."""
    random = generator(7)
    a = torch.randn(12, 12, dtype=F64, generator=random)
    a, b = (a + a.T) / 2, torch.randn(12, dtype=F64, generator=random)
    curvature = a.abs().sum().reshape(1, 1)
    eta, values = torch.zeros(1, 12, dtype=F64), []
    for _ in range(steps):
        g = eta @ a + b
        d = majorize_step(g, 1 - g.sign() * eta, curvature)
        values.append(float(((eta @ a) * eta).sum() / 2 + (eta * b).sum()))
        eta = (eta + sign * d).clamp(-1, 1)
    assert torch.linalg.eigvalsh(a).min() < 0 < torch.linalg.eigvalsh(a).max()
    return np.array(values)


def test_majorize_minimize_climbs_a_quadratic_that_is_not_concave():
    values = ascend_quadratic(1)
    assert (np.diff(values) >= -1e-12).all() and values[-1] > values[0] + 1


def test_the_sign_of_the_lecture_descends():
    assert ascend_quadratic(-1)[-1] < -1


def test_backtracking_never_lowers_the_loss(digits):
    net, x, y = digits
    before = torch.full((len(x),), -float("inf"))
    for steps in (1, 2, 3, 5, 8, 13, 20):
        with torch.no_grad():
            loss = nn.functional.cross_entropy(net(mm(net, x, y, 0.15, steps, early="loss")), y, reduction="none")
        assert (loss >= before - 1e-5).all()
        before = loss
    assert accuracy(net, mm(net, x, y, 0.15), y) <= accuracy(net, fgsm(net, x, y, 0.15), y)


def test_smoothness_may_differ_by_row():
    net, (x, y) = network(), images()
    each = torch.logspace(-2, 2, len(x))
    joint = mm(net, x, y, 0.1, 4, smoothness=each, early="last")
    for i, value in enumerate(each.tolist()):
        alone = mm(net, x[i : i + 1], y[i : i + 1], 0.1, 4, smoothness=value, early="last")
        torch.testing.assert_close(joint[i], alone[0], rtol=0, atol=1e-6)


# -- universal ------------------------------------------------------------------------------------------------------
def test_universal_perturbation_of_a_linear_model_is_the_dual_one():
    w, x, _ = linear()
    y = torch.zeros(len(x), dtype=torch.long)
    for norm, dual in (("linf", 1), ("l2", 2), ("l1", float("inf"))):
        eta = universal(lambda a: a @ w.T, x, y, 0.3, norm, epochs=20, batch_size=7)
        assert eta.shape == x.shape[1:]
        best = 0.3 * torch.linalg.vector_norm(w[1] - w[0], dual)
        assert float(((w[1] - w[0]) * eta).sum()) == pytest.approx(float(best), abs=1e-6)


def test_universal_perturbation_fools_more_images_than_noise(digits):
    net, x, y = digits
    eta = universal(net, x, y, 0.25, clip=3.0)
    assert eta.shape == x.shape[1:] and eta.abs().max() <= 0.25 + 1e-7
    noise = 0.25 * (2 * torch.rand(eta.shape, generator=generator()) - 1).sign()
    assert accuracy(net, (x + eta).clamp(0, 1), y) < accuracy(net, (x + noise).clamp(0, 1), y) - 0.2
    assert torch.equal(eta, universal(net, x, y, 0.25, clip=3.0))


# -- against other libraries -------------------------------------------------------------------------------------
@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.1), ("l2", 0.8), ("l1", 2.0)])
def test_pgd_is_as_strong_as_foolbox(digits, norm, eps):
    foolbox = pytest.importorskip("foolbox")
    net, x, y = digits
    kind = {"linf": "LinfPGD", "l2": "L2PGD", "l1": "SparseL1DescentAttack"}[norm]
    size = eps / 8
    torch.manual_seed(0)
    theirs = getattr(foolbox.attacks, kind)(steps=20, abs_stepsize=size, random_start=True)
    model = foolbox.PyTorchModel(net, bounds=(0, 1))
    _, clipped, _ = theirs(model, x, y, epsilons=eps)
    allowed = ThreatModel(norm, eps * (1 + 1e-5)).size((clipped - x).flatten(1)) <= eps * (1 + 1e-5)
    robust = (
        accuracy(net, torch.where(allowed.view(-1, 1, 1, 1), clipped, x), y),
        accuracy(net, pgd(net, x, y, eps, norm, 20, size), y),
    )
    assert robust[1] <= robust[0] + 0.005 and 0.02 < robust[0] < 0.9
    if norm == "l1":  # theirs is wrong at the box and from random starts
        assert robust[1] < robust[0] - 0.1


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.1), ("l2", 0.8), ("l1", 2.0)])
def test_apgd_is_as_strong_as_the_authors(digits, norm, eps):
    pytest.importorskip("pyautoattack")
    from pyautoattack.autopgd_base import APGDAttack

    net, x, y = digits
    name = {"linf": "Linf", "l2": "L2", "l1": "L1"}[norm]
    theirs = APGDAttack(net, n_iter=50, norm=name, eps=eps, seed=0, device="cpu", use_largereps=norm == "l1", rho=0.75)
    robust = accuracy(net, theirs.perturb(x, y), y), accuracy(net, apgd(net, x, y, eps, norm, 50), y)
    assert robust[1] <= robust[0] + 0.005 and 0.02 < robust[0] < 0.9


# -- behavior of every attack ------------------------------------------------------------------------------------
class Mixed(nn.Module):
    """BatchNorm in both modes and dropout, over images of 12 numbers."""

    def __init__(self):
        super().__init__()
        self.first, self.frozen, self.drop, self.last = (
            nn.BatchNorm1d(12),
            nn.BatchNorm1d(12),
            nn.Dropout(0.5),
            network(),
        )
        self.train()
        self.frozen.eval()

    def forward(self, x):
        return self.last(self.drop(self.frozen(self.first(x.flatten(1)))))


@every_attack
def test_no_gradient_of_the_weights_is_touched(attack):
    net, (x, y) = network(), images()
    attack(net, x, y, 0.1)
    assert all(p.grad is None for p in net.parameters())
    for p in net.parameters():
        p.grad = torch.full_like(p, 7.0)
    attack(net, x, y, 0.1)
    assert all(torch.equal(p.grad, torch.full_like(p, 7.0)) and p.requires_grad for p in net.parameters())


@every_attack
@pytest.mark.filterwarnings("ignore:the model is in training mode")
def test_modes_and_statistics_are_left_as_they_were(attack):
    net, (x, y) = Mixed(), images()
    modes, state = [m.training for m in net.modules()], copy.deepcopy(net.state_dict())
    out = attack(net, x, y, 0.1)
    assert [m.training for m in net.modules()] == modes and not net.frozen.training
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert torch.equal(out, attack(net.eval(), x, y, 0.1))  # attacked in evaluation mode


@every_attack
@pytest.mark.filterwarnings("ignore:the model is in training mode")
def test_modes_are_restored_after_an_exception(attack):
    net, (x, y) = Mixed(), images()
    modes = [m.training for m in net.modules()]
    with pytest.raises(RuntimeError, match="broken"):
        net.last.register_forward_hook(lambda *_: (_ for _ in ()).throw(RuntimeError("broken")))
        attack(net, x, y, 0.1)
    assert [m.training for m in net.modules()] == modes


@every_attack
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_shape_dtype_ball_box_and_input_are_kept(attack, dtype):
    net, (x, y) = network().to(dtype), images(dtype=dtype)
    before = x.clone()
    out = attack(net, x, y, 0.1)
    assert out.dtype == dtype and out.shape == x.shape and not out.requires_grad and torch.equal(x, before)
    assert (out - x).abs().max() <= 0.1 + 1e-7 and out.min() >= 0 and out.max() <= 1 and not torch.equal(out, x)


@every_attack
def test_a_batch_of_none_and_of_one(attack):
    net, (x, y) = network(), images()
    assert attack(net, x[:0], y[:0], 0.1).shape == (0, 3, 2, 2)
    assert attack(net, x[:1], y[:1], 0.1).shape == (1, 3, 2, 2)


@every_attack
def test_tables_and_labels_of_small_integers(attack):
    net, (x, y) = network(), images()
    table = attack(net, x.flatten(1), y.int(), 0.1)
    assert torch.equal(table, attack(net, x, y, 0.1).flatten(1))
    assert torch.equal(table, attack(net, x.flatten(1), y.to(torch.uint8), 0.1))


@every_attack
def test_gradients_may_be_switched_off_around_an_attack(attack):
    net, (x, y) = network(), images()
    out = attack(net, x, y, 0.1)
    with torch.no_grad():
        assert torch.equal(out, attack(net, x, y, 0.1))
    with torch.inference_mode():
        assert torch.equal(out, attack(net, x.clone(), y.clone(), 0.1))


@every_attack
def test_randomness_comes_from_the_own_generator(attack):
    net, (x, y) = network(), images()
    torch.manual_seed(0)
    state = torch.get_rng_state()
    out = attack(net, x, y, 0.1, generator=generator(4))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    assert torch.equal(out, attack(net, x, y, 0.1, generator=generator(4)))
    assert torch.equal(attack(net, x, y, 0.1), attack(net, x, y, 0.1, generator=generator(0)))


@every_attack
def test_every_input_may_have_its_radius(attack):
    net, (x, y) = network(), images()
    eps = torch.linspace(0, 0.2, len(x))
    out = attack(net, x, y, eps)
    size = (out - x).abs().flatten(1).amax(-1)
    assert (size <= eps + 1e-7).all() and size[0] == 0 and size[-1] > 0.1
    assert torch.equal(out, attack(net, x, y, eps.view(-1, 1, 1, 1)))
    torch.testing.assert_close(attack(net, x, y, torch.tensor(0.1)), attack(net, x, y, 0.1), rtol=0, atol=1e-6)


@every_attack
def test_bounds_may_be_other_numbers_or_one_per_channel(attack):
    net, (x, y) = network(), images()
    wide = attack(net, 2 * x - 1, y, 0.5, bounds=(-1, 1))
    assert wide.min() >= -1 and wide.max() <= 1 and wide.min() < -0.5
    low, high = torch.tensor([-1.0, 0.0, 0.2]).view(3, 1, 1), torch.tensor([0.5, 1.0, 2.0]).view(3, 1, 1)
    inside = low + (high - low) * x
    for bounds in [(low, high), (-1.0, high), (low.expand_as(x), high.unsqueeze(0))]:
        out = attack(net, inside, y, 0.3, bounds=bounds)
        assert (out >= bounds[0]).all() and (out <= high).all()


@pytest.mark.parametrize("bounds", ["numbers", "tensors"])
@pytest.mark.parametrize(("name", "norm"), [(name, n) for name, m in MEMBERS.items() for n in m.attack.norms])
def test_an_attack_does_not_depend_on_the_unit_of_the_inputs(name, norm, bounds):
    known = {field.name for field in fields(MEMBERS[name].attack)}
    few = {key: value for key, value in {"steps": 12, "queries": 120, "restarts": 1}.items() if key in known}
    attack = members_of([name], few)[name].attack_for(norm)
    torch.manual_seed(3)
    net = nn.Sequential(nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 4)).double()
    x, eps = torch.rand(9, 12, dtype=torch.float64), {"linf": 0.1, "l2": 0.3, "l1": 0.8, "l0": 3}[norm]
    y, found = net(x).argmax(-1), []
    for unit in (1.0, 2.0**8, 2.0**-8):  # powers of 2 are exact

        def model(z, unit=unit):
            return net(z / unit)

        box = (0.0, unit) if bounds == "numbers" else (torch.zeros(12).double(), torch.full((12,), unit).double())
        radius = eps if norm == "l0" else unit * eps
        found.append(attack(model, unit * x, y, radius, norm, bounds=box) / unit)
    assert not torch.equal(found[0], x)
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("attack", [fgsm, pgd, pga, apgd, mm], ids=lambda f: f.__name__)
def test_targets_are_reached(digits, attack):
    net, x, y = digits
    more = {"step_size": 10.0} if attack is pga else {}
    out = attack(net, x, y, 0.3, targets=(y + 1) % 10, **more)
    away = attack(net, x, y, 0.3, **more)
    reached, by_chance = ((net(a).argmax(-1) == (y + 1) % 10).float().mean() for a in (out, away))
    assert reached > by_chance + 0.1 and reached > (0.9 if attack in (pgd, apgd) else 0.2)


@pytest.mark.parametrize("attack", [partial(pgd, steps=3), partial(apgd, steps=6)], ids=["pgd", "apgd"])
@pytest.mark.parametrize("norm", EPS)
def test_restarts_are_never_weaker(digits, attack, norm):
    net, x, y = digits
    x, y = x[:100], y[:100]
    eps = {"linf": 0.06, "l2": 0.4, "l1": 1.0}[norm]

    def losses(restarts):
        with torch.no_grad():
            logits = net(attack(net, x, y, eps, norm, restarts=restarts))
        return nn.functional.cross_entropy(logits, y, reduction="none"), logits.argmax(-1) != y

    (once, fooled), (often, more) = losses(1), losses(4)
    assert (more >= fooled).all() and (often[~more] >= once[~more] - 1e-6).all()


@pytest.mark.parametrize("attack", [partial(pgd, steps=8), partial(apgd, steps=12)], ids=["pgd", "apgd"])
@pytest.mark.parametrize("norm", EPS)
def test_dropping_fooled_rows_finds_the_same_set(digits, attack, norm):
    net, x, y = digits
    eps = {"linf": 0.06, "l2": 0.4, "l1": 1.0}[norm]
    best, drop = (net(attack(net, x, y, eps, norm, early=early)).argmax(-1) != y for early in ("best", "drop"))
    assert torch.equal(best, drop) if norm != "l1" else (best == drop).float().mean() > 0.98
    wide = torch.zeros(1, 8, 8), torch.ones(1, 1, 1)  # bounds of every kind follow the rows
    assert torch.equal(
        attack(net, x, y, eps, norm, early="drop", bounds=wide), attack(net, x, y, eps, norm, early="drop")
    )


def test_the_passes_are_counted():
    (x, y), n = images(), 8
    expected = {
        (fgsm,): (n, n),
        (partial(pgd, steps=5),): (6 * n, 5 * n),
        (partial(pgd, steps=5, early="last"),): (5 * n, 5 * n),
        (partial(apgd, steps=7),): (8 * n, 7 * n),
        (partial(mm, steps=4),): (5 * n, 4 * n),
    }
    for (attack,), counts in expected.items():
        victim = Victim(network())
        attack(victim, x, y, 1e-6)
        assert (victim.forwards, victim.backwards) == counts
    victim = Victim(network())
    wrong = (victim.model(x).argmax(-1) + 1) % 4
    pgd(victim, x, wrong, 1e-6, steps=5, early="drop")
    assert (victim.forwards, victim.backwards) == (n, n)  # all are fooled at the start


def test_tiny_gradients_do_not_mask_the_attack():
    w, x, y = linear()
    for norm in EPS:
        out = fgsm(
            lambda a: a @ w.T,
            x,
            y,
            0.1,
            norm,
            loss=lambda z, b: 1e-30 * nn.functional.cross_entropy(z, b, reduction="none"),
        )
        torch.testing.assert_close(out, fgsm(lambda a: a @ w.T, x, y, 0.1, norm), rtol=0, atol=1e-12)


# -- bad input ---------------------------------------------------------------------------------------------------
X, Y = images()
BAD = {
    "outside": (lambda: fgsm(network(), 2 * X, Y, 0.1), None),
    "integers": (
        lambda: fgsm(network(), (255 * X).byte(), Y, 0.1),
        "inputs are torch.uint8: scale them to floating point first, e.g. x.float() / 255",
    ),
    "nan": (lambda: fgsm(network(), X * float("nan"), Y, 0.1), "96 values of the inputs are not finite"),
    "list": (lambda: fgsm(network(), [1.0], Y, 0.1), "inputs are a list: a tensor of shape (N, ...) is needed"),
    "float labels": (
        lambda: fgsm(network(), X, Y.float(), 0.1),
        "labels are torch.float32: a tensor of class numbers is needed, e.g. y.long()",
    ),
    "one hot": (
        lambda: fgsm(network(), X, nn.functional.one_hot(Y, 4), 0.1),
        "labels have shape (8, 4) for 8 inputs: (8,) is needed",
    ),
    "large label": (
        lambda: fgsm(network(), X, Y + 9, 0.1),
        "labels or targets go up to 12, but the model has 4 classes: class numbers 0 … 3 are allowed",
    ),
    "large target": (
        lambda: apgd(network(), X, Y, 0.1, targets=torch.full_like(Y, 4)),
        "labels or targets go up to 4, but the model has 4 classes: class numbers 0 … 3 are allowed",
    ),
    "large label of a class attack": (
        lambda: apgd_targeted(network(), X, Y + 9, 0.1),
        "labels or targets go up to 12, but the model has 4 classes: class numbers 0 … 3 are allowed",
    ),
    "negative label": (
        lambda: fgsm(network(), X, Y - 1, 0.1),
        "labels go down to -1: class numbers 0, 1, ... are needed",
    ),
    "eps": (
        lambda: fgsm(network(), X, Y, -0.1),
        "eps is -0.1: the radius of an attack is a finite number >= 0, e.g. eps=0.3",
    ),
    "nan eps": (
        lambda: fgsm(network(), X, Y, float("nan")),
        "eps is nan: the radius of an attack is a finite number >= 0, e.g. eps=0.3",
    ),
    "number of eps": (
        lambda: fgsm(network(), X, Y, torch.ones(3)),
        "eps has 3 values for 8 inputs: one for all or one for each is needed",
    ),
    "bound": (
        lambda: fgsm(network(), X, Y, 0.1, bounds=(torch.zeros(5), 1.0)),
        "a bound has shape (5,) for inputs of shape (8, 3, 2, 2): it must broadcast to it",
    ),
    "norm": (lambda: fgsm(network(), X, Y, 0.1, "l_inf"), "unknown norm 'l_inf': did you mean linf?"),
    "loss": (lambda: fgsm(network(), X, Y, 0.1, loss="dl"), "unknown loss 'dl': did you mean dlr?"),
    "early": (
        lambda: pgd(network(), X, Y, 0.1, early="lost"),
        "unknown value of early 'lost': did you mean loss or last or best?",
    ),
    "start": (lambda: pgd(network(), X, Y, 0.1, start="rand"), "unknown start 'rand': did you mean random?"),
    "direction": (lambda: pgd(network(), X, Y, 0.1, direction="slid"), "unknown direction 'slid': did you mean slide?"),
    "steps": (lambda: pgd(network(), X, Y, 0.1, steps=0), "steps is 0: an attack takes at least 1 step"),
    "restarts": (lambda: apgd(network(), X, Y, 0.1, restarts=0), "restarts is 0: at least 1 run is needed"),
    "step size": (  # it led down the loss
        lambda: pgd(network(), X, Y, 0.1, step_size=-0.01),
        "step_size is -0.01: a finite length > 0 is needed, e.g. step_size=0.01, or None",
    ),
    "step size of raw gradients": (
        lambda: pga(network(), X, Y, 0.1, step_size=float("nan")),
        "step_size is nan: a finite length > 0 is needed, e.g. step_size=0.01, or None",
    ),
    "step size of nes": (
        lambda: nes(network(), X, Y, 0.1, step_size=0.0),
        "step_size is 0.0: a finite length > 0 is needed, e.g. step_size=0.01, or None",
    ),
    "step size of universal": (
        lambda: universal(network(), X, Y, 0.1, step_size=-1.0),
        "step_size is -1.0: a finite length > 0 is needed, e.g. step_size=0.01, or None",
    ),
    "momentum": (
        lambda: pgd(network(), X, Y, 0.1, momentum=-1.0),
        "momentum is -1.0: the weight of the previous steps is finite and >= 0, e.g. 1.0",
    ),
    "clip": (
        lambda: universal(network(), X, Y, 0.1, clip=float("nan")),
        "clip is nan: a level of the loss is needed, e.g. clip=5.0, or inf to clip none",
    ),
    "classes": (
        lambda: apgd_targeted(network(), X, Y, 0.1, classes=0),
        "classes is 0: at least 1 wrong class is needed",
    ),
    "dlr": (
        lambda: apgd(network(classes=2), X, Y % 2, 0.1, loss="dlr"),
        "the DLR loss needs at least 3 classes, the model has 2: use loss='ce' or 'margin'",
    ),
    "no classifier": (
        lambda: fgsm("net", X, Y, 0.1),
        "'net' is not a classifier: pass a torch.nn.Module or a function images -> logits",
    ),
    "shape of logits": (
        lambda: fgsm(lambda x: x.flatten(1).sum(-1), X, Y, 0.1),
        "the model returned (8,) for 8 inputs: logits of shape (8, classes >= 2) are needed; for one output z pass "
        "x -> [-z, z]",
    ),
    "nan logits": (
        lambda: fgsm(lambda x: x.flatten(1) / 0 * 0, X, Y, 0.1),
        "the model returned logits that are not finite for 8 of 8 inputs: look at its weights",
    ),
    "detached": (
        lambda: fgsm(lambda x: network()(x.detach()).detach(), X, Y, 0.1),
        "no gradient reaches the input: the model detaches it, rounds it or leaves torch",
    ),
    "detached input": (
        lambda: fgsm(lambda x: network()(x.detach()), X, Y, 0.1),
        "no gradient reaches the input: the model detaches it, rounds it or leaves torch",
    ),
    "smoothness": (
        lambda: mm(network(), X, Y, 0.1, smoothness=0.0),
        "smoothness is 0.0: a finite number > 0 is needed, or None to find it",
    ),
    "number of smoothness": (
        lambda: mm(network(), X, Y, 0.1, smoothness=torch.ones(3)),
        "smoothness has 3 values for 8 inputs: one for all or one for each is needed",
    ),
    "last of mm": (
        lambda: mm(network(), X, Y, 0.1, early="last"),
        "early is 'last', but the last step may lower the loss: set smoothness, or early='loss'",
    ),
    "no inputs": (
        lambda: universal(network(), X[:0], Y[:0], 0.1),
        "there are no inputs: a universal perturbation is learned from at least 1",
    ),
    "epochs": (lambda: universal(network(), X, Y, 0.1, epochs=0), "epochs is 0: at least 1 is needed"),
    "radii": (
        lambda: universal(network(), X, Y, torch.ones(8)),
        "eps has 8 values: one perturbation has one radius, e.g. eps=0.3",
    ),
    "weights": (
        lambda: linear_worst_case(torch.ones(4, 3), X, Y, 0.1),
        "weights have shape (4, 3): (classes, 12) is needed for such inputs",
    ),
}


@pytest.mark.parametrize(("call", "message"), BAD.values(), ids=list(BAD))
def test_bad_input_is_refused_in_one_line(call, message):
    if message is None:
        message = (
            f"inputs lie in [{2 * X.min():g}, {2 * X.max():g}], outside their bounds: scale them, put a normalization "
            "into the model, or pass bounds=(low, high)"
        )
    with pytest.raises(GameError) as error:
        call()
    assert str(error.value) == message and "\n" not in message


def test_probabilities_are_warned_of():
    with pytest.warns(UserWarning, match="the model returns probabilities: attacks need logits"):
        fgsm(lambda x: network()(x).softmax(-1), X, Y, 0.1)


def test_training_mode_is_warned_of():
    with pytest.warns(
        UserWarning, match="the model is in training mode: it is attacked in evaluation mode, and set back"
    ):
        fgsm(Mixed(), X, Y, 0.1)


@pytest.mark.parametrize("steps", range(1, 12))
def test_apgd_in_l1_ends_in_the_ball_however_few_steps_it_has(steps):
    torch.manual_seed(0)
    net, x = torch.nn.Linear(20, 3), torch.rand(6, 20)
    y = net(x).argmax(1)
    for attack in (apgd, partial(apgd_targeted, loss="margin")):
        x_adv = attack(net, x, y, 0.5, "l1", steps=steps)
        assert (x_adv - x).abs().sum(1).max() <= 0.5 + 1e-5 and (x_adv != x).any()  # 1.5 with one step, 1 with 2 and 4
