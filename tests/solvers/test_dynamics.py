"""Cycles, basins and spirals: the package against an independent integrator and known numbers."""

from functools import cache

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

import robustgames as rg
from robustgames.games import AlmostBilinear, Bilinear, Forsaken, MatrixGame, Polar
from robustgames.solvers import SGD, Extragradient, diagnostics, make_solver, trajectory

KIND = torch.float64
POINTS = {0.45: (0.078026668738460, 0.411933851365820), 0.10: (0.039215869057111, 0.080512591667853)}
# critical point: eigenvalue of DV, Φ_xx, Φ_yy
LOCAL = {
    0.45: (complex(-0.044746001700, 0.90802759), 0.463656362317, 0.374164358917),
    0.10: (complex(-0.47605048, 0.99989145), 0.490784519126, -0.461316435100),
}
OUTER = {
    0.45: {
        "period": 7.5480037618,
        "ray": 1.2699223458,
        "near": 0.9225751863,
        "far": 1.9172077325,
        "floquet": 0.0,
        "x": (-1.3324589754, 1.4649508624),
        "y": (-1.3182074042, 1.4462312691),
    },
    0.10: {
        "period": 6.9903719907,
        "ray": 1.3076843456,
        "near": 1.2509592365,
        "far": 1.6799330858,
        "floquet": 0.0,
        "x": (-1.3970670809, 1.4249642346),
        "y": (-1.3987981954, 1.4219290395),
    },
}
INNER = {
    0.45: {"period": 7.1698776961, "ray": 0.1404338609, "near": 0.1209789409, "far": 0.2988859398, "floquet": 1.91978},
    0.10: {"period": 6.4301727993, "ray": 0.5416573391, "near": 0.5321082477, "far": 0.732568557, "floquet": 147.21379},
}
VAN_DER_POL = {
    "period": 6.2871112723,
    "ray": 1.1557227638,
    "near": 1.1426061923,
    "far": 1.1676219559,
    "floquet": 0.5330692592,
    "y": (-1.1547605712, 1.1547605712),
}
both = pytest.mark.parametrize("c", [0.45, 0.10])


def tensor(*values):
    return torch.tensor(values, dtype=KIND)


def forsaken(c):
    def field(x, y):
        return c - y - x / 2 + 2 * x**3 - x**5, x - y / 2 + 2 * y**3 - y**5

    return field, lambda x, y: -1 + 6 * (x**2 + y**2) - 5 * (x**4 + y**4)


def almost_bilinear(eps):
    return lambda x, y: (-y, x + eps * (y - y**3)), lambda x, y: eps * (1 - 3 * y**2)


def integrate(field, divergence, center, radius, time, sign=1):
    """The cycle that the flow (sign -1: backwards) from center + (radius, 0) has reached after `time`."""
    solved = solve_ivp(
        lambda t, w: (*(sign * np.array(field(w[0], w[1]))), divergence(w[0], w[1]) * sign),
        (0, time),
        [center[0] + radius, center[1], 0],
        "DOP853",
        rtol=1e-12,
        atol=1e-14,
        dense_output=True,
        events=lambda t, w: w[1] - center[1],
    )
    hits = [(t, w) for t, w in zip(solved.t_events[0], solved.y_events[0], strict=True) if w[0] > center[0]]
    (start, before), (end, after) = hits[-2:]
    x, y = solved.sol(np.linspace(start, end, 20_001))[:2]
    distance = np.hypot(x - center[0], y - center[1])
    return {
        "period": end - start,
        "ray": after[0] - center[0],
        "near": distance.min(),
        "far": distance.max(),
        "x": (x.min(), x.max()),
        "y": (y.min(), y.max()),
        "floquet": np.exp(sign * (after[2] - before[2])),
    }


@cache
def extragradient_runs(c):
    """Small steps from z* + (r, 0) for six r, and from (1, 1)."""
    center = tensor(*POINTS[c])
    starts = torch.stack([*(center + tensor(r, 0.0) for r in (0.05, 0.1, 0.15, 0.3, 0.5, 0.6)), tensor(1.0, 1.0)])
    return trajectory(make_solver("extragradient", lr=0.01), Forsaken(c), starts, 8000 if c == 0.45 else 6000), center


@both
def test_forsaken_critical_point_and_its_spectrum(c):
    game, (eigenvalue, convexity, concavity) = Forsaken(c).to(dtype=KIND), LOCAL[c]
    z = game.solution()
    torch.testing.assert_close(z, tensor(*POINTS[c]), rtol=0, atol=1e-13)
    assert abs(complex(diagnostics.spectrum(game, z)[0]).real - eigenvalue.real) < 1e-8
    assert abs(abs(complex(diagnostics.spectrum(game, z)[0]).imag) - eigenvalue.imag) < 1e-8
    point = diagnostics.local_nash(game, z)
    assert (point.convexity, point.concavity) == pytest.approx((convexity, concavity), abs=1e-11)


