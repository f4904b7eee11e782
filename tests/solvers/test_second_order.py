"""Schemes with the derivative of the field against dense Jacobians and solves, and what they converge to."""

import math

import pytest
import torch

import robustgames as rg
from robustgames.games import Bilinear, DiracGAN, Forsaken, Oracle, Polar, Quadratic
from robustgames.solvers import trajectory
from robustgames.solvers.conjugate_gradients import conjugate_gradients

KIND = torch.float64


def random_game(seed=0, n=3, m=2):
    """A quadratic game of random symmetric blocks."""
    generator = torch.Generator().manual_seed(seed)
    p, q, a = (torch.randn(*shape, generator=generator, dtype=KIND) for shape in ((n, n), (m, m), (n, m)))
    return Quadratic(convex=(p + p.mT) / 2, concave=(q + q.mT) / 2, coupling=a).to(dtype=KIND)


def start_of(game, runs=4):
    return torch.randn(runs, sum(game.sizes), dtype=KIND, generator=torch.Generator().manual_seed(1))


def after_one_step(name, game, z, **settings):
    return trajectory(rg.make_solver(name, **settings), game, z, 1)[1]


def field_and_jacobian(game, z):
    return game.field(z), rg.diagnostics.jacobian(game, z)


def times(matrix, v):
    return (matrix @ v.unsqueeze(-1)).squeeze(-1)


@pytest.mark.parametrize("game", [random_game(), Forsaken().to(dtype=KIND), DiracGAN(0.2).to(dtype=KIND), Polar()])
def test_consensus_and_symplectic_steps_are_those_of_the_dense_jacobian(game):
    game = game.to(dtype=KIND)
    z = start_of(game)
    v, jacobian = field_and_jacobian(game, z)
    expected = z + 0.1 * (v - 0.7 * times(jacobian.mT, v))
    torch.testing.assert_close(after_one_step("consensus", game, z, lr=0.1, weight=0.7), expected, rtol=0, atol=1e-12)
    # Balduzzi et al., in their sign: ξ = -V, H its Jacobian, A its antisymmetric part
    xi, h = -v, -jacobian
    adjustment = times(((h - h.mT) / 2).mT, xi)
    slope = times(h.mT, xi)
    alike = (xi * slope).sum(-1, keepdim=True) * (adjustment * slope).sum(-1, keepdim=True) / z.shape[-1] + 0.1
    for align in (True, False):
        sign = alike.sign() if align else 1.0
        expected = z - 0.1 * (xi + sign * 0.7 * adjustment)
        found = after_one_step("sga", game, z, lr=0.1, weight=0.7, align=align)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("a", [0.1, 0.4])
@pytest.mark.parametrize(
    ("name", "factor"),
    [
        ("consensus", lambda a: math.sqrt((1 - a) ** 2 + a**2)),
        ("sga", lambda a: math.sqrt((1 - a) ** 2 + a**2)),
        ("competitive_gd", lambda a: 1 / math.sqrt(1 + a**2)),  # the proximal point
        ("lead", lambda a: math.sqrt((1 + math.sqrt(1 - 4 * a**2)) / 2)),  # optimistic steps
    ],
)
def test_bilinear_factors(name, factor, a):
    z = trajectory(rg.make_solver(name, lr=a), Bilinear(), torch.tensor([1.0, 0.3], dtype=KIND), 120)
    found = float((z[-1].norm() / z[-51].norm()) ** 0.02)
    assert found == pytest.approx(factor(a), abs=1e-3 if name == "lead" else 1e-9)  # lead has a second, smaller factor


def test_least_action_is_optimistic_gradient_descent_ascent_on_a_bilinear_game():
    game = Bilinear(torch.randn(3, 2, generator=torch.Generator().manual_seed(0), dtype=KIND)).to(dtype=KIND)
    z = trajectory(rg.make_solver("lead", lr=0.1), game, start_of(game), 20)
    before, here = z[0], z[1]
    for point in z[2:]:
        following = here + 2 * 0.1 * game.field(here) - 0.1 * game.field(before)
        torch.testing.assert_close(point, following, rtol=0, atol=1e-12)
        before, here = here, following


