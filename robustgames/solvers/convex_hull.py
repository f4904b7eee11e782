"""The element of least norm of the convex hull of a few vectors, in every run at once and without a loop over runs."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

MOST = 8  # vectors: their faces are 2^k - 1


def min_norm_combination(vectors: Tensor) -> Tensor:
    """Return argmin {|v|_2 : v in conv{v_1 … v_k}}: (*S, k, n) -> (*S, n).

    For player 0's fields v_i = -g_i at k maximizers it is the direction of steepest descent of max_y Φ.
    `danskin.min_norm_element` is the same for one run and any number of vectors.

    Source: Latorre, Krawczuk, Dadi, Pethick and Cevher 2023, "Finding actual descent directions for adversarial
    training", algorithm 1.

    Example:
        >>> min_norm_combination(torch.tensor([[3.0, -1.0], [-1.0, 3.0], [4.0, 4.0]]))
        tensor([1., 1.])
    """
    gram = vectors.double() @ vectors.double().mT
    return (min_norm_weights(gram).to(vectors).unsqueeze(-2) @ vectors).squeeze(-2)


def min_norm_weights(gram: Tensor) -> Tensor:
    """Return argmin {wᵀ G w : w >= 0, sum w = 1} for Gram matrices G (*S, k, k), shape (*S, k).

    The minimizer lies inside one of the 2^k - 1 faces of the simplex, where it is the one of the face's affine hull.
    A face whose vectors are affinely dependent has no unique one, but then a smaller face holds a minimizer as well.
    """
    k = gram.shape[-1]
    best = gram.new_zeros(gram.shape[:-1])
    least = gram.new_full(gram.shape[:-2], torch.inf)
    for size in range(1, k + 1):
        for face in combinations(range(k), size):
            inner = _affine_weights(gram[..., list(face), :][..., list(face)])
            weights = torch.zeros_like(best)
            weights[..., list(face)] = inner
            value = (weights * (gram @ weights.unsqueeze(-1)).squeeze(-1)).sum(-1)
            better = (inner >= 0).all(-1) & (value < least)  # false for NaN
            best, least = torch.where(better.unsqueeze(-1), weights, best), torch.where(better, value, least)
    return best


def _affine_weights(gram: Tensor) -> Tensor:
    """Return argmin {wᵀ G w : sum w = 1}: w is proportional to G⁺ 1, or to G⁻¹ 1 of edges; NaN if it is not unique."""
    size = gram.shape[-1]
    if size == 1:
        return torch.ones_like(gram[..., 0])
    # with w_1 = 1 - sum(rest) the edges v_i - v_1 have a Gram matrix of full rank wherever the minimizer is unique
    first, cross = gram[..., :1, :1], gram[..., 1:, :1]
    edges = gram[..., 1:, 1:] - cross - cross.mT + first
    rest, failed = torch.linalg.solve_ex(edges, first.squeeze(-1) - cross.squeeze(-1))
    rest = torch.where((failed == 0).unsqueeze(-1), rest, torch.nan)
    return torch.cat([1 - rest.sum(-1, keepdim=True), rest], -1)
