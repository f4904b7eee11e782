"""Properties over scales and ties: projections, linear maximizers and schedules, against independent computations."""

import math
from fractions import Fraction
from itertools import pairwise

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

from robustgames.errors import GameError
from robustgames.games import Box, L1Ball, L1BallInBox, L2Ball, L2BallInBox, Simplex, linf_ball
from robustgames.games.sets import Product
from robustgames.games.threat import ThreatModel
from robustgames.solvers.schedules import Exponential, InversePower, Linear, Triangular

few = settings(derandomize=True, max_examples=60, deadline=None, database=None)
KINDS = (torch.float32, torch.float64)
small = st.sampled_from([-3.0, -1.0, -0.5, 0.0, 0.25, 0.5, 1.0, 1.0, 2.0])  # ties are likely
free = st.floats(-4, 4, width=32)
scales = st.sampled_from([-30, -12, -3, 0, 1, 4, 8, 15, 30])


@st.composite
def rows(draw):
    """A point of two to six coordinates: one scale for all, or one each, on an offset or not."""
    n = draw(st.integers(2, 6))
    values = np.array(draw(st.lists(small | free, min_size=n, max_size=n)))
    powers = [draw(scales)] * n if draw(st.booleans()) else draw(st.lists(scales, min_size=n, max_size=n))
    offset = draw(st.sampled_from([0.0, 0.0, 1.0])) * 10.0 ** draw(scales)
    return torch.tensor(values * 10.0 ** np.array(powers) + offset).clamp(-1e30, 1e30)


@st.composite
def boxes(draw, n):
    """The sides (low, high) of a box around 0, in units of the radius of a ball."""
    sides = st.lists(st.sampled_from([0.0, 0.1, 0.5, 0.5, 3.0]), min_size=n, max_size=n)
    return -torch.tensor(draw(sides)).double(), torch.tensor(draw(sides)).double()


def threshold(v, room, total):
    """clip(v - theta, 0, room) with the sum `total`, in rational numbers."""
    v, room, total = [Fraction(float(a)) for a in v], [Fraction(float(a)) for a in room], Fraction(float(total))
    breaks = sorted({*v, *(a - b for a, b in zip(v, room, strict=True))}, reverse=True)

    def reach(theta):
        return [min(max(a - theta, 0), b) for a, b in zip(v, room, strict=True)]

    for upper, lower in pairwise(breaks):
        top, bottom = sum(reach(upper)), sum(reach(lower))
        if top <= total <= bottom:
            share = Fraction(0) if bottom == top else (total - top) / (bottom - top)
            return [float(a) for a in reach(upper + share * (lower - upper))]
    return [float(a) for a in reach(breaks[-1] - total)]


def l1_projection(v, radius, low, high):
    size, room = np.abs(v), np.minimum(np.where(v > 0, high, -low), radius)
    if math.fsum(np.minimum(size, room)) <= radius:
        return np.sign(v) * np.minimum(size, room)
    return np.sign(v) * threshold(size, room, radius)


def l2_projection(v, radius, low, high):
    """sign(v) min(s |v|, room) by bisection: over the exponent of s, then over s."""
    size, room = np.abs(v), np.where(v > 0, high, -low)

    def outside(s):
        return np.linalg.norm(np.minimum(s * size, room) / radius) > 1

    if not outside(1.0):
        return np.sign(v) * np.minimum(size, room)
    exponent = next(k for k in range(-1, -500, -1) if not outside(2.0**k))
    down, up = 2.0**exponent, 2.0 ** (exponent + 1)
    for _ in range(60):
        middle = (down + up) / 2
        down, up = (down, middle) if outside(middle) else (middle, up)
    return np.sign(v) * np.minimum(down * size, room)


def check(projected, expected, scale, kind, again):
    error = 64 * torch.finfo(kind).eps * scale
    np.testing.assert_allclose(projected.double().numpy(), expected, rtol=0, atol=error)
    np.testing.assert_allclose(again.double().numpy(), projected.double().numpy(), rtol=0, atol=error)


@few
@given(rows(), st.sampled_from(KINDS))
def test_simplex_is_projected_onto_at_every_scale(v, kind):
    v = v.to(kind)
    p = Simplex().project(v)
    assert (p >= 0).all() and abs(float(p.double().sum()) - 1) <= 16 * torch.finfo(kind).eps
    check(p, threshold(v.double().numpy(), [1.0] * len(v), 1.0), 1.0, kind, Simplex().project(p))