def test_least_action_is_its_formula_with_dense_blocks():
    game = Forsaken().to(dtype=KIND)
    points = trajectory(rg.make_solver("lead", lr=0.1, alpha=0.6, beta=0.3), game, start_of(game), 8)
    for last, z, after in zip([points[0], *points], points, points[1:], strict=False):
        v, jacobian = field_and_jacobian(game, z)
        cross = jacobian * (1 - torch.eye(2, dtype=KIND))
        d = z - last
        torch.testing.assert_close(after, z + 0.3 * d + 0.1 * v + 0.06 * times(cross, d), rtol=0, atol=1e-12)


@pytest.mark.parametrize("lr", [0.1, 3.0])
@pytest.mark.parametrize("game", [random_game(), random_game(3, 1, 4), Forsaken()])
def test_competitive_gradient_is_the_dense_solve_at_any_size(game, lr):
    game = game.to(dtype=KIND)
    (n, m), z = game.sizes, start_of(game)
    v, jacobian = field_and_jacobian(game, z)
    eye = torch.eye(n + m, dtype=KIND)
    cross = jacobian.clone()
    cross[:, :n, :n] = cross[:, n:, n:] = 0
    move = torch.linalg.solve(eye - lr * cross, lr * v)  # Δ = lr (V + cross Δ): both players at once
    found = after_one_step("competitive_gd", game, z, lr=lr, inner_steps=n)
    torch.testing.assert_close(found, z + move, rtol=1e-9, atol=1e-10)


def test_competitive_gradient_is_stable_at_interactions_that_other_methods_do_not_bear():
    game, z = Bilinear([[50.0]]), torch.ones(2, dtype=KIND)
    assert trajectory(rg.make_solver("competitive_gd", lr=0.2, inner_steps=1), game, z, 20)[-1].norm() < 1e-12
    assert trajectory(rg.make_solver("extragradient", lr=0.2), game, z, 20)[-1].norm() > 1e12


def test_follow_the_ridge_is_the_dense_solve_at_any_size():
    game = random_game(1, 2, 3)
    (n, _), z = game.sizes, start_of(game)
    v, jacobian = field_and_jacobian(game, z)
    x = 0.1 * v[:, :n]
    follow = torch.linalg.solve(jacobian[:, n:, n:], times(jacobian[:, n:, :n], x))
    found = after_one_step("follow_ridge", game, z, lr=0.1, damping=0.0, inner_steps=3)
    torch.testing.assert_close(found, z + torch.cat([x, 0.1 * v[:, n:] - follow], -1), rtol=1e-7, atol=1e-9)


def test_follow_the_ridge_reaches_local_minimax_points_and_no_others():
    """Quadratics with curvatures (p, -q) and coupling a: 0 is local minimax iff q > 0 and p + a²/q > 0."""
    cases = {(-3.0, 1.0, 2.0): True, (-1.0, 1.0, 0.5): False, (1.0, -1.0, 2.0): False, (1.0, 1.0, 2.0): True}
    solver = rg.make_solver("follow_ridge", lr=0.1, inner_steps=1)
    for (p, q, a), minimax in cases.items():
        assert minimax == (q > 0 and p + a * a / q > 0)
        end = trajectory(solver, Quadratic(p, q, a), torch.ones(2, dtype=KIND), 150)[-1]
        assert (end.norm() < 1e-3) == minimax, (p, q, a)
    # the flow converges to 0 of x² + 2xy + y²/2, where y can do better; the ridge leads away from it
    game = Quadratic(2.0, -1.0, 2.0)
    assert trajectory(rg.make_solver("gda", lr=0.1), game, torch.ones(2, dtype=KIND), 300)[-1].norm() < 1e-3
    assert trajectory(solver, game, torch.ones(2, dtype=KIND), 100)[-1].norm() > 1


def test_newton_is_the_dense_solve_and_converges_quadratically():
    game = random_game()
    assert after_one_step("newton", game, start_of(game), damping=0.0).norm() < 1e-10
    game = Forsaken().to(dtype=KIND)
    start = game.solution() + torch.tensor([0.05, -0.05], dtype=KIND)
    z = trajectory(rg.make_solver("newton", damping=0.0), game, start, 4)
    errors = (z - game.solution()).norm(dim=-1)
    assert (errors[1:4] < 5 * errors[:3] ** 2 + 1e-15).all()


