"""Projections, linear maximizers and samples of the strategy sets, against independent computations."""

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize

from robustgames.errors import GameError
from robustgames.games import Box, L1Ball, L1BallInBox, L2Ball, L2BallInBox, Simplex, Space, linf_ball

LOW = -torch.tensor([0.3, 0.0, 0.5, 0.2, 0.1, 0.7], dtype=torch.float64)
HIGH = torch.tensor([0.2, 0.6, 0.0, 0.3, 0.9, 0.1], dtype=torch.float64)
SETS = {
    "space": Space(),
    "box": Box(-0.3, 0.7),
    "box per coordinate": Box(LOW, HIGH),
    "box with one wall for all": Box(-0.3, HIGH),
    "linf": linf_ball(0.4),
    "l2": L2Ball(0.8),
    "l1": L1Ball(1.2),
    "l1 point": L1Ball(0.0),
    "l1 in box": L1BallInBox(1.2, -0.3, 0.7),
    "l1 in box per coordinate": L1BallInBox(0.9, LOW, HIGH),
    "l1 wider than box": L1BallInBox(10.0, -0.3, 0.7),
    "l1 point in box": L1BallInBox(0.0, -0.3, 0.7),
    "simplex": Simplex(),
}
BOUNDED = {name: s for name, s in SETS.items() if name != "space"}
every_set = pytest.mark.parametrize("s", SETS.values(), ids=SETS.keys())
bounded_set = pytest.mark.parametrize("s", BOUNDED.values(), ids=BOUNDED.keys())


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def points():
    noise = torch.randn(40, 6, dtype=torch.float64, generator=generator())
    ties = torch.tensor([[0.4] * 6, [-0.4] * 6, [1.0, 1.0, 0.5, 0.5, 0.0, 0.0], [0.0] * 6], dtype=torch.float64)
    return torch.cat([0.1 * noise, noise, 10 * noise, ties])


def violation(s, u):
    """How far u breaks the inequalities that define the set."""
    zero = torch.zeros(())
    if isinstance(s, Simplex):
        return max((-u).clamp_min(0).max(), (u.sum(-1) - 1).abs().max())
    broken = zero
    if isinstance(s, Box | L1BallInBox):
        broken = max(broken, (s.low - u).clamp_min(0).max(), (u - s.high).clamp_min(0).max())
    if isinstance(s, L1Ball | L1BallInBox):
        broken = max(broken, (u.abs().sum(-1) - s.radius).clamp_min(0).max())
    if isinstance(s, L2Ball):
        broken = max(broken, (u.norm(dim=-1) - s.radius).clamp_min(0).max())
    return broken


def bisect_threshold(size, room, total):
    """theta with sum clip(size - theta, 0, room) = total, by 200 bisections."""
    low, high = size.min() - total - 1, size.max()
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if np.clip(size - middle, 0, room).sum() > total else (low, middle)
    return high


@every_set
def test_projection_is_feasible_and_idempotent(s):
    p = s.project(points())
    assert violation(s, p) <= 1e-12
    torch.testing.assert_close(s.project(p), p, rtol=0, atol=1e-12)


@every_set
def test_projection_satisfies_the_variational_inequality(s):
    v = points()
    p = s.project(v)
    u = s.sample((500, 6), generator(1), torch.float64)
    if not isinstance(s, Space):  # the extreme points are the hardest to satisfy
        u = torch.cat([u, s.maximize(torch.randn(100, 6, dtype=torch.float64, generator=generator(2)))])
    inner = ((v - p).unsqueeze(1) * (u - p.unsqueeze(1))).sum(-1)
    assert inner.max() <= 1e-9


@every_set
def test_points_inside_are_left_alone(s):
    u = s.sample((200, 6), generator(), torch.float64)
    if isinstance(s, L1BallInBox | L1Ball | L2Ball):
        u = 0.9 * u
        assert torch.equal(s.project(u), u)
    torch.testing.assert_close(s.project(u), u, rtol=0, atol=1e-15)


@pytest.mark.parametrize("radius", [0.05, 1.0, 7.0])
def test_l1_ball_equals_bisection(radius):
    for v, p in zip(points().numpy(), L1Ball(radius).project(points()).numpy(), strict=True):
        theta = max(bisect_threshold(np.abs(v), np.inf, radius), 0)
        np.testing.assert_allclose(p, np.sign(v) * np.clip(np.abs(v) - theta, 0, None), atol=1e-12)


