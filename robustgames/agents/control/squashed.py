"""The squashed Gaussian: a = tanh(u), u ~ N(m, σ²), its density, and the gradients of a draw."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

LOWEST, HIGHEST = -20.0, 2.0
"""Bounds of log σ, those of Haarnoja et al. 2018 (code) and of Stable-Baselines3."""
HALF_LOG_2PI, LOG_2 = 0.5 * math.log(2 * math.pi), math.log(2)


class Squashed(NamedTuple):
    """One draw of every row."""

    actions: Tensor
    """a = tanh(m + σ ξ), (*S, B, k)."""
    log_prob: Tensor
    """log π(a) = Σ_i [log N(u_i; m_i, σ_i²) - log(1 - tanh² u_i)], (*S, B, 1)."""
    spread: Tensor
    """σ ξ, (*S, B, k)."""
    free: Tensor
    """Where log σ is within its bounds, (*S, B, k)."""


def squash(heads: Tensor, noise: Tensor) -> Squashed:
    """Return the draws of heads [m | log σ], (*S, B, 2k), for noise ξ ~ N(0, I), (*S, B, k).

    log(1 - tanh² u) = 2 (log 2 - u - log(1 + exp(-2u))): exact where tanh u rounds to ±1. So no density needs an
    epsilon, which that of Stable-Baselines3 has (1e-6 inside of the logarithm).

    Source: Haarnoja et al. 2018, Soft Actor-Critic Algorithms and Applications, appendix C.

    Example:
        >>> squash(torch.tensor([[0.0, 0.0]]), torch.zeros(1, 1)).log_prob
        tensor([[-0.9189]])
    """
    mean, raw = heads.chunk(2, -1)
    log_std = raw.clamp(LOWEST, HIGHEST)
    spread = log_std.exp() * noise
    u = mean + spread
    volume = 2 * (LOG_2 - u - torch.nn.functional.softplus(-2 * u))
    log_prob = (-0.5 * noise.square() - log_std - HALF_LOG_2PI - volume).sum(-1, keepdim=True)
    return Squashed(torch.tanh(u), log_prob, spread, (raw >= LOWEST) & (raw <= HIGHEST))


def in_heads(drawn: Squashed, ascents: Tensor, temperature: Tensor) -> Tensor:
    """Return the gradient in the heads [m | log σ], (*S, B, 2k), of what has gradient g in a, minus T log π(a).

    With the noise fixed, d log π / du = 2a and ∂ log π / ∂ log σ = -1. So dJ/dm = g (1 - a²) - 2 T a, and
    dJ/d log σ = dJ/dm σ ξ + T where log σ is within its bounds, else 0.

    Args:
        drawn: The draws.
        ascents: g, (*S, B, k).
        temperature: T, which broadcasts against them.
    """
    a = drawn.actions
    in_mean = ascents * (1 - a.square()) - 2 * temperature * a
    return torch.cat([in_mean, (in_mean * drawn.spread + temperature) * drawn.free], -1)
