"""Half turns around any scheme: against HalfTurn, a plain loop, closed forms, and restarted averages."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import robustgames as rg
from robustgames.games import Bilinear, Box, Forsaken, Noisy, Quadratic
from robustgames.solvers import HalfTurnAround

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import half_turns

KIND = torch.float64


def starts(count, seed=0):
    return torch.randn(count, 2, dtype=KIND, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("alpha", [None, 0.5])
@pytest.mark.parametrize("game", [Bilinear(), Forsaken(), Quadratic()])
def test_around_gda_it_is_half_turn(game, alpha):
    around = HalfTurnAround(rg.make_solver("gda", lr=0.1), alpha)
    expected = rg.trajectory(rg.make_solver("half_turn", lr=0.1, alpha=alpha), game, starts(5), 300)
    torch.testing.assert_close(rg.trajectory(around, game, starts(5), 300), expected, rtol=1e-9, atol=1e-12)


def test_the_secant_step_is_between_the_points_whose_fields_it_has_seen():
    around = HalfTurnAround(rg.make_solver("gda", lr=0.4), None, least=12)  # at 0.4 half a turn takes 8 steps
    expected = rg.trajectory(rg.make_solver("half_turn", lr=0.4, least=12), Forsaken(0.1), starts(5) / 4, 60)
    torch.testing.assert_close(rg.trajectory(around, Forsaken(0.1), starts(5) / 4, 60), expected, rtol=1e-9, atol=1e-9)


def plain(z, lr, steps, each, fall, least, alpha):
    """Return the points of half turns around alternating GDA on Φ = x y, in plain numbers, player by player."""
    z, path = [float(v) for v in z], []
    groups = [[0], [1]] if each else [[0, 1]]
    slow, since, top, farthest = list(z), [0] * len(groups), [0.0] * len(groups), [[0.0]] * len(groups)
    for _ in range(steps):
        x = z[0] - lr * z[1]
        after = [x, z[1] + lr * x]
        new = list(after)
        for g, own in enumerate(groups):
            s, away = [after[i] - z[i] for i in own], [z[i] - slow[i] for i in own]
            far = sum(a * a for a in away)
            top[g] = max(top[g], far) if since[g] else 0.0
            stops = sum(a * b for a, b in zip(s, away, strict=True)) <= 0
            if far >= top[g]:
                farthest[g] = away
            if stops and since[g] >= least and math.sqrt(far) <= (1 - fall) * math.sqrt(top[g]):
                for i, a in zip(own, farthest[g], strict=True):
                    new[i] = slow[i] = slow[i] + alpha * a
                since[g] = 0
            else:
                since[g] += 1
        z = new
        path.append(list(z))
    return torch.tensor(path, dtype=KIND)


@pytest.mark.parametrize(
    ("each", "fall", "least", "alpha"), [(False, 0, 2, 0.5), (True, 0, 2, 0.5), (True, 0.1, 5, 0.7)]
)
def test_it_is_its_loop(each, fall, least, alpha):
    solver = HalfTurnAround(rg.make_solver("alt_gda", lr=0.1), alpha, least, fall, each)
    found = rg.trajectory(solver, Bilinear(), starts(4), 400)[1:]
    for run, start in enumerate(starts(4)):
        expected = plain(start, 0.1, 400, each, fall, least, alpha)
        torch.testing.assert_close(found[:, run], expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("lr", [0.1, 0.4, 0.9])
def test_around_alternating_steps_a_round_has_the_factor_of_the_secant(lr):
    # a step is the matrix M, turning by θ = 2 arcsin(lr / 2) on an ellipse, so its powers are bounded
    step = np.array([[1.0, -lr], [lr, 1 - lr**2]])
    z, slow, sizes = np.array([1.0, 0.3]), np.array([1.0, 0.3]), []
    solver, game = HalfTurnAround(rg.make_solver("alt_gda", lr=lr), alpha=None), Bilinear().to(dtype=KIND)
    path = rg.trajectory(solver, game, torch.tensor([1.0, 0.3], dtype=KIND), 120).numpy()
    k = 0
    for point in path[1:]:
        s, first = step @ z - z, step @ slow - slow
        if k >= 2 and s @ (z - slow) <= 0:
            alpha = np.clip(first @ (first - s) / ((first - s) @ (first - s)), 0.1, 0.9)
            z, k = slow + alpha * (z - slow), 0
            sizes.append(np.linalg.norm(z) / np.linalg.norm(slow))
            slow = z
        else:
            z, k = step @ z, k + 1
        np.testing.assert_allclose(point, z, atol=1e-10)
    assert len(sizes) >= 2 and max(sizes) < lr


def test_each_player_by_itself_shrinks_by_a_constant_and_both_together_by_the_step():
    for lr in (0.01, 0.03):
        turn = math.pi / (2 * math.asin(lr / 2))
        each = HalfTurnAround(rg.make_solver("alt_gda", lr=lr), each=True)
        path = rg.trajectory(each, Bilinear(), starts(50), round(6 * turn))
        rates = (path[-1].norm(dim=-1) / path[0].norm(dim=-1)) ** (1 / 6)
        assert rates.min() > 0.2 and rates.max() < 0.5
        both = rg.trajectory(HalfTurnAround(rg.make_solver("alt_gda", lr=lr)), Bilinear(), starts(50), round(turn) + 3)
        assert (both[-1].norm(dim=-1) / both[0].norm(dim=-1)).max() < lr


def test_noise_ends_rounds_early_and_a_fall_of_the_distance_does_not_let_it():
    game, left = Noisy(Bilinear(), 1.0), {}
    for fall in (0.0, 0.1):
        path = rg.trajectory(rg.make_solver("half_turn", lr=0.01, alpha=0.5, fall=fall), game, starts(200) + 3, 700)
        left[fall] = float((path[-1].norm(dim=-1) / path[0].norm(dim=-1)).median())
    assert left[0.1] < 0.08 and left[0.0] > 4 * left[0.1]


def test_it_stays_in_constraints_and_takes_every_scheme():
    game = Forsaken()
    game.sets = (Box(-1.5, 1.5), Box(-1.5, 1.5))
    for name in ("extragradient", "extra_adam", "alt_adam", "optimistic_gda"):
        for each in (False, True):
            path = rg.trajectory(HalfTurnAround(rg.make_solver(name, lr=0.1), each=each), game, starts(8), 50)
            assert path.isfinite().all() and (path[1:].abs() <= 1.5).all(), name


def test_wrong_settings_name_what_is_allowed():
    for settings in ({"alpha": 0.0}, {"least": 0}, {"fall": 1.0}):
        with pytest.raises(rg.GameError, match="alpha is None or in"):
            HalfTurnAround(rg.make_solver("gda"), **settings)
    with pytest.raises(rg.GameError, match="give a number with fall"):
        HalfTurnAround(rg.make_solver("gda"), alpha=None, fall=0.1)


def test_half_turns_need_fewer_calls_than_restarted_averages_where_singular_values_differ():
    points = torch.randn(5, 20, generator=torch.Generator().manual_seed(1), dtype=KIND)
    game = half_turns.game_of(10.0, 10)
    calls = {
        name: half_turns.calls_to(half_turns.METHODS[name](0.9), game, points, 1000)
        for name in ("half_turn, alt_gda", "pdhg, restarted averages", "pdhg without restarts")
    }
    assert 1.2 * calls["half_turn, alt_gda"] < calls["pdhg, restarted averages"] < 600, calls
    assert calls["pdhg without restarts"] == math.inf