def test_simplex_equals_bisection():
    for v, p in zip(points().numpy(), Simplex().project(points()).numpy(), strict=True):
        np.testing.assert_allclose(p, np.clip(v - bisect_threshold(v, np.inf, 1.0), 0, None), atol=1e-12)


@pytest.mark.parametrize("radius", [0.05, 0.9, 1.5, 10.0])
@pytest.mark.parametrize(("low", "high"), [(-0.3, 0.7), (LOW, HIGH)], ids=["numbers", "per coordinate"])
def test_l1_ball_in_box_equals_bisection(radius, low, high):
    down, up = np.broadcast_to(-np.asarray(low), 6), np.broadcast_to(np.asarray(high), 6)
    for v, p in zip(points().numpy(), L1BallInBox(radius, low, high).project(points()).numpy(), strict=True):
        room = np.where(v > 0, up, down)
        theta = max(bisect_threshold(np.abs(v), room, radius), 0)
        np.testing.assert_allclose(p, np.sign(v) * np.clip(np.abs(v) - theta, 0, room), atol=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_l1_ball_in_box_solves_the_quadratic_program(seed):
    v = 0.8 * torch.randn(4, dtype=torch.float64, generator=generator(seed))
    low, high = LOW[:4], HIGH[:4]
    solved = minimize(  # u = a - b with a, b >= 0 makes the l1 ball linear
        lambda ab: 0.5 * ((ab[:4] - ab[4:] - v.numpy()) ** 2).sum(),
        np.zeros(8),
        jac=lambda ab: np.tile(ab[:4] - ab[4:] - v.numpy(), 2) * np.repeat([1, -1], 4),
        bounds=[(0, h) for h in high] + [(0, -x) for x in low],
        constraints={"type": "ineq", "fun": lambda ab: 0.5 - ab.sum(), "jac": lambda ab: -np.ones(8)},
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 500},
    )
    np.testing.assert_allclose(L1BallInBox(0.5, low, high).project(v), solved.x[:4] - solved.x[4:], atol=1e-6)


@pytest.mark.parametrize("s", [L1Ball(1.0), L1BallInBox(1.0, -1.0, 1.0)], ids=["l1", "l1 in box"])
def test_l1_rows_are_projected_one_by_one(s):
    rows = torch.tensor([[0.1, 0.2, 0.0], [0.4, 0.4, 0.4]], dtype=torch.float64)
    p = s.project(rows)
    assert torch.equal(p[0], rows[0])  # not moved because of its neighbor
    torch.testing.assert_close(p[1], torch.full((3,), 1 / 3, dtype=torch.float64), rtol=0, atol=1e-15)


def test_projecting_and_then_clipping_is_not_the_joint_projection():
    v = torch.tensor([3.0, 0.6, 0.5, 0.0], dtype=torch.float64)
    joint = L1BallInBox(1.0, 0.0, 0.5).project(v)
    clipped = L1Ball(1.0).project(v).clamp(0.0, 0.5)
    torch.testing.assert_close(joint, torch.tensor([0.5, 0.3, 0.2, 0.0], dtype=torch.float64), rtol=0, atol=1e-15)
    assert clipped.sum() == 0.5  # half of the budget is wasted
    assert (joint - v).norm() < (clipped - v).norm() - 0.05


@bounded_set
def test_maximizer_attains_the_support_function(s):
    g = points()
    u = s.maximize(g)
    assert violation(s, u) <= 1e-12
    value = (g * u).sum(-1)
    if isinstance(s, L1BallInBox):
        low, high = np.broadcast_to(np.asarray(s.low), 6), np.broadcast_to(np.asarray(s.high), 6)
        bounds = [(0, h) for h in high] + [(0, -x) for x in low]
        program = [linprog(np.r_[-c, c], np.ones((1, 12)), [s.radius], bounds=bounds).fun for c in g[::4].numpy()]
        torch.testing.assert_close(value[::4], -torch.tensor(program, dtype=torch.float64), rtol=0, atol=1e-9)
        return
    support = {
        Box: lambda: torch.maximum(g * s.low, g * s.high).sum(-1),
        L2Ball: lambda: s.radius * g.norm(dim=-1),
        L1Ball: lambda: s.radius * g.abs().amax(-1),
        Simplex: lambda: g.amax(-1),
    }
    torch.testing.assert_close(value, support[type(s)](), rtol=0, atol=1e-12)


