"""The one loop of all gradient attacks: η⁺ = P(η + step(∇L)), from a start, for a number of steps.

FGSM, projected gradient ascent, PGD, momentum and APGD differ in their `Step` and their start. All tensors of a loop
have one row per input, so that rows that are fooled can leave it (`early="drop"`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import torch
from torch import Tensor

from robustgames.attacks.problem import Problem
from robustgames.errors import GameError, unknown

Early = Literal["best", "last", "drop", "loss"]
Rows = dict[str, Tensor]
Direction = Callable[[Problem, Tensor, Tensor], Tensor]  # (problem, η, gradient) -> direction


class Step(ABC):
    """How an iterate moves. State is a dictionary of tensors with one row per input."""

    @abstractmethod
    def init(self, problem: Problem, eta: Tensor) -> Rows:
        """Return the state before the first step from η."""

    @abstractmethod
    def move(self, problem: Problem, eta: Tensor, g: Tensor, rows: Rows, k: int) -> tuple[Tensor, Rows]:
        """Return (the (k + 1)-th, projected iterate, the next state) for the k-th iterate η with gradient g."""

    def due(self, k: int) -> bool:
        """Return whether `check` looks at the k-th iterate."""
        return False

    def check(self, problem: Problem, rows: Rows, top: Rows, k: int) -> tuple[Tensor, Rows]:
        """Return (rows (N, 1) that restart from the best point, the next state), where the k-th iterate is due."""
        raise NotImplementedError


def ascend(problem: Problem, start: Tensor, step: Step, steps: int, early: Early = "best") -> Tensor:
    """Return the perturbations that `steps` gradient steps from the start end with, (N, p).

    early = "best": of each row the last iterate that fools the classifier, else the one of highest loss; one forward
    pass more judges the last iterate. "last": the last iterate, unjudged. "drop": as "best", but a row that is fooled
    leaves the loop at once; this waits for the device in every step and pays where the classifier is weak. "loss": the
    iterate of highest loss, fooled or not.
    """
    check_steps(steps, early)
    if early == "last":
        return _last(problem, start, step, steps)
    out, alive = start.clone(), torch.arange(len(start), device=start.device)
    eta, rows, top = start, step.init(problem, start), _worst(start)
    won = torch.zeros(len(start), dtype=torch.bool, device=start.device)
    for k in range(steps + 1):
        last = k == steps
        value, fooled, g = (*problem.evaluate(eta), top["g"]) if last else problem.gradient(eta)
        rows = _count_gains(rows, value)
        top = _raise(top, {"eta": eta, "loss": value.unsqueeze(-1), "g": g})
        if early == "drop":
            if bool(fooled.any()):
                out[alive[fooled]] = eta[fooled]
                keep = (~fooled).nonzero().squeeze(-1)
                alive, eta, g, problem = alive[keep], eta[keep], g[keep], problem.rows(keep)
                rows, top = ({name: value[keep] for name, value in part.items()} for part in (rows, top))
            if len(alive) == 0:
                return out
        elif early == "best":
            out, won = torch.where(fooled.unsqueeze(-1), eta, out), won | fooled
        if last:
            break
        if k > 0 and step.due(k):
            again, rows = step.check(problem, rows, top, k)
            eta, g = torch.where(again, top["eta"], eta), torch.where(again, top["g"], g)
        eta, rows = step.move(problem, eta, g, rows, k)
    if early == "drop":
        out[alive] = top["eta"]
        return out
    return torch.where(won.unsqueeze(-1), out, top["eta"])


def _last(problem: Problem, eta: Tensor, step: Step, steps: int) -> Tensor:
    rows = step.init(problem, eta)
    for k in range(steps):
        _, _, g = problem.gradient(eta)
        eta, rows = step.move(problem, eta, g, rows, k)
    return eta


def _worst(eta: Tensor) -> Rows:
    lowest = torch.full_like(eta[:, :1], -float("inf"))
    return {"eta": eta, "loss": lowest, "g": torch.zeros_like(eta)}


def _raise(top: Rows, new: Rows) -> Rows:
    better = new["loss"] > top["loss"]
    return {name: torch.where(better, new[name], top[name]) for name in top}


def _count_gains(rows: Rows, value: Tensor) -> Rows:
    if "gains" not in rows:
        return rows
    value = value.unsqueeze(-1)
    return {**rows, "gains": rows["gains"] + (value > rows["before"]), "before": value}


def check_steps(steps: int, early: str = "best") -> None:
    """Refuse a number of steps or a way to stop that there is not."""
    if not steps >= 1:
        raise GameError(f"steps is {steps}: an attack takes at least 1 step")
    if early not in get_args(Early):
        raise unknown("value of early", early, get_args(Early))


# -- directions --------------------------------------------------------------------------------------------
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
    return _largest(g, count)


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


def _movable(problem: Problem, eta: Tensor, g: Tensor) -> Tensor:
    """Return g with 0 where a step along its sign would leave the box of the inputs."""
    low, high = problem.threat.low - problem.a, problem.threat.high - problem.a  # as the projection rounds them
    return torch.where(((g > 0) & (eta < high)) | ((g < 0) & (eta > low)), g, 0)


def _largest(g: Tensor, count: int) -> Tensor:
    best, index = g.abs().topk(count, dim=-1)
    sign = g.gather(-1, index).sign()
    return torch.zeros_like(g).scatter(-1, index, sign / (best > 0).sum(-1, keepdim=True).clamp_min(1))


def _largest_of(size: Tensor, count: Tensor) -> Tensor:
    """Return the count-th largest coordinate of each row, count (N, 1)."""
    count = count.clamp(1, size.shape[-1])
    most = size.shape[-1] if size.is_cuda else int(count.max())  # a device sorts: to ask for the number is to wait
    return size.topk(most, dim=-1).values.gather(-1, count - 1)


# -- steps -------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Constant(Step):
    """η⁺ = P(η + size direction(m)), m⁺ = momentum m + g / |g|_1 (m = g without momentum).

    Source of the momentum: Dong et al. 2018 (MI-FGSM).

    Args:
        size: of a step; None: `share` times eps, the radius of each row.
        share: of eps.
        direction: what to make of the gradient.
        momentum: weight of the steps before.
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