@few
@given(rows(), st.sampled_from([1e-30, 1e-6, 1.0, 3.0, 1e8, 1e30]), st.sampled_from(KINDS))
def test_balls_are_projected_onto_at_every_scale(v, radius, kind):
    v, eps = v.to(kind), torch.finfo(kind).eps
    exact, wide = v.double().numpy(), float(torch.tensor(radius, dtype=kind))
    everywhere = np.full(len(v), np.inf)
    for ball, order, expected in (
        (L1Ball(radius), 1, l1_projection(exact, wide, -everywhere, everywhere)),
        (L2Ball(radius), 2, l2_projection(exact, wide, -everywhere, everywhere)),
        (linf_ball(radius), np.inf, np.clip(exact, -wide, wide)),
    ):
        p = ball.project(v)
        assert np.linalg.norm(p.double().numpy() / wide, order) <= 1 + 8 * eps
        check(p, expected, wide, kind, ball.project(p))


@few
@given(st.data(), st.sampled_from([1e-30, 1e-6, 1.0, 3.0, 1e8, 1e30]), st.sampled_from(KINDS))
def test_balls_in_boxes_are_projected_onto_at_every_scale(data, radius, kind):
    v = data.draw(rows()).to(kind)
    eps, wide = torch.finfo(kind).eps, float(torch.tensor(radius, dtype=kind))
    low, high = ((side * radius).to(kind) for side in data.draw(boxes(len(v))))
    exact = [part.double().numpy() for part in (v, low, high)]
    for ball, order, reference in ((L1BallInBox, 1, l1_projection), (L2BallInBox, 2, l2_projection)):
        s = ball(radius, low, high)
        p = s.project(v)
        assert (low <= p).all() and (p <= high).all()
        assert np.linalg.norm(p.double().numpy() / wide, order) <= 1 + 16 * eps
        check(p, reference(exact[0], wide, *exact[1:]), wide, kind, s.project(p))
        both = Product(s, len(v)).project(torch.cat([v, v]))
        assert torch.equal(both, torch.cat([p, p]))


@few
@given(st.data(), st.sampled_from(["l1", "l2", "linf"]), st.sampled_from([1e-3, 0.3, 2.0]))
def test_a_threat_model_projects_onto_ball_and_box(data, norm, eps):
    v = data.draw(rows())
    a = torch.tensor(data.draw(st.lists(st.sampled_from([0.0, 0.2, 0.5, 1.0]), min_size=len(v), max_size=len(v))))
    threat, a = ThreatModel(norm, eps), a.double()
    p = threat.project(a, v)
    assert float(threat.size(p)) <= eps * (1 + 1e-12) and (a + p >= -1e-12).all() and (a + p <= 1 + 1e-12).all()
    if norm == "linf":
        expected = np.clip(v.numpy(), np.maximum(-a.numpy(), -eps), np.minimum(1 - a.numpy(), eps))
    else:
        project = l1_projection if norm == "l1" else l2_projection
        expected = project(v.numpy(), eps, -a.numpy(), (1 - a).numpy())
    check(p, expected, eps, torch.float64, threat.project(a, p))


@few
@given(st.data(), st.sampled_from(KINDS))
def test_maximizers_attain_the_support_function_at_every_scale(data, kind):
    g = data.draw(rows()).to(kind)
    unit = float(g.abs().max()) or 1.0
    h = g.double().numpy() / unit
    low, high = (side.to(kind) for side in data.draw(boxes(len(g))))
    room = np.minimum(np.where(h > 0, high.double().numpy(), -low.double().numpy()), 1.0)
    order = np.argsort(-np.abs(h))
    spent = np.diff(np.minimum(np.cumsum(room[order]), 1.0), prepend=0.0)
    support = {
        Box(low, high): float(np.abs(h) @ np.where(h > 0, high.double().numpy(), -low.double().numpy())),
        L1Ball(1.0): float(np.abs(h).max()),
        L2Ball(1.0): float(np.linalg.norm(h)),
        Simplex(): float(h.max()),
        L1BallInBox(1.0, low, high): float(np.abs(h)[order] @ spent),
    }
    for s, value in support.items():
        u = s.maximize(g)
        assert torch.isfinite(u).all()
        np.testing.assert_allclose(u.double().numpy() @ h, value, rtol=0, atol=16 * torch.finfo(kind).eps)
        np.testing.assert_allclose(s.project(u).numpy(), u.numpy(), rtol=0, atol=16 * torch.finfo(kind).eps)