def test_conjugate_gradients_solve_runs_side_by_side_and_rest_at_a_solution():
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(5, 4, 4, generator=generator, dtype=KIND)
    matrix, b = root @ root.mT + torch.eye(4, dtype=KIND), torch.randn(5, 4, generator=generator, dtype=KIND)
    b[2] = 0
    for steps in (4, 9):
        found = conjugate_gradients(lambda p: times(matrix, p), b, steps)
        torch.testing.assert_close(found, torch.linalg.solve(matrix, b), rtol=1e-8, atol=1e-10)


# -- STON'R ---------------------------------------------------------------------------------------------------------
class Folded(rg.ZeroSumGame):
    """x² - 2 x y² + y on [-1, 1]²: V = 0 at x = y², 4 y³ = 1."""

    sizes = (1, 1)
    sets = (rg.Box(-1.0, 1.0), rg.Box(-1.0, 1.0))

    def payoff(self, x, y, sample):
        return (x * x - 2 * x * y * y + y).squeeze(-1)


def boxed(offset):
    game = Forsaken(offset)
    game.sets = (rg.Box(-1.5, 1.5), rg.Box(-1.5, 1.5))
    return game.to(dtype=KIND)


def test_stay_on_the_ridge_ends_at_the_min_max_critical_point():
    y = 0.25 ** (1 / 3)
    expected = {"folded": torch.tensor([y * y, y], dtype=KIND)}
    games = {"folded": (Folded().to(dtype=KIND), 250), "c = 0.45": (boxed(0.45), 480), "c = 0.1": (boxed(0.1), 250)}
    for name, (game, steps) in games.items():
        z = trajectory(rg.make_solver("stay_on_ridge", lr=2.4 / steps), game, torch.zeros(2, dtype=KIND), steps)
        assert torch.equal(z[1], game.sets[0].low * torch.ones(2, dtype=KIND))  # the corner
        torch.testing.assert_close(z[-1], expected.get(name, game.solution()), rtol=0, atol=1e-9)


def test_stay_on_the_ridge_stops_on_faces_and_treats_runs_by_themselves():
    """xᵀAy on boxes with a saddle at a corner, in four coordinates, and in batches."""

    class Linear(rg.ZeroSumGame):
        sizes = (2, 2)
        sets = (rg.Box(-1.0, 1.0), rg.Box(-1.0, 1.0))

        def payoff(self, x, y, sample):
            return x[..., 0] - 0.5 * x[..., 1] + y[..., 0] * 2 - y[..., 1] + 0.1 * (x * y).sum(-1)

    game = Linear().to(dtype=KIND)
    z = trajectory(rg.make_solver("stay_on_ridge", lr=0.05), game, start_of(game, 3), 120)
    expected = torch.tensor([-1.0, 1.0, 1.0, -1.0], dtype=KIND)
    assert torch.equal(z[-1], expected.expand(3, 4))
    assert game.residual(z[-1]).max() == 0


@pytest.mark.parametrize("seed", [0, 1])
def test_stay_on_the_ridge_solves_convex_concave_games_of_four_coordinates(seed):
    game = random_game(seed, 2, 2)
    game = Quadratic(game.convex @ game.convex + 0.1 * torch.eye(2), game.concave @ game.concave, game.coupling)
    game.sets = (rg.Box(-1.0, 2.0), rg.Box(-1.0, 2.0))
    z = trajectory(rg.make_solver("stay_on_ridge", lr=0.03), game, torch.zeros(4, dtype=KIND), 300)[-1]
    assert z.norm() < 1e-9


# -- refusals -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["competitive_gd", "follow_ridge", "lead", "newton", "feg"])
def test_constraints_are_refused_in_one_line(name):
    with pytest.raises(rg.GameError, match="is for games without constraints"):
        rg.GameAgent(rg.GameVectorEnv(Bilinear(radius=1.0), 2), rg.make_solver(name, lr=0.1))


def test_other_refusals_name_the_game_and_a_way_out():
    with pytest.raises(rg.GameError, match="zero-sum games with a payoff, Polar"):
        rg.GameAgent(rg.GameVectorEnv(Polar(), 2), "competitive_gd")
    large = Bilinear(torch.eye(40))
    with pytest.raises(rg.GameError, match="80 coordinates: it is for games of at most 64"):
        rg.make_solver("newton").init(Oracle(large), torch.ones(80))
    simplex = rg.games.MatrixGame()
    with pytest.raises(rg.GameError, match="needs a box"):
        rg.make_solver("stay_on_ridge").init(Oracle(simplex), torch.full((4,), 0.5))
