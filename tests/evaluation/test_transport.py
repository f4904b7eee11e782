"""Wasserstein distances against closed forms and other libraries, duality, slopes of critics, rates of samples."""

import contextlib
import importlib.util
import io
import json
import re
import sys
from math import e, inf, lcm, pi, sqrt
from pathlib import Path

import numpy as np
import ot
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.stats import wasserstein_distance

from robustgames.errors import GameError
from robustgames.evaluation.rates import EmpiricalRate, _line, rate
from robustgames.evaluation.transport import (
    dual_estimate,
    kantorovich_rubinstein,
    lipschitz_constant,
    sliced_wasserstein,
    wasserstein,
)
from robustgames.games import MLP

KIND = torch.float64
ROOT = Path(__file__).parents[2]


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def randn(*shape, seed=0):
    return torch.randn(shape, generator=rng(seed), dtype=KIND)


# -- exact ----------------------------------------------------------------------------------------------------
def test_a_shift_is_as_far_as_its_length_in_every_order_and_dimension():
    for p in (1, 2, 5):
        a, m = randn(60, p), randn(p, seed=1)
        for order in (1, 2, 3):
            assert float(wasserstein(a, a[torch.randperm(60, generator=rng(2))] + m, order)) == pytest.approx(m.norm())


@pytest.mark.parametrize(("n", "m"), [(40, 40), (40, 25), (7, 40)])
@pytest.mark.parametrize("order", [1, 2])
def test_sorting_and_the_network_simplex_agree_on_a_line(n, m, order):
    a, b = randn(n, 1), 2 * randn(m, 1, seed=1) + 1
    flat = [torch.cat([u, torch.zeros_like(u)], -1) for u in (a, b)]  # the same line, in the plane
    assert float(wasserstein(a, b, order)) == pytest.approx(float(wasserstein(*flat, order)), rel=1e-12)
    peer = ot.wasserstein_1d(a.squeeze().numpy(), b.squeeze().numpy(), p=order) ** (1 / order)
    assert float(wasserstein(a, b, order)) == pytest.approx(float(peer), rel=1e-12)


def test_w1_on_a_line_is_that_of_scipy_and_for_equal_numbers_the_mean_sorted_difference():
    a, b = randn(200, 1), randn(200, 1, seed=1)
    assert float(wasserstein(a, b[:77])) == pytest.approx(wasserstein_distance(a[:, 0], b[:77, 0]), rel=1e-12)
    torch.testing.assert_close(wasserstein(a, b), (a.sort(0).values - b.sort(0).values).abs().mean())


@pytest.mark.parametrize("order", [1, 2])
def test_equal_numbers_are_an_assignment(order):
    a, b = randn(50, 3), randn(50, 3, seed=1)
    cost = np.linalg.norm(a[:, None] - b[None], axis=-1) ** order
    rows, columns = linear_sum_assignment(cost)
    assert float(wasserstein(a, b, order)) == pytest.approx(cost[rows, columns].mean() ** (1 / order), rel=1e-12)


def test_normal_laws_come_near_their_closed_forms():
    n = 2000
    a, b = randn(n, 1), 3 * randn(n, 1, seed=1) + 2
    assert float(wasserstein(a, b, 2)) == pytest.approx(sqrt(2**2 + (3 - 1) ** 2), rel=0.05)
    assert float(wasserstein(a, randn(n, 1, seed=2) + 2)) == pytest.approx(2, rel=0.05)  # W1(N(0, 1), N(m, 1)) = |m|


def test_it_is_a_distance():
    a, b, c = randn(3, 30, 2)
    assert wasserstein(a, a[torch.randperm(30, generator=rng())]) < 1e-15
    torch.testing.assert_close(wasserstein(a, b), wasserstein(b, a))
    assert wasserstein(a, c) <= wasserstein(a, b) + wasserstein(b, c)
    assert wasserstein(a, b, 1) <= wasserstein(a, b, 2)
    torch.testing.assert_close(wasserstein(5 * a, 5 * b, 2), 5 * wasserstein(a, b, 2))


