"""Gradients that are written out are those of the payoff."""

import pytest
import torch

import robustgames as rg
from robustgames.games import (
    AlmostBilinear,
    Bilinear,
    DiracGAN,
    Forsaken,
    GlobalForsaken,
    Letcher,
    MatrixGame,
    Quadratic,
    RidgeBox,
    RobustRegression,
    StepBox,
    WeakMinty,
)

GAMES = (
    Bilinear([[1, 2, 3], [4, 5, 6]]),
    Quadratic([[2, 1], [1, 3]], [[1]], [[1], [2]]),
    AlmostBilinear(0.3),
    Forsaken(0.1),
    DiracGAN(0.3),
    MatrixGame("rock_paper_scissors"),
    GlobalForsaken(),
    Letcher(),
    RidgeBox(),
    StepBox(),
    WeakMinty(-0.3, 2.0, 2),
    RobustRegression(features=torch.eye(4)[:, :2], target=torch.arange(4.0)),
)


@pytest.mark.parametrize("game", GAMES, ids=lambda game: type(game).__name__)
def test_fields_are_those_of_autograd_on_the_payoff_and_differentiable(game):
    game = game.to(dtype=torch.float64)
    z = torch.randn(3, 5, sum(game.sizes), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    field = rg.ZeroSumGame.field(game, z)
    torch.testing.assert_close(game.field(z), field, rtol=1e-14, atol=1e-15)
    for player in (0, 1):
        torch.testing.assert_close(game.field(z, player=player), game.split(field)[player], rtol=1e-14, atol=1e-15)
    (first, second), v = game.evaluate(z)
    payoff = game.payoff(*game.split(z))
    assert torch.equal(v, game.field(z)) and torch.equal(second, payoff) and torch.equal(first, -payoff)
    one, jacobian = z[0, 0], torch.autograd.functional.jacobian
    plain = jacobian(lambda u: rg.ZeroSumGame.field(game, u), one)
    torch.testing.assert_close(jacobian(game.field, one), plain, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_a_curvature_that_is_singular_up_to_rounding_has_no_best_response(kind):
    """Some of these matrices have a least eigenvalue of 1e-16 or 1e-9 in floating point, of which 0 is meant."""
    for seed in range(200):
        v = torch.randn(3, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        game = Quadratic(v @ v.mT, v @ v.mT + torch.eye(3, dtype=torch.float64), n=3).to(dtype=kind)
        z = torch.ones(6, dtype=kind)
        assert game.best_response(z, 0) is None and game.best_response(z, 1) is not None
