"""Threat models: ball and box jointly, against bisection and solvers that know nothing of projections."""

from itertools import product

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize

from robustgames.errors import GameError
from robustgames.games import projections
from robustgames.games.threat import CONVEX, ThreatModel

P = 6
EPS = {"linf": 0.3, "l2": 0.6, "l1": 0.9}
DUAL = {"linf": 1.0, "l2": 2.0, "l1": float("inf")}
every_norm = pytest.mark.parametrize("norm", CONVEX)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def rows(count=200, width=P, seed=0, scale=1.0, dtype=torch.float64):
    """Images of which some pixels are at a wall, and points around them."""
    g = generator(seed)
    a = (1.6 * torch.rand(count, width, dtype=dtype, generator=g) - 0.3).clamp(0, 1)
    return a, scale * torch.randn(count, width, dtype=dtype, generator=g)


def bisected(v, low, high, eps, norm):
    """The projection of one point by bisection on the multiplier of the ball."""
    if norm == "linf":
        return np.clip(v, np.maximum(low, -eps), np.minimum(high, eps))
    if norm == "l2":
        point, size = (lambda m: np.clip(v / (1 + m), low, high)), np.linalg.norm
    else:
        point, size = (
            (lambda m: np.clip(np.sign(v) * np.maximum(np.abs(v) - m, 0), low, high)),
            (lambda d: abs(d).sum()),
        )
    if size(point(0.0)) <= eps:
        return point(0.0)
    less, more = 0.0, 1.0
    while size(point(more)) > eps and more < 1e300:
        more *= 2
    for _ in range(200):
        middle = (less + more) / 2
        less, more = (middle, more) if size(point(middle)) > eps else (less, middle)
    return point(more)


@every_norm
@pytest.mark.parametrize("scale", [0.05, 1.0, 100.0])
def test_projection_equals_bisection(norm, scale):
    a, v = rows(scale=scale)
    threat = ThreatModel(norm, EPS[norm])
    for image, point, p in zip(a.numpy(), v.numpy(), threat.project(a, v).numpy(), strict=True):
        np.testing.assert_allclose(p, bisected(point, -image, 1 - image, EPS[norm], norm), atol=1e-11)


@every_norm
def test_projection_solves_the_quadratic_program(norm):
    a, v = rows(12, 4, seed=1, scale=0.6)
    radius = {"linf": 0.3, "l2": 0.5, "l1": 0.6}[norm]
    sides = np.repeat([-2.0, 2.0], 4)
    inside = {  # u = s - t with s, t >= 0 makes the l1 ball linear
        "linf": (lambda st: radius - st, lambda st: -np.eye(8)),
        "l2": (lambda st: radius**2 - ((st[:4] - st[4:]) ** 2).sum(), lambda st: sides * np.tile(st[:4] - st[4:], 2)),
        "l1": (lambda st: radius - st.sum(), lambda st: -np.ones(8)),
    }[norm]
    for image, point, p in zip(a.numpy(), v.numpy(), ThreatModel(norm, radius).project(a, v).numpy(), strict=True):
        solved = minimize(
            lambda st, point=point: 0.5 * ((st[:4] - st[4:] - point) ** 2).sum() + 1e-9 * st.sum(),
            np.full(8, 1e-3),
            jac=lambda st, point=point: np.tile(st[:4] - st[4:] - point, 2) * np.repeat([1, -1], 4) + 1e-9,
            bounds=[(0, h) for h in 1 - image] + [(0, h) for h in image],
            constraints={"type": "ineq", "fun": inside[0], "jac": inside[1]},
            method="SLSQP",
            options={"ftol": 1e-16, "maxiter": 1000},
        )
        np.testing.assert_allclose(p, solved.x[:4] - solved.x[4:], atol=2e-6)


@every_norm
def test_a_radius_per_row_is_the_radius_of_that_row(norm):
    a, v = rows(8)
    eps = torch.tensor([0.0, 0.01, 0.1, 0.3, 0.6, 1.0, 2.0, 50.0], dtype=torch.float64).unsqueeze(-1)
    joint = ThreatModel(norm, eps).project(a, v)
    for i in range(8):
        torch.testing.assert_close(joint[i], ThreatModel(norm, float(eps[i])).project(a[i], v[i]), rtol=0, atol=1e-14)
    assert torch.equal(joint[0], torch.zeros(P, dtype=torch.float64))  # radius 0
    torch.testing.assert_close(joint[7], (a[7] + v[7]).clamp(0, 1) - a[7], rtol=0, atol=1e-15)  # box inside ball


@every_norm
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_points_of_any_size_end_inside(norm, dtype):
    a, v = rows(300, 50, seed=2, dtype=dtype)
    v = v * torch.logspace(-30, 30, 300, dtype=dtype).unsqueeze(-1)
    eta, tight = ThreatModel(norm, 2.0).project(a, v), 2e-6 if dtype == torch.float32 else 1e-13
    assert torch.isfinite(eta).all() and ThreatModel(norm).size(eta).max() <= 2 * (1 + tight)
    assert ((a + eta) >= -1e-7).all() and ((a + eta) <= 1 + 1e-7).all()
    if norm != "linf":  # a hundred to a thousand times farther than the ball: all of the budget is used
        used, limit = ThreatModel(norm).size(eta)[160:165], torch.full((5,), 2.0, dtype=dtype)
        torch.testing.assert_close(used, limit, rtol=0, atol=1e-3 if dtype == torch.float32 else 1e-9)