@pytest.mark.parametrize("p", [1, 2])
def test_runs_side_by_side_are_the_runs_alone_and_nan_stays_in_its_run(p):
    a, real = randn(2, 3, 20, p), randn(30, p, seed=1)
    a[1, 0, 3, 0] = float("nan")
    for distance in (wasserstein, sliced_wasserstein):
        found = distance(a, real)
        assert found.shape == (2, 3) and found.isnan().nonzero().tolist() == [[1, 0]]
        torch.testing.assert_close(found[0, 2], distance(a[0, 2], real))
    assert wasserstein(a.float(), real).dtype == torch.float32


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: wasserstein(torch.zeros(4, 2), torch.zeros(4, 3)), r"\(4, 2\) and \(4, 3\) do not fit: give"),
        (lambda: wasserstein(torch.zeros(4), torch.zeros(4)), "N, M, p >= 1"),
        (lambda: wasserstein(torch.zeros(4, 2), torch.zeros(0, 2)), "do not fit"),
        (lambda: wasserstein(torch.zeros(2, 4, 2), torch.zeros(3, 4, 2)), "do not fit"),
        (
            lambda: wasserstein(torch.zeros(4, 2), torch.zeros(4, 2), 0.5),
            "order is 0.5: W_r is a distance for finite r >= 1",
        ),
        (lambda: wasserstein(torch.zeros(4, 2), torch.ones(4, 2), inf), "order is inf: W_r is a distance for"),
        (lambda: wasserstein(*far_and_near(), 1000), "order is 1000: such powers of the distances are 0 in double"),
        (lambda: sliced_wasserstein(torch.zeros(4, 2), torch.zeros(4, 2), directions=0), "directions is 0"),
        (lambda: kantorovich_rubinstein(torch.zeros(2, 4, 2), torch.zeros(4, 2)), "one run of finite points"),
        (lambda: kantorovich_rubinstein(torch.full((4, 2), torch.nan), torch.zeros(4, 2)), "finite points"),
        (lambda: rate(2, (8, 16), 5, rng()), "three sizes >= 2 or more"),
        (lambda: rate(2, (8, 16, 32), (5, 5), rng()), "for each trials >= 2"),
    ],
)
def test_wrong_input_is_named(call, text):
    with pytest.raises(GameError, match=text):
        call()


# -- scales ---------------------------------------------------------------------------------------------------
def far_and_near():
    """Return two samples whose points travel 1 and 2, as far as 8 from the others."""
    a = torch.tensor([[0.0, 0.0], [8.0, 0.0]], dtype=torch.float64)
    return a, a + torch.tensor([[0.0, 1.0], [0.0, 2.0]], dtype=torch.float64)


