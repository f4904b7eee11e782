"""Solvers of matrix games and of games in sequence form: bounds, rates, values, an independent CFR+."""

import itertools
import math

import numpy as np
import pytest
import torch

import robustgames as rg
from robustgames.games import Bilinear, KuhnPoker, MatrixGame, Oracle, RandomMatrixGame
from robustgames.solvers import (
    PDHG,
    DoubleOracle,
    Magnetic,
    RegretMatching,
    Simultaneous,
    diagnostics,
    make_solver,
    trajectory,
)

KIND = torch.float64
RPS = MatrixGame("rock_paper_scissors").to(dtype=KIND)
BIASED = MatrixGame([[0.0, 2.0, -1.0], [-1.0, 0.0, 1.0], [1.0, -1.0, 0.5]]).to(dtype=KIND)


def uniform(game):
    return torch.cat([game.sets[i].project(torch.full((game.sizes[i],), 0.5, dtype=KIND)) for i in (0, 1)])


def solve(name, game, steps, **settings):
    """Return the duality gaps of the output after every step."""
    game, solver = game.to(dtype=KIND), make_solver(name, **settings)
    oracle, z = Oracle(game), game.initial((), torch.Generator().manual_seed(0))
    state, gaps = solver.init(oracle, z), []
    with torch.no_grad():
        for _ in range(steps):
            z, state = solver.step(oracle, z, state)
            gaps.append(float(diagnostics.duality_gap(game, solver.output(z, state))))
    return gaps


# -- regret matching -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("plus", "predictive"), [(False, False), (True, False), (True, True)])
def test_regret_is_within_its_bound(plus, predictive):
    """max_a sum_t r_a <= sqrt(sum_t |r_t|²) without predictions, sqrt(sum_t |r_t - r_{t-1}|²) with them."""
    game = RandomMatrixGame(8, 6).to(dtype=KIND)
    z = trajectory(RegretMatching(plus, predictive, alternating=False), game, game.initial((), torch.Generator()), 500)
    for v, u in zip(game.split(game.field(z)[:-1]), game.split(z[:-1]), strict=True):
        seen = v - (v * u).sum(-1, keepdim=True)
        before = torch.cat([torch.zeros_like(seen[:1]), seen[:-1]]) if predictive else torch.zeros_like(seen)
        # the first strategy is the given start, not that of regret matching: it may cost one step
        slack = float(seen[0].abs().max())
        regrets, bounds = seen.cumsum(0).amax(-1), (seen - before).square().sum(-1).cumsum(0).sqrt()
        assert (regrets <= bounds + slack + 1e-12).all()


def test_the_gap_is_the_sum_of_the_average_regrets():
    game, steps = RandomMatrixGame(5).to(dtype=KIND), 200
    z = trajectory(RegretMatching(alternating=False), game, uniform(game), steps)[:-1]
    v = game.field(z)
    regrets = [
        (part - (part * u).sum(-1, keepdim=True)).mean(0).amax()
        for part, u in zip(game.split(v), game.split(z), strict=True)
    ]
    torch.testing.assert_close(diagnostics.duality_gap(game, z.mean(0)), sum(regrets), rtol=1e-12, atol=1e-12)


def cfr_plus(iterations, strategy):
    """Return the strategies of CFR+ on Kuhn's poker, an independent program on histories: dealer first, then opener."""
    regret, strategy = {}, dict(strategy)

    def play(key):
        return strategy[key]

    def value(cards, history, owner, reach, gains):
        """Return what the opener wins; add counterfactual gains of the owner's actions."""
        better = 1 if cards[0] > cards[1] else -1
        ends = {"cc": better, "cbf": -1, "cbk": 2 * better, "bf": 1, "bk": 2 * better}
        if history in ends:
            return ends[history]
        mover = len(history) % 2  # 0 is the opener
        key, names = (mover, cards[mover], history), "fk" if history.endswith("b") else "cb"
        odds = play(key)
        results = [
            value(cards, history + name, owner, reach if mover == owner else reach * p, gains)
            for name, p in zip(names, odds, strict=True)
        ]
        if mover == owner:
            signed = np.array(results) * (1 if owner == 0 else -1)
            gains[key] = gains.get(key, 0) + reach * signed
        return odds @ results

    for _ in range(iterations):
        for owner in (1, 0):
            gains = {}
            for cards in itertools.permutations(range(3), 2):
                value(cards, "", owner, 1 / 6, gains)
            for key, gain in gains.items():
                kept = np.maximum(regret.get(key, 0) + gain - play(key) @ gain, 0)
                regret[key] = kept
                strategy[key] = kept / kept.sum() if kept.sum() > 0 else np.full(2, 0.5)
    return strategy


