"""Diagnostics of regions and orbits, on games with a known answer."""

import math

import matplotlib.pyplot as plt
import pytest
import torch

from robustgames.errors import GameError
from robustgames.figures import basin_figure, draw_basins
from robustgames.games import (
    AlmostBilinear,
    Bilinear,
    DiracGAN,
    Forsaken,
    GlobalForsaken,
    Letcher,
    LetcherMarket,
    Noisy,
    Polar,
    Quadratic,
    RidgeBox,
    StepBox,
    WeakMinty,
)
from robustgames.games.game import ZeroSumGame
from robustgames.solvers import diagnostics, make_solver

KIND = torch.float64


def tensor(*values):
    return torch.tensor(values, dtype=KIND)


# -- local minimax -----------------------------------------------------------------------------------------------

MINIMAX = [
    (RidgeBox(), True, 8.0),
    (Quadratic(-1.0, 1.0, 2.0), True, 3.0),  # P + A Q⁻¹ Aᵀ = -1 + 4
    (Quadratic(-5.0, 1.0, 2.0), False, -1.0),
    (Quadratic(1.0, -1.0, 2.0), False, None),  # Φ_yy > 0
    (Quadratic(), True, 2.0),
    (Quadratic(-4.0, 1.0, 2.0), None, 0.0),
    (Bilinear(), None, None),
    (Forsaken(0.45), False, None),
    (Forsaken(0.1), True, None),
    (Letcher(), False, None),
    (DiracGAN(0.3), True, 0.25 / 0.3),
]


@pytest.mark.parametrize(("game", "expected", "schur"), MINIMAX)
def test_local_minimax_verdicts(game, expected, schur):
    game = game.to(dtype=KIND)
    point = diagnostics.local_minimax(game, game.solution())
    assert point.is_critical and point.is_minimax is expected
    if schur is not None:
        assert point.schur == pytest.approx(schur, abs=1e-9)
    assert str(diagnostics.local_minimax(Noisy(game, std=1.0), game.solution())) == str(point)


def test_local_minimax_is_max_y_bending_upwards():
    """Schur complement = second derivative of x -> max_y Φ(x, y), here with an explicit answer y = Q⁻¹ Aᵀ x."""
    generator = torch.Generator().manual_seed(0)
    p, q, a = (torch.randn(3, 3, generator=generator, dtype=KIND) for _ in range(3))
    p, q = p + p.mT, q @ q.mT + 0.1 * torch.eye(3, dtype=KIND)
    game = Quadratic(p, q, a).to(dtype=KIND)

    def envelope(x):
        return game.payoff(x, torch.linalg.solve(q, a.mT @ x))

    bend = torch.autograd.functional.hessian(envelope, torch.zeros(3, dtype=KIND))
    found = diagnostics.local_minimax(game, torch.zeros(6, dtype=KIND))
    assert found.schur == pytest.approx(float(torch.linalg.eigvalsh(bend)[0]), abs=1e-10)


def test_local_minimax_refuses_what_has_no_answer():
    with pytest.raises(GameError, match="has no payoff Φ"):
        diagnostics.local_minimax(Polar(), torch.zeros(2))
    with pytest.raises(GameError, match="edge of X × Y"):
        diagnostics.local_minimax(RidgeBox(), torch.ones(2))
    assert str(diagnostics.local_minimax(Quadratic(), torch.ones(2))).startswith("not a critical point")


# -- constants of a region -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rho", [-0.3, 0.2])
def test_constants_of_the_weak_minty_family(rho):
    found = diagnostics.region_constants(WeakMinty(rho, 2.0), -1, 1, points=100)
    assert found.lipschitz == pytest.approx(2.0, abs=1e-9)
    assert found.monotonicity == pytest.approx(4 * rho, abs=1e-9)
    assert found.comonotonicity == pytest.approx(rho, abs=1e-7)
    assert found.weak_minty == pytest.approx(rho, abs=1e-9)


