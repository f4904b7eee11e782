"""Minimum-norm attacks: closed forms on linear classifiers, projections against solvers, and the peers' strength."""

from functools import cache

import pytest
import torch
from scipy.optimize import linprog, minimize
from torch import nn

from robustgames.attacks.boundaries import to_hyperplane
from robustgames.attacks.deepfool import deepfool
from robustgames.attacks.fab import FAB, fab, fab_targeted
from robustgames.attacks.minimum_norm import ddn, fmn
from robustgames.attacks.problem import pose_problem
from robustgames.attacks.victim import Victim
from robustgames.data import digits
from robustgames.errors import GameError

ORDERS = {"linf": float("inf"), "l2": 2.0, "l1": 1.0}
DUALS = {"linf": 1.0, "l2": 2.0, "l1": float("inf")}
OPEN = (-float("inf"), float("inf"))
ATTACKS = {
    "ddn": lambda m, x, y, **k: ddn(m, x, y, **k),
    **{f"fmn {n}": lambda m, x, y, n=n, **k: fmn(m, x, y, n, **k) for n in ORDERS},
    **{f"deepfool {n}": lambda m, x, y, n=n, **k: deepfool(m, x, y, n, **k) for n in ("linf", "l2")},
    **{f"fab {n}": lambda m, x, y, n=n, **k: fab(m, x, y, 30.0, n, steps=30, **k) for n in ORDERS},
    **{f"fab_targeted {n}": lambda m, x, y, n=n, **k: fab_targeted(m, x, y, 30.0, n, steps=20, **k) for n in ORDERS},
}
TARGETED = [name for name in ATTACKS if not name.startswith("fab_targeted")]


def norm_of(name):
    return name.split()[-1] if " " in name else "l2"


def size(d, norm):
    return torch.linalg.vector_norm(d.flatten(1), ORDERS[norm], dim=-1)


def fooled(model, x, y):
    with torch.no_grad():
        return model(x).argmax(-1) != y


def linear(classes=4, n=12, count=20):
    g = torch.Generator().manual_seed(5)
    model = nn.Linear(n, classes, dtype=torch.float64)
    model.weight.data = torch.randn(classes, n, generator=g, dtype=torch.float64)
    model.bias.data = torch.zeros(classes, dtype=torch.float64)
    x = torch.randn(count, n, generator=g, dtype=torch.float64)
    return model, x, model(x).argmax(-1)


def least(model, x, y, norm, targets=None):
    """Return margin / |w_y - w_t|_dual, the least over t (a target's is the largest: it has to beat every class)."""
    z, w = model(x).detach(), model.weight.detach()
    goal = y if targets is None else targets
    gaps = (z.gather(1, goal.unsqueeze(1)) - z).abs()
    slopes = torch.linalg.vector_norm(w[goal].unsqueeze(1) - w, DUALS[norm], dim=-1)
    ratio = gaps / slopes
    return ratio.scatter(1, goal.unsqueeze(1), float("inf")).amin(1)


