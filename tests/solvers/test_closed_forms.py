"""Rates, invariants and stationary laws that are known in closed form."""

import math

import pytest
import torch

from robustgames.games import AlmostBilinear, Bilinear, Oracle, Quadratic
from robustgames.solvers import (
    SGD,
    Alternating,
    Averaged,
    Extragradient,
    Langevin,
    Momentum,
    Optimistic,
    Simultaneous,
    make_solver,
    trajectory,
)

KIND = torch.float64


def eye(d):
    return torch.eye(d, dtype=KIND)


def step_map(solver, game, memory=None):
    """The matrix M of one step, (z, memory)⁺ = M (z, memory), found by stepping from the basis vectors."""
    game, d = game.to(dtype=KIND), sum(game.sizes)
    if memory is None:
        return trajectory(solver, game, eye(d), 1)[1].T
    basis = eye(2 * d)
    z, extra = basis[:, :d], basis[:, d:]
    write, read = memory
    after, state = solver.step(Oracle(game, (2 * d,)), z, write(extra, game))
    return torch.cat([after, read(state)], -1).T


def moduli(matrix):
    return torch.linalg.eigvals(matrix).abs().sort().values


def radius(matrix):
    return float(moduli(matrix)[-1])


past = (lambda v, game: {"rule": {"k": 0}, "v": v}, lambda state: state["v"])
heavy = (lambda m, game: {"k": 0, "m": m}, lambda state: state["m"])
heavy_in_turn = (
    lambda m, game: {name: {"k": 0, "m": block} for name, block in zip("xy", game.split(m), strict=True)},
    lambda state: torch.cat([state["x"]["m"], state["y"]["m"]], -1),
)


def gda_factor(a):
    return math.sqrt(1 + a**2)


def extragradient_factor(a):
    return math.sqrt(1 - a**2 + a**4)


def optimistic_factor(a):
    return math.sqrt((1 + math.sqrt(1 - 4 * a**2)) / 2)


FACTORS = {"gda": gda_factor, "extragradient": extragradient_factor, "alt_gda": lambda a: 1.0}


@pytest.mark.parametrize("a", [0.1, 0.5])
@pytest.mark.parametrize("name", FACTORS)
def test_bilinear_factor_per_step(name, a):
    assert radius(step_map(make_solver(name, lr=a), Bilinear())) == pytest.approx(FACTORS[name](a), abs=1e-9)


@pytest.mark.parametrize(("a", "tol"), [(0.1, 1e-9), (0.4, 1e-9), (0.5, 1e-7)])  # at 1/2 the eigenvalue is defective
def test_bilinear_factor_of_optimistic_steps(a, tol):
    factor = radius(step_map(Optimistic(SGD(a)), Bilinear(), past))
    assert factor == pytest.approx(optimistic_factor(a), abs=tol)


@pytest.mark.parametrize("name", FACTORS)
def test_general_matrix_has_one_factor_per_singular_value(name):
    matrix = torch.randn(4, 3, dtype=KIND, generator=torch.Generator().manual_seed(0))
    factors = [FACTORS[name](0.1 * float(s)) for s in torch.linalg.svdvals(matrix) for _ in range(2)]
    expected = torch.tensor(sorted([*factors, 1.0]), dtype=KIND)  # 1: the direction that A does not see
    found = moduli(step_map(make_solver(name, lr=0.1), Bilinear(matrix)))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_general_matrix_has_one_optimistic_factor_per_singular_value():
    matrix = torch.randn(4, 3, dtype=KIND, generator=torch.Generator().manual_seed(0))
    factors = []
    for a in (0.1 * torch.linalg.svdvals(matrix)).tolist():
        root = math.sqrt(1 - 4 * a**2)
        factors += 2 * [math.sqrt((1 + root) / 2), math.sqrt((1 - root) / 2)]
    expected = torch.tensor(sorted([*factors, 0.0, 1.0]), dtype=KIND)
    found = moduli(step_map(Optimistic(SGD(0.1)), Bilinear(matrix), past))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("name", "growth"), [("gda", 144.77277), ("extragradient", 0.00691083)])