@both
def test_forsaken_cycles_of_the_flow(c):
    outer = integrate(*forsaken(c), POINTS[c], 1.0, 60)
    inner = integrate(*forsaken(c), POINTS[c], 0.9 * INNER[c]["ray"], 220, sign=-1)
    for found, expected in ((outer, OUTER[c]), (inner, INNER[c])):
        for name, value in expected.items():
            assert found[name] == pytest.approx(value, rel=1e-6, abs=1e-6), name


@both
@pytest.mark.parametrize("cycle", ["outer", "inner"])
def test_flow_and_limit_cycle_agree_with_the_integrator(c, cycle):
    expected, dt = (OUTER[c], 0.05) if cycle == "outer" else (INNER[c], -0.05)
    center = tensor(*POINTS[c])
    path = diagnostics.flow(Forsaken(c).to(dtype=KIND), center + tensor(expected["ray"] + 0.001, 0.0), 70, dt)
    found = diagnostics.limit_cycle(path, 0.05, center)
    assert found.period == pytest.approx(expected["period"], abs=2e-3)
    assert (found.inner, found.amplitude) == pytest.approx((expected["near"], expected["far"]), abs=2e-3)


@pytest.mark.parametrize(
    ("c", "near", "far", "period"), [(0.45, 0.9224493, 1.9118273, 7.5319284), (0.10, 1.2507352, 1.6749057, 6.9732498)]
)
def test_extragradient_on_forsaken_ends_on_a_cycle_without_critical_point(c, near, far, period):
    runs, center = extragradient_runs(c)
    cycle = diagnostics.limit_cycle(runs[:, -1], 0.01, center)
    assert (cycle.inner, cycle.amplitude) == pytest.approx((near, far), abs=5e-5)
    assert cycle.period == pytest.approx(period, abs=1e-4)


@pytest.mark.parametrize(("c", "converging"), [(0.45, 2), (0.10, 5)])  # r <= 0.1, r <= 0.5
def test_forsaken_basins_of_extragradient(c, converging):
    runs, center = extragradient_runs(c)
    distance = (runs[-800:] - center).norm(dim=-1)
    for i in range(7):
        if i < converging:
            assert distance[:, i].max() < 0.01
            assert diagnostics.limit_cycle(runs[:, i], 0.01, center) is None
        else:
            assert distance[:, i].min() > 0.9


def test_almost_bilinear_is_the_van_der_pol_oscillator():
    found = integrate(*almost_bilinear(0.1), (0, 0), 1.0, 250)
    for name, value in VAN_DER_POL.items():
        assert found[name] == pytest.approx(value, abs=1e-6), name
    path = diagnostics.flow(AlmostBilinear(0.1).to(dtype=KIND), tensor(1.1557, 0.0), 60, 0.05)
    cycle = diagnostics.limit_cycle(path, 0.05, tensor(0.0, 0.0))
    assert cycle.period == pytest.approx(found["period"], abs=1e-3)
    assert (cycle.inner, cycle.amplitude) == pytest.approx((found["near"], found["far"]), abs=1e-3)


def test_extragradient_shrinks_the_cycle_of_almost_bilinear_and_then_loses_it():
    rates, starts = torch.tensor([[0.01], [0.02], [0.11]], dtype=KIND), torch.zeros(3, 2, dtype=KIND)
    starts[:, 0] = tensor(1.09, 1.03, 0.3)
    runs = trajectory(Extragradient(SGD(rates)), AlmostBilinear(0.1), starts, 7000)
    small, larger = (diagnostics.limit_cycle(runs[:, i], float(rates[i]), tensor(0.0, 0.0)) for i in (0, 1))
    assert small.points[:, 1].abs().max() == pytest.approx(1.0953378653, abs=1e-4)
    assert small.period == pytest.approx(6.2857124, abs=1e-4)
    assert larger.points[:, 1].abs().max() == pytest.approx(1.0324662261, abs=1e-4)
    assert runs[-1, 2].norm() < 0.03  # beyond lr = 0.1032 the iterates converge to a point ...
    path = diagnostics.flow(AlmostBilinear(0.1).to(dtype=KIND), starts[2], 60, 0.05)
    assert path[-200:].norm(dim=-1).min() > 1.0  # ... that the flow leaves


def test_gda_widens_the_cycle_of_almost_bilinear():
    run = trajectory(make_solver("gda", lr=0.01), AlmostBilinear(0.1), tensor(1.2, 0.0), 6000)
    cycle = diagnostics.limit_cycle(run, 0.01, tensor(0.0, 0.0))
    assert cycle.points[:, 1].abs().max() == pytest.approx(1.2111, abs=2e-4)


GAMES = {
    "matching_pennies": (0.5, tensor(0.6, 0.4, 0.7, 0.3), 5000, 1e-10),
    "rock_paper_scissors": (1 / 3, tensor(0.5, 0.3, 0.2, 0.2, 0.5, 0.3), 3000, 5e-3),
}