def assigned(a, b, order):
    """Return the distance by an assignment of equally many copies of all points; errors are relative to the cost."""
    copies = lcm(len(a), len(b))
    a, b = (u.repeat_interleave(copies // len(u), 0) for u in (a, b))
    distance = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
    rows, columns = linear_sum_assignment((distance / distance.max()) ** order)
    gap = distance[rows, columns]
    return float(gap.max() * ((gap / gap.max()) ** order).mean() ** (1 / order))


@pytest.mark.parametrize("far", [1e6, 1e7, 1e8, 1e10])
@pytest.mark.parametrize(("n", "m"), [(200, 200), (30, 40)])
def test_one_far_pair_leaves_the_others_where_they_are(far, n, m):
    a, b = randn(n, 2), randn(m, 2, seed=1)
    a[0], b[0] = torch.tensor([[far, 0.0], [far, 0.5]], dtype=KIND)
    for order in (1, 2, 3):
        for scale in (1e-30, 1e-7, 1.0, 1e30):
            found = float(wasserstein(scale * a, scale * b, order)) / scale
            assert found == pytest.approx(assigned(a, b, order), rel=1e-7)


@pytest.mark.parametrize("scale", [1e-150, 1e-30, 1e-7, 1e7, 1e30, 1e150])
def test_distances_are_homogeneous_at_every_scale(scale):
    a, b, line = randn(20, 3), randn(30, 3, seed=1), randn(20, 1, seed=2)
    for order in (1, 1.5, 2, 4):
        for distance in (wasserstein, sliced_wasserstein):
            assert float(distance(scale * a, scale * b, order)) / scale == pytest.approx(float(distance(a, b, order)))
        assert float(wasserstein(scale * line, -scale * line, order)) / scale == pytest.approx(
            float(wasserstein(line, -line, order))
        )
    both, unit = kantorovich_rubinstein(scale * a, scale * b), float(wasserstein(a, b))
    assert both.primal / scale == pytest.approx(unit, rel=1e-6)
    assert both.dual / scale == pytest.approx(unit, rel=1e-6)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_float32_neither_loses_nor_overflows_a_power(scale):
    a = torch.tensor([[0.0, 0.0], [3.0, 4.0]]) * scale
    for order in (1, 2, 3):
        expected = 5 * scale * 2 ** (-1 / order)
        assert float(wasserstein(a, 0 * a, order)) == pytest.approx(expected, rel=1e-6)
        assert float(wasserstein(a[:, 1:] * 1.25, 0 * a[:, 1:], order)) == pytest.approx(expected, rel=1e-6)
        assert 0 < float(sliced_wasserstein(a, 0 * a, order)) < expected


def test_large_orders_approach_the_longest_way_and_equal_points_stay_at_distance_0():
    a, b = far_and_near()
    assert float(wasserstein(a, b, 400)) == pytest.approx(2 * 0.5 ** (1 / 400), rel=1e-9)
    assert float(wasserstein(a, a, 1000)) == 0.0


@pytest.mark.parametrize("order", [1, 1.5, 2, 3])
def test_equal_samples_have_distance_0_and_gradient_0(order):
    a = randn(10, 2).requires_grad_()
    found = sliced_wasserstein(a, a.detach().flip(0), order)
    (g,) = torch.autograd.grad(found, a)
    assert found.item() == 0 and (g == 0).all()
    u = torch.stack([a.detach(), a.detach() + 1]).requires_grad_()  # one run of two is equal
    (g,) = torch.autograd.grad(sliced_wasserstein(u, a.detach(), order).sum(), u)
    assert (g[0] == 0).all() and torch.isfinite(g).all() and (g[1] != 0).any()


def test_the_gradient_is_that_of_the_formula():
    a, b = randn(5, 2).requires_grad_(), randn(7, 2, seed=1)
    for order in (1.5, 2, 3):
        assert torch.autograd.gradcheck(lambda u, r=order: sliced_wasserstein(u, b, r, directions=8), a)


def test_an_optimum_that_is_not_verified_is_reported(monkeypatch):
    solve = ot.emd

    def stopped(*args, **settings):  # as if the simplex had stopped early, with potentials of another problem
        plan, log = solve(*args, **settings)
        return plan, {**log, "u": log["u"] * 0.5, "v": log["v"] * 0.5}

    monkeypatch.setattr(ot, "emd", stopped)
    with pytest.warns(UserWarning, match=r"exact transport of \(20, 30\) points may be off by 0\.[0-9]+ of its cost"):
        wasserstein(randn(20, 2), randn(30, 2, seed=1) + 1)


# -- sliced ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("order", [1, 2])
def test_sliced_distance_is_that_of_pot_on_the_same_directions(order):
    a, b = randn(50, 3), randn(35, 3, seed=1) + 1
    t = torch.nn.functional.normalize(torch.randn(64, 3, generator=rng(5), dtype=KIND), dim=-1)
    peer = ot.sliced_wasserstein_distance(a.numpy(), b.numpy(), projections=t.T.numpy(), p=order)
    found = sliced_wasserstein(a, b, order, directions=64, generator=rng(5))
    assert float(found) == pytest.approx(float(peer), rel=1e-12)


def test_sliced_is_exact_on_a_line_below_elsewhere_and_known_for_a_shift():
    a, b = randn(100, 1), randn(100, 1, seed=1)
    torch.testing.assert_close(sliced_wasserstein(a, b, 2), wasserstein(a, b, 2))
    a, b = randn(100, 4), randn(100, 4, seed=1)
    assert sliced_wasserstein(a, b) < 0.6 * wasserstein(a, b)
    m = torch.tensor([3.0, 0.0, 4.0, 0.0], dtype=KIND)  # E <t, m>^2 = |m|^2 / p over unit vectors t
    assert float(sliced_wasserstein(a, a + m, 2, directions=20_000)) == pytest.approx(5 / sqrt(4), rel=0.02)


def test_descent_on_the_sliced_distance_moves_samples():
    a, b = randn(64, 2).requires_grad_(), randn(64, 2, seed=1) + 3
    for _ in range(60):
        (g,) = torch.autograd.grad(sliced_wasserstein(a, b, 2, directions=32) ** 2, a)
        a = (a - 32 * g).detach().requires_grad_()
    assert wasserstein(a, b) < 0.2 < 2 < wasserstein(randn(64, 2), b)


# -- duality --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("n", "m", "p"), [(12, 12, 2), (9, 14, 3), (15, 10, 1)])
def test_primal_dual_and_pot_agree_and_the_potential_is_a_critic_of_slope_1(n, m, p):
    a, b = randn(n, p), randn(m, p, seed=1) + 0.5
    both = kantorovich_rubinstein(a, b)
    exact = float(wasserstein(a, b))
    assert both.primal == pytest.approx(exact, rel=1e-9) and both.dual == pytest.approx(exact, rel=1e-9)
    torch.testing.assert_close(both.plan.sum(1), torch.full((n,), 1 / n, dtype=KIND))
    torch.testing.assert_close(both.plan.sum(0), torch.full((m,), 1 / m, dtype=KIND))
    torch.testing.assert_close(both.critic(both.points), both.values, atol=1e-6, rtol=0)
    assert float(dual_estimate(both.critic(a), both.critic(b))) == pytest.approx(exact, rel=1e-6)
    found = lipschitz_constant(both.critic, randn(4, 50, p, seed=2))
    torch.testing.assert_close(found["lipschitz"], torch.ones(4, dtype=KIND))
    torch.testing.assert_close(found["unit_gradient_error"], torch.zeros(4, dtype=KIND))


def test_mass_moves_only_where_the_potential_falls_by_the_whole_distance():
    a, b = randn(10, 2), randn(13, 2, seed=1)
    both = kantorovich_rubinstein(a, b)
    descent = both.values[:10].unsqueeze(1) - both.values[10:]
    moved = both.plan > 1e-9
    torch.testing.assert_close(descent[moved], torch.cdist(a, b)[moved], atol=1e-7, rtol=0)
    assert (descent <= torch.cdist(a, b) + 1e-7).all() and not moved.all()


def test_no_critic_of_slope_at_most_1_estimates_more_than_w1():
    a, b = randn(100, 2), randn(100, 2, seed=1) + torch.tensor([1.0, 0.0], dtype=KIND)
    exact, net = wasserstein(a, b), MLP((2, 8, 1), "tanh")
    w = net.initial((20,), rng(), KIND)
    w1, _, w2, _ = w.split([16, 8, 8, 1], -1)
    bound = torch.linalg.matrix_norm(w1.unflatten(-1, (8, 2)), 2) * w2.norm(dim=-1)  # tanh is 1-Lipschitz
    estimates = dual_estimate(net(w, a.expand(20, -1, -1))[..., 0], net(w, b.expand(20, -1, -1))[..., 0], bound)
    assert estimates.shape == (20,) and (estimates.abs() <= exact).all() and estimates.abs().max() > 0.3 * exact
    linear = dual_estimate(a @ torch.tensor([-1.0, 0.0], dtype=KIND), b @ torch.tensor([-1.0, 0.0], dtype=KIND))
    torch.testing.assert_close(linear, (b - a)[:, 0].mean())


# -- slopes of critics ----------------------------------------------------------------------------------------
def test_slopes_of_a_quadratic_are_known_run_by_run():
    points, scale = randn(3, 40, 2), torch.tensor([[0.1], [1.0], [7.0]], dtype=KIND)
    found = lipschitz_constant(lambda u: scale * (u**2).sum(-1), points)
    slope = 2 * scale * points.norm(dim=-1)
    torch.testing.assert_close(found["lipschitz"], slope.amax(-1))
    torch.testing.assert_close(found["unit_gradient_error"], (slope - 1).abs().mean(-1))


def test_slopes_bound_the_lipschitz_constant_from_below_also_under_no_grad():
    net, points = MLP((2, 16, 16, 1)), randn(5, 200, 2)
    w = net.initial((5,), rng(), KIND).requires_grad_()
    with torch.no_grad():
        found = lipschitz_constant(lambda u: net(w, u).squeeze(-1), points)
    parts = w.split([32, 16, 256, 16, 16, 1], -1)
    norms = [
        torch.linalg.matrix_norm(parts[i].unflatten(-1, shape), 2)
        for i, shape in ((0, (16, 2)), (2, (16, 16)), (4, (1, 16)))
    ]
    assert (found["lipschitz"] <= norms[0] * norms[1] * norms[2]).all() and (found["lipschitz"] > 0).all()
    assert w.grad is None and not points.requires_grad
    values, gaps = net(w, points).squeeze(-1), torch.cdist(points, points) + torch.eye(200)
    steepest = ((values.unsqueeze(-1) - values.unsqueeze(-2)).abs() / gaps).amax((-1, -2))
    assert (found["lipschitz"] > 0.7 * steepest).all()


def test_critics_of_wrong_shape_or_without_gradient_are_refused():
    with pytest.raises(
        GameError, match=r"returned shape \(4, 1\) .* \(4, 2\): expected \(4,\); did you forget .squeeze"
    ):
        lipschitz_constant(lambda u: u[:, :1], torch.zeros(4, 2))
    with pytest.raises(GameError, match="no gradient reaches the points"):
        lipschitz_constant(lambda u: u.detach().sum(-1), torch.zeros(4, 2))


# -- rates ----------------------------------------------------------------------------------------------------
def holds(slope, value):
    return slope.low <= value <= slope.high


def test_on_a_line_the_rate_is_one_half_with_the_constant_of_the_brownian_bridge():
    found = rate(1, (64, 256, 1024, 4096), 1500, rng())
    slope = found.slope()
    assert holds(slope, -1 / 2) and slope.high - slope.low < 0.02
    assert not holds(slope, -1 / 3) and not holds(slope, -0.48)
    constant = found.mean * torch.tensor(found.sizes, dtype=KIND).sqrt()
    torch.testing.assert_close(constant, torch.full((4,), sqrt(pi / 32), dtype=KIND), rtol=0.04, atol=0)


def test_the_distance_to_the_uniform_law_is_the_limit_of_distances_to_its_grids():
    from robustgames.evaluation.rates import _to_uniform_law

    u = torch.rand(5, 17, generator=rng(), dtype=KIND)
    grid = (torch.arange(20_000, dtype=KIND) + 0.5) / 20_000
    torch.testing.assert_close(_to_uniform_law(u), wasserstein(u.unsqueeze(-1), grid.unsqueeze(-1)), atol=5e-5, rtol=0)
    one = torch.tensor([[0.0], [0.5], [1.0]], dtype=KIND)  # of one point u: (u^2 + (1 - u)^2) / 2
    assert _to_uniform_law(one).tolist() == [0.5, 0.25, 0.5]


def test_in_3_dimensions_cube_and_torus_close_in_on_one_third():
    cube, torus = (rate(3, (32, 64, 128, 256), (200, 120, 80, 40), rng(), torus=t).slope() for t in (False, True))
    assert cube.low < -1 / 3 < torus.high and cube.value < torus.value
    for slope in (cube, torus):
        assert slope.value == pytest.approx(-1 / 3, abs=0.04)
        assert not any(holds(slope, wrong) for wrong in (-1 / 2, -1 / 4, -1 / 5))


def test_in_the_plane_one_half_without_logarithm_and_one_third_are_rejected():
    found = rate(2, (32, 64, 128, 256), (300, 150, 80, 40), rng(), torus=True)
    slope = found.slope()
    assert slope.low > -1 / 2 and slope.high < -1 / 3
    assert found.slope(log_power=0.5).value == pytest.approx(-1 / 2, abs=0.05)
    assert found.logarithm().low > 0.05


def test_the_torus_knows_no_boundary():
    from robustgames.evaluation.rates import _draw

    a, b = torch.rand(2, 12, 2, generator=rng(3), dtype=KIND)
    gap = (a.unsqueeze(1) - b).abs()
    cost = torch.minimum(gap, 1 - gap).norm(dim=-1)
    rows, columns = linear_sum_assignment(cost.numpy())
    assert float(_draw(2, 12, rng(3), torus=True)) == pytest.approx(float(cost[rows, columns].mean()), rel=1e-12)
    assert _draw(2, 12, rng(3), torus=True) < _draw(2, 12, rng(3), torus=False)


def test_fits_recover_exact_laws_and_widen_where_the_law_is_another():
    n = torch.tensor([50.0, 100, 200, 400, 800], dtype=KIND)

    def measured(mean):
        return EmpiricalRate(2, tuple(int(k) for k in n), mean, 0.01 * mean)

    power, logarithmic = measured(0.7 * n**-0.25), measured((0.3 * n.log() / n).sqrt())
    assert power.slope().value == pytest.approx(-0.25)
    assert logarithmic.slope(log_power=0.5).value == pytest.approx(-0.5)
    assert logarithmic.logarithm().value == pytest.approx(0.3)
    assert measured(0.7 / n.sqrt()).logarithm().value == pytest.approx(0, abs=1e-12)
    bent = measured(0.7 * n**-0.25 * (1 + 0.2 * (-1) ** torch.arange(5)))
    assert bent.slope().high - bent.slope().low > 5 * (power.slope().high - power.slope().low)


def test_intervals_widen_with_the_uncertainty_of_errors_from_few_trials():
    """Three points with errors (1, 0, 1) have the slope (y3 - y1) / 2: Student's t with k - 1 + k - 1 degrees."""
    n = torch.tensor([1.0, e, e**2], dtype=KIND)
    mean, error = n**-0.5, torch.tensor([0.01, 1e-6, 0.01], dtype=KIND) * n**-0.5

    def width(*trials):
        slope = _line(n.log(), mean.log(), error / mean, trials)
        return (slope.high - slope.low) / 2 / (0.01 / 2**0.5)

    assert width() == pytest.approx(1.959964, rel=1e-5)
    assert width(4, 4, 4) == pytest.approx(2.446912, rel=1e-5)  # t of 6 degrees
    assert width(1000, 1000, 1000) == pytest.approx(1.96, abs=0.003)


def test_intervals_cover_the_truth():
    found = [rate(1, (32, 128, 512), 60, rng(seed)).slope() for seed in range(60)]
    assert 51 <= sum(holds(slope, -1 / 2) for slope in found) <= 60  # 95 % of 60 = 57, sd 1.7


# -- script and page ------------------------------------------------------------------------------------------
def script():
    spec = importlib.util.spec_from_file_location("wasserstein_script", ROOT / "scripts" / "wasserstein.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_the_script_writes_its_figure_and_its_numbers(tmp_path, capsys):
    module = script()
    assert module.main(module.Options(out=tmp_path, largest=256, trials=20)) == 0
    assert (tmp_path / "wasserstein_rates.png").read_bytes()[:4] == b"\x89PNG"
    numbers = json.loads((tmp_path / "wasserstein.json").read_text())
    two = numbers["duality"]
    assert two["primal"] == pytest.approx(two["dual"]) and two["lipschitz"] == pytest.approx(1)
    assert set(numbers["rates"]) == {"p=1 cube", *(f"p={p} {place}" for p in (2, 3, 5) for place in ("cube", "torus"))}
    assert numbers["rates"]["p=5 torus"]["slope"]["value"] == pytest.approx(-0.2, abs=0.05)
    assert "p=3 cube" in capsys.readouterr().out
    assert module.main(module.Options(out=tmp_path, largest=100)) == 2
    assert "error: largest is 100" in capsys.readouterr().err


def test_the_page_prints_what_it_shows():
    page = (ROOT / "docs" / "explain" / "wasserstein.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, flags=re.S)
    (shown,) = re.findall(r"```text\n(.*?)```", page, flags=re.S)
    try:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(block, "wasserstein.md", "exec"), {"__name__": "page"})
    finally:
        torch.set_default_dtype(torch.float32)  # the page works in float64
    assert printed.getvalue() == shown