WEAK_MINTY = [  # game, half a side of the box, ρ, L
    (Forsaken(0.45), 1.5, -1.520566, math.sqrt((993841 + 1089 * math.sqrt(801761)) / 2) / 80),
    (Forsaken(0.1), 1.5, -0.677606, math.sqrt((993841 + 1089 * math.sqrt(801761)) / 2) / 80),
    (GlobalForsaken(), 4 / 3, -0.11973, 3.022398),
    (Polar(1.0), 1.1, -50176 / 1050977, 18.5480),
    (Polar(1 / 3), 1.1, -150528 / 9439585, 6.3061),
]


@pytest.mark.parametrize(("game", "side", "rho", "lipschitz"), WEAK_MINTY)
def test_weak_minty_constants_of_the_literature(game, side, rho, lipschitz):
    found = diagnostics.region_constants(game, -side, side)
    assert found.weak_minty == pytest.approx(rho, abs=1e-5)
    assert found.lipschitz == pytest.approx(lipschitz, abs=1e-4)
    line = torch.linspace(-side, side, 101, dtype=KIND)
    grid, game = torch.cartesian_prod(line, line), game.to(dtype=KIND)
    v = game.field(grid)
    ratios = -(v * (grid - game.solution())).sum(-1) / v.square().sum(-1)
    assert found.weak_minty <= ratios[~ratios.isnan()].min()


def test_a_monotone_game_has_nonnegative_constants():
    found = diagnostics.region_constants(Quadratic(1.0, 2.0, 1.0), -1, 1, points=200)
    assert found.monotonicity == pytest.approx(1.0) and found.weak_minty > 0 and found.comonotonicity > 0
    assert "weak Minty" in str(found)


def test_a_solution_in_float32_is_the_solution():
    rounded = torch.tensor([1e-7, -1e-7])
    found = diagnostics.region_constants(WeakMinty(rho=-0.2), -1, 1, solution=rounded, points=64)
    assert found.weak_minty == pytest.approx(-0.2, abs=1e-6)


def test_constants_refuse_empty_boxes_and_large_games():
    with pytest.raises(GameError, match="is empty"):
        diagnostics.region_constants(Bilinear(), 1, -1)
    with pytest.raises(GameError, match="for at most 64"):
        diagnostics.region_constants(Bilinear(n=40), -1, 1)
    for low, high in ((-math.inf, math.inf), (0, math.inf), (math.nan, 1)):  # their constants were NaN and -inf
        with pytest.raises(GameError, match="empty or unbounded"):
            diagnostics.region_constants(Bilinear(), low, high)
    with pytest.raises(GameError, match="points is 0"):
        diagnostics.region_constants(Bilinear(), -1, 1, points=0)
    with pytest.raises(GameError, match=r"solution has shape \(3,\): one point of .* has shape \(2,\)"):
        diagnostics.region_constants(Bilinear(), -1, 1, solution=torch.zeros(3))


def test_the_constants_of_a_constant_field_are_printed():
    constant = diagnostics.RegionConstants(0.0, 0.0, math.inf, None, None)
    assert str(constant).startswith("Lipschitz 0,") and str(constant).endswith("-1/(2L) = -inf")


# -- Floquet multipliers -------------------------------------------------------------------------------------------


ORBITS = [  # game, start on the ray, dt, period, multiplier: those of an independent integrator of order 8
    (AlmostBilinear(0.1), 1.1, 0.05, 6.2871112723, 0.5330692592),
    (Forsaken(0.45), 1.2, 0.05, 7.5480037618, 0.0),
    (Forsaken(0.45), 0.15, -0.05, 7.1698776961, 1.91978),
    (Forsaken(0.1), 0.5, -0.05, 6.4301727993, 147.21379),
]