@pytest.mark.parametrize("iterations", [1, 2, 10, 100])
def test_cfr_plus_on_kuhn_is_that_of_an_independent_program(iterations):
    game = KuhnPoker().to(dtype=KIND)
    dealer = [(1, card, after) for card in range(3) for after in ("c", "b")]
    opener = [(0, card, after) for card in range(3) for after in ("", "cb")]
    start = game.initial((), torch.Generator().manual_seed(0))  # from equal odds, ties are broken by rounding
    first = [tree.behavior(u).view(6, 2).numpy() for tree, u in zip(game.sets, game.split(start), strict=True)]
    z = trajectory(RegretMatching(), game, start, iterations)[-1]
    keys = dict(zip([*dealer, *opener], np.concatenate(first), strict=True))
    expected = cfr_plus(iterations, keys)
    oracle, solver = Oracle(game), RegretMatching()
    state, at = solver.init(oracle, start), start
    for _ in range(iterations):
        at, state = solver.step(oracle, at, state)
    assert torch.equal(at, z)
    np.testing.assert_allclose(state["x"]["behavior"], np.concatenate([expected[k] for k in dealer]), atol=1e-10)
    np.testing.assert_allclose(state["y"]["behavior"], np.concatenate([expected[k] for k in opener]), atol=1e-10)


def test_predictive_cfr_plus_finds_the_value_of_kuhn():
    game, solver = KuhnPoker().to(dtype=KIND), make_solver("predictive_rm_plus")
    oracle, z = Oracle(game), game.initial((), torch.Generator().manual_seed(0))
    state = solver.init(oracle, z)
    for _ in range(500):
        z, state = solver.step(oracle, z, state)
    mean = solver.output(z, state)
    assert float(game.payoff(*game.split(mean))) == pytest.approx(-1 / 18, abs=1e-6)
    assert diagnostics.duality_gap(game, mean) < 1e-6


def test_predictions_and_linear_averages_speed_up_regret_matching():
    game = RandomMatrixGame(20)
    plain, plus, predictive = (
        solve(name, game, 300)[-1] for name in ("regret_matching", "rm_plus", "predictive_rm_plus")
    )
    assert predictive < plus < 0.1 * plain
    kuhn = [solve(name, KuhnPoker(), 300)[-1] for name in ("regret_matching", "rm_plus", "predictive_rm_plus")]
    assert kuhn[2] < 1e-2 * kuhn[1] < 1e-3 * kuhn[0]


@pytest.mark.parametrize("name", ["regret_matching", "rm_plus", "predictive_rm_plus", "double_oracle"])
def test_unbounded_sets_are_refused_in_one_line(name):
    with pytest.raises(rg.GameError, match="needs simplices or treeplexes, Bilinear"):
        rg.GameAgent("robustgames/Bilinear-v0", make_solver(name), seed=0)


@pytest.mark.parametrize("game", [KuhnPoker(), Bilinear()])
def test_entropic_steps_are_refused_outside_of_simplices(game):
    for name in ("magnetic", "mirror_prox"):
        with pytest.raises(rg.GameError, match="entropic steps need simplices"):
            rg.GameAgent(rg.GameEnv(game), make_solver(name))


# -- magnetic mirror descent ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_magnetic_mirror_descent_converges_linearly_to_the_quantal_response_equilibrium(alpha):
    lr = alpha / 4  # <= alpha / max|A|²
    z = trajectory(Simultaneous(Magnetic(lr, alpha)), BIASED, uniform(BIASED), 3000)
    answers = torch.cat([(v / alpha).softmax(-1) for v in BIASED.split(BIASED.field(z[-1]))])
    torch.testing.assert_close(z[-1], answers, rtol=1e-9, atol=1e-9)
    error = (z - z[-1]).norm(dim=-1)
    rates = [(error[k + 100] / error[k]) ** 0.01 for k in (50, 150)]
    assert max(rates) < 1 / (1 + lr * alpha) ** 0.5 + 1e-6  # theory: |error|² falls by 1 / (1 + lr alpha) a step


def test_a_moving_magnet_leads_to_nash():
    solver = make_solver("magnetic", lr=0.05, alpha=0.2, period=100)
    z = trajectory(solver, BIASED, uniform(BIASED), 6000)[-1]
    assert diagnostics.duality_gap(BIASED, z) < 1e-8
    staying = trajectory(make_solver("magnetic", lr=0.05, alpha=0.2), BIASED, uniform(BIASED), 2000)[-1]
    assert diagnostics.duality_gap(BIASED, staying) > 1e-2


