"""Majorize-minimize in ℓ∞: sign steps whose length follows from the smoothness of the loss. FGSM, with a guarantee."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import torch
from torch import Generator, Tensor

from robustgames.attacks.engine import Early, Rows, Step, ascend, check_steps
from robustgames.attacks.gradient import Start
from robustgames.attacks.losses import LabelLoss
from robustgames.attacks.problem import Bounds, Problem, problem
from robustgames.attacks.victim import Model, Victim
from robustgames.errors import GameError, unknown


def mm(
    model: Model | Victim,
    x: Tensor,
    y: Tensor,
    eps: float | Tensor,
    steps: int = 20,
    smoothness: float | Tensor | None = None,
    *,
    start: Start = "zero",
    early: Early = "best",
    loss: str | LabelLoss = "ce",
    targets: Tensor | None = None,
    bounds: Bounds = (0.0, 1.0),
    generator: Generator | None = None,
) -> Tensor:
    """Multi-step FGSM as majorize-minimize in ℓ∞: η⁺ maximizes φ(ζ) + <g, η - ζ> - L/2 |η - ζ|_inf² at ζ = η.

    The surrogate lies below the loss φ where |∇φ(η) - ∇φ(ζ)|_1 <= L |η - ζ|_inf, concave or not, so that the loss
    never falls; its maximizer over ball and box is `majorize_step`. As L -> 0 the first step from zero is FGSM.
    (The lecture's slide has the step with a minus, which descends.) Source: lecture "Majorize-minimize".

    Args:
        model, x, y, eps, loss, targets, bounds, generator: see `robustgames.attacks.gradient`; the norm is ℓ∞.
        steps: gradients; each is one pass forward and back.
        smoothness: L, a number or one per input, (N,). None: found row by row. It starts where the first step is
            FGSM; a step that ends below its surrogate is taken back and L at least doubled, else L is kept.
        start: "zero", or "random" in the ball.
        early: "best", "drop" or "loss": see `engine.ascend`; with a given smoothness also "last".

    Example:
        >>> mm(lambda x: torch.cat([x, -x], 1), torch.tensor([[0.5]]), torch.tensor([0]), eps=0.1, steps=1)
        tensor([[0.4000]])
    """
    check_steps(steps, early)
    if start not in get_args(Start):
        raise unknown("start", start, get_args(Start))
    if smoothness is None and early == "last":
        raise GameError("early is 'last', where a step that lowers the loss may end: give smoothness, or early='loss'")
    with problem(model, x, y, eps, "linf", bounds, generator, loss, targets) as p:
        rows = None if smoothness is None else _rows(smoothness, p.a)
        if len(x) == 0:
            return x.clone()
        eta = torch.zeros_like(p.a) if start == "zero" else p.threat.sample(p.a, p.generator)
        step: Step = Backtracking() if rows is None else Majorize(rows)
        return p.images(ascend(p, eta, step, steps, early)).view_as(x)


def majorize_step(g: Tensor, room: Tensor, smoothness: Tensor) -> Tensor:
    """Return argmax_d <g, d> - L/2 |d|_inf² over |d_i| <= room_i in the direction of g_i, (N, p).

    d_i = sign(g_i) min(t, room_i) with the t that maximizes sum |g_i| min(t, room_i) - L t²/2, hence
    t = (1/L) sum_{room_i > t} |g_i|, or a break where the right side jumps past t. The right side falls and t rises
    from break to break, so that t = max_j min(right side before break j, break j): exact, by one sort of the rooms.

    Args:
        g: gradients (N, p).
        room: way to the wall in the direction of g, (N, p), >= 0.
        smoothness: L > 0 (N, 1).
    """
    breaks, order = room.sort(dim=-1)
    size = g.abs().gather(-1, order)
    ahead = size.flip(-1).cumsum(-1).flip(-1)  # of the coordinates that are not at their walls before the break
    t = torch.minimum(ahead / smoothness, breaks).amax(-1, keepdim=True)
    return g.sign() * torch.minimum(t, room)


@dataclass(frozen=True, eq=False)
class Majorize(Step):
    """Steps of `majorize_step` with a given smoothness (N, 1)."""

    smoothness: Tensor

    def init(self, problem: Problem, eta: Tensor) -> Rows:
        return {"L": self.smoothness}

    def move(self, problem: Problem, eta: Tensor, g: Tensor, rows: Rows, k: int) -> tuple[Tensor, Rows]:
        return problem.project(eta + majorize_step(g, _room(problem, eta, g), rows["L"])), rows


@dataclass(frozen=True)
class Backtracking(Step):
    """Steps of `majorize_step` that are taken back where the loss lies below the surrogate; L grows there.

    Rows of the state: the accepted iterate with its gradient and loss ("before" is the loss of the newest iterate, kept
    by the loop), L, and the surrogate's promise for the newest iterate.
    """

    def init(self, problem: Problem, eta: Tensor) -> Rows:
        none = torch.full_like(eta[:, :1], -float("inf"))
        state = {"eta": eta, "g": torch.zeros_like(eta), "loss": none, "bound": none, "L": torch.zeros_like(none)}
        return {**state, "before": none, "gains": torch.zeros_like(none)}

    def move(self, problem: Problem, eta: Tensor, g: Tensor, rows: Rows, k: int) -> tuple[Tensor, Rows]:
        size = (eta - rows["eta"]).abs().amax(-1, keepdim=True).square()
        kept = rows["before"] >= rows["bound"]
        linear = rows["bound"] + rows["L"] / 2 * size
        seen = 2 * (linear - rows["before"]) / size  # the curvature along the step that failed
        grown = torch.maximum(2 * rows["L"], seen.nan_to_num(nan=0.0, posinf=0.0))
        eta, g = torch.where(kept, eta, rows["eta"]), torch.where(kept, g, rows["g"])
        loss = torch.where(kept, rows["before"], rows["loss"])
        room = _room(problem, eta, g)
        smoothness = torch.where(kept, rows["L"], grown) if k > 0 else _flattest(g, room)
        d = majorize_step(g, room, smoothness)
        bound = loss + (g * d).sum(-1, keepdim=True) - smoothness / 2 * d.abs().amax(-1, keepdim=True).square()
        return problem.project(eta + d), {**rows, "eta": eta, "g": g, "loss": loss, "bound": bound, "L": smoothness}


def _flattest(g: Tensor, room: Tensor) -> Tensor:
    """Return the largest L with which a step goes as far as there is room: to the corner, as FGSM does."""
    most = room.amax(-1, keepdim=True)
    ahead = torch.where(room >= most, g.abs(), 0).sum(-1, keepdim=True)
    return (ahead / most.clamp_min(1e-12)).clamp_min(1e-30)


def _room(problem: Problem, eta: Tensor, g: Tensor) -> Tensor:
    """Return the way from η to the wall of ball and box in the direction of the gradient."""
    eps, image = problem.threat.eps, problem.a + eta
    ahead = torch.where(g > 0, problem.threat.high - image, image - problem.threat.low)
    return torch.minimum(ahead, eps - g.sign() * eta).clamp_min(0)


def _rows(smoothness: float | Tensor, a: Tensor) -> Tensor:
    rows = torch.as_tensor(smoothness, dtype=a.dtype, device=a.device).reshape(-1, 1)
    if len(rows) not in (1, len(a)):
        raise GameError(f"smoothness has {len(rows)} values for {len(a)} inputs: one for all or one for each is needed")
    if not bool(((rows > 0) & (rows < float("inf"))).all()):  # also refuses NaN
        raise GameError(f"smoothness is {smoothness}: a finite number > 0 is needed, or None to find it")
    return rows.expand(len(a), 1)