def test_norm_after_a_thousand_steps(name, growth):
    z = trajectory(make_solver(name, lr=0.1), Bilinear(), torch.tensor([1.0, 1.0], dtype=KIND), 1000)
    norm = z.norm(dim=-1)
    assert float(norm[-1] / norm[0]) == pytest.approx(growth, rel=1e-6)
    torch.testing.assert_close(norm[1:] / norm[:-1], torch.full_like(norm[1:], FACTORS[name](0.1)), rtol=0, atol=1e-12)


def test_stability_limits_of_extragradient_and_optimistic():
    assert radius(step_map(Extragradient(SGD(0.99)), Bilinear())) < 1
    assert radius(step_map(Extragradient(SGD(1.01)), Bilinear())) > 1
    assert radius(step_map(Optimistic(SGD(0.577)), Bilinear(), past)) < 1
    assert radius(step_map(Optimistic(SGD(0.578)), Bilinear(), past)) > 1
    start = torch.tensor([1.0, 1.0], dtype=KIND)
    assert trajectory(Optimistic(SGD(0.55)), Bilinear(), start, 300)[-1].norm() < 1e-6
    assert trajectory(Optimistic(SGD(0.6)), Bilinear(), start, 300)[-1].norm() > 1e3


def test_optimistic_look_aheads_are_optimistic_gradient_descent_ascent():
    # on a nonlinear field: on a linear one the iterates obey the same recursion
    game, z, a = AlmostBilinear(eps=2.0).to(dtype=KIND), torch.tensor([1.0, -0.8], dtype=KIND), 0.1
    oracle, solver, points = Oracle(game), Averaged(Optimistic(SGD(a)), decay=0.0, lookahead=True), []
    state = solver.init(oracle, z)
    for _ in range(30):
        z, state = solver.step(oracle, z, state)
        points.append(state["mean"])
    for before, w, after in zip(points, points[1:], points[2:], strict=False):
        torch.testing.assert_close(after, w + 2 * a * game.field(w) - a * game.field(before), rtol=0, atol=1e-13)


def test_best_extragradient_step():
    rates = torch.linspace(0.05, 0.99, 189, dtype=KIND).unsqueeze(-1)
    z = trajectory(Extragradient(SGD(rates)), Bilinear(), torch.ones(189, 2, dtype=KIND), 1)
    ratio = z[1].norm(dim=-1) / z[0].norm(dim=-1)
    assert float(rates[ratio.argmin()]) == pytest.approx(1 / math.sqrt(2), abs=0.005)
    assert float(ratio.min()) == pytest.approx(math.sqrt(3) / 2, abs=1e-4)


@pytest.mark.parametrize("a", [0.1, 0.5])
def test_alternating_gda_keeps_its_invariant(a):
    x, y = trajectory(Alternating(SGD(a)), Bilinear(), torch.tensor([1.0, 1.0], dtype=KIND), 1000).T
    energy = x * x + y * y - a * x * y
    assert (energy - energy[0]).abs().max() < 1e-12
    assert (x * x + y * y).max() <= energy[0] / (1 - a / 2) + 1e-12


@pytest.mark.parametrize(("a", "in_turn", "at_once"), [(0.1, 0.9985178, 1.0007430), (0.5, 0.9625437, 1.0200537)])
def test_negative_momentum_converges_only_in_turn(a, in_turn, at_once):
    rule = Momentum(a, beta=-0.5)
    assert radius(step_map(Alternating(rule), Bilinear(), heavy_in_turn)) == pytest.approx(in_turn, abs=1e-7)
    assert radius(step_map(Simultaneous(rule), Bilinear(), heavy)) == pytest.approx(at_once, abs=1e-7)


@pytest.mark.parametrize("a", [0.1, 0.5])
def test_alternating_extragradient_is_its_matrix(a):
    # x_h = x - a y, y_h = y + a x_h, x⁺ = x - a y_h, y⁺ = y + a x⁺
    matrix = torch.tensor([[1 - a**2, a**3 - a], [a - a**3, 1 - a**2 + a**4]], dtype=KIND)
    z = trajectory(Extragradient(SGD(a), alternating=True), Bilinear(), torch.tensor([1.0, -2.0], dtype=KIND), 50)
    torch.testing.assert_close(z[1:], z[:-1] @ matrix.T, rtol=0, atol=1e-14)


