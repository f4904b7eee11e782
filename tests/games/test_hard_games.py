"""Games that separate solvers: solutions, constants and cycles against closed forms and independent programs."""

from itertools import product

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.optimize import minimize

import robustgames as rg
from robustgames.errors import GameError
from robustgames.games import (
    FiniteSumBilinear,
    GlobalForsaken,
    Letcher,
    LetcherMarket,
    RatioGame,
    RidgeBox,
    RobustRegression,
    StepBox,
    WeakMinty,
)
from robustgames.solvers import diagnostics, make_solver, trajectory

KIND = torch.float64
ORIGIN = torch.zeros(2, dtype=KIND)


def starts(count, seed=0):
    return torch.randn(count, 2, generator=torch.Generator().manual_seed(seed), dtype=KIND)


# -- Letcher ---------------------------------------------------------------------------------------------------


def market(t, z):
    (x, y), (s, q) = z, (z[0] ** 2, z[1] ** 2)
    in_x = -2 * x * q * q / (1 + s) ** 2 - 4 * x * s / (1 + q)
    in_y = 4 * y * q / (1 + s) + 2 * y * s * s / (1 + q) ** 2
    return [-(x**5) + x - y - in_x / 4, -(y**5) + y + x + in_y / 4]


def zero_sum(t, z):
    x, y = z
    return [-y + x - x**3, x + y - y**3]


def upward(t, z):
    return z[1]


upward.direction = 1