# -- PDHG ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lr", [0.1, 0.5, 0.9])
def test_pdhg_has_its_factor_on_bilinear_games(lr):
    """One move maps (x, y) linearly, with the spectral radius sqrt(1 - lr²)."""
    moved = [trajectory(PDHG(lr, round=1, restart=False), Bilinear(), e, 1)[-1] for e in torch.eye(2, dtype=KIND)]
    radius = torch.linalg.eigvals(torch.stack(moved, -1)).abs().max()
    assert float(radius) == pytest.approx(math.sqrt(1 - lr**2), abs=1e-12)


def test_restarts_give_pdhg_a_linear_rate():
    game = RandomMatrixGame(12, seed=1)
    lr = 0.9 / float(torch.linalg.matrix_norm(game.matrix, 2))
    gaps, slow = solve("pdhg", game, 200, lr=lr), solve("pdhg", game, 100, lr=lr, restart=False)
    assert gaps[-1] < 1e-12 < 1e-4 < slow[-1]
    first = next(k for k, gap in enumerate(gaps) if gap < 1e-4)
    last = next(k for k, gap in enumerate(gaps) if gap < 1e-10)
    assert last - first < 3 * first  # six more digits cost no more than a few times the first four


def test_pdhg_finds_the_value_of_kuhn_and_of_scipy():
    for game, lr, steps in ((KuhnPoker(), 0.8, 40), (RandomMatrixGame(10, 7), 0.15, 120)):
        game = game.to(dtype=KIND)
        solver, oracle = make_solver("pdhg", lr=lr), Oracle(game)
        z = game.initial((), torch.Generator().manual_seed(0))
        state = solver.init(oracle, z)
        for _ in range(steps):
            z, state = solver.step(oracle, z, state)
        out = solver.output(z, state)
        value = float(game.payoff(*game.split(game.solution())))
        assert float(game.payoff(*game.split(out))) == pytest.approx(value, abs=1e-6)
        assert diagnostics.duality_gap(game, out) < 1e-6


def test_runs_of_pdhg_restart_on_their_own():
    game = RandomMatrixGame(6).to(dtype=KIND)
    starts = game.initial((3,), torch.Generator().manual_seed(0))
    together = trajectory(PDHG(0.2), game, starts, 30)
    for i in range(3):
        torch.testing.assert_close(trajectory(PDHG(0.2), game, starts[i], 30), together[:, i])


# -- double oracle -------------------------------------------------------------------------------------------------


def test_double_oracle_ends_at_the_equilibrium_of_all_strategies():
    for game in (RandomMatrixGame(30, 20), KuhnPoker(), RPS):
        gaps = solve("double_oracle", game, 40)
        assert abs(gaps[-1]) < 1e-10


def test_double_oracle_needs_few_strategies_of_a_game_with_a_small_support():
    """Only the first 3 x 3 actions are not dominated."""
    matrix = torch.full((60, 60), 0.0, dtype=KIND)
    matrix[:3, :3] = BIASED.matrix
    matrix[3:, :] = 5.0 + torch.arange(57, dtype=KIND).unsqueeze(-1)  # x never pays that much
    matrix[:3, 3:] = -5.0  # y never wins so little
    game = MatrixGame(matrix).to(dtype=KIND)
    oracle, solver = Oracle(game), DoubleOracle()
    z = game.initial((), torch.Generator().manual_seed(0))
    state = solver.init(oracle, z)
    for _ in range(12):
        z, state = solver.step(oracle, z, state)
    assert diagnostics.duality_gap(game, z).abs() < 1e-10 and state["x"].shape[-2] <= 8


@pytest.mark.slow
def test_large_random_games_have_the_value_of_scipy():
    """Within the exact gap of the value of the linear program."""
    game = RandomMatrixGame(300).to(dtype=KIND)
    value = float(game.payoff(*game.split(game.solution())))
    for name in ("rm_plus", "predictive_rm_plus"):
        solver, oracle = make_solver(name), Oracle(game)
        z = game.initial((), torch.Generator().manual_seed(0))
        state = solver.init(oracle, z)
        for _ in range(3000):
            z, state = solver.step(oracle, z, state)
        out = solver.output(z, state)
        gap = float(diagnostics.duality_gap(game, out))
        assert gap < 1e-3 and abs(float(game.payoff(*game.split(out))) - value) <= gap
