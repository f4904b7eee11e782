"""The steps of the gradient attacks: of constant size, and the adaptive ones of Auto-PGD."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from robustgames.attacks.directions import Direction, steepest
from robustgames.attacks.engine import Rows, Step
from robustgames.attacks.problem import Problem
from robustgames.errors import GameError


@dataclass(frozen=True)
class Constant(Step):
    """η⁺ = P(η + size direction(m)), m⁺ = momentum m + g / |g|_1 (m = g without momentum).

    Source of the momentum: Dong et al. 2018 (MI-FGSM).

    Args:
        size: Size of a step. If None, it is `share` times eps, the radius of each row.
        share: Size of a step in units of eps.
        direction: Direction of a step, from the gradient.
        momentum: Weight of the previous steps.
    """

    size: float | None = None
    share: float = 0.1
    direction: Direction = steepest
    momentum: float = 0.0

    def init(self, problem: Problem, eta: Tensor) -> Rows:
        return {"m": torch.zeros_like(eta)} if self.momentum else {}

    def move(self, problem: Problem, eta: Tensor, g: Tensor, rows: Rows, k: int) -> tuple[Tensor, Rows]:
        if self.momentum:
            g = self.momentum * rows["m"] + torch.nn.functional.normalize(g, p=1, dim=-1)
            rows = {"m": g}
        size = self.size if self.size is not None else self.share * problem.threat.eps
        return problem.project(eta + size * self.direction(problem, eta, g)), rows


def check_motion(step_size: float | None, momentum: float = 0.0) -> None:
    """Refuse a step that would not lead along the gradient: a size that is not positive, or a negative momentum."""
    if step_size is not None and not 0 < step_size < float("inf"):
        raise GameError(f"step_size is {step_size}: a finite length > 0 is needed, e.g. step_size=0.01, or None")
    if not 0 <= momentum < float("inf"):
        raise GameError(f"momentum is {momentum}: the weight of the previous steps is finite and >= 0, e.g. 1.0")


@dataclass(frozen=True)
class Halving(Step):
    """APGD in ℓ∞ and ℓ2: u = P(η + s d), η⁺ = P(η + 0.75 (u - η) + 0.25 (η - η⁻)), s = 2 eps at first.

    At checkpoints s is halved and the row returns to its best point, if at most 75 % of the steps since the last
    one raised the loss, or if neither s nor the best loss changed since then. Source: Croce and Hein 2020, algorithm 1.

    Args:
        steps: Steps of the whole attack, which fix the checkpoints.
        inertia: Weight of the new step against the previous one.
        rho: Share of the steps that must raise the loss.
    """

    steps: int
    inertia: float = 0.75
    rho: float = 0.75

    @cached_property
    def checkpoints(self) -> dict[int, int]:
        """{iterate: steps since the previous checkpoint}: gaps of 22 % of the steps that shrink by 3 % down to 6 %."""
        gap, least, less = (max(int(share * self.steps), 1) for share in (0.22, 0.06, 0.03))
        k = gap
        marks: dict[int, int] = {}
        while k < self.steps:
            marks[k] = gap
            gap = max(gap - less, least)
            k += gap
        return marks

    def due(self, k: int) -> bool:
        return k in self.checkpoints

    def init(self, problem: Problem, eta: Tensor) -> Rows:
        one = torch.ones_like(eta[:, :1])
        return {
            "size": 2 * problem.threat.eps * one,
            "previous": eta,
            "gains": torch.zeros_like(one),
            "before": torch.full_like(one, float("inf")),  # the start gains nothing
            "halved": one > 0,
            "best": one,
        }

    def move(self, problem: Problem, eta: Tensor, g: Tensor, rows: Rows, k: int) -> tuple[Tensor, Rows]:
        moved = problem.project(eta + rows["size"] * problem.threat.steepest(g))
        if k > 0:
            back = (1 - self.inertia) * (eta - rows["previous"])
            moved = problem.project(torch.lerp(eta, moved, self.inertia) + back)
        return moved, {**rows, "previous": eta}

    def check(self, problem: Problem, rows: Rows, top: Rows, k: int) -> tuple[Tensor, Rows]:
        swings = rows["gains"] <= self.rho * self.checkpoints[k]
        stuck = ~rows["halved"] & (rows["best"] >= top["loss"])
        halve = swings | stuck
        size = torch.where(halve, rows["size"] / 2, rows["size"])
        update = {"size": size, "halved": halve, "best": top["loss"], "gains": torch.zeros_like(size)}
        return halve, {**rows, **update}


@dataclass(frozen=True)
class Sparse(Step):
    """APGD in ℓ1: signs of the k largest gradients over k; k follows the sparsity of the best point.

    Every 4 % of the steps k becomes two thirds of the best point's non-zero coordinates. If they became fewer by
    5 %, the step is reset to eps and the row restarts from its best point; else the step is divided by 1.5 (down to
    eps / 10). Source: Croce and Hein 2021, "Mind the box", algorithm 1.

    Args:
        steps: Steps of the whole attack.
        leap: Whether the last step leads to argmax <g, η> over ball and box. This is exact for a linear loss, whose
            maximum signs never reach.
    """

    steps: int
    leap: bool = False

    def due(self, k: int) -> bool:
        return k % max(int(0.04 * self.steps), 1) == 0

    def init(self, problem: Problem, eta: Tensor) -> Rows:
        count = (eta != 0).sum(-1, keepdim=True)
        count = torch.where(count > 0, count, round(0.3 * eta.shape[-1]))  # from zero: a fifth of the coordinates
        return {"size": problem.threat.eps * torch.ones_like(eta[:, :1]), "count": count}

    def move(self, problem: Problem, eta: Tensor, g: Tensor, rows: Rows, k: int) -> tuple[Tensor, Rows]:
        if self.leap and k == self.steps - 1:
            return problem.threat.at(problem.a).maximize(g), rows
        size = g.abs()
        sign = g.sign() * (size >= _kth_largest(size, (rows["count"] / 1.5).ceil().long()))
        step = sign / sign.abs().sum(-1, keepdim=True).clamp_min(1)
        return problem.project(eta + rows["size"] * step), rows

    def check(self, problem: Problem, rows: Rows, top: Rows, k: int) -> tuple[Tensor, Rows]:
        eps = problem.threat.eps * torch.ones_like(rows["size"])
        count = (top["eta"] != 0).sum(-1, keepdim=True)
        sparser = count < 0.95 * rows["count"]
        size = torch.where(sparser, eps, rows["size"] / 1.5)
        return sparser, {"size": torch.minimum(torch.maximum(size, eps / 10), eps), "count": count}


def _kth_largest(size: Tensor, count: Tensor) -> Tensor:
    """Return the count-th largest coordinate of each row, count (N, 1)."""
    count = count.clamp(1, size.shape[-1])
    most = size.shape[-1] if size.is_cuda else int(count.max())  # on a device sorting is cheaper than waiting
    return size.topk(most, dim=-1).values.gather(-1, count - 1)
