"""Certificates: local Nash verdicts, spectra, duality gaps, limit cycles."""

import cmath
import math

import pytest
import torch
from scipy.optimize import linprog

from robustgames.errors import GameError
from robustgames.games import (
    AlmostBilinear,
    Bilinear,
    Box,
    DiracGAN,
    FiniteSumBilinear,
    Forsaken,
    GlobalForsaken,
    Letcher,
    LetcherMarket,
    MatrixGame,
    Noisy,
    Polar,
    Quadratic,
    RidgeBox,
    StepBox,
    WeakMinty,
)
from robustgames.solvers import diagnostics

KIND = torch.float64
MATRIX = [[1.0, -2.0, 0.5], [0.3, 1.0, -1.0]]
TOYS = {
    "bilinear": Bilinear(MATRIX),
    "bilinear in a box": Bilinear(MATRIX, radius=1.0),
    "quadratic": Quadratic([[2.0, 0.5], [0.5, 1.0]], 1.5, [[1.0], [-2.0]]),
    "almost bilinear": AlmostBilinear(),
    "forsaken": Forsaken(),
    "forsaken of the lecture": Forsaken(0.1),
    "matching pennies": MatrixGame(),
    "rock paper scissors": MatrixGame("rock_paper_scissors"),
    "matrix game": MatrixGame(MATRIX),
    "dirac gan": DiracGAN(0.3),
    "polar": Polar(),
    "letcher": Letcher(),
    "letcher market": LetcherMarket(),
    "global forsaken": GlobalForsaken(),
    "ridge": RidgeBox(),
    "step": StepBox(),
    "weak minty": WeakMinty(),
    "finite sum": FiniteSumBilinear(3),
}
every_toy = pytest.mark.parametrize("game", [g.to(dtype=KIND) for g in TOYS.values()], ids=TOYS.keys())


def tensor(*values):
    return torch.tensor(values, dtype=KIND)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@every_toy
def test_known_solution_is_critical(game):
    assert game.residual(game.solution()) < 1e-9
    away = 0.05 * torch.randn(sum(game.sizes), dtype=KIND, generator=generator())
    assert game.residual(game.solution() + away) > 1e-3


@pytest.mark.parametrize("offset", [-0.45, 0.0, 0.3, 0.7, 1.0])
def test_forsaken_solution_is_critical_for_every_offset(offset):
    game = Forsaken(offset).to(dtype=KIND)
    assert game.residual(game.solution()) < 1e-9