@dataclass(frozen=True)
class Halving(Step):
    """APGD in ℓ∞ and ℓ2: u = P(η + s d), η⁺ = P(η + 0.75 (u - η) + 0.25 (η - η⁻)), s = 2 eps at first.

    At checkpoints s is halved and the row goes back to its best point, if at most 75 % of the steps since the last
    one raised the loss, or if neither s nor the best loss changed since then. Source: Croce and Hein 2020, algorithm 1.

    Args:
        steps: of the whole attack, which fix the checkpoints.
        inertia: weight of the new step against the one before.
        rho: share of the steps that must raise the loss.
    """

    steps: int
    inertia: float = 0.75
    rho: float = 0.75

    @cached_property
    def checkpoints(self) -> dict[int, int]:
        """{iterate: steps since the checkpoint before}: gaps of 22 % of the steps that shrink by 3 % down to 6 %."""
        gap, least, less = (max(int(share * self.steps), 1) for share in (0.22, 0.06, 0.03))
        marks, k = {}, gap
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
        news = {"size": size, "halved": halve, "best": top["loss"], "gains": torch.zeros_like(size)}
        return halve, {**rows, **news}


@dataclass(frozen=True)
class Sparse(Step):
    """APGD in ℓ1: signs of the k largest gradients over k; k follows the sparsity of the best point.

    Every 4 % of the steps k becomes two thirds of the best point's non-zero coordinates. Where they became fewer by
    5 % the step is reset to eps and the row restarts from its best point, else the step is divided by 1.5 (down to
    eps / 10). Source: Croce and Hein 2021, "Mind the box", algorithm 1.

    Args:
        steps: of the whole attack.
        leap: the last step goes to argmax <g, η> over ball and box, one candidate more: signs never get all of a linear
            loss, where this is exact.
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
        sign = g.sign() * (size >= _largest_of(size, (rows["count"] / 1.5).ceil().long()))
        step = sign / sign.abs().sum(-1, keepdim=True).clamp_min(1)
        return problem.project(eta + rows["size"] * step), rows

    def check(self, problem: Problem, rows: Rows, top: Rows, k: int) -> tuple[Tensor, Rows]:
        eps = problem.threat.eps * torch.ones_like(rows["size"])
        count = (top["eta"] != 0).sum(-1, keepdim=True)
        sparser = count < 0.95 * rows["count"]
        size = torch.where(sparser, eps, rows["size"] / 1.5)
        return sparser, {"size": torch.minimum(torch.maximum(size, eps / 10), eps), "count": count}
