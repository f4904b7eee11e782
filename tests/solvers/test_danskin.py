"""Danskin's theorem: gradients and kinks of f = max Φ(x, ·), the false corollary on descent directions, its repair."""

import contextlib
import io
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize, nnls
from torch.nn.functional import softplus

from robustgames.errors import GameError
from robustgames.games import (
    MLP,
    AdversarialClassification,
    Bilinear,
    L2Ball,
    Noisy,
    Polar,
    Quadratic,
    Simplex,
    Space,
    ZeroSumGame,
)
from robustgames.solvers.danskin import danskin_gradient, directional_derivative, min_norm_element, subdifferential

KIND = torch.float64
PAGE = Path(__file__).parents[2] / "docs" / "explain" / "danskin.md"
STEPS = [1e-4, 1e-2, 0.1, 1.0]


def tensor(*values):
    return torch.tensor(values, dtype=KIND)


def randn(*shape, seed=0):
    return torch.randn(shape, dtype=KIND, generator=torch.Generator().manual_seed(seed))


def central_differences(f, x, h=1e-5):
    steps = h * torch.eye(len(x), dtype=KIND)
    return torch.stack([(f(x + step) - f(x - step)) / (2 * h) for step in steps])


def best(game, x):
    y = game.best_response(torch.cat([x, x.new_zeros(*x.shape[:-1], game.sizes[1])], -1), 1)
    assert y is not None
    return y


class Affine(ZeroSumGame):
    """Φ(x, y) = Σ y_i (<a_i, x> + b_i), y in the simplex: f = max_i <a_i, x> + b_i."""

    def __init__(self, slopes, offsets):
        self.slopes, self.offsets = slopes, offsets
        self.sizes, self.sets = (slopes.shape[1], slopes.shape[0]), (Space(), Simplex())

    def payoff(self, x, y, sample=None):
        return ((x @ self.slopes.mT + self.offsets) * y).sum(-1)

    def f(self, x):
        return (x @ self.slopes.mT + self.offsets).amax(-1)


class Farthest(ZeroSumGame):
    """Φ(x, y) = Σ y_i |x - c_i|² / 2, y in the simplex: f = max_i |x - c_i|² / 2."""

    def __init__(self, places):
        self.places = places
        self.sizes, self.sets = (places.shape[1], places.shape[0]), (Space(), Simplex())

    def payoff(self, x, y, sample=None):
        return (0.5 * (x.unsqueeze(-2) - self.places).square().sum(-1) * y).sum(-1)

    def f(self, x):
        return 0.5 * (x.unsqueeze(-2) - self.places).square().sum(-1).amax(-1)


class SphereGame(ZeroSumGame):
    """Φ(x, y) = <x, y>, |y| <= 1: f = |x|, with a whole ball of maximizers at 0."""

    sizes, sets = (2, 2), (Space(), L2Ball(1.0))

    def payoff(self, x, y, sample=None):
        return (x * y).sum(-1)


# -- 1: one maximizer ----------------------------------------------------------------------------------------------


def linear_classifier(eps=0.1):
    """Two classes, logits W a + c: the attacker's maximum is known in closed form."""
    images = 0.3 + 0.4 * torch.rand(7, 5, dtype=KIND, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 1, 1, 0, 1, 0, 0])
    game = AdversarialClassification(images, labels, MLP((5, 2)), eps, None).to(dtype=KIND)
    sample, signs = game.draw((), torch.Generator()), (1.0 - 2 * labels).to(KIND)  # +1: class 0

    def margin(x):
        w, c = x[:10].view(2, 5), x[10:]
        return w[0] - w[1], signs * (images @ (w[0] - w[1]) + c[0] - c[1])

    def f(x):  # worst case: every margin falls by eps |w_0 - w_1|_1
        difference, m = margin(x)
        return softplus(-(m - eps * difference.abs().sum())).mean()

    def attack(x):
        return (-eps * signs.unsqueeze(-1) * margin(x)[0].sign()).flatten()

    return game, sample, f, attack


def test_gradient_against_the_exact_attack_on_a_linear_classifier():
    game, sample, f, attack = linear_classifier()
    x = randn(12)
    y = attack(x)
    assert float(game.payoff(x, y, sample)) == pytest.approx(float(f(x)), abs=1e-14)
    g = danskin_gradient(game, x, y, sample)
    torch.testing.assert_close(g, central_differences(f, x), rtol=0, atol=1e-9)
    torch.testing.assert_close(subdifferential(game, x, y[None], sample), g[None], rtol=0, atol=0)
    assert (danskin_gradient(game, x, 0 * y, sample) - g).norm() > 1e-2  # the clean gradient is not that of f


