"""Treeplexes and games in sequence form: projections, best responses and values against independent programs."""

import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

import robustgames as rg
from robustgames.games import KuhnPoker, MatrixGame, RandomMatrixGame, SequenceGame, Simplex, Treeplex
from robustgames.solvers import diagnostics

KIND = torch.float64
TREES = {
    "simplex": Treeplex((-1,), (5,)),
    "two moves": Treeplex((-1, 0, 0, 1), (2, 3, 2, 2)),
    "deep": Treeplex((-1, 0, 0, -1, 6, 8, 10), (2, 3, 2, 2, 2, 2, 3)),
    "kuhn": KuhnPoker().sets[1],
}
every_tree = pytest.mark.parametrize("tree", TREES.values(), ids=TREES.keys())


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=KIND)


def flow_error(tree, u):
    """Return the largest violation of u >= 0 and of the sums of the information sets."""
    sums = [u[..., b].sum(-1) - (1 if p < 0 else u[..., p]) for p, b in zip(tree.parents, tree.blocks(), strict=True)]
    return max(float((-u).max()), float(torch.stack(sums).abs().max()))


@every_tree
@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0, 1e3])
def test_projection_onto_a_treeplex_is_optimal(tree, scale):
    """u is the projection of p if and only if <p - u, w - u> <= 0 for all w, of which the maximizer is known."""
    points = scale * normal(300, tree.width)
    u = tree.project(points)
    assert flow_error(tree, u) < 1e-12
    away = points - u
    assert ((tree.maximize(away) - u) * away).sum(-1).max() < 1e-12 * scale
    assert (tree.project(u) - u).abs().max() < 1e-12
    assert torch.allclose(tree.project(points.view(3, 100, -1)), u.view(3, 100, -1))
    single = tree.project(points.float())
    assert (single - u).abs().max() < 1e-5 * max(1.0, scale)


@every_tree
@pytest.mark.parametrize("more", [-1, 1])
def test_points_of_another_width_are_refused(tree, more):
    wrong, right = torch.ones(4, tree.width + more), torch.ones(4, tree.width)
    calls = [tree.project, tree.maximize, tree.realize, tree.behavior]  # a coordinate too many came back uninitialized
    for call in [*calls, lambda p: tree.counterfactual(p, right), lambda p: tree.counterfactual(right, p)]:
        with pytest.raises(rg.GameError, match=rf"points of this set have \(\*S, {tree.width}\)"):
            call(wrong)


@every_tree
@pytest.mark.parametrize("scale", [1e8, 1e20])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_a_large_point_is_projected_onto_its_best_vertex(tree, scale, kind):
    """At these distances all differences count more than those inside of the set, so <p, u> alone is maximized."""
    points = scale * normal(300, tree.width)
    u = tree.project(points.to(kind))
    assert torch.equal(u, tree.maximize(points).to(kind))


def test_projection_is_that_of_a_quadratic_program():
    tree, point = TREES["deep"], normal(16)
    sums = [
        {"type": "eq", "fun": lambda u, p=p, b=b: u[b].sum() - (1 if p < 0 else u[p])}
        for p, b in zip(tree.parents, tree.blocks(), strict=True)
    ]
    found = minimize(
        lambda u: ((u - point.numpy()) ** 2).sum(),
        tree.sample((16,), torch.Generator().manual_seed(0), KIND).numpy(),
        bounds=[(0, 1)] * 16,
        constraints=sums,
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 500},
    )
    np.testing.assert_allclose(tree.project(point), found.x, atol=1e-6)
    torch.testing.assert_close(TREES["simplex"].project(normal(50, 5)), Simplex().project(normal(50, 5)))


@every_tree
def test_maximizers_and_behaviors_of_a_treeplex(tree):
    gains, points = normal(200, tree.width), tree.sample((200, tree.width), torch.Generator().manual_seed(1), KIND)
    assert flow_error(tree, points) < 1e-14
    torch.testing.assert_close(tree.realize(tree.behavior(points)), points)
    best = tree.maximize(gains)
    assert flow_error(tree, best) == 0 and set(best.unique().tolist()) <= {0.0, 1.0}
    pure = [tree.realize(torch.cat([torch.eye(n, dtype=KIND)[i] for n, i in zip(tree.sizes, choice, strict=True)]))
            for choice in itertools.product(*[range(n) for n in tree.sizes])]  # fmt: skip
    torch.testing.assert_close((gains * best).sum(-1), (gains @ torch.stack(pure).unique(dim=0).T).amax(-1))
    values, means = tree.counterfactual(gains, tree.behavior(points))
    roots = [b for p, b in zip(tree.parents, tree.blocks(), strict=True) if p < 0]
    torch.testing.assert_close(sum(means[..., b.start] for b in roots), (gains * points).sum(-1))
    assert values.shape == gains.shape


