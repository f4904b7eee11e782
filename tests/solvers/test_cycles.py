"""A limit cycle is told from the closed orbit of a center."""

import pytest
import torch

from robustgames.errors import GameError
from robustgames.games import Bilinear, Forsaken
from robustgames.solvers import diagnostics, make_solver, trajectory
from robustgames.solvers.danskin import subdifferential

ORIGIN = torch.zeros(2, dtype=torch.float64)


def test_the_orbits_of_a_center_are_not_limit_cycles():
    starts = torch.tensor([[1.0, 0.0], [1.3, 0.0]], dtype=torch.float64)
    runs = trajectory(make_solver("alt_gda", lr=0.1), Bilinear(), starts, 2000)
    alone = diagnostics.limit_cycle(runs[:, 0], 0.1, ORIGIN)
    assert alone.isolated is None and "limit cycle or of a center" in str(alone)
    among = diagnostics.limit_cycle(runs[:, 0], 0.1, ORIGIN, others=runs[:, 1:])
    assert among.isolated is False and "center" in str(among)
    assert among.period == pytest.approx(2 * torch.pi, rel=1e-3) and among.amplitude == pytest.approx(alone.amplitude)


def test_a_limit_cycle_is_approached():
    game = Forsaken()
    center = game.to(dtype=torch.float64).solution()
    runs = diagnostics.flow(game, center + torch.tensor([[0.6, 0.0], [0.3, 0.3]], dtype=torch.float64), 160, 0.05)
    found = diagnostics.limit_cycle(runs[:, 0], 0.05, center)
    assert found.isolated is True and str(found).startswith("limit cycle")
    on_it = runs[2000:, 0]  # from a start on the cycle, another run has to decide
    assert diagnostics.limit_cycle(on_it, 0.05, center).isolated is None
    assert diagnostics.limit_cycle(on_it, 0.05, center, others=runs[:, 1:]).isolated is True


def test_a_run_that_ends_on_another_limit_cycle_decides_nothing():
    t = torch.arange(0, 100, 0.05, dtype=torch.float64)
    turn = torch.stack([t.cos(), t.sin()], -1)
    to_three = (3 - (-t / 3).exp()).unsqueeze(-1) * turn
    assert diagnostics.limit_cycle(turn, 0.05, ORIGIN, others=to_three.unsqueeze(1)).isolated is None
    around = torch.stack([to_three, 2 * turn], 1)
    assert diagnostics.limit_cycle(turn, 0.05, ORIGIN, others=around).isolated is False


def test_other_trajectories_have_the_dimension_of_the_run():
    run = torch.zeros(10, 2)
    with pytest.raises(GameError, match=r"trajectories \(T, R, 2\) are expected"):
        diagnostics.limit_cycle(run, others=run)


def circle():
    t = torch.arange(0, 60, 0.1, dtype=torch.float64)
    return torch.stack([t.cos(), t.sin()], -1)


@pytest.mark.parametrize("dt", [0.0, float("nan"), float("inf")])
def test_a_cycle_takes_time(dt):
    with pytest.raises(GameError, match=f"dt is {dt}"):  # a period of 0 came back, or no cycle
        diagnostics.limit_cycle(circle(), dt)
    assert diagnostics.limit_cycle(circle(), -0.1, ORIGIN).period == pytest.approx(2 * torch.pi, rel=1e-3)


def test_the_center_of_a_cycle_is_one_point():
    with pytest.raises(GameError, match=r"center has shape \(3,\): one point \(2,\) is expected"):
        diagnostics.limit_cycle(circle(), 0.1, torch.zeros(3))


@pytest.mark.parametrize("tol", [-1.0, float("nan"), float("inf")])
def test_a_tolerance_is_a_finite_number(tol):
    point, cycle = torch.ones(2), diagnostics.limit_cycle(circle(), 0.1, ORIGIN)
    calls = [  # within NaN every point was a strict local Nash point
        lambda: diagnostics.local_nash(Bilinear(), point, tol),
        lambda: diagnostics.local_minimax(Bilinear(), point, tol),
        lambda: diagnostics.limit_cycle(circle(), 0.1, tol=tol),
        lambda: diagnostics.closed_orbit(Bilinear(), cycle, tol=tol),
        lambda: subdifferential(Bilinear(radius=1.0), torch.zeros(1), torch.tensor([[-1.0], [1.0]]), tol=tol),
    ]
    for call in calls:
        with pytest.raises(GameError, match=f"tol is {tol}: a finite number >= 0"):
            call()
