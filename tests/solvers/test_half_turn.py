"""The rate of HalfTurn on linear fields, where it fails, and cells of scripts/frontier.py."""

import math
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch

import robustgames as rg
from robustgames.games import Bilinear, Forsaken, Letcher, Polar, Quadratic, WeakMinty

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import frontier

from robustgames.solvers.matrix_recipes import MATRIX

KIND = torch.float64


def rounds(solver, game, start, steps):
    """Return the slow points of the rounds, and the steps at which they end."""
    game = game.to(dtype=KIND)
    oracle = rg.games.Oracle(game, ())
    z, slow, ends = start, [start], [0]
    state = solver.init(oracle, z)
    for k in range(1, steps + 1):
        z, state = solver.step(oracle, z, state)
        if state["since"] == 0:
            slow.append(z)
            ends.append(k)
    return torch.stack(slow), ends


@pytest.mark.parametrize("lr", [0.05, 0.1, 0.3, 0.6, 0.9, 1.2])
@pytest.mark.parametrize("alpha", [None, 0.5])
def test_a_round_on_a_bilinear_game_has_its_length_and_its_factor(lr, alpha):
    # two singular pairs of one value s = 1 in turned coordinates: the rate holds in any dimension
    turn = torch.linalg.qr(torch.randn(2, 2, generator=torch.Generator().manual_seed(0), dtype=KIND))[0]
    start = torch.tensor([1.0, 0.3, -0.5, 0.7], dtype=KIND)
    theta, bound = math.atan(lr), lr / math.hypot(1, lr)
    n = math.ceil(math.pi / theta)
    slow, ends = rounds(rg.make_solver("half_turn", lr=lr, alpha=alpha), Bilinear(turn), start, 3 * n + 3)
    assert ends == [0, n + 1, 2 * n + 2, 3 * n + 3]
    m = (1 + lr * 1j) ** n
    secant = abs(m) * abs(math.sin(n * theta)) / abs(1 - m)
    expected = secant if alpha is None else abs(1 + m) / 2
    sizes = slow.norm(dim=-1)
    torch.testing.assert_close(sizes[1:] / sizes[:-1], torch.full((3,), expected, dtype=KIND), rtol=1e-9, atol=1e-12)
    assert secant <= bound * (1 + 1e-12)
    if alpha == 0.5:
        assert (expected < 1) == (lr < 0.654)  # the middle is no center of a wide spiral


@pytest.mark.parametrize("mu", [0.3, 1.0, 3.0])
def test_a_secant_turn_never_loses_on_strongly_monotone_games_and_the_middle_does(mu):
    game, start, lr = Quadratic(convex=mu, concave=mu, coupling=1.0), torch.tensor([1.0, 0.4], dtype=KIND), 0.05
    m = abs(1 + lr * (-mu + 1j))
    for alpha in (None, 0.5):
        slow, ends = rounds(rg.make_solver("half_turn", lr=lr, alpha=alpha), game, start, 150)
        sizes = slow.norm(dim=-1)
        factors, alone = sizes[1:] / sizes[:-1], torch.tensor([m ** (b - a - 1) for a, b in pairwise(ends)])
        assert len(factors) >= 2
        if alpha is None and mu < 1:  # beyond, 0.9 of the way is less than the secant asks for
            assert (factors <= alone * (1 + 1e-9)).all()
        if alpha == 0.5 and mu >= 1:
            assert (factors > 3 * alone).all()


def test_a_secant_turn_lowers_every_linear_field():
    generator = torch.Generator().manual_seed(3)
    game = Bilinear(torch.randn(4, 4, generator=generator, dtype=KIND)).to(dtype=KIND)
    start = torch.randn(8, generator=generator, dtype=KIND)
    solver, oracle = rg.make_solver("half_turn", lr=0.1), rg.games.Oracle(game, ())
    z, state, turns = start, solver.init(oracle, start), 0
    for _ in range(400):
        before = state["slow"]
        after, state = solver.step(oracle, z, state)
        if state["since"] == 0:
            turns += 1
            sizes = [float(game.field(point).norm()) for point in (after, before, z)]
            assert sizes[0] <= min(sizes[1:]) * (1 + 1e-9)
        z = after
    assert turns > 5