@cache
def small():
    """Return a convolutional classifier of the digits with 60 held-out images that it knows, and their labels."""
    torch.manual_seed(0)
    data = digits()
    net = nn.Sequential(
        nn.Conv2d(1, 12, 3, 1, 1), nn.ReLU(), nn.Conv2d(12, 24, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(384, 10)
    )
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    x, y = data[0].view(-1, 1, 8, 8), data[1]
    for _ in range(12):
        for rows in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
            optimizer.step()
    optimizer.zero_grad()
    x, y = data[2].view(-1, 1, 8, 8), data[3]
    known = ~fooled(net, x, y)
    return net.eval(), x[known][:150], y[known][:150]


# -- the projection -------------------------------------------------------------------------------------------
def case(seed, n=9):
    g = torch.Generator().manual_seed(seed)
    w = torch.randn(n, generator=g, dtype=torch.float64) * (torch.rand(n, generator=g) > 0.2)
    low = -torch.rand(n, generator=g, dtype=torch.float64) * (torch.rand(n, generator=g) > 0.2)
    high = torch.rand(n, generator=g, dtype=torch.float64) * (torch.rand(n, generator=g) > 0.2)
    corner = torch.where(w > 0, high, low) @ w
    return w, low, high, corner * torch.rand((), generator=g, dtype=torch.float64) * (-1) ** seed, g


def solver_norm(w, low, high, gap, norm):
    """Return the least norm by a linear or quadratic program."""
    n, (w, low, high), gap = len(w), (v.numpy() for v in (w, low, high)), float(gap)
    box = list(zip(low, high, strict=True))
    if norm == "l2":
        start, rule = (low + high) / 2, {"type": "eq", "fun": lambda d: d @ w - gap, "jac": lambda d: w}
        options = {"ftol": 1e-14, "maxiter": 500}
        found = minimize(
            lambda d: d @ d, start, jac=lambda d: 2 * d, bounds=box, constraints=rule, method="SLSQP", options=options
        )
        return found.fun**0.5
    eye = torch.eye(n, dtype=torch.float64).numpy()
    ones = torch.ones(n, 1, dtype=torch.float64).numpy()
    aid = ones if norm == "linf" else eye  # |d_i| <= t or |d_i| <= t_i
    rows = torch.tensor([*[[*a, *-b] for a, b in zip(eye, aid, strict=True)]]).numpy()
    other = torch.tensor([*[[*-a, *-b] for a, b in zip(eye, aid, strict=True)]]).numpy()
    cost = [0.0] * n + [1.0] * aid.shape[1]
    upper = torch.cat([torch.from_numpy(rows), torch.from_numpy(other)]).numpy()
    equal = [[*w, *[0.0] * aid.shape[1]]]
    found = linprog(cost, upper, [0.0] * 2 * n, equal, [gap], bounds=[*box, *[(0, None)] * aid.shape[1]])
    assert found.status == 0
    return found.fun


@pytest.mark.parametrize("norm", ORDERS)
@pytest.mark.parametrize("seed", range(12))
def test_projection_on_hyperplane_and_box_matches_a_solver(norm, seed):
    w, low, high, gap, _ = case(2 * seed)  # even: the gap has the sign that the corner reaches
    d = to_hyperplane(w.unsqueeze(0), gap.view(1), low.unsqueeze(0), high.unsqueeze(0), norm)[0]
    assert float((w @ d - gap).abs()) < 1e-10
    assert bool(((d >= low - 1e-15) & (d <= high + 1e-15)).all())
    assert float(torch.linalg.vector_norm(d, ORDERS[norm])) == pytest.approx(
        solver_norm(w, low, high, gap, norm), abs=2e-7 if norm == "l2" else 1e-9
    )


@pytest.mark.parametrize("norm", ORDERS)
def test_projection_in_float32_and_beyond_reach(norm):
    g = torch.Generator().manual_seed(1)
    w, x = torch.randn(50, 784, generator=g) ** 3, torch.rand(2, 50, 784, generator=g)
    far = torch.where(w > 0, 1 - x, -x)
    most = (far * w).sum(-1)
    gap = most * torch.rand(2, 50, generator=g)
    d = to_hyperplane(w, gap, -x, 1 - x, norm)
    assert float((((d * w).sum(-1) - gap) / most).abs().max()) < 2e-6
    exact = to_hyperplane(w.double(), gap.double(), -x.double(), 1 - x.double(), norm)
    torch.testing.assert_close(size(d[0], norm), size(exact[0], norm).float(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(to_hyperplane(w, 2 * most, -x, 1 - x, norm), far)


# -- linear classifiers ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ATTACKS)
def test_closed_form_on_a_linear_classifier(name):
    model, x, y = linear()
    norm, kind = norm_of(name), name.split()[0]
    settings = {"overshoot": 1e-6} if kind == "deepfool" else {}
    adv = ATTACKS[name](model, x, y, bounds=OPEN, **settings)
    best = least(model, x, y, norm)
    ratio = size(adv - x, norm) / best
    middle = {"ddn": 1.01, "fmn": 1.001, "deepfool": 1.0001, "fab": 1.0001, "fab_targeted": 1.0001}[kind]
    most = {"ddn": 1.2, "fmn": 1.5, "deepfool": 1.0001, "fab": 1.002, "fab_targeted": 1.002}[kind]
    assert bool(fooled(model, adv, y).all())
    assert float(ratio.min()) > 1 - 1e-9
    assert float(ratio.median()) < middle and float(ratio.max()) < most


def test_two_classes_and_a_target_have_the_closed_form_too():
    model, x, y = linear(classes=2)
    targets = 1 - y
    for name in TARGETED:
        adv = ATTACKS[name](model, x, y, targets=targets, bounds=OPEN)
        ratio = size(adv - x, norm_of(name)) / least(model, x, y, norm_of(name))
        assert bool((model(adv).argmax(-1) == targets).all()), name
        assert 1 - 1e-9 < float(ratio.min()) <= float(ratio.max()) < 1.05, name


@pytest.mark.parametrize("name", TARGETED)
def test_targets_are_reached(name):
    model, x, y = linear()
    targets = (y + 2) % 4
    adv = ATTACKS[name](model, x, y, targets=targets, bounds=OPEN)
    assert bool((model(adv).argmax(-1) == targets).all())


def test_rows_misclassified_already_and_rows_beyond_eps_come_back_unchanged():
    model, x, y = linear()
    wrong = (y + 1) % 4
    for name, attack in ATTACKS.items():
        assert torch.equal(attack(model, x, wrong, bounds=OPEN), x), name
    best = least(model, x, y, "l2")
    eps = best.median() * 1.0001
    for early in ("best", "drop"):
        for attack in (fab, fab_targeted):
            adv = attack(model, x, y, eps=float(eps), norm="l2", early=early, bounds=OPEN)
            assert torch.equal(size(adv - x, "l2") == 0, best > eps)
            assert torch.equal(fooled(model, adv, y), best <= eps)
            assert float(size(adv - x, "l2").max()) <= float(eps)


def test_eps_may_differ_by_row():
    model, x, y = linear()
    best = least(model, x, y, "linf")
    eps = best * torch.tensor([0.99, 1.01] * 10, dtype=x.dtype)
    for early in ("best", "drop"):
        adv = fab_targeted(model, x, y, eps, "linf", early=early, restarts=2, bounds=OPEN)
        assert fooled(model, adv, y).tolist() == [False, True] * 10


# -- a trained network ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ATTACKS)
def test_all_digits_are_fooled_inside_the_box(name):
    net, x, y = small()
    before = [p.grad for p in net.parameters()]
    adv = ATTACKS[name](net, x[:40], y[:40])
    assert bool(fooled(net, adv, y[:40]).all())
    assert float(adv.min()) >= 0 and float(adv.max()) <= 1
    assert adv.shape == x[:40].shape and adv.dtype == x.dtype
    assert [p.grad for p in net.parameters()] == before == [None] * len(before)


@pytest.mark.parametrize(
    ("name", "peer"),
    [("ddn", "DDNAttack"), ("deepfool l2", "L2DeepFoolAttack"), ("deepfool linf", "LinfDeepFoolAttack")],
)
def test_no_larger_than_foolbox(name, peer):
    foolbox = pytest.importorskip("foolbox")
    net, x, y = small()
    theirs = getattr(foolbox.attacks, peer)()(foolbox.PyTorchModel(net, (0, 1)), x, y, epsilons=None)[1]
    net.zero_grad(set_to_none=True)  # foolbox leaves gradients behind
    norm = norm_of(name)
    ours = ATTACKS[name](net, x, y)
    assert bool(fooled(net, ours, y).all())
    assert size(ours - x, norm).median() <= 1.02 * size(theirs - x, norm).median()


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.092), ("l2", 0.47), ("l1", 1.2)])
def test_fab_is_no_weaker_than_pyautoattack(norm, eps):
    peer = pytest.importorskip("pyautoattack.fab_pt")
    net, x, y = small()
    with torch.random.fork_rng():
        theirs = peer.FABAttack_PT(
            net, norm=norm.capitalize(), n_iter=40, eps=eps, targeted=True, n_target_classes=9, device="cpu"
        ).perturb(x, y)
    net.zero_grad(set_to_none=True)
    ours = fab_targeted(net, x, y, eps, norm, steps=40, early="drop")
    robust, bar = (100 - 100 * float(fooled(net, adv, y).float().mean()) for adv in (ours, theirs))
    assert 35 < bar < 65
    assert robust <= bar + 1
    assert float(size(ours - x, norm).max()) <= eps * (1 + 1e-6)