@pytest.mark.parametrize(("game", "ray", "dt", "period", "multiplier"), ORBITS)
def test_floquet_multipliers_of_known_cycles(game, ray, dt, period, multiplier):
    game = game.to(dtype=KIND)
    star = game.solution()
    cycle = diagnostics.limit_cycle(diagnostics.flow(game, star + tensor(ray, 0.0), 120, dt), 0.05, star)
    orbit = diagnostics.closed_orbit(game, cycle, steps=300)
    assert orbit.period == pytest.approx(period, abs=2e-6)
    assert float(orbit.multipliers.real) == pytest.approx(multiplier, rel=1e-4, abs=1e-5)
    assert orbit.is_isolated and orbit.is_stable is (multiplier < 1)
    assert f"{'stable' if dt > 0 else 'unstable'} limit cycle" in str(orbit)


@pytest.mark.parametrize("a", [1.0, 1 / 3])
def test_polar_cycles_have_closed_form_multipliers(a):
    """r' = -a r (r² - 1)(r² - 9/16) with unit angular speed: log multiplier 2π dr'/dr = -7πa/4 and 63πa/64."""
    for r, dt, power in ((1.0, 0.05, -7 / 4), (0.75, -0.05, 63 / 64)):
        path = diagnostics.flow(Polar(a), tensor(r + 0.02, 0.0), 40, dt)
        orbit = diagnostics.closed_orbit(Polar(a), diagnostics.limit_cycle(path, 0.05, tensor(0.0, 0.0)), steps=150)
        assert orbit.period == pytest.approx(2 * math.pi, abs=1e-6)
        assert orbit.start.norm() == pytest.approx(r, abs=1e-6)
        assert float(orbit.multipliers.real) == pytest.approx(math.exp(power * math.pi * a), rel=1e-4)


def test_a_center_is_told_from_a_cycle_without_other_trajectories():
    path = diagnostics.flow(Bilinear([[2.0]]), tensor(1.0, 0.0), 30, 0.02)
    orbit = diagnostics.closed_orbit(
        Bilinear([[2.0]]), diagnostics.limit_cycle(path, 0.02, tensor(0.0, 0.0)), steps=100
    )
    assert not orbit.is_isolated and orbit.is_stable is None and "center" in str(orbit)
    assert orbit.period == pytest.approx(math.pi, abs=1e-6)


def test_orbits_of_large_steps_are_not_those_of_the_flow():
    game = Quadratic(1.0, 1.0, 1.0).to(dtype=KIND)  # its flow has no closed orbit
    angle = torch.arange(0, 40, 0.05, dtype=KIND)
    circle = torch.stack([angle.cos(), angle.sin()], -1)
    with pytest.raises(GameError, match="no closed orbit of the flow"):
        diagnostics.closed_orbit(game, diagnostics.limit_cycle(circle, 0.05, tensor(0.0, 0.0)), steps=50)
    with pytest.raises(GameError, match="steps is 0"):
        diagnostics.closed_orbit(game, diagnostics.limit_cycle(circle, 0.05, tensor(0.0, 0.0)), steps=0)


def test_a_trajectory_without_a_cycle_has_no_closed_orbit():
    path = diagnostics.flow(Quadratic(1.0, 1.0, 1.0), torch.ones(2), 20, 0.05)  # it converges
    with pytest.raises(GameError, match="cycle is None: limit_cycle found none"):
        diagnostics.closed_orbit(Quadratic(1.0, 1.0, 1.0), diagnostics.limit_cycle(path, 0.05))


# -- restricted gap ------------------------------------------------------------------------------------------------


