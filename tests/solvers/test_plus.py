"""EG+ and its kin, anchored, adaptive and smoothed schemes, Lookahead: rates, closed forms and plain transcriptions."""

import math
from itertools import pairwise

import pytest
import torch

import robustgames as rg
from robustgames.games import AlmostBilinear, Bilinear, Forsaken, Noisy, Oracle, Polar, Quadratic
from robustgames.solvers import trajectory

KIND = torch.float64
NEW = [*rg.solvers.frontier_recipes.FRONTIER]


def weak_minty(rho):
    """V of a linear game with L = 1 whose solution 0 satisfies the weak Minty condition with exactly this ρ."""
    return Quadratic(convex=rho, concave=rho, coupling=math.sqrt(1 - rho**2))


def factor(name, game, **settings):
    """The factor per step of a scheme that multiplies every z by one complex number, from two late norms."""
    z = trajectory(rg.make_solver(name, **settings), game, torch.tensor([1.0, 0.5], dtype=KIND), 40)
    return float((z[-1].norm() / z[-21].norm()) ** (1 / 20))


def slope(values, first):
    """The exponent p of a fit of |V|² ~ k^p to the running maximum from the end, over k >= first."""
    k = torch.arange(1, len(values) + 1, dtype=KIND)
    envelope = values.flip(0).cummax(0).values.flip(0)
    x, y = k[first:].log(), envelope[first:].log()
    return float(((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum())


# -- weak Minty games -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("rho", [-0.1, -0.3, -0.45])
def test_eg_plus_converges_exactly_where_its_second_step_is_short_enough(rho):
    # with lr = 1/L an eigenvalue e^{iθ} of -DV, cos θ = ρ, gives the factor |1 - a (e^{iθ} - e^{2iθ})|
    theta = math.acos(rho)
    for part in (0.8 * (1 + 2 * rho), 1.0):
        turn = complex(math.cos(theta), math.sin(theta))
        expected = abs(1 - part * (turn - turn**2))
        assert factor("eg_plus", weak_minty(rho), lr=1.0, ratio=part) == pytest.approx(expected, abs=1e-12)
        assert (expected < 1) == (part < 1 + 2 * rho)  # extragradient, part 1, diverges for every ρ < 0
    assert factor("extragradient", weak_minty(rho), lr=1.0) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", ["adaptive_eg_plus", "curvature_eg_plus", "rapp"])
@pytest.mark.parametrize("rho", [-0.1, -0.3])
def test_weak_minty_solvers_converge_where_extragradient_diverges(name, rho):
    settings = {"relax": 0.3, "inner_steps": 6} if name == "rapp" else {"delta": -0.4}
    lr = 0.8 if name == "rapp" else 1.0
    steps = 1500 if name == "curvature_eg_plus" else 500
    end = trajectory(rg.make_solver(name, lr=lr, **settings), weak_minty(rho), torch.ones(2, dtype=KIND), steps)[-1]
    lost = trajectory(rg.make_solver("extragradient", lr=lr), weak_minty(rho), torch.ones(2, dtype=KIND), 400)[-1]
    assert end.norm() < 1e-4
    assert lost.norm() > 1e2


def test_adaptive_eg_plus_is_its_formula_on_a_box():
    game = Forsaken().to(dtype=KIND)
    game.sets = (rg.Box(-0.5, 0.5), rg.Box(-0.5, 0.5))
    z = torch.tensor([0.4, -0.45], dtype=KIND)
    found = trajectory(rg.make_solver("adaptive_eg_plus", lr=0.3, delta=-0.2, relax=1.3), game, z, 5)[1:]
    for point in found:
        ahead = z + 0.3 * game.field(z)
        bar = ahead.clamp(-0.5, 0.5)
        move = bar + 0.3 * game.field(bar) - ahead
        alpha = -0.2 + torch.dot(bar - z, move) / torch.dot(move, move)
        z = (z + 1.3 * alpha.clamp_min(0) * move).clamp(-0.5, 0.5)
        torch.testing.assert_close(point, z, rtol=0, atol=1e-13)


def curvature_steps(game, z, lr, calls, nu=0.99, delta=-0.495):
    """CurvatureEG+ of one run as a loop with a line search, until a number of calls is spent."""
    gamma, spent, moves = lr, 0, 0
    while True:
        v, spent = game.field(z), spent + 1
        if spent >= calls:
            return z, moves
        while True:
            bar = z + gamma * v
            w, spent = game.field(bar), spent + 1
            if gamma * (w - v).norm() <= nu * (bar - z).norm():
                break
            gamma /= 2
            if spent >= calls:
                return z, moves
        alpha = delta + torch.dot(v, w) / torch.dot(w, w)
        z, gamma, moves = z + max(0.0, float(alpha)) * gamma * w, min(1.5 * gamma, 20 * lr), moves + 1
        if spent >= calls:
            return z, moves


def test_every_run_of_a_batch_backtracks_by_itself_and_pays_for_its_own_trials():
    game, starts = Forsaken().to(dtype=KIND), torch.tensor([[1.0, 1.0], [-1.3, 0.2], [0.1, 0.1]], dtype=KIND)
    solver, oracle, z = rg.make_solver("curvature_eg_plus", lr=0.4), Oracle(game, (3,)), starts
    state = solver.init(oracle, z)
    for _ in range(61):
        z, state = solver.step(oracle, z, state)
    assert oracle.calls == 61
    alone = [curvature_steps(game, start, 0.4, 61) for start in starts]
    torch.testing.assert_close(z, torch.stack([point for point, _ in alone]), rtol=0, atol=1e-10)
    assert state["moves"].flatten().tolist() == [moves for _, moves in alone]
    assert len({moves for _, moves in alone}) > 1


@pytest.mark.parametrize(("game", "reach", "share"), [(Forsaken(), 1.5, 1.0), (Polar(1.0), 1.1, 1.0)])
def test_curvature_eg_plus_leaves_the_cycles_on_which_extragradient_stays(game, reach, share):
    z = reach * (2 * torch.rand(100, 2, generator=torch.Generator().manual_seed(0), dtype=KIND) - 1)
    for name, calls, least, most in (("curvature_eg_plus", 1, share, 1.0), ("extragradient", 2, 0.0, 0.5)):
        end = trajectory(rg.make_solver(name, lr=0.05), game, z, 600 // calls)[-1]
        reached = ((end - game.to(dtype=KIND).solution()).norm(dim=-1) < 1e-2).double().mean()
        assert least <= reached <= most, name


def test_bias_correction_is_its_formula_and_needs_no_smaller_look_ahead():
    game = Noisy(weak_minty(-0.1), std=0.1).to(dtype=KIND)
    oracle, z = Oracle(game), torch.tensor([1.0, -0.5], dtype=KIND)
    draws = torch.Generator().manual_seed(0)
    solver = rg.make_solver("bc_seg_plus", lr=0.5)
    state, last, bar = solver.init(oracle, z), z, z
    for k in range(1, 6):
        point, state = solver.step(oracle, z, state)
        alpha, first, second = 1 / 18 / math.sqrt(1 + k / 100), game.draw((), draws), game.draw((), draws)
        bar = z + 0.5 * game.field(z, first) + (1 - alpha) * (bar - last - 0.5 * game.field(last, first))
        last, z = z, z + alpha * 0.5 * game.field(bar, second)
        torch.testing.assert_close(point, z, rtol=0, atol=1e-13)
    start = torch.ones(200, 2, dtype=KIND)
    end = trajectory(rg.make_solver("bc_seg_plus", lr=0.9, decay=10.0), game, start, 800)[-1]
    assert end.square().sum(-1).mean() < 0.01  # noise alone has 0.02
    assert trajectory(rg.make_solver("extragradient", lr=0.9), game, start, 800)[-1].norm(dim=-1).min() > 10


def test_approximate_proximal_point_with_two_inner_steps_is_extragradient():
    game, z = Forsaken().to(dtype=KIND), torch.tensor([1.0, -0.8], dtype=KIND)
    found, expected = (
        trajectory(rg.make_solver(name, lr=0.2, **settings), game, z, 20)
        for name, settings in (("rapp", {"inner_steps": 2, "relax": 1.0}), ("extragradient", {}))
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)
    # many inner steps reach the proximal point: factor |1 - λ + λ / (1 - i a)| on xy
    assert factor("rapp", Bilinear(), lr=0.5, inner_steps=60, relax=0.7) == pytest.approx(
        abs(0.3 + 0.7 / (1 - 0.5j)), abs=1e-12
    )


def test_one_sample_for_both_half_steps_has_the_factor_of_extragradient_on_a_random_matrix():
    """Φ = ζ xy with ζ = ±1: V vanishes in the mean, one sample contracts each time, two samples do not."""

    class Coin(rg.ZeroSumGame):
        sizes = (1, 1)

        def draw(self, shape, generator):
            return 2.0 * torch.randint(2, (*shape, 1), generator=generator).to(self.dtype) - 1

        def payoff(self, x, y, sample):
            return (sample * x * y).squeeze(-1)

    start = torch.ones(50, 2, dtype=KIND)
    ends = [
        trajectory(rg.make_solver(name, lr=0.5), Coin(), start, 200)[-1].norm(dim=-1)
        for name in ("same_sample_extragradient", "extragradient")
    ]
    expected = math.sqrt(2) * math.sqrt(1 - 0.25 + 0.0625) ** 200
    torch.testing.assert_close(ends[0], torch.full((50,), expected, dtype=KIND), rtol=1e-9, atol=0)
    assert ends[1].median() > 1e3


# -- anchored -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "lr", "bound"),
    [("eag", 1 / 8, 260.0), ("feg", 1.0, 4.0), ("anchored_popov", 1 / 8, None)],
)
def test_anchored_schemes_have_the_rate_one_over_k_squared(name, lr, bound):
    matrix = torch.diag(torch.tensor([0.01, 0.03, 0.1, 0.3, 1.0], dtype=KIND))
    game = Bilinear(matrix).to(dtype=KIND)
    z = trajectory(rg.make_solver(name, lr=lr), game, torch.ones(10, dtype=KIND), 2000)
    size = game.field(z[1:]).square().sum(-1)
    k = torch.arange(1, len(size) + 1)
    assert slope(size, 500) < -1.8
    if bound:  # of the papers, for L = 1 and |z_0 - z*|² = 10
        shifted = k if name == "feg" else k + 1
        assert (size * shifted**2).max() <= bound * 10
    plain = trajectory(rg.make_solver("extragradient", lr=lr), game, torch.ones(10, dtype=KIND), 2000)
    assert slope(game.field(plain[1:]).square().sum(-1), 500) > -1.8 or name == "feg"


def test_fast_extragradient_has_its_rate_on_a_negatively_comonotone_game():
    rho, game = -0.2, weak_minty(-0.2).to(dtype=KIND)  # <F(z), z - z*> = ρ |F|²: comonotone with ρ, as it is linear
    z = trajectory(rg.make_solver("feg", lr=1.0, rho=rho), game, torch.ones(2, dtype=KIND), 1000)
    k, size = torch.arange(1, 1001), game.field(z[1:]).square().sum(-1)
    assert (size * k**2).max() <= 4 * 2 / (1 + 2 * rho) ** 2


@pytest.mark.parametrize("past", [False, True])
def test_the_anchor_is_adopted_with_a_point(past):
    solver, oracle = rg.make_solver("anchored_popov" if past else "eag", lr=0.1), Oracle(Bilinear().to(dtype=KIND))
    z = torch.ones(2, dtype=KIND)
    _, state = solver.step(oracle, z, solver.init(oracle, z))
    point = torch.full((2,), 5.0, dtype=KIND)
    assert torch.equal(solver.adopt(point, state)["anchor"], point)
    averaged = rg.solvers.Averaged(solver).adopt(point, {"scheme": state, "mean": z, "k": 1})
    assert torch.equal(averaged["mean"], point) and torch.equal(averaged["scheme"]["anchor"], point)


# -- adaptive -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_agraal_needs_no_step_size(scale):
    game = Quadratic(convex=0.2 * scale, concave=0.1 * scale, coupling=scale)
    start = torch.ones(4, 2, dtype=KIND)
    rates = torch.tensor([1e-4, 1e-2, 1.0, 100.0], dtype=KIND).unsqueeze(-1) / scale
    end = trajectory(rg.make_solver("agraal", lr=rates), game, start, 600)[-1]
    assert end.norm(dim=-1).max() < 1e-8


class Linear(rg.ZeroSumGame):
    sizes, sets = (1, 1), (rg.Box(-1.0, 1.0), rg.Box(-1.0, 1.0))

    def payoff(self, x, y, sample=None):
        return (0.1 * x - 0.1 * y).sum(-1)


def test_agraal_lengthens_its_steps_where_the_field_is_constant():
    end = trajectory(rg.make_solver("agraal"), Linear(), torch.ones(2), 120)[-1]  # from lr = 1e-3 by 10/9 a step
    assert torch.equal(end, -torch.ones(2))


def test_agraal_is_its_formula():
    game, phi = AlmostBilinear(eps=1.0).to(dtype=KIND), 1.5
    z0 = torch.tensor([1.0, -0.7], dtype=KIND)
    found = trajectory(rg.make_solver("agraal", lr=0.05), game, z0, 30)
    z, lam, theta = z0 + 0.05 * game.field(z0), 0.05, 1.0
    bar, last = z, z0
    for point in found[2:]:
        far, change = z - last, game.field(z) - game.field(last)
        longest = phi * theta / (4 * lam) * float(far.square().sum() / change.square().sum())
        following = min((1 / phi + 1 / phi**2) * lam, longest)
        bar = ((phi - 1) * z + bar) / phi
        z, last, theta, lam = bar + following * game.field(z), z, phi * following / lam, following
        torch.testing.assert_close(point, z, rtol=0, atol=1e-12)


def test_adaptive_extragradient_needs_no_step_size():
    start = torch.ones(2, dtype=KIND)
    for scale, steps in ((0.3, 300), (1.0, 300), (3.0, 3500)):  # lr = 1 is beyond the limit 1/scale of the last two
        game = Bilinear([[scale]])
        assert trajectory(rg.make_solver("adaptive_extragradient"), game, start, steps)[-1].norm() < 1e-3, scale
    assert trajectory(rg.make_solver("extragradient", lr=1.0), game, start, 20)[-1].norm() > 1e6


def test_tiada_converges_for_ratios_at_which_gradient_descent_ascent_diverges():
    # u = y - 2x obeys u⁺ = (1 - lr_y + 4 lr) u under GDA: it diverges for lr >= lr_y / 4
    game = Quadratic(convex=-4.0, concave=1.0, coupling=2.0)
    for lr in (0.1, 0.4, 0.6, 1.0):
        start = torch.tensor([1.0, 0.01], dtype=KIND)
        x, y = trajectory(rg.make_solver("tiada", lr=lr, lr_y=1.0), game, start, 800)[-1]
        assert abs(y - 2 * x) < 1e-6, lr
    x, y = trajectory(rg.make_solver("gda", lr=0.4, lr_y=1.0), game, start, 200)[-1]
    assert abs(y - 2 * x) > 1e6


def test_optimistic_adam_is_the_loop_of_its_paper():
    game, z = Forsaken().to(dtype=KIND), torch.tensor([0.9, -0.4], dtype=KIND)
    found = trajectory(rg.make_solver("omd_adam", lr=0.05, betas=(0.5, 0.9)), game, z, 12)[1:]
    m = s = last = torch.zeros(2, dtype=KIND)
    for t, point in enumerate(found, 1):
        g = -game.field(z)
        m, s = 0.5 * m + 0.5 * g, 0.9 * s + 0.1 * g * g
        direction = m / (1 - 0.5**t) / ((s / (1 - 0.9**t)).sqrt() + 1e-8)
        z, last = z - 2 * 0.05 * direction + 0.05 * last, direction
        torch.testing.assert_close(point, z, rtol=0, atol=1e-13)


# -- Lookahead and smoothing ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(("lr", "period"), [(0.1, 0.5), (0.1, 2.0), (0.5, 2.5)])
def test_lookahead_has_its_factor_per_round_on_bilinear_games(lr, period):
    every = round(period / lr)
    z = trajectory(
        rg.make_solver("lookahead_gda", lr=lr, period=period), Bilinear(), torch.ones(2, dtype=KIND), 4 * every
    )
    expected = abs(0.5 + 0.5 * (1 + lr * 1j) ** every)
    norms = z[::every].norm(dim=-1)
    torch.testing.assert_close(norms[1:] / norms[:-1], torch.full((4,), expected, dtype=KIND), rtol=0, atol=1e-12)


def test_a_period_of_each_run_is_that_of_the_run_alone():
    rates = torch.tensor([[0.05], [0.1], [0.4]], dtype=KIND)
    start = torch.tensor([1.0, -0.7], dtype=KIND)
    batch = trajectory(rg.make_solver("lookahead_gda", lr=rates), Forsaken(), start.expand(3, 2), 200)
    for i, lr in enumerate(rates.flatten().tolist()):
        alone = trajectory(rg.make_solver("lookahead_gda", lr=lr), Forsaken(), start, 200)
        torch.testing.assert_close(batch[:, i], alone, rtol=0, atol=1e-12)


def half_turn_steps(game, z, lr, steps):
    slow, since, points = z, 0, []
    for _ in range(steps):
        v = game.field(z)
        if since >= 2 and torch.dot(v, z - slow) <= 0:
            z = slow = slow + 0.5 * (z - slow)
            since = 0
        else:
            z, since = z + lr * v, since + 1
        points.append(z)
    return torch.stack(points)


def test_half_turn_is_its_loop_and_finds_the_period_of_each_run():
    game = Forsaken().to(dtype=KIND)
    starts = torch.tensor([[1.0, 1.0], [-1.2, 0.3], [0.2, -0.1]], dtype=KIND)
    found = trajectory(rg.make_solver("half_turn", lr=0.1, alpha=0.5), game, starts, 300)[1:]
    for i, start in enumerate(starts):
        torch.testing.assert_close(found[:, i], half_turn_steps(game, start, 0.1, 300), rtol=0, atol=1e-10)
    assert (found[-1] - game.solution()).norm(dim=-1).max() < 0.05  # where GDA and extragradient cycle at 0.92 or more


def test_half_turn_shortens_steps_and_stays_in_constraints():
    solver = rg.solvers.HalfTurn(1.0, longest=0.25)
    z = trajectory(solver, Bilinear(radius=3.0), torch.tensor([3.0, 1.0], dtype=KIND), 50)
    assert z.abs().max() <= 3
    plain = z.diff(dim=0).norm(dim=-1)[:3]
    assert plain.max() <= 0.25 + 1e-12


def test_smoothed_gda_is_the_loop_of_its_authors():
    game, z = Forsaken().to(dtype=KIND), torch.tensor([1.0, 0.3], dtype=KIND)
    found = trajectory(rg.make_solver("smoothed_gda", lr=0.1, r=2.0, r_y=3.0, rate=0.8), game, z, 40)[1:]
    (x, y), (p, q) = z, z
    for point in found:
        x = x + 0.1 * (game.field(torch.stack([x, y]))[0] - 2.0 * (x - p))
        y = y + 0.1 * (game.field(torch.stack([x, y]))[1] - 3.0 * (y - q))
        p, q = p + 0.08 * (x - p), q + 0.08 * (y - q)
        torch.testing.assert_close(point, torch.stack([x, y]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("order", [2, 4])
def test_runge_kutta_has_its_order(order):
    game, z = AlmostBilinear(eps=0.5).to(dtype=KIND), torch.tensor([1.0, 0.5], dtype=KIND)
    exact = rg.diagnostics.flow(game, z, time=1.6, dt=0.001)[-1]
    errors = [
        float((trajectory(rg.make_solver("rk4", lr=h, order=order), game, z, round(1.6 / h))[-1] - exact).norm())
        for h in (0.2, 0.1, 0.05)
    ]
    for coarse, fine in pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.25)


# -- all of them ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", NEW)
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(name, tmp_path):
    def make():
        env = rg.GameVectorEnv(Noisy(Quadratic(coupling=1.0), std=0.1), 3)
        return rg.GameAgent(env, rg.make_solver(name), seed=1)

    whole = make().learn(60)
    part = make().learn(30)
    part.save(tmp_path / "run")
    again = rg.GameAgent.load(tmp_path / "run", make().env)
    while again.num_timesteps < whole.num_timesteps:
        again.learn(whole.num_timesteps - again.num_timesteps, reset_num_timesteps=False)
    assert again.num_timesteps == whole.num_timesteps
    assert torch.equal(again.z, whole.z)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("eg_plus", {"ratio": 1.5}, "ratio is 1.5"),
        ("eg_plus", {"lr": rg.solvers.InversePower(0.5)}, "must be a positive number, or one per run"),
        ("adaptive_eg_plus", {"delta": -0.5}, "delta is -0.5"),
        ("rapp", {"inner_steps": 0}, "inner_steps is 0"),
        ("agraal", {"phi": 2.0}, "phi is 2.0"),
        ("lookahead_gda", {"period": 0.0}, "period is 0.0"),
        ("lookahead_gda", {"alpha": 2.0}, "alpha 2.0"),
        ("half_turn", {"scheme": "adam"}, "unknown scheme 'adam'"),
        ("rk4", {"order": 3}, "order is 3"),
        ("feg", {"rho": -0.1}, "rho is -0.1"),
        ("feg", {"rho": float("nan")}, "rho is nan"),
        ("feg", {"lr": torch.tensor([[0.4], [0.1]]), "rho": -0.1}, "more than -lr/2, -0.05"),
        ("feg", {"lr": 0.4, "rho": -0.1, "anneal": 600}, "leave anneal or rho out"),
        ("tiada", {"alpha": 0.3}, "0 < beta < alpha < 1"),
        ("gda", {"lr": 0.0}, "lr is 0.0"),
        ("gda", {"anneal": True}, "anneal is True: the oracle calls of one run"),  # the rate was constant
        ("gda", {"anneal": -100}, "anneal is -100"),
        ("turns", {"ratio": 2.5}, "ratio is 2.5: at least 1"),  # player 1 moved in every seventh step
        ("free_training", {"replays": 2.5}, "replays is 2.5: a sample serves"),
        ("magnetic", {"period": 2.5}, "period is 2.5"),
        ("lookahead_adam", {"every": 2.5}, "every is 2.5"),
        ("half_turn", {"least": float("nan")}, "least is at least 1"),
        ("half_turn_adam", {"least": float("nan")}, "least at least 1"),
        ("smoothed_gda", {"r": float("nan")}, "r_y and rate are finite"),
        ("lead", {"alpha": float("nan")}, "alpha is nan"),
    ],
)
def test_settings_outside_of_the_theory_are_refused_in_one_line(name, settings, message):
    with pytest.raises(rg.GameError, match=message):
        rg.make_solver(name, **settings)


@pytest.mark.parametrize("every", [[[0]], [[2.5]], [[5], [0]]])
def test_a_period_per_run_has_whole_steps(every):
    with pytest.raises(rg.GameError, match="whole steps >= 1"):
        rg.solvers.Lookahead(rg.make_solver("gda"), torch.tensor(every))


def test_agraal_has_a_positive_longest_step():
    with pytest.raises(rg.GameError, match="longest is -1"):
        rg.solvers.GoldenRatio(0.1, longest=-1.0)


def test_alternating_extragradient_has_one_rule():
    with pytest.raises(rg.GameError, match="leave ahead, same_sample out"):
        rg.solvers.Extragradient(rg.solvers.SGD(0.1), alternating=True, same_sample=True)