def test_fab_restarts_and_all_classes_do_not_lose_what_was_found():
    net, x, y = small()
    once = fab_targeted(net, x[:30], y[:30], 1.5, "l2", steps=15)
    more = fab_targeted(net, x[:30], y[:30], 1.5, "l2", steps=15, restarts=2)
    assert bool((size(more - x[:30], "l2") <= size(once - x[:30], "l2") + 1e-6).all())
    assert float((size(more - once, "l2") > 0).float().mean()) > 0.1


# -- what every attack keeps ----------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ATTACKS)
def test_dtype_empty_batch_and_randomness(name):
    model, x, y = linear()
    attack, state = ATTACKS[name], torch.get_rng_state()
    first, again = (attack(model, x, y, bounds=OPEN, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, again) and first.dtype == torch.float64 and first.shape == x.shape
    assert torch.equal(torch.get_rng_state(), state)
    assert attack(model, x[:0], y[:0], bounds=OPEN).shape == (0, 12)
    assert bool(fooled(model, attack(model, x, y, bounds=(-float("inf"), float("inf"))), y).all())


def test_ddn_moves_where_the_cross_entropy_is_saturated():
    model, x, y = linear()
    adv = ddn(lambda a: 1e6 * model(a), x.float().double(), y, steps=300, bounds=OPEN)
    assert float(fooled(model, adv, y).float().mean()) > 0.8


def test_victim_counts_passes():
    net, x, y = small()
    victim = Victim(net)
    ddn(victim, x[:10], y[:10], steps=7, search=2)
    assert (victim.forwards, victim.backwards) == (10 * (7 + 1 + 2 + 2), 10 * 7)
    victim = Victim(net)
    with pose_problem(victim, x[:10], y[:10], 1.0, "linf") as p:
        FAB(steps=5, search=0, classes=3).run(p)
    assert (victim.forwards, victim.backwards) == (10 * (1 + 5 + 1), 10 * 5 * 3)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda m, x, y: ddn(m, x, y, steps=0), "steps is 0: an attack takes at least 1 step"),
        (lambda m, x, y: ddn(m, x, y, gamma=1.0), "gamma is 1.0: the norm changes by a factor"),
        (lambda m, x, y: fmn(m, x, y, step_size=0.0), "the first length is 0.0: a finite number > 0"),
        (lambda m, x, y: fmn(m, x.sigmoid(), y, "l3"), "unknown norm 'l3': did you mean"),
        (lambda m, x, y: deepfool(m, x, y, "l1"), "DeepFool attacks in linf and l2, not in l1: use fmn or apgd"),
        (lambda m, x, y: deepfool(m, x, y, overshoot=-1.0), "overshoot is -1.0: a share >= 0"),
        (lambda m, x, y: deepfool(m, x, y, classes=0), "classes is 0: at least 1 wrong class"),
        (lambda m, x, y: fab(m, x, y, 0.1, early="last"), "unknown value of early 'last': did you mean best"),
        (lambda m, x, y: fab_targeted(m, x, y, 0.1, restarts=0), "restarts is 0: at least 1 run"),
    ],
)
def test_errors_say_what_was_wrong(call, text):
    model, x, y = linear()
    with pytest.raises(GameError, match=f"^{text.replace('(', '.')}"):
        call(model, x, y)
