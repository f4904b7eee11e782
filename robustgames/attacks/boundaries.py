"""Linearized boundaries of a classifier, and the projection on one of them inside the box of the inputs."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from robustgames.attacks.engine import PATIENCE
from robustgames.attacks.problem import FAR, Problem

DUALS = {"linf": 1.0, "l2": 2.0, "l1": float("inf")}


def nearest_boundary(p: Problem, values: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """Return f (N,) and ∇f (N, p) of the boundary with the least |f| / |∇f|_dual."""
    if values.shape[1] == 1:
        return values[:, 0], g[:, 0]
    best = (values.abs() / slope(p, g)).argmin(-1, keepdim=True)
    return values.gather(1, best).squeeze(1), g.take_along_dim(best.unsqueeze(-1), 1).squeeze(1)


def slope(p: Problem, g: Tensor) -> Tensor:
    """Return |g|_dual, the steepest rise along a perturbation of norm 1, at least 1e-12."""
    return torch.linalg.vector_norm(g, DUALS[p.threat.norm], dim=-1).clamp_min(1e-12)


def to_hyperplane(w: Tensor, gap: Tensor, low: Tensor, high: Tensor, norm: str, rounds: int = 24) -> Tensor:
    """Return the d of least |d|_norm with <w, d> = gap and low <= d <= high, where low <= 0 <= high are finite.

    |d_i| = min(λ u_i, room_i) with u = 1 in ℓ∞ and |w| in ℓ2, room_i the distance to the box in the direction that
    helps: <w, d> is concave and piecewise linear in λ, so Newton's method climbs to the root from below and ends there.
    In ℓ1 the coordinates of largest |w| are filled one after the other. If the box does not reach the hyperplane, d is
    its corner nearest to it.

    Args:
        w: Normal vectors (N, p).
        gap: Values of <w, d>, (*S, N).
        low, high: Box of d, (*S, N, p).
        norm: "linf", "l2" or "l1".
        rounds: Maximum number of Newton iterations; on a CPU they stop when all rows have converged.
    """
    side = w.sign() * gap.sign().unsqueeze(-1)
    room, gain, gap = torch.maximum(side * high, side * low), w.abs(), gap.abs().unsqueeze(-1)
    return side * (_fill(gain, gap, room) if norm == "l1" else _level(gain, gap, room, norm, rounds))


def _level(gain: Tensor, gap: Tensor, room: Tensor, norm: str, rounds: int) -> Tensor:
    """Return |d| in ℓ∞ and ℓ2, by Newton's method on λ."""
    u = 1.0 if norm == "linf" else gain
    rates, tiny, open_ = u * gain, torch.finfo(gain.dtype).tiny, torch.empty_like(room)
    level = (gap / rates.sum(-1, keepdim=True).clamp_min(tiny)).clamp_max(FAR)
    for _ in range(rounds):
        reach = level * u
        rest = gap - torch.linalg.vecdot(torch.minimum(reach, room), gain).unsqueeze(-1)
        torch.gt(room, reach, out=open_)  # 1 or 0: to convert a mask took three times as long
        rise = torch.linalg.vecdot(open_, rates).unsqueeze(-1)
        higher = (level + rest.clamp_min(0) / rise.clamp_min(tiny)).clamp_max(FAR)
        converged = higher <= level * (1 + 4 * torch.finfo(gain.dtype).eps)
        level = higher
        if gain.device.type not in PATIENCE and bool(converged.all()):
            break
    return torch.minimum(level * u, room)


def _fill(gain: Tensor, gap: Tensor, room: Tensor) -> Tensor:
    """Return |d| in ℓ1."""
    gain, order = gain.sort(-1, descending=True)
    order = order.expand_as(room)
    room = room.gather(-1, order)
    before = pad((gain * room).cumsum(-1)[..., :-1], (1, 0))
    taken = ((gap - before) / gain.clamp_min(torch.finfo(gain.dtype).tiny)).clamp_min(0)
    return torch.zeros_like(room).scatter(-1, order, torch.minimum(taken, room))