@every_norm
def test_bounds_may_be_numbers_or_tensors_or_one_of_each(norm):
    a, v = rows(20)
    low, high = -0.2 * torch.ones(P, dtype=torch.float64), torch.linspace(1.0, 1.5, P, dtype=torch.float64)
    for bounds in [(low, high), (-0.2, high), (low, 1.2)]:
        eta = ThreatModel(norm, EPS[norm], *bounds).project(a, v)
        down, up = (np.broadcast_to(np.asarray(bound), P) for bound in bounds)
        for image, point, p in zip(a.numpy(), v.numpy(), eta.numpy(), strict=True):
            np.testing.assert_allclose(p, bisected(point, down - image, up - image, EPS[norm], norm), atol=1e-11)


@every_norm
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_steepest_direction_attains_the_dual_norm(norm, scale, dtype):
    g = rows(dtype=dtype)[1]
    u = ThreatModel(norm).steepest(scale * g)  # tiny gradients of a confident network, too
    ones = torch.ones(len(g), dtype=dtype)
    torch.testing.assert_close(ThreatModel(norm).size(u), ones, rtol=0, atol=1e-6)
    torch.testing.assert_close((g * u).sum(-1), torch.linalg.vector_norm(g, DUAL[norm], dim=-1), rtol=1e-6, atol=0)


@every_norm
def test_steepest_direction_of_no_gradient_is_zero(norm):
    assert torch.equal(ThreatModel(norm).steepest(torch.zeros(3, P)), torch.zeros(3, P))


@pytest.mark.parametrize("norm", ["linf", "l1"])
def test_maximizer_solves_the_linear_program(norm):
    a, g = rows(40)
    eta = ThreatModel(norm, EPS[norm]).at(a).maximize(g)
    for image, slope, value in zip(a.numpy(), g.numpy(), (g * eta).sum(-1).numpy(), strict=True):
        walls = [(0, h) for h in 1 - image] + [(0, h) for h in image]
        budget, count = (np.ones((1, 2 * P)), 1) if norm == "l1" else (np.eye(2 * P), 2 * P)
        solved = linprog(np.r_[-slope, slope], budget, EPS[norm] * np.ones(count), bounds=walls)
        assert value == pytest.approx(-solved.fun, abs=1e-9)


def test_maximizer_in_l2_equals_bisection():
    a, g = rows(60)
    eta = ThreatModel("l2", EPS["l2"]).at(a).maximize(g)
    for image, slope, u in zip(a.numpy(), g.numpy(), eta.numpy(), strict=True):
        np.testing.assert_allclose(u, bisected(1e9 * slope, -image, 1 - image, EPS["l2"], "l2"), atol=1e-8)


@every_norm
def test_projection_and_set_agree(norm):
    a, v = rows(50)
    threat = ThreatModel(norm, EPS[norm])
    assert torch.equal(threat.project(a, v), threat.at(a).project(v))


def test_rows_keep_what_all_share_and_pick_what_is_theirs():
    a, v = rows(5)
    low, eps = torch.zeros(P, dtype=torch.float64), torch.arange(1.0, 6.0, dtype=torch.float64).unsqueeze(-1)
    threat = ThreatModel("l1", eps, low, a + 0.5)
    some = threat.rows(torch.tensor([3, 1]))
    assert some.low is low and some.eps.flatten().tolist() == [4.0, 2.0]
    assert torch.equal(some.high, a[[3, 1]] + 0.5)
    mask = torch.tensor([False, True, False, True, False])
    assert torch.equal(threat.project(a, v)[mask], threat.rows(mask).project(a[mask], v[mask]))
    shared = ThreatModel("l1", 0.5)
    assert shared.rows(mask) is shared


@every_norm
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_samples_are_allowed_and_fill_the_ball(norm, dtype):
    a = torch.full((400, P), 0.5, dtype=dtype)
    threat = ThreatModel(norm, 0.4)
    eta = threat.sample(a, generator())
    assert eta.dtype == dtype and threat.size(eta).max() <= 0.4 * (1 + 1e-6)
    assert threat.size(eta).max() > 0.38 and threat.size(eta).min() < 0.35  # uniform, not on the sphere
    assert torch.equal(eta, threat.sample(a, generator()))
    corner = threat.sample(torch.zeros(400, P, dtype=dtype), generator())
    assert corner.min() >= 0 and corner.max() > 0.1


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ThreatModel("l3"), "unknown norm 'l3': did you mean l2 or l1 or l0?"),
        (lambda: ThreatModel("inf"), "unknown norm 'inf': did you mean linf?"),
        (lambda: ThreatModel("l2", -0.1), "eps is -0.1: the radius of an attack is a finite number >= 0, e.g. eps=0.3"),
        (
            lambda: ThreatModel("l2", float("nan")),
            "eps is nan: the radius of an attack is a finite number >= 0, e.g. eps=0.3",
        ),
        (
            lambda: ThreatModel("l2", float("inf")),
            "eps is inf: the radius of an attack is a finite number >= 0, e.g. eps=0.3",
        ),
        (  # with three coordinates each row had all three radii, one per coordinate
            lambda: ThreatModel("linf", torch.tensor([0.1, 0.2, 0.3])),
            "eps has shape (3,): one number per row has shape (*S, 1); type eps.unsqueeze(-1)",
        ),
    ],
)
def test_impossible_threats_are_refused(build, message):
    with pytest.raises(GameError) as error:
        build()
    assert str(error.value) == message