def test_gradient_of_a_quadratic_game():
    p, q, a = tensor([2.0, 0.5], [0.5, 1.0]), tensor([1.5, 0.2], [0.2, 0.8]), tensor([1.0, -0.3], [0.4, 2.0])
    game = Quadratic(p, q, a).to(dtype=KIND)
    hessian, x = p + a @ torch.linalg.solve(q, a.mT), randn(6, 2)
    y = best(game, x)
    g = danskin_gradient(game, x, y)
    torch.testing.assert_close(g, x @ hessian, rtol=0, atol=1e-13)
    torch.testing.assert_close(g, danskin_gradient(Noisy(game, std=9.0), x, y), rtol=0, atol=0)
    for i in range(6):
        slope = central_differences(lambda u: 0.5 * u @ hessian @ u, x[i])
        torch.testing.assert_close(g[i], slope, rtol=0, atol=1e-8)
    assert not torch.allclose(danskin_gradient(game, x, y + 0.1), g, atol=1e-2)


def test_gradient_of_a_bilinear_game_in_a_box():
    matrix, x = randn(4, 3), randn(4, seed=1)
    game = Bilinear(matrix, radius=0.7).to(dtype=KIND)
    g = danskin_gradient(game, x, best(game, x))
    torch.testing.assert_close(g, central_differences(lambda u: 0.7 * (u @ matrix).abs().sum(), x), rtol=0, atol=1e-9)


def test_gradient_carries_no_graph():
    x = tensor(1.0, 2.0).requires_grad_()  # the derivative of ∇x Φ(x, y*) at fixed y* is not the Hessian of f
    assert not danskin_gradient(SphereGame(), x, tensor(0.0, 1.0)).requires_grad


# -- 2: several maximizers -----------------------------------------------------------------------------------------


def one_sided(f, x, d, h):
    """Return the extrapolated forward difference, exact for quadratics."""
    return 2 * (f(x + h / 2 * d) - f(x)) / (h / 2) - ((f(x + h * d) - f(x)) / h)


def test_kink_of_a_bilinear_game_in_a_box():
    matrix, vertices = randn(4, 3), torch.cartesian_prod(*[tensor(-0.7, 0.7)] * 3)
    x = randn(4, seed=1)
    x = x - matrix[:, 1] * (x @ matrix[:, 1]) / matrix[:, 1].square().sum()  # (Aᵀx)_2 = 0: two vertices tie
    generators = subdifferential(Bilinear(matrix, radius=0.7).to(dtype=KIND), x, vertices)
    assert generators.shape == (2, 4)
    directions = randn(50, 4, seed=2)
    found = directional_derivative(generators, directions)
    expected = torch.stack([one_sided(lambda u: 0.7 * (u @ matrix).abs().sum(), x, d, 1e-4) for d in directions])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    assert (found + directional_derivative(generators, -directions)).min() > 0  # a kink: no derivative is linear


def test_kink_of_a_maximum_of_quadratics():
    circle = randn(5, 3)
    circle = circle / circle.norm(dim=1, keepdim=True)  # all equally far from 0
    game = Farthest(torch.cat([circle, 0.3 * randn(4, 3, seed=1)]))
    generators = subdifferential(game, torch.zeros(3, dtype=KIND), torch.eye(9, dtype=KIND))
    torch.testing.assert_close(generators, -circle, rtol=0, atol=1e-15)  # the four near ones are dropped
    for d in randn(50, 3, seed=2):
        slope = one_sided(game.f, torch.zeros(3, dtype=KIND), d, 1e-4)
        assert float(directional_derivative(generators, d)) == pytest.approx(float(slope), abs=1e-9)


def test_missing_maximizers_give_a_lower_bound():
    angles = torch.linspace(0, 2 * torch.pi, 13, dtype=KIND)[:12]
    generators = subdifferential(SphereGame(), tensor(0.0, 0.0), torch.stack([angles.cos(), angles.sin()], -1))
    directions = torch.nn.functional.normalize(randn(500, 2), dim=-1)
    found = directional_derivative(generators, directions)  # of f = |x|, whose derivative is 1 along all of them
    assert found.max() <= 1 + 1e-12
    assert float(found.min()) == pytest.approx(np.cos(np.pi / 12), abs=1e-3)


def test_tolerance_decides_on_ties():
    game, candidates = Affine(tensor([1.0], [-1.0]), tensor(0.0, -1e-4)), torch.eye(2, dtype=KIND)
    assert subdifferential(game, tensor(0.0), candidates).tolist() == [[1.0]]
    assert subdifferential(game, tensor(0.0), candidates, tol=1e-3).tolist() == [[1.0], [-1.0]]


# -- 3: the false corollary, and 4: its repair ---------------------------------------------------------------------