@every_toy
def test_jacobian_equals_finite_differences(game):
    z, h, d = torch.randn(4, sum(game.sizes), dtype=KIND, generator=generator()), 1e-6, sum(game.sizes)
    step = h * torch.eye(d, dtype=KIND)
    columns = [(game.field(z + step[i]) - game.field(z - step[i])) / (2 * h) for i in range(d)]
    found = diagnostics.jacobian(game, z)
    torch.testing.assert_close(found, torch.stack(columns, -1), rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(found[2], diagnostics.jacobian(game, z[2]), rtol=0, atol=1e-12)


VERDICTS = [
    (Quadratic(), tensor(0.0, 0.0), True, True, ["a strict local Nash point", "stable: the flow converges"]),
    (Quadratic(-2.0, 2.0), tensor(0.0, 0.0), False, False, ["not a local Nash point: x can do better", "unstable"]),
    (Forsaken(0.45), None, False, True, ["not a local Nash point: y can do better", "; stable"]),
    (Forsaken(0.10), None, True, True, ["a strict local Nash point", "; stable"]),
    (AlmostBilinear(), None, False, False, ["not a local Nash point: y can do better", "unstable: the flow leaves it"]),
    (Bilinear(), tensor(0.0, 0.0), None, None, ["second order does not decide", "neither attracting nor repelling"]),
    (DiracGAN(0.3), tensor(0.0, 0.0), None, True, ["second order does not decide", "; stable"]),
    (Quadratic(), tensor(0.3, 0.4), False, True, ["not a critical point: |V| = 1"]),
]


@pytest.mark.parametrize(("game", "z", "nash", "stable", "words"), VERDICTS)
def test_local_nash_verdicts(game, z, nash, stable, words):
    game = game.to(dtype=KIND)
    z = game.solution() if z is None else z
    point = diagnostics.local_nash(game, z)
    assert (point.is_nash, point.is_stable) == (nash, stable)
    assert point.is_critical == (not str(point).startswith("not a critical point"))
    assert all(word in str(point) for word in words)
    assert str(diagnostics.local_nash(Noisy(game, std=1.0), z)) == str(point)


def test_local_nash_takes_one_point():
    with pytest.raises(GameError, match=r"one point of shape \(n \+ m,\), got \(3, 2\)"):
        diagnostics.local_nash(Quadratic(), torch.zeros(3, 2))


@pytest.mark.parametrize("r1", [0.0, 0.3, 1.0, 2.5])
def test_dirac_gan_spectrum(r1):
    root = cmath.sqrt(r1**2 / 4 - 1 / 4)
    expected = sorted([-r1 / 2 + root, -r1 / 2 - root], key=lambda v: (v.real, v.imag))
    found = diagnostics.spectrum(DiracGAN(r1).to(dtype=KIND), tensor(0.0, 0.0)).tolist()
    assert found[0].real >= found[1].real
    for a, b in zip(sorted(found, key=lambda v: (round(v.real, 9), v.imag)), expected, strict=True):
        assert abs(a - b) < 1e-7 if r1 == 1.0 else abs(a - b) < 1e-12  # r1 = 1: a double eigenvalue


def test_almost_bilinear_spectrum():
    found = diagnostics.spectrum(AlmostBilinear(0.1).to(dtype=KIND), tensor(0.0, 0.0))
    torch.testing.assert_close(found.real, tensor(0.05, 0.05), rtol=0, atol=1e-12)
    torch.testing.assert_close(found.imag.abs(), tensor(1, 1) * math.sqrt(1 - 0.0025), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("scale", "offset"), [(1e-12, 0.0), (1e-9, 0.0), (1e20, 0.0), (1.0, 1e10)])
def test_the_equilibrium_of_a_matrix_game_does_not_depend_on_units(scale, offset):
    matrix = torch.tensor([[0.0, 2.0, -1.0], [-1.0, 0.0, 1.0], [1.0, -1.0, 0.0]], dtype=KIND)
    found = MatrixGame(scale * matrix + offset).to(dtype=KIND).solution()
    torch.testing.assert_close(found, tensor(3, 4, 5, 4, 3, 5) / 12, rtol=0, atol=1e-6)


def test_an_edge_far_from_0_is_an_edge():
    game = Quadratic(convex=-2.0)  # at x = 1000 the field points out of the box: x cannot do better
    game.sets = (Box(-1000.0, 1000.0), Box(-1000.0, 1000.0))
    with pytest.raises(GameError, match="needs an interior point"):
        diagnostics.local_nash(game, torch.tensor([1000.0, 0.0]))
    assert diagnostics.local_nash(game, torch.tensor([990.0, 0.0])).residual == pytest.approx(10.0)


@pytest.mark.parametrize("verdict", [diagnostics.local_nash, diagnostics.local_minimax])
def test_a_point_that_is_not_one_of_the_game_is_no_edge(verdict):
    with pytest.raises(GameError, match=r"finite numbers.*the run has diverged"):
        verdict(Quadratic(), tensor(float("nan"), 0.0))
    with pytest.raises(GameError, match=r"one point of shape \(n \+ m,\), got \(3,\)"):
        verdict(Quadratic(), tensor(0.0, 0.0, 0.0))


@pytest.mark.parametrize("seed", range(3))
def test_matrix_game_equilibrium_attains_the_value(seed):
    matrix = torch.randn(4, 3, dtype=KIND, generator=generator(seed))
    game = MatrixGame(matrix).to(dtype=KIND)
    a = matrix.numpy()
    bounds = [(0, None)] * 3 + [(None, None)]  # the column player's program: max over y of min_i (A y)_i
    dual = linprog([0, 0, 0, -1], [[*(-row), 1] for row in a], [0] * 4, [[1, 1, 1, 0]], [1], bounds=bounds)
    x, y = game.split(game.solution())
    assert float(game.payoff(x, y)) == pytest.approx(-dual.fun, abs=1e-9)
    assert abs(float(diagnostics.duality_gap(game, game.solution()))) < 1e-9
    z = game.initial((50,), generator())
    x, y = game.split(z)
    expected = (x @ matrix).amax(-1) - (y @ matrix.T).amin(-1)
    torch.testing.assert_close(diagnostics.duality_gap(game, z), expected, rtol=0, atol=1e-12)
    assert expected.min() > 0


def test_bilinear_gap_in_a_box_is_a_sum_of_absolute_values():
    matrix, z = torch.tensor(MATRIX, dtype=KIND), torch.randn(20, 5, dtype=KIND, generator=generator())
    game = Bilinear(MATRIX, radius=0.7).to(dtype=KIND)
    expected = 0.7 * ((z[:, :2] @ matrix).abs().sum(-1) + (z[:, 2:] @ matrix.T).abs().sum(-1))
    torch.testing.assert_close(diagnostics.duality_gap(game, z), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(diagnostics.duality_gap(Noisy(game, std=3.0), z), expected, rtol=0, atol=1e-12)


def test_quadratic_gap_is_a_quadratic_form():
    p, q, a, z = 2.0, 0.5, 3.0, torch.randn(20, 2, dtype=KIND, generator=generator())
    x, y = z.T
    expected = (p + a * a / q) * x * x / 2 + (q + a * a / p) * y * y / 2
    game = Quadratic(p, q, a).to(dtype=KIND)
    torch.testing.assert_close(diagnostics.duality_gap(game, z), expected, rtol=1e-12, atol=1e-12)
    assert diagnostics.duality_gap(game, game.solution()) == 0


GAPLESS = [Bilinear(), Quadratic(0.0, 1.0), Quadratic(1.0, -1.0), Forsaken(), Polar(), DiracGAN()]


@pytest.mark.parametrize("game", GAPLESS)
def test_unknown_duality_gaps_are_refused(game):
    with pytest.raises(GameError, match=r"duality gap of .* is not known: .* e\.g\. a bilinear game with radius=1\.0"):
        diagnostics.duality_gap(game, torch.zeros(2))


def test_residual_of_a_constrained_game_is_zero_exactly_at_solutions():
    game = Bilinear([[1.0]], radius=1.0).to(dtype=KIND)
    assert diagnostics.residual(game, tensor(0.0, 0.0)) == 0
    assert diagnostics.residual(game, tensor(1.0, 1.0)) == 1  # y stays at its wall, x may move by 1
    biased = MatrixGame([[1.0, 2.0], [3.0, 4.0]]).to(dtype=KIND)  # a saddle in a corner, where V is not 0
    torch.testing.assert_close(biased.solution(), tensor(1.0, 0.0, 0.0, 1.0), rtol=0, atol=1e-12)
    assert diagnostics.residual(biased, biased.solution()) < 1e-12 < biased.field(biased.solution()).norm()


TIMES = torch.arange(0, 60, 0.01, dtype=KIND)


def ellipse(decay=0.0, period=3.7):
    angle = 2 * math.pi / period * TIMES
    return tensor(5.0, -1.0) + torch.exp(-decay * TIMES).unsqueeze(-1) * torch.stack([2 * angle.cos(), angle.sin()], -1)


@pytest.mark.parametrize("center", [None, tensor(5.0, -1.0)])
def test_limit_cycle_measures_an_ellipse(center):
    cycle = diagnostics.limit_cycle(ellipse(), 0.01, center)
    assert cycle.period == pytest.approx(3.7, abs=1e-4)
    tol = 0.1 if center is None else 1e-3  # the mean of a fraction of a turn is not the center
    assert (cycle.inner, cycle.amplitude) == pytest.approx((1, 2), abs=tol)
    assert abs(len(cycle.points) - 370) <= 1


def test_limit_cycle_is_none_where_there_is_none():
    nan = ellipse()
    nan[-1, 0] = math.nan
    wander = torch.randn(6000, 2, dtype=KIND, generator=generator()).cumsum(0)
    still = torch.zeros(6000, 2, dtype=KIND)
    for path in (ellipse(0.02), ellipse(-0.02), ellipse(2.0), still, nan, wander, ellipse()[:300]):
        assert diagnostics.limit_cycle(path, 0.01, tensor(5.0, -1.0)) is None
        assert diagnostics.limit_cycle(path, 0.01) is None


def test_limit_cycle_takes_one_run():
    with pytest.raises(GameError, match=r"one run of shape \(T, d\)"):
        diagnostics.limit_cycle(torch.zeros(10, 3, 2))