def hard_rows(count=300, width=50):
    """Points and boxes that tie, span many orders of magnitude, or are equal but for rounding."""
    g = generator(8)
    v = torch.randn(count, width, dtype=torch.float64, generator=g)
    steps = torch.logspace(0, -12, width, dtype=torch.float64).expand(count, width)
    kinds = [v, 100 * v, steps, -steps.flip(-1), (2 * v).round() / 2, 1 + 1e-7 * v, v**5, v * (v > 1), 1 / (v + 3)]
    chosen = torch.stack(kinds)[torch.arange(count) % len(kinds), torch.arange(count)]
    a = torch.rand(count, width, dtype=torch.float64, generator=g) * torch.randint(2, (count, width), generator=g)
    a = torch.where(torch.arange(count).unsqueeze(-1) % 4 == 0, steps / 2, a)
    return chosen, 10 ** (4 * torch.rand(count, 1, dtype=torch.float64, generator=g) - 2), -a, 1 - a


PROJECTIONS = {
    "l1": projections.project_l1_in_box,
    "l2": projections.project_l2_in_box,
    "l2 maximum": lambda *args: projections.project_l2_in_box(*args, most=float("inf")),
}


@pytest.mark.parametrize("project", PROJECTIONS.values(), ids=list(PROJECTIONS))
@pytest.mark.parametrize("width", [1, 2, 50, 300])
def test_newton_and_sorting_give_the_same_projection(project, width, monkeypatch):
    rows_ = hard_rows(width=width)
    by_newton, in_single = project(*rows_), project(*(part.float() for part in rows_))
    rounded = project(*(part.float().double() for part in rows_))
    monkeypatch.setattr(projections, "NEWTON_STEPS", 0)  # every row is left to the sort
    by_sorting = project(*rows_)
    torch.testing.assert_close(by_newton, by_sorting, rtol=0, atol=1e-11)
    scale = 1e-6 * (1 + rows_[0].abs().amax(-1, keepdim=True))  # what rounding the points alone may do
    assert ((in_single - rounded).abs() <= scale).all()


def test_few_rows_are_left_to_the_sort(monkeypatch):
    left = []
    for name in ("_clipped_threshold", "_clipped_scale"):
        by_sorting = getattr(projections, name)
        monkeypatch.setattr(projections, name, lambda *args, f=by_sorting: left.append(len(args[0])) or f(*args))
    for project in PROJECTIONS.values():
        project(*hard_rows())
    assert sum(left) <= 0.05 * 3 * 300


# -- ℓ0 -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("eps", [0, 1, 3, P])
def test_l0_projection_is_the_nearest_of_all_supports(eps):
    a, v = rows(40, scale=0.6)
    found = ThreatModel("l0", eps).project(a, v)
    inside = v.clamp(-a, 1 - a)
    supports = torch.tensor(list(product([0.0, 1.0], repeat=P)), dtype=v.dtype)
    supports = supports[supports.sum(-1) <= eps]
    least = (inside.unsqueeze(1) * supports - v.unsqueeze(1)).square().sum(-1).amin(-1)
    assert ((found != 0).sum(-1) <= eps).all() and ((a + found >= 0) & (a + found <= 1)).all()
    torch.testing.assert_close((found - v).square().sum(-1), least)


def test_l0_takes_one_number_per_row_and_counts_exactly():
    a, v = rows(3)
    threat = ThreatModel(0, torch.tensor([[1.0], [2.0], [0.0]]))
    assert threat.norm == "l0"
    assert ((threat.project(0.5 + 0 * a, v) != 0).sum(-1) == torch.tensor([1, 2, 0])).all()
    assert threat.size(torch.tensor([[1e-30, 0.0, -2.0]])) == 2


def test_l0_refuses_what_it_does_not_have():
    with pytest.raises(GameError, match=r"a whole number, e\.g\. eps=5"):
        ThreatModel("l0", 0.5)
    threat, a = ThreatModel("l0", 2), torch.zeros(1, 3)
    with pytest.raises(GameError, match="not convex: use linf, l2 or l1; fmn attacks in l0"):
        threat.steepest(a)
    for call in (lambda: threat.at(a), lambda: threat.ball, lambda: threat.sample(a, generator())):
        with pytest.raises(GameError, match="not convex"):
            call()