SETS = (Simplex(), L1Ball(1.0), L2Ball(1.0), L1BallInBox(1.0, -0.5, 0.5), L2BallInBox(1.0, -0.5, 0.5), linf_ball(1.0))


@pytest.mark.parametrize("s", SETS, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_infinite_points_have_the_projection_of_their_limit_and_nan_stays_nan(s, kind):
    inf, nan = float("inf"), float("nan")
    points = torch.tensor([[inf, 0.25, 0.0], [inf, inf, 0.0], [inf, -inf, 0.25]], dtype=kind)
    limit = torch.where(points.isinf(), points.sign() * 1e30, points)
    torch.testing.assert_close(s.project(points), s.project(limit), rtol=0, atol=4 * torch.finfo(kind).eps)
    for row in ([nan, 0.25, 0.0], [0.25, 0.0, nan]):
        assert s.project(torch.tensor(row, dtype=kind)).isnan().any()
        assert s.maximize(torch.tensor(row, dtype=kind)).isnan().any()


def test_large_points_keep_their_digits():
    shifted = torch.tensor([1e8, 1e8 + 8, 1e8 - 8])
    assert torch.equal(Simplex().project(shifted), torch.tensor([0.0, 1.0, 0.0]))
    assert torch.equal(L1Ball(1.0).project(torch.tensor([16777218.0, 0.0])), torch.tensor([1.0, 0.0]))
    assert torch.equal(L2Ball(1.0).project(torch.tensor([1e30, 0.0])), torch.tensor([1.0, 0.0]))
    assert torch.equal(L2Ball(1.0).maximize(torch.tensor([0.0, -1e-30])), torch.tensor([0.0, -1.0]))
    wall = L2BallInBox(1.0, -0.6, 0.6).project(torch.tensor([1e30, 1.0, 1.0]))  # the squares of the others vanish
    torch.testing.assert_close(wall, torch.tensor([0.6, 0.32**0.5, 0.32**0.5]))
    assert float(ThreatModel("l2").size(torch.tensor([3e-30, 4e-30]))) == pytest.approx(5e-30)


# -- schedules --------------------------------------------------------------------------------------------
rate = st.floats(1e-30, 1e30)
steps = st.integers(1, 10**6)


@few
@given(rate, steps, st.floats(0, 3), st.floats(0, 0.999))
def test_schedules_stay_between_0_and_their_largest_value(scale, count, power, decay):
    ks = sorted({1, 2, max(1, count // 4), max(1, count // 2), count, count + 1, 10 * count})
    for schedule in (InversePower(scale, power), Exponential(scale, decay), Linear(scale, count)):
        values = [schedule(k) for k in ks]
        assert all(0 <= value <= scale for value in values)
        assert all(later <= earlier for earlier, later in pairwise(values))
    assert Linear(scale, count)(1) == scale
    assert Linear(scale, count)(count) == Linear(scale, count)(10 * count) == pytest.approx(scale / count, rel=1e-9)


@few
@given(rate, st.integers(4, 10**6))
def test_the_triangular_schedule_has_its_peak_after_a_quarter(peak, count):
    schedule, top = Triangular(peak, count), count // 4
    assert schedule(top) == peak
    for k in {1, max(1, top // 2), top, top + 1, (top + count) // 2, count, 2 * count}:
        line = k / top if k <= top else (count + 1 - min(k, count)) / (count + 1 - top)
        assert 0 < schedule(k) <= peak and schedule(k) == pytest.approx(peak * line, rel=1e-12)


@few
@given(st.sampled_from([0.0, -1.0, float("nan"), float("inf"), -float("inf")]), steps)
def test_schedules_refuse_other_scales(scale, count):
    for build in (lambda: InversePower(scale), lambda: Linear(scale, count), lambda: Triangular(scale, count)):
        with pytest.raises(GameError):
            build()