@pytest.mark.parametrize("name", GAMES)
def test_multiplicative_weights_leave_the_equilibrium_and_their_average_finds_it(name):
    _, start, _, _ = GAMES[name]
    run = trajectory(make_solver("mirror_descent", lr=0.1), MatrixGame(name), start, 3500)
    assert run[-500:].min() < 3e-5  # at the boundary, where the equilibrium is not
    assert diagnostics.duality_gap(MatrixGame(name), run[-1]) > 0.5
    assert diagnostics.duality_gap(MatrixGame(name), run[1:].mean(0)) < 0.03


@pytest.mark.parametrize("name", GAMES)
def test_last_iterate_of_optimistic_multiplicative_weights_converges(name):
    uniform, start, steps, tol = GAMES[name]
    run = trajectory(make_solver("optimistic_mwu", lr=0.1), MatrixGame(name), start, steps)
    assert (run[-1] - uniform).abs().max() < tol
    assert (run[-1] - uniform).norm() < 0.1 * (run[steps // 2] - uniform).norm()


def test_projected_gda_on_matching_pennies_spirals_to_the_boundary():
    run = trajectory(make_solver("gda", lr=0.1), MatrixGame(), GAMES["matching_pennies"][1], 500)
    distance = (run - 0.5).norm(dim=-1)
    hit = int((run == 0).any(-1).nonzero()[0])
    assert (distance[1 : hit + 1] > distance[:hit])[:-1].all()  # outward at every step until then
    assert distance[hit:].min() > 0.6
    assert (trajectory(make_solver("extragradient", lr=0.1), MatrixGame(), run[0], 1500)[-1] - 0.5).norm() < 1e-10


def test_polar_has_the_radial_speed_of_its_formula():
    z = torch.randn(200, 2, dtype=KIND, generator=torch.Generator().manual_seed(0))
    for a in (1 / 3, 1.0):
        r = z.norm(dim=-1)
        speed = (z * Polar(a).field(z)).sum(-1) / r
        torch.testing.assert_close(speed, -a * r * (r**2 - 1) * (r**2 - 9 / 16), rtol=1e-10, atol=1e-12)
    starts = tensor(0.74, 0.76, 1.3).unsqueeze(-1) * tensor(1.0, 0.0)
    ends = diagnostics.flow(Polar(1.0), starts, 40, 0.02)[-1].norm(dim=-1)
    torch.testing.assert_close(ends, tensor(0.0, 1.0, 1.0), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("time", "dt", "said"),
    [
        (-1.0, 0.02, "time is -1.0"),
        (float("inf"), 0.02, "time is inf"),
        (float("nan"), 0.02, "time is nan"),
        (1.0, 0.0, "dt is 0.0"),
        (1.0, float("inf"), "dt is inf"),
        (1.0, float("nan"), "dt is nan"),
    ],
)
def test_a_flow_without_a_time_or_a_step_is_refused(time, dt, said):
    with pytest.raises(rg.GameError, match=said):
        diagnostics.flow(Bilinear(), torch.ones(2), time, dt)
    assert diagnostics.flow(Bilinear(), torch.ones(2), 0.0).shape == (1, 2)


# -- a solver that does not fit the game ------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["mirror_descent", "mirror_prox", "optimistic_mwu", "magnetic"])
def test_entropic_steps_outside_simplices_are_refused(name):
    start = torch.tensor([[0.5, 0.5]])  # they went to (1, 1), the simplex in one dimension, and stayed there
    for run in (trajectory, lambda solver, game, z, steps: diagnostics.basins(game, solver, z, steps, window=2)):
        with pytest.raises(rg.GameError, match="entropic steps need simplices"):
            run(make_solver(name), Bilinear(), start, 3)


def test_rates_of_another_precision_leave_the_points_in_theirs():
    rates = torch.tensor([[0.1], [0.2]], dtype=torch.float64)
    path = trajectory(make_solver("gda", lr=rates), Bilinear(), torch.ones(2, 2), 2)
    assert path.dtype == torch.float32
    each = [trajectory(make_solver("gda", lr=float(rate)), Bilinear(), torch.ones(2), 2) for rate in rates]
    torch.testing.assert_close(path, torch.stack(each, 1))


def test_rows_of_a_steepest_step_are_images_as_in_an_agent():
    game = rg.games.DigitsAttack(count=3, norm="l2", eps=1.0)
    rules = rg.solvers.Steepest(0.1, "l2"), rg.solvers.Steepest(0.1, "l2", width=64)
    path, rows = [trajectory(rg.solvers.Simultaneous(rule), game, torch.zeros(3 * 64), 1) for rule in rules]
    assert torch.equal(path, rows)
    assert (path[1].view(3, 64).norm(dim=-1) > 0.08).all()  # of the 0.1 of each, less what the box cuts


@pytest.mark.parametrize(
    ("z", "steps", "said"),
    [
        (torch.ones(3), 1, r"z has shape \(3,\)"),
        (torch.tensor(1.0), 1, "z has shape"),
        (torch.ones(2), -1, "steps is -1"),
    ],
)
def test_a_start_of_another_shape_and_negative_steps_are_refused(z, steps, said):
    with pytest.raises(rg.GameError, match=said):
        trajectory(make_solver("gda"), Bilinear(), z, steps)
