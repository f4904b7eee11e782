"""The element of least norm of a convex hull, in a batch, against Wolfe's algorithm and closed forms."""

import pytest
import torch

from robustgames.solvers.convex_hull import min_norm_combination, min_norm_weights
from robustgames.solvers.danskin import min_norm_element

KIND = torch.float64


def randn(*shape, seed=0):
    return torch.randn(shape, dtype=KIND, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("k", range(1, 9))
@pytest.mark.parametrize("n", [1, 3, 20])
def test_it_equals_wolfes_algorithm_in_every_run(k, n):
    vectors = randn(2, 5, k, n, seed=k) + 0.5  # several runs, and with n < k dependent vectors
    expected = torch.stack([min_norm_element(v) for v in vectors.flatten(0, 1)]).view(2, 5, n)
    torch.testing.assert_close(min_norm_combination(vectors), expected, rtol=0, atol=1e-9)


def test_two_vectors_have_a_closed_form():
    a, b = randn(50, 7), randn(50, 7, seed=1)
    share = ((b - a) * b).sum(-1) / (b - a).square().sum(-1)
    expected = torch.lerp(b, a, share.clamp(0, 1).unsqueeze(-1))
    torch.testing.assert_close(min_norm_combination(torch.stack([a, b], -2)), expected, rtol=0, atol=1e-12)


def test_no_vector_of_the_hull_makes_an_obtuse_angle_with_it():
    vectors = randn(100, 4, 6) + 0.3
    best = min_norm_combination(vectors)
    products = (vectors @ best.unsqueeze(-1)).squeeze(-1)
    least = best.square().sum(-1, keepdim=True)
    assert (products >= least - 1e-10).all()  # Wolfe's condition of optimality


def test_equal_vectors_and_a_hull_around_zero():
    same = randn(1, 6).expand(3, 6)
    torch.testing.assert_close(min_norm_combination(same), same[0])
    triangle = torch.tensor([[1.0, 0.0], [-1.0, 1.0], [-1.0, -1.0]], dtype=KIND)
    torch.testing.assert_close(min_norm_combination(triangle), torch.zeros(2, dtype=KIND), rtol=0, atol=1e-12)
    weights = min_norm_weights(triangle @ triangle.mT)
    torch.testing.assert_close(weights, torch.tensor([0.5, 0.25, 0.25], dtype=KIND))