def test_restricted_gap_of_bilinear_games():
    matrix = torch.randn(3, 2, dtype=KIND, generator=torch.Generator().manual_seed(0))
    game, z = Bilinear(matrix).to(dtype=KIND), torch.randn(7, 5, dtype=KIND, generator=torch.Generator().manual_seed(1))
    x, y = game.split(z)
    expected = 2.5 * ((x @ matrix).norm(dim=-1) + (y @ matrix.mT).norm(dim=-1))
    torch.testing.assert_close(diagnostics.restricted_gap(game, z, 2.5), expected, rtol=1e-12, atol=1e-12)
    assert diagnostics.restricted_gap(game, game.solution(), 2.5) == 0
    shifted = diagnostics.restricted_gap(game, z, 2.5, center=torch.ones(5, dtype=KIND))
    moved = expected + (x @ matrix).sum(-1) - (y @ matrix.mT).sum(-1)
    torch.testing.assert_close(shifted, moved, rtol=1e-12, atol=1e-12)


def test_restricted_gap_of_quadratics_is_the_gap_in_a_large_ball_and_a_trust_region_in_a_small_one():
    p, q, a = torch.diag(tensor(2.0, 0.5)), torch.diag(tensor(1.0, 3.0)), tensor(1.0, 2.0, -1.0, 0.5).view(2, 2)
    game, z = (
        Quadratic(p, q, a).to(dtype=KIND),
        torch.randn(6, 4, dtype=KIND, generator=torch.Generator().manual_seed(0)),
    )
    torch.testing.assert_close(diagnostics.restricted_gap(game, z, 50.0), diagnostics.duality_gap(game, z))
    angle = torch.linspace(0, 2 * torch.pi, 40001, dtype=KIND)
    rim = 0.1 * torch.stack([angle.cos(), angle.sin()], -1)  # the answers of a small ball lie on its rim
    x, y = (part.unsqueeze(-2) for part in game.split(z))
    most, least = (
        game.payoff(x.expand(-1, len(rim), -1), rim.expand(6, -1, -1)),
        game.payoff(rim.expand(6, -1, -1), y.expand(-1, len(rim), -1)),
    )
    expected = most.amax(-1) - least.amin(-1)
    torch.testing.assert_close(diagnostics.restricted_gap(game, z, 0.1), expected, rtol=1e-7, atol=1e-9)


class Quartic(ZeroSumGame):
    """Φ = x⁴/4 + xy - y⁴/4."""

    sizes = (1, 1)

    def payoff(self, x, y, sample=None):
        return (x**4 / 4 + x * y - y**4 / 4).squeeze(-1)


def test_restricted_gap_of_payoffs_that_are_not_quadratic():
    z = 3 * torch.randn(9, 2, dtype=KIND, generator=torch.Generator().manual_seed(0))
    x, y = z.T
    expected = x**4 / 4 + 0.75 * x.abs() ** (4 / 3) + y**4 / 4 + 0.75 * y.abs() ** (4 / 3)  # conjugate of u⁴/4
    found = diagnostics.restricted_gap(Quartic(), z, 10.0, center=tensor(0.0, 0.0))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


class Hill(ZeroSumGame):
    """Concave in y only where |x| > 0.3."""

    sizes = (1, 1)

    def payoff(self, x, y, sample=None):
        return (x**2 / 2 + x * y - 0.5 * y**2 * (x**4 - 0.01)).squeeze(-1)


def test_a_run_of_large_payoffs_hides_no_other_run():
    z = tensor([0.0, 0.0], [100.0, 0.0])
    for runs in (z[:1], z):
        with pytest.raises(GameError, match="not concave in y"):
            diagnostics.restricted_gap(Hill(), runs, 1.0, center=tensor(0.0, 0.0))


def test_restricted_gap_refuses_what_it_cannot_answer():
    with pytest.raises(GameError, match="not concave in y within radius 1"):
        diagnostics.restricted_gap(AlmostBilinear(), torch.ones(2), 1.0)
    with pytest.raises(GameError, match="use duality_gap"):
        diagnostics.restricted_gap(Bilinear(radius=1.0), torch.ones(2), 1.0)
    with pytest.raises(GameError, match="pass center="):
        diagnostics.restricted_gap(Quartic(), torch.ones(2), 1.0)
    with pytest.raises(GameError, match="radius is 0"):
        diagnostics.restricted_gap(Bilinear(), torch.ones(2), 0.0)
    with pytest.raises(GameError, match="use duality_gap"):
        diagnostics.restricted_gap(LetcherMarket(), torch.ones(2), 1.0)