@every_set
def test_samples_lie_in_the_set_and_in_its_bounds(s):
    u = s.sample((1000, 6), generator(), torch.float64)
    low, high = s.bounds
    assert u.dtype == torch.float64 and violation(s, u) <= 1e-12
    assert low - 1e-12 <= u.min() and u.max() <= high + 1e-12


def test_walls_in_another_precision_do_not_change_that_of_a_point():
    box, point = Box(LOW, 0.5), torch.tensor([1.0, -1.0, 0.2, 0.3, -0.05, 2.0])
    assert torch.equal(box.project(point), torch.tensor([0.5, 0.0, 0.2, 0.3, -0.05, 0.5]))
    assert torch.equal(box.maximize(point), torch.tensor([0.5, 0.0, 0.5, 0.5, -0.1, 0.5]))


def test_samples_have_the_moments_of_their_distribution():
    shape, kind = (200_000, 4), torch.float64  # tolerances: five standard errors
    simplex = Simplex().sample(shape, generator(), kind)  # Dirichlet(1, 1, 1, 1)
    assert (simplex.mean(0) - 0.25).abs().max() < 5 * (0.0375 / 2e5) ** 0.5
    assert (simplex.var(0) - 0.0375).abs().max() < 1e-3
    l2 = L2Ball(2.0).sample(shape, generator(), kind).square().sum(-1)  # uniform: r² n / (n + 2)
    assert abs(l2.mean() - 4 * 4 / 6) < 5 * l2.std() / 2e5**0.5
    l1 = L1Ball(2.0).sample(shape, generator(), kind).abs().sum(-1)  # uniform: r n / (n + 1)
    assert abs(l1.mean() - 2 * 4 / 5) < 5 * l1.std() / 2e5**0.5


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Box(1.0, 0.0), "low must be at most high"),
        (lambda: Box(torch.tensor([0.0, 2.0]), 1.0), "is empty"),
        (lambda: Box(float("nan"), 1.0), "is empty"),
        (lambda: L2Ball(-1.0), "radius must be a finite number >= 0"),
        (lambda: L1Ball(float("nan")), "radius must be a finite number >= 0"),
        (lambda: linf_ball(-0.1), "radius must be a finite number >= 0"),
        (lambda: L1BallInBox(float("inf"), 0.0, 1.0), "radius must be a finite number >= 0"),
        (lambda: L1BallInBox(1.0, 0.1, 1.0), "must contain 0"),
        (lambda: L1BallInBox(1.0, -1.0, torch.tensor([1.0, -0.1])), "must contain 0"),
        (lambda: L1BallInBox(1.0, float("nan"), 1.0), "must contain 0"),
        (lambda: Space().maximize(torch.ones(2)), "unbounded set"),
        (lambda: Box(0.0, float("inf")).maximize(torch.ones(2)), r"no best response in the box \[0.0, inf\]"),
        (lambda: Box(-float("inf"), float("inf")).maximize(-torch.ones(2)), "no best response"),
        (lambda: Box(torch.tensor([-float("inf"), 0.0]), 1.0).maximize(-torch.ones(2)), "no best response"),
        (lambda: L2BallInBox(torch.tensor([1.0, 2.0]), -1.0, 1.0), r"radius has shape \(2,\): .* \(\*S, 1\)"),
        (lambda: L1BallInBox(torch.tensor([1.0, 2.0]), -1.0, 1.0), r"radius has shape \(2,\)"),
    ],
)
def test_impossible_sets_are_refused(build, message):
    with pytest.raises(GameError, match=message):
        build()


def test_an_open_side_away_from_the_gain_has_a_best_response():
    half = Box(torch.tensor([-float("inf"), 0.0]), 1.0)
    assert torch.equal(half.maximize(torch.tensor([2.0, -1.0])), torch.tensor([1.0, 0.0]))
    assert torch.equal(Box(0.0, float("inf")).maximize(torch.tensor([-2.0, 0.0])), torch.zeros(2))
