"""Parts of attacks in ℓ0, whose norm is the number of coordinates that change."""

from __future__ import annotations

import torch
from torch import Tensor

from robustgames.attacks.problem import Problem


def fewest(p: Problem, eta: Tensor, value: Tensor, g: Tensor) -> Tensor:
    """Return the least number of coordinates whose change brings the linearized margin to 0 inside the box, (N,).

    The margin m(0) = value - <g, η> of the unperturbed input is negative. Coordinate i raises it by at most
    |g_i| times the room to the wall on the side of g_i; the largest of these gains are taken first.

    Args:
        p: Problem.
        eta: Perturbations (N, p).
        value: Margins at η (N,).
        g: Their gradients (N, p).
    """
    low, high = p.walls
    gain = torch.where(g > 0, g * high, g * low)
    gap = torch.linalg.vecdot(g, eta) - value
    held = gain.sort(-1, descending=True).values.cumsum(-1) < gap.unsqueeze(-1)
    return (held.sum(-1) + 1).clamp_max(eta.shape[-1]).to(eta.dtype)


def drop(p: Problem, eta: Tensor, steps: int) -> Tensor:
    """Return η without coordinates that it does not need to fool the classifier, found in some bisections.

    The candidates keep the largest changes |η_i|. Each step is one forward pass. Rows that η does not fool keep it.
    """
    order = eta.abs().argsort(stable=True, dim=-1, descending=True)
    rank = torch.empty_like(order).scatter(-1, order, torch.arange(eta.shape[-1], device=eta.device).expand_as(order))
    most = (eta != 0).sum(-1)
    least = torch.zeros_like(most)  # the input itself is classified correctly
    for _ in range(steps):
        count = torch.div(least + most, 2, rounding_mode="floor")
        fooled, _ = p.judge(torch.where(rank < count.unsqueeze(-1), eta, 0))
        least, most = torch.where(fooled, least, count), torch.where(fooled, count, most)
    return torch.where(rank < most.unsqueeze(-1), eta, 0)