def test_singular_values_far_apart_leave_the_slow_one():
    # the fast one, s = 1, ends the rounds; t = 0.1 is turned by πt/s and shrinks by about the cosine of half of it
    lr, t = 0.05, 0.1
    start = torch.tensor([1.0, 0.03, 0.0, 0.0], dtype=KIND)
    slow, ends = rounds(rg.make_solver("half_turn", lr=lr, alpha=0.5), Bilinear([[1.0, 0.0], [0.0, t]]), start, 64)
    factor = float(slow[1, [1, 3]].norm() / slow[0, [1, 3]].norm())
    assert ends[1] == 64  # half a turn of the fast one
    assert factor == pytest.approx(math.cos(math.pi * t / 2), abs=0.01)


@pytest.mark.parametrize(("r", "turns"), [(0.24, True), (0.31, False)])
def test_it_does_not_turn_around_points_that_repel_strongly(r, turns):
    size = math.hypot(1, r)
    game = WeakMinty(rho=-r / size)  # eigenvalues (r ± i) / size
    _, ends = rounds(rg.make_solver("half_turn", lr=0.01), game, torch.tensor([1.0, 0.5], dtype=KIND), 1500)
    assert (len(ends) > 1) == turns


# -- the table --------------------------------------------------------------------------------------------------------
def reached(solver, game, noise=0.0, starts=50):
    return frontier.run(solver, game, noise, [0.1, 0.2], [600], starts)["found"]["600"]


def test_extragradient_stays_on_the_cycle_and_others_leave_it():
    for cell in reached("extragradient", "forsaken_0.45"):
        assert cell["reached"] <= 0.1 and cell["cycle"] >= 0.6 and cell["median"] is None
    for solver in ("lookahead_gda", "half_turn"):
        for cell in reached(solver, "forsaken_0.45"):
            assert cell["reached"] >= 0.99 and cell["cycle"] == cell["lost"] == 0.0 and cell["median"] < 600, solver


def test_lookahead_does_not_reach_the_maximum_of_letcher():
    for solver in ("lookahead_gda", "half_turn"):
        assert all(cell["reached"] == 0.0 for cell in reached(solver, "letcher", starts=20)), solver


def test_which_critical_points_are_good():
    for name, made in {"forsaken_0.45": Forsaken(), "forsaken_0.1": Forsaken(0.1), "letcher": Letcher()}.items():
        game = made.to(dtype=KIND)
        kinds = rg.diagnostics.local_nash(game, game.solution()), rg.diagnostics.local_minimax(game, game.solution())
        assert any((kinds[0].is_nash, kinds[1].is_minimax)) == frontier.GAMES[name].good, name
    polar = Polar().to(dtype=KIND)
    assert rg.diagnostics.local_nash(polar, polar.solution()).is_nash == frontier.GAMES["polar"].good


def test_a_call_of_one_player_counts_half():
    game = Forsaken().to(dtype=KIND)
    oracle = frontier.HalfCalls(game, ())
    z = torch.ones(2, dtype=KIND)
    for ask, cost in ((oracle, 1), (oracle.vjp, 2)):
        before = oracle.calls
        ask(z)
        assert oracle.calls - before == cost
        ask(z, player=1)
        assert oracle.calls - before == 1.5 * cost


@pytest.mark.parametrize("name", rg.solvers.RECIPES)
def test_evaluations_are_the_calls_with_those_of_one_player_halved(name):
    solver = rg.make_solver(name)
    try:
        steps = 2 if solver.tally().calls > 10 else 22  # a multiple of the rounds of `turns`
    except rg.GameError:
        assert solver.evaluations(7) == 7  # such a scheme calls both players at once
        return
    games = [Bilinear().to(dtype=KIND), rg.games.MatrixGame("matching_pennies").to(dtype=KIND)]
    oracle = frontier.HalfCalls(games[name in MATRIX or "Entropic" in repr(solver) or "exact" in repr(solver)], ())
    z = oracle.initial()
    state = rg.solvers.fitting.fit(solver, oracle).init(oracle, z)
    oracle.calls = 0
    whole = 0
    for _ in range(steps):
        z, state = solver.step(oracle, z, state)
        whole += solver.tally().calls / (11 if name == "turns" else 1)
    assert oracle.calls == pytest.approx(solver.evaluations(whole)), (whole, solver.tally())


def test_a_solver_that_is_not_for_a_game_is_an_error_of_its_cell():
    assert "constraints" in frontier.run("feg", "rock_paper_scissors", 0.0, [0.1], [10], 2)["error"]