def test_minus_the_gradient_at_a_maximizer_may_increase_f():
    game, x = Bilinear(radius=1.0).to(dtype=KIND), tensor(0.0)
    assert game.payoff(x, tensor(1.0)) == game.payoff(x, tensor(-1.0)) == 0  # y* = 1 maximizes x y at x = 0
    g = danskin_gradient(game, x, tensor(1.0))
    assert g.tolist() == [1.0]
    generators = subdifferential(game, x, tensor([-1.0], [1.0]))
    assert float(directional_derivative(generators, -g)) == 1.0  # f = |x| rises along -1
    assert min_norm_element(generators).tolist() == [0.0]  # and rightly so: 0 is its minimum


KINKS = {
    "affine": Affine(tensor([3.0, 1.0], [-1.0, 1.0]), tensor(0.0, 0.0)),
    "quadratic": Farthest(tensor([2.0, -1.0], [-2.0, -1.0], [0.0, 1.0])),
}


@pytest.mark.parametrize("game", KINKS.values(), ids=KINKS.keys())
def test_every_active_gradient_may_fail_where_the_least_one_descends(game):
    x = tensor(0.0, 0.0)
    generators = subdifferential(game, x, torch.eye(game.sizes[1], dtype=KIND))
    g = min_norm_element(generators)
    torch.testing.assert_close(g, tensor(0.0, 1.0), rtol=0, atol=1e-15)  # not 0: x is not stationary
    assert directional_derivative(generators, -generators).min() >= 2  # both point up
    for step in STEPS:
        assert (game.f(x - step * generators) > game.f(x)).all()  # f is convex: no step size helps
        assert game.f(x - step * g) < game.f(x)


def test_minus_the_least_element_is_the_steepest_descent_direction():
    directions = torch.nn.functional.normalize(randn(20000, 3), dim=-1)
    for seed in range(20):
        generators = randn(4, 3, seed=seed) + tensor(0.0, 0.0, 1.5)
        g = min_norm_element(generators)
        assert float(directional_derivative(generators, -g)) == pytest.approx(-float(g @ g), abs=1e-12)
        slopes = directional_derivative(generators, directions)
        assert slopes.min() >= -g.norm() - 1e-12
        if g.norm() > 0:
            assert slopes.min() < -0.95 * g.norm()  # the bound is nearly met, by a random direction near -g
        else:
            assert slopes.min() > 0


def test_stationary_points_of_the_farthest_distance_are_centers():
    angles = tensor(0.1, 2.0, 4.5)
    places = tensor(5.0, -3.0) + 2 * torch.stack([angles.cos(), angles.sin()], -1)
    game, everyone = Farthest(places), torch.eye(3, dtype=KIND)
    center = tensor(5.0, -3.0)  # of the circle through three places around it: the least enclosing one
    assert min_norm_element(subdifferential(game, center, everyone)).norm() < 1e-14
    assert (game.f(center + 0.1 * randn(100, 2)) > game.f(center)).all()
    lopsided = Farthest(places * tensor(1.0, 0.0) + tensor(0.0, 0.0))  # all on one line: the middle of the extremes
    middle = torch.stack([(places[:, 0].max() + places[:, 0].min()) / 2, tensor(0.0)[0]])
    assert min_norm_element(subdifferential(lopsided, middle, everyone)).norm() < 1e-14
    assert min_norm_element(subdifferential(lopsided, middle + 0.01, everyone)).norm() > 0.01


# -- the element of least norm -------------------------------------------------------------------------------------


def cases():
    """Yield 200 sets of generators (k, n): general ones, and every degenerate kind."""
    random = np.random.default_rng(0)
    for i in range(200):
        k, n = random.integers(1, 13), random.integers(1, 9)
        g = random.normal(size=(k, n)) + random.choice([0.0, 1.0, 3.0]) * random.normal(size=n)
        yield {
            0: lambda g=g: g,
            1: lambda g=g, k=k: g[random.integers(0, k, 2 * k)],  # duplicates
            2: lambda n=n, k=k: (
                random.normal(size=n) + np.outer(random.normal(size=k), random.normal(size=n))
            ),  # a line
            3: lambda g=g, k=k: g - random.dirichlet(np.ones(k)) @ g,  # 0 inside the hull
            4: lambda g=g: g[:1],  # one generator
            5: lambda n=n, k=k: random.integers(-2, 3, size=(k, n)).astype(float),  # ties
            6: lambda g=g: g[0] + 1e-7 * g,  # nearly equal
            7: lambda g=g: g * 10.0 ** random.integers(-9, 10),  # any units
        }[i % 8]()