def test_treeplexes_and_matrices_that_do_not_fit_are_refused():
    with pytest.raises(rg.GameError, match="one entry per information set"):
        Treeplex((-1,), (2, 2))
    with pytest.raises(rg.GameError, match="parent 2 of information set 1"):
        Treeplex((-1, 2), (2, 2))
    with pytest.raises(rg.GameError, match=r"these sets need \(2, 2\)"):
        SequenceGame([[1.0]], Treeplex((-1,), (2,)), Treeplex((-1,), (2,)))


def test_kuhn_has_its_value_and_its_equilibria():
    game = KuhnPoker().to(dtype=KIND)
    assert game.value == pytest.approx(-1 / 18, abs=1e-12)
    assert diagnostics.duality_gap(game, game.solution()).abs() < 1e-12
    for alpha in (0.0, 0.2, 1 / 3):  # the family of Kuhn: the opener bets the jack with α and the king with 3α
        opener = torch.tensor(
            [1 - alpha, alpha, 1, 0, 1, 0, 2 / 3 - alpha, 1 / 3 + alpha, 1 - 3 * alpha, 3 * alpha, 0, 1]
        )
        dealer = torch.tensor([2 / 3, 1 / 3, 1, 0, 1, 0, 2 / 3, 1 / 3, 0, 1, 0, 1])
        y = game.sets[1].realize(opener.to(KIND))
        z = torch.cat([game.sets[0].realize(dealer.to(KIND)), y])
        assert diagnostics.duality_gap(game, z).abs() < 1e-7  # thirds in float32
        assert float(game.payoff(*game.split(z))) == pytest.approx(-1 / 18, abs=1e-7)


@pytest.mark.parametrize("scale", [1e-12, 1e-9, 1e20])
def test_the_equilibrium_of_a_sequence_game_does_not_depend_on_units(scale):
    kuhn = KuhnPoker()
    assert SequenceGame(scale * kuhn.matrix, *kuhn.sets).value / scale == pytest.approx(-1 / 18, abs=1e-9)


def test_kuhn_pays_what_the_rules_say():
    """Simulate all pure plans of both players by the rules, and compare with the payoff."""
    game, generator = KuhnPoker().to(dtype=KIND), np.random.default_rng(0)
    for _ in range(50):
        opener, dealer = generator.integers(0, 2, (3, 2)), generator.integers(0, 2, (3, 2))
        won = 0.0
        for i, j in itertools.permutations(range(3), 2):
            better = 1 if i > j else -1
            if opener[i, 0] == 0:  # check
                if dealer[j, 0] == 0:
                    won += better
                else:
                    won += 2 * better if opener[i, 1] else -1
            else:
                won += 2 * better if dealer[j, 1] else 1
        one_hot = [np.eye(2)[plan].reshape(-1) for plan in (dealer, opener)]
        x, y = (tree.realize(torch.tensor(b)) for tree, b in zip(game.sets, one_hot, strict=True))
        assert float(game.payoff(x, y)) == pytest.approx(won / 6)


def test_matrix_games_are_sequence_games_of_one_move():
    matrix = normal(4, 3)
    simple, tree = MatrixGame(matrix), SequenceGame(matrix, Treeplex((-1,), (4,)), Treeplex((-1,), (3,)))
    torch.testing.assert_close(simple.to(dtype=KIND).solution(), tree.to(dtype=KIND).solution())


def test_random_matrix_games_need_not_be_solved():
    game = RandomMatrixGame(40, 30, solve=False)
    assert (
        game.sizes == (40, 30)
        and game.solution() is None
        and "distance" not in game.metrics(game.initial((2,), torch.Generator()))
    )
    solved = RandomMatrixGame(40, 30).to(dtype=KIND)
    assert diagnostics.duality_gap(solved, solved.solution()).abs() < 1e-9
    with pytest.raises(rg.GameError, match="at least one action"):
        RandomMatrixGame(0)
