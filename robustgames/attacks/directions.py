"""Directions of a gradient step: the gradient itself, steepest in the norm, or sparse."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from robustgames.attacks.problem import Problem

Direction = Callable[[Problem, Tensor, Tensor], Tensor]  # (problem, η, gradient) -> direction


def raw(problem: Problem, eta: Tensor, g: Tensor) -> Tensor:
    """Return the gradient itself."""
    return g


def steepest(problem: Problem, eta: Tensor, g: Tensor) -> Tensor:
    """Return the direction of norm 1 that raises the loss fastest."""
    return problem.threat.steepest(g)


def slide(problem: Problem, eta: Tensor, g: Tensor, quantile: float = 0.99) -> Tensor:
    """Return the signs of the largest gradients above a quantile, with |·|_1 = 1.

    Coordinates at their wall are skipped. Source: Tramèr and Boneh 2019, sparse ℓ1 descent (SLIDE).
    """
    g = _movable(problem, eta, g)
    count = max(1, round((1 - quantile) * g.shape[-1]))
    best, index = g.abs().topk(count, dim=-1)
    sign = g.gather(-1, index).sign()
    return torch.zeros_like(g).scatter(-1, index, sign / (best > 0).sum(-1, keepdim=True).clamp_min(1))


def top_k(problem: Problem, eta: Tensor, g: Tensor, low: int = 5, high: int = 20) -> Tensor:
    """Return the signs of the k largest gradients over k, k uniform in low … high.

    Source: Maini, Wong and Kolter 2020.
    """
    high = min(high, g.shape[-1])
    k = torch.randint(min(low, high), high + 1, (), generator=problem.generator, device=g.device)
    g = _movable(problem, eta, g)
    best, index = g.abs().topk(high, dim=-1)
    chosen = (torch.arange(high, device=g.device) < k) & (best > 0)
    return torch.zeros_like(g).scatter(-1, index, g.gather(-1, index).sign() * chosen / k)


DIRECTIONS: dict[str, Direction] = {"steepest": steepest, "raw": raw, "slide": slide, "top_k": top_k}


def _movable(problem: Problem, eta: Tensor, g: Tensor) -> Tensor:
    """Return g with 0 for the coordinates that a step along the sign would move out of the box of the inputs."""
    low, high = problem.threat.low - problem.a, problem.threat.high - problem.a  # rounded as in the projection
    return torch.where(((g > 0) & (eta < high)) | ((g < 0) & (eta > low)), g, 0)