@pytest.mark.parametrize(("game", "field"), [(Letcher(), zero_sum), (LetcherMarket(), market)])
def test_letcher_has_one_critical_point_which_repels_and_a_cycle(game, field):
    z = 1.5 * starts(50)
    expected = torch.tensor(np.array([field(0, point) for point in z.numpy()]))
    torch.testing.assert_close(game.field(z), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(diagnostics.spectrum(game, ORIGIN).abs(), torch.full((2,), 2**0.5, dtype=KIND))
    assert (diagnostics.spectrum(game, ORIGIN).real - 1).abs().max() < 1e-12
    exact = solve_ivp(field, (0, 60), [1.2, 0.0], method="DOP853", rtol=1e-10, atol=1e-10, events=upward)
    period, ray = np.diff(exact.t_events[0])[-1], exact.y_events[0][-1][0]
    path = diagnostics.flow(game, torch.tensor([0.2, 0.0], dtype=KIND), 90, 0.05)
    cycle = diagnostics.limit_cycle(path, 0.05, ORIGIN)
    assert cycle.isolated and cycle.period == pytest.approx(period, abs=1e-3)
    assert period == pytest.approx({Letcher: 6.8513, LetcherMarket: 13.5810}[type(game)], abs=1e-4)
    assert cycle.inner - 1e-3 < ray < cycle.amplitude + 1e-3


def test_letcher_sends_every_run_into_its_ring():
    """d|z|²/dt = 2 (|z|² - x⁴ - y⁴) is positive inside |z| < 1 and negative outside |z|² > 2."""
    z = 2 * starts(500)
    x, y = z.T
    speed = (Letcher().field(z) * z).sum(-1)
    torch.testing.assert_close(speed, x**2 + y**2 - x**4 - y**4, rtol=1e-12, atol=1e-12)
    size = z.square().sum(-1)
    assert (speed[size < 1] > 0).all() and (speed[size > 2] < 0).all()


@pytest.mark.parametrize("game", [Letcher(), LetcherMarket()])
@pytest.mark.parametrize("name", ["gda", "alt_gda", "extragradient", "optimistic_gda", "adam"])
def test_small_steps_cycle_on_letcher(game, name):
    path = trajectory(make_solver(name, lr=0.02), game, starts(8), 1500)[-700:]
    assert path.norm(dim=-1).min() > 1 and path.norm(dim=-1).max() < 2
    assert game.residual(path).min() > 0.15


# -- weak Minty ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rho", "lipschitz"), [(-0.1, 1.0), (-0.3, 1.0), (-0.2, 2.0), (0.25, 3.0)])
def test_weak_minty_has_the_constants_that_it_is_given(rho, lipschitz):
    game = WeakMinty(rho, lipschitz, n=3).to(dtype=KIND)
    z, w = torch.randn(2, 100, 6, generator=torch.Generator().manual_seed(0), dtype=KIND)
    gap = game.field(w) - game.field(z)  # F = -V
    torch.testing.assert_close(gap.norm(dim=-1), lipschitz * (z - w).norm(dim=-1))
    torch.testing.assert_close((gap * (z - w)).sum(-1), rho * gap.square().sum(-1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rho", [-0.1, -0.3, -0.45, -0.6])
def test_the_second_step_of_extragradient_must_be_short_on_weak_minty(rho):
    """z + α V(z + V(z)) at L = 1 converges if and only if 0 < α < 1 + 2ρ: the factor is |1 - α (w - w²)|."""
    game, w = WeakMinty(rho).to(dtype=KIND), complex(rho, (1 - rho**2) ** 0.5)
    for alpha in (0.05, 0.5, 1 + 2 * rho - 0.02, 1 + 2 * rho + 0.02):
        if alpha <= 0:
            continue
        z = torch.tensor([1.0, 0.0], dtype=KIND)
        after = z + alpha * game.field(z + game.field(z))
        factor = abs(1 - alpha * (w - w * w))
        assert after.norm() == pytest.approx(factor, abs=1e-12)
        assert (factor < 1) == (alpha < 1 + 2 * rho)


def test_weak_minty_refuses_constants_that_no_game_has():
    with pytest.raises(rg.GameError, match=r"rho is -0.5: it must lie in \(-1/L, 1/L\)"):
        WeakMinty(-0.5, 2.0)
    with pytest.raises(rg.GameError, match="lipschitz is 0"):
        WeakMinty(0.1, 0.0)


def test_global_forsaken_is_weak_minty_and_extragradient_cycles():
    game = GlobalForsaken().to(dtype=KIND)
    line = torch.linspace(-4 / 3, 4 / 3, 401, dtype=KIND)
    z = torch.cartesian_prod(line, line)
    v = game.field(z)
    ratio = -(v * z).sum(-1) / v.square().sum(-1)
    rho = ratio[~ratio.isnan()].min()
    assert rho == pytest.approx(-0.1197, abs=1e-4)
    bend = 2 / 3 - 4 * line**2 + 20 / 7 * line**4  # φ''
    turn = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=KIND)
    slopes = torch.diag_embed(torch.cartesian_prod(bend, bend)) + turn
    assert (diagnostics.jacobian(game, z[::97]) + slopes[::97]).abs().max() < 1e-12
    assert torch.linalg.matrix_norm(slopes, 2).max() == pytest.approx(3.022398, abs=2e-5)  # of a grid: from below
    torch.testing.assert_close(diagnostics.spectrum(game, ORIGIN).real, torch.full((2,), -2 / 3, dtype=KIND))
    angle = torch.arange(8, dtype=KIND) * torch.pi / 4
    ring = 1.3 * torch.stack([angle.cos(), angle.sin()], -1)
    cycling = trajectory(make_solver("extragradient", lr=0.05), game, ring, 2000)[-200:].norm(dim=-1)
    assert cycling.max() == pytest.approx(1.252, abs=0.002) and cycling.min() > 1.2
    assert trajectory(make_solver("extragradient", lr=0.1), game, ring, 2000)[-1].norm(dim=-1).max() < 1e-6


# -- constrained -----------------------------------------------------------------------------------------------


def test_ridge_box_is_minimax_and_not_nash_at_zero_and_runs_end_in_corners():
    game = RidgeBox().to(dtype=KIND)
    hessian = torch.autograd.functional.hessian(lambda z: game.payoff(z[:1], z[1:]), ORIGIN)
    torch.testing.assert_close(hessian, torch.tensor([[-10.0, 6.0], [6.0, -2.0]], dtype=KIND))
    line = torch.linspace(-0.9, 0.9, 6, dtype=KIND)
    ends = trajectory(make_solver("extragradient", lr=0.02), game, torch.cartesian_prod(line, line), 1500)[-1]
    assert (ends[:, 0] == ends[:, 1]).all() and (ends.abs() == 1).all()
    assert game.residual(torch.ones(2, dtype=KIND)) == 0


def test_step_box_has_a_stable_point_and_a_cycle_on_its_walls():
    game = StepBox().to(dtype=KIND)
    points = torch.tensor([[0.3, 0.0], [0.7, 0.0], [0.95, 0.0], [-1.0, 1.0]], dtype=KIND)
    path = trajectory(make_solver("extragradient", lr=0.05), game, points, 6000)
    assert path[-1, :2].abs().max() < 1e-3
    cycle = diagnostics.limit_cycle(path[:, 3], 0.05, ORIGIN)
    assert cycle.isolated and cycle.period == pytest.approx(6.34, abs=0.005)
    assert path[-200:, 2:].abs().amax() == 1


# -- ratio game ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_ratio_game_has_the_saddle_of_a_matrix_game(seed):
    generator = torch.Generator().manual_seed(seed)
    rewards, stops = torch.randn(3, 4, generator=generator), torch.rand(3, 4, generator=generator) + 0.1
    game = RatioGame(rewards, stops).to(dtype=KIND)
    assert diagnostics.duality_gap(game, game.solution()).abs() < 1e-9
    z = game.initial((200,), generator)
    x, _ = game.split(z)
    pure = torch.eye(4, dtype=KIND)
    best = game.payoff(x.unsqueeze(-2).expand(-1, 4, -1), pure.expand(200, 4, 4)).amax(-1)
    assert torch.allclose(best, game.payoff(x, game.best_response(z, 1)))
    assert (best >= game.payoff(*game.split(game.solution())) - 1e-9).all()  # x cannot pay less than the value
    mixed = game.payoff(x, game.initial((200,), generator)[:, 3:])
    assert (best >= mixed - 1e-12).all()


@pytest.mark.parametrize("turn", [False, True])
def test_ratio_games_of_one_action_have_an_extreme_ratio(turn):
    """The largest ratio of a row, or the least of a column, whose matrix game has the value 0 up to rounding."""
    rng = np.random.default_rng(1)
    for _ in range(40):
        rewards, stops = rng.normal(size=(1, 3)), rng.random((1, 3)) + 0.1
        game = RatioGame(rewards.T, stops.T) if turn else RatioGame(rewards, stops)
        game, ratios = game.to(dtype=torch.float64), rewards / stops
        value = float(game.payoff(*game.split(game.solution())))
        assert value == pytest.approx(ratios.min() if turn else ratios.max(), abs=1e-12)


def test_the_default_ratio_game_has_no_minty_solution():
    game = RatioGame().to(dtype=KIND)
    assert diagnostics.duality_gap(game, game.solution()) == 0
    z = game.initial((2000,), torch.Generator().manual_seed(0))
    assert -(game.field(z) * (z - game.solution())).sum(-1).min() > 1
    with pytest.raises(rg.GameError, match="positive entries"):
        RatioGame(stops=[[0.2, 0.0], [1.0, 1.0]])


# -- finite sums -----------------------------------------------------------------------------------------------


def test_finite_sum_is_the_mean_of_its_terms():
    game = FiniteSumBilinear(4, batch_size=2).to(dtype=KIND)
    z = torch.randn(3, 8, dtype=KIND, generator=torch.Generator().manual_seed(0))
    pairs = torch.tensor(list(product(range(4), repeat=2)))
    fields = torch.stack([game.field(z, pair.expand(3, 2)) for pair in pairs])
    torch.testing.assert_close(fields.mean(0), game.field(z))
    assert game.residual(game.solution()) < 1e-12
    general = FiniteSumBilinear(matrices=torch.randn(5, 3, 3, generator=torch.Generator().manual_seed(1))).to(
        dtype=KIND
    )
    assert general.residual(general.solution()) < 1e-10
    x, y = game.split(z)
    slope = torch.autograd.functional.jacobian(lambda u: game.payoff(u, y, pairs[:3]).sum(), x)
    torch.testing.assert_close(game.field(z, pairs[:3], 0), -slope)
    with pytest.raises(rg.GameError, match="full rank"):
        FiniteSumBilinear(matrices=torch.zeros(2, 3, 3))


def test_extragradient_on_single_terms_diverges_at_the_rate_of_theory():
    """E|z⁺|² = (1 + η² (n - 2 + η²) / n²) |z|² if b = c = 0: one sample looks ahead, another one moves."""
    n, lr, runs, steps = 5, 0.4, 4000, 20
    game = FiniteSumBilinear(n).to(dtype=KIND)
    game.b, game.c = torch.zeros_like(game.b), torch.zeros_like(game.c)
    z = torch.ones(runs, 2 * n, dtype=KIND)
    path = trajectory(make_solver("extragradient", lr=lr), game, z, steps).square().sum(-1).mean(-1)
    growth = (1 + lr**2 * (n - 2 + lr**2) / n**2) ** steps
    assert path[-1] / path[0] == pytest.approx(growth, rel=0.05)
    full = trajectory(make_solver("extragradient", lr=2.0), FiniteSumBilinear(n, None), z[0], 400)
    assert (full[-1] - FiniteSumBilinear(n).to(dtype=KIND).solution()).norm() < 1e-6


# -- robust regression -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("penalty", [0.1, 0.3])
def test_robust_regression_has_the_saddle_of_an_independent_program(penalty):
    game = RobustRegression(penalty).to(dtype=KIND)
    z = game.solution()
    assert game.residual(z) < 1e-10 and diagnostics.duality_gap(game, z).abs() < 1e-10
    a, b = game.features.numpy(), game.target.numpy()

    def worst(w):
        """Return max_q Φ(w, q) by bisection for the multiplier of Σ q = 1, and its gradient (Danskin)."""
        loss = 0.5 * (a @ w - b) ** 2
        low, high = loss.min() - penalty * len(b), loss.max()
        for _ in range(80):
            tau = (low + high) / 2
            q = np.maximum(0, 1 + (loss - tau) / penalty) / len(b)
            low, high = (tau, high) if q.sum() > 1 else (low, tau)
        return q @ loss - penalty / (2 * len(b)) * ((len(b) * q - 1) ** 2).sum(), (q * (a @ w - b)) @ a

    found = minimize(worst, np.zeros(11), jac=True, method="BFGS", options={"gtol": 1e-9})
    assert float(game.payoff(*game.split(z))) == pytest.approx(found.fun, abs=1e-10)
    np.testing.assert_allclose(z[:11], found.x, atol=1e-4)


@pytest.mark.parametrize("case", ["small penalty", "dependent features", "unequal scales", "large losses"])
def test_robust_regression_has_a_saddle_where_plain_newton_stalls(case):
    """The duality gap, whose best responses are exact, is 0 at a solution; lists and arrays are data as well."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(30, 3)), rng.normal(size=30)
    game = {
        "small penalty": lambda: RobustRegression(1e-5),
        "dependent features": lambda: RobustRegression(features=np.concatenate([a, a], 1), target=b),
        "unequal scales": lambda: RobustRegression(features=(a * [1e-6, 1, 1e6]).tolist(), target=b.tolist()),
        "large losses": lambda: RobustRegression(features=a, target=1e3 * b),
    }[case]().to(dtype=torch.float64)
    z = game.solution()
    value = float(game.payoff(*game.split(z)))
    assert abs(float(diagnostics.duality_gap(game, z))) < 1e-9 * value
    noise = 1e-3 * torch.randn(z.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert float(diagnostics.duality_gap(game, game.project(z + noise * z))) > 1e-7 * value


def test_robust_regression_has_no_solution_if_rounding_hides_its_weights():
    rng = np.random.default_rng(0)
    game = RobustRegression(1e-13, features=rng.normal(size=(30, 3)), target=rng.normal(size=30))
    assert game.solution() is None and "distance" not in game.metrics(game.initial((2,), torch.Generator()))


def test_robust_regression_refuses_data_that_it_cannot_fit():
    with pytest.raises(GameError, match="must be finite"):
        RobustRegression(features=[[1.0], [float("nan")]], target=[1.0, 2.0])
    with pytest.raises(GameError, match="N >= 1"):
        RobustRegression(features=torch.zeros(0, 2), target=torch.zeros(0))


def test_robust_regression_tends_to_least_squares():
    game = RobustRegression(1e6).to(dtype=KIND)
    fit = np.linalg.lstsq(game.features.numpy(), game.target.numpy(), rcond=None)[0]
    np.testing.assert_allclose(game.solution()[:11], fit, atol=1e-5)
    with pytest.raises(rg.GameError, match="belong together"):
        RobustRegression(features=torch.ones(2, 1))
    with pytest.raises(rg.GameError, match="penalty is 0"):
        RobustRegression(0.0)