# -- basins --------------------------------------------------------------------------------------------------------


def grid(side, points=9):
    line = torch.linspace(-side, side, points, dtype=KIND)
    return torch.cartesian_prod(line, line)


def test_basins_of_a_polar_game_are_its_rings():
    """Starts inside r = 3/4 end at 0, starts outside on the cycle r = 1."""
    starts = grid(1.3, 10)
    found = diagnostics.basins(Polar(1.0), make_solver("extragradient", lr=0.02), starts, 1200, window=320)
    assert len(found.names) == 2 and found.names[found.labels[0]].startswith("cycle of size 0.98")
    assert torch.equal(found.labels == found.names.index("point (0, 0)"), starts.norm(dim=-1) < 0.75)
    assert found.share(0) + found.share(1) == 1
    assert found.paths[found.labels[0]].norm(dim=-1).sub(1).abs().max() < 0.05


def test_basins_that_diverge_are_a_group_of_their_own():
    found = diagnostics.basins(Bilinear(), make_solver("gda", lr=1.0), grid(1.0), 200, window=10)
    assert found.share(-1) == pytest.approx(80 / 81) and "diverge" in str(found)  # 0 stays where it is
    plt.close(basin_figure(found))


class FarSaddle(ZeroSumGame):
    sizes = (1, 1)

    def payoff(self, x, y, sample):
        return ((x - 100) ** 2 - (y - 100) ** 2).squeeze(-1) / 2


def test_runs_diverge_by_their_distance_from_the_starts_not_from_zero():
    found = diagnostics.basins(FarSaddle(), make_solver("gda", lr=0.5), 100 + grid(1e-5, 2), 100, window=10)
    assert found.names == ("point (100, 100)",) and found.share(0) == 1


def test_basins_of_a_square_and_their_figure():
    found = diagnostics.basins(StepBox(), make_solver("extragradient", lr=0.2), grid(0.4, 5), 1000, window=40)
    assert found.names == ("point (0, 0)",)
    corners = diagnostics.basins(RidgeBox(), make_solver("gda", lr=0.05), grid(0.9, 8), 400, window=50)
    assert sorted(corners.names) == ["point (-1, -1)", "point (1, 1)"]
    figure, axes = plt.subplots()
    draw_basins(axes, corners, "ridge")
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts == ["point (-1, -1): 50.0%", "point (1, 1): 50.0%"]
    mesh = axes.collections[0].get_array().reshape(8, 8)
    assert mesh[0, 0] == 0 and mesh[-1, -1] == 1  # rows are y, from below
    plt.close(figure)


def test_basins_refuse_wrong_starts_and_windows():
    solver = make_solver("gda")
    with pytest.raises(GameError, match=r"expected points \(S, 2\)"):
        diagnostics.basins(Bilinear(), solver, torch.zeros(3))
    with pytest.raises(GameError, match="window is 20"):
        diagnostics.basins(Bilinear(), solver, torch.ones(3, 2), 10, window=20)
    for tol in (-0.1, float("nan")):  # it searched for groups without end
        with pytest.raises(GameError, match="tol is"):
            diagnostics.basins(Bilinear(), solver, torch.ones(3, 2), 10, window=5, tol=tol)
    with pytest.raises(GameError, match="not finite"):
        diagnostics.basins(Bilinear(), solver, torch.tensor([[1.0, 0.0], [float("nan"), 0.0]]), 10, window=5)
    with pytest.raises(GameError, match="must have two"):
        basin_figure(diagnostics.basins(Bilinear(n=2), solver, torch.ones(3, 4), 3, window=2))