def test_uniform_average_of_alternating_gda_is_of_order_one_over_k():
    game, solver, z = Bilinear().to(dtype=KIND), Averaged(Alternating(SGD(0.1))), torch.ones(2, dtype=KIND)
    oracle = Oracle(game)
    state, total, means = solver.init(oracle, z), torch.zeros(2, dtype=KIND), []
    for _ in range(10_000):
        z, state = solver.step(oracle, z, state)
        total += z
        means.append(state["mean"].norm())
    torch.testing.assert_close(state["mean"], total / 10_000, rtol=0, atol=1e-12)
    inverse = torch.linalg.inv(eye(2) - step_map(Alternating(SGD(0.1)), Bilinear()))
    bound = 2 * math.sqrt(2 / 0.95) * 1.1 * float(torch.linalg.matrix_norm(inverse, 2))  # |sum| <= |inverse| 2 max |z|
    scaled = torch.stack(means) * torch.arange(1, 10_001)
    assert scaled.max() <= bound
    assert scaled[-1000:].max() > bound / 10  # and not of smaller order
    assert 2e-4 < means[-1] < 3e-3


@pytest.mark.parametrize("lr", [0.1, 0.5])
def test_langevin_variance_on_a_quadratic(lr):
    game, noise = Quadratic(1.0, 1.0, n=50).to(dtype=KIND), 0.3  # V = -z: the loss of all coordinates is |z|²/2
    solver, z = Simultaneous(Langevin(lr, noise)), torch.zeros(2000, 100, dtype=KIND)
    oracle = Oracle(game, (2000,), torch.Generator().manual_seed(1))
    state = solver.init(oracle, z)
    for _ in range(100):
        z, state = solver.step(oracle, z, state)
    count = z.numel()
    expected = noise**2 / (1 - lr / 2)
    assert abs(float(z.var()) / expected - 1) < 4 * math.sqrt(2 / count)
    assert abs(float(z.mean())) < 4 * math.sqrt(expected / count)


def test_langevin_without_noise_is_sgd():
    z = torch.randn(4, 2, dtype=KIND, generator=torch.Generator().manual_seed(0))
    for scheme in (Simultaneous, Alternating, Extragradient, Optimistic):
        quiet = trajectory(scheme(Langevin(0.1, 0.0)), Bilinear(), z, 20)
        assert torch.equal(quiet, trajectory(scheme(SGD(0.1)), Bilinear(), z, 20))


def test_gda_on_a_strongly_monotone_quadratic_is_linear():
    mu, a, lr = 0.5, 2.0, 0.1
    z = trajectory(Simultaneous(SGD(lr)), Quadratic(mu, mu, a), torch.tensor([1.0, 0.3], dtype=KIND), 200)
    norm = z.norm(dim=-1)
    factor = math.hypot(1 - lr * mu, lr * a)
    torch.testing.assert_close(norm[1:] / norm[:-1], torch.full_like(norm[1:], factor), rtol=0, atol=1e-12)


def test_gda_map_on_a_quadratic_is_its_matrix():
    p, q = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=KIND), torch.tensor([[1.5]], dtype=KIND)
    a = torch.tensor([[1.0], [-2.0]], dtype=KIND)
    matrix = eye(3) + 0.1 * torch.cat([torch.cat([-p, -a], 1), torch.cat([a.T, -q], 1)])
    found = step_map(Simultaneous(SGD(0.1)), Quadratic(p, q, a))
    torch.testing.assert_close(found, matrix, rtol=0, atol=1e-14)
    assert radius(found) < 1
    z = trajectory(Simultaneous(SGD(0.1)), Quadratic(p, q, a), torch.ones(3, dtype=KIND), 400).norm(dim=-1)
    assert float(z[400] / z[200]) ** (1 / 200) == pytest.approx(radius(matrix), abs=5e-3)