def by_nnls(g):
    """Return the least element: min |Gᵀw|² + (Σw - 1)² over w >= 0 is attained at a multiple of its weights."""
    unit = np.abs(g).max() or 1.0
    weights, _ = nnls(np.vstack([g.T / unit, np.ones(len(g))]), np.append(np.zeros(g.shape[1]), 1.0), maxiter=10_000)
    return weights / weights.sum() @ g


def test_least_element_equals_nonnegative_least_squares_on_200_cases():
    zeros = 0
    for case, g in enumerate(cases()):
        found, size = min_norm_element(torch.tensor(g)).numpy(), np.linalg.norm(g, axis=1).max() or 1.0
        np.testing.assert_allclose(found / size, by_nnls(g) / size, rtol=0, atol=1e-10, err_msg=f"case {case}")
        assert (g @ found).min() >= found @ found - 1e-13 * size**2, case  # Wolfe's condition of optimality
        k, n = g.shape
        hull = linprog(np.zeros(k), A_eq=np.vstack([g.T / size, np.ones(k)]), b_eq=np.append(np.zeros(n), 1.0))
        assert (not found.any()) == (hull.status == 0), case  # 0 exactly where 0 is in the hull
        zeros += not found.any()
    assert 40 < zeros < 120  # both kinds are there


def test_least_element_is_no_longer_than_that_of_slsqp():
    for g in [g for g in cases() if len(g) > 2 and np.abs(g).max() < 10][:30]:
        k = len(g)
        solved = minimize(
            lambda w, g=g: (w @ g) @ (w @ g),
            np.ones(k) / k,
            jac=lambda w, g=g: 2 * g @ (w @ g),
            bounds=[(0, 1)] * k,
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
            options={"ftol": 1e-14, "maxiter": 500},
        )
        found = min_norm_element(torch.tensor(g)).numpy()
        assert found @ found <= solved.fun + 1e-12
        np.testing.assert_allclose(found, solved.x @ g, rtol=0, atol=1e-4)


def test_least_element_keeps_dtype_and_extreme_sizes():
    assert min_norm_element(torch.tensor([[3.0, 1.0], [-1.0, 1.0]])).dtype == torch.float32
    for size in (1e300, 1e-300):
        found = min_norm_element(size * tensor([3.0, 1.0], [-1.0, 1.0])) / size
        torch.testing.assert_close(found, tensor(0.0, 1.0), rtol=0, atol=1e-14)
    assert min_norm_element(torch.zeros(3, 2)).tolist() == [0.0, 0.0]


# -- errors and the page -------------------------------------------------------------------------------------------

ZERO, BOX = tensor(0.0), Bilinear(radius=1.0).to(dtype=KIND)
WRONG = [
    (lambda: danskin_gradient(Polar(), ZERO, ZERO), "has no payoff .* needs a ZeroSumGame"),
    (lambda: danskin_gradient(BOX, tensor(0.0, 0.0), ZERO), r"shapes \(2,\) and \(1,\): \(\*S, 1\) and \(\*S, 1\)"),
    (lambda: danskin_gradient(BOX, tensor([0.0], [0.0]), ZERO), r"shapes \(2, 1\) and \(1,\)"),
    (lambda: danskin_gradient(BOX, ZERO, tensor(1.5)), r"y is not in Y: .* game\.project"),
    (lambda: subdifferential(BOX, ZERO, tensor([1.0], [1.5])), "y is not in Y"),
    (lambda: subdifferential(BOX, tensor([0.0]), tensor([1.0])), r"one x of shape \(n,\).* got \(1, 1\)"),
    (lambda: subdifferential(BOX, ZERO, ZERO), r"candidates of shape \(k, m\), .*torch\.stack"),
    (lambda: subdifferential(BOX, tensor(torch.nan), tensor([1.0])), "they must be finite"),
    (lambda: directional_derivative(tensor([1.0, 2.0]), ZERO), r"direction has shape \(1,\): \(\*D, 2\)"),
    (lambda: directional_derivative(tensor(1.0), ZERO), r"generators of shape \(1,\).*as from subdifferential"),
    (lambda: min_norm_element(torch.zeros(0, 2)), r"shape \(0, 2\): finite numbers \(k, n\), k >= 1"),
    (lambda: min_norm_element(tensor([torch.inf])), "finite numbers"),
]


@pytest.mark.parametrize(("call", "words"), WRONG)
def test_errors_say_what_to_do(call, words):
    with pytest.raises(GameError, match=words):
        call()


def test_the_page_runs_and_prints_what_it_shows():
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.S)
    (shown,) = re.findall(r"```text\n(.*?)```", PAGE.read_text(), flags=re.S)
    try:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(block, PAGE.name, "exec"), {"__name__": "page"})
    finally:
        torch.set_default_dtype(torch.float32)  # the page works in float64
    assert printed.getvalue() == shown
