"""Majorize-minimize in ℓ∞: sign steps whose length follows from the smoothness of the loss. FGSM, with a guarantee."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from robustgames.attacks.attack import Attack
from robustgames.attacks.engine import Early, Rows, Step, ascend, check_steps
from robustgames.attacks.gradient import Start, check_start
from robustgames.attacks.inputs import per_row
from robustgames.attacks.losses import LabelLoss
from robustgames.attacks.problem import Bounds, Problem, Radius
from robustgames.attacks.victim import Model, Victim
from robustgames.errors import GameError


@dataclass(frozen=True, kw_only=True, eq=False)
class MM(Attack):
    """Settings of `mm`."""

    norms: ClassVar[tuple[str, ...]] = ("linf",)

    steps: int = 20
    smoothness: Radius | None = None
    start: Start = "zero"
    early: Early = "best"

    def __post_init__(self) -> None:
        check_steps(self.steps, self.early)
        check_start(self.start)
        if self.smoothness is None and self.early == "last":
            raise GameError("early is 'last', but the last step may lower the loss: set smoothness, or early='loss'")

    def run(self, p: Problem) -> Tensor:
        step = Backtracking() if self.smoothness is None else Majorize(_rows(self.smoothness, p))
        start = torch.zeros_like(p.a) if self.start == "zero" else p.threat.sample(p.a, p.generator)
        return ascend(p, start, step, self.steps, self.early)


def mm(
    model: Model | Victim,
    x: Tensor,
    y: Tensor,
    eps: Radius,
    steps: int = MM.steps,
    smoothness: Radius | None = MM.smoothness,
    *,
    start: Start = MM.start,
    early: Early = MM.early,
    loss: str | LabelLoss = MM.loss,
    targets: Tensor | None = None,
    bounds: Bounds = (0.0, 1.0),
    generator: Generator | None = None,
    eot: int = 1,
) -> Tensor:
    """Multi-step FGSM as majorize-minimize in ℓ∞: η⁺ maximizes φ(ζ) + <g, η - ζ> - L/2 |η - ζ|_inf² at ζ = η.

    The surrogate lies below the loss φ if |∇φ(η) - ∇φ(ζ)|_1 <= L |η - ζ|_inf, concave or not, so the loss
    never decreases; its maximizer over ball and box is `majorize_step`. As L -> 0 the first step from zero is FGSM.
    (The lecture's slide prints the step with a minus, which descends.) Source: lecture "Majorize-minimize".

    Args:
        model, x, y, eps, loss, targets, bounds, generator, eot: See `robustgames.attacks.gradient`; the norm is ℓ∞.
        steps: Gradient steps; each is one forward and one backward pass.
        smoothness: Smoothness L, a number or one per input, (N,). If None, it is found row by row: it starts at the
            largest L whose first step is FGSM; a step that ends below its surrogate is undone and L at least doubled.
        start: "zero", or "random" in the ball.
        early: "best", "drop" or "loss", see `engine.ascend`; with a given smoothness also "last".

    Example:
        >>> mm(lambda x: torch.cat([x, -x], 1), torch.tensor([[0.5]]), torch.tensor([0]), eps=0.1, steps=1)
        tensor([[0.4000]])
    """
    attack = MM(steps=steps, smoothness=smoothness, start=start, early=early)
    return attack(model, x, y, eps, "linf", loss=loss, targets=targets, bounds=bounds, generator=generator, eot=eot)


def majorize_step(g: Tensor, room: Tensor, smoothness: Tensor) -> Tensor:
    """Return argmax_d <g, d> - L/2 |d|_inf² over |d_i| <= room_i in the direction of g_i, (N, p).

    d_i = sign(g_i) min(t, room_i) with the t that maximizes sum |g_i| min(t, room_i) - L t²/2, hence
    t = (1/L) sum_{room_i > t} |g_i|, or a break at which the right side jumps past t. The right side decreases and t
    increases from break to break, so t = max_j min(right side before break j, break j): exact, with one sort of rooms.

    Args:
        g: Gradients (N, p).
        room: Distances to the wall in the direction of g, (N, p), >= 0.
        smoothness: Smoothness L > 0, (N, 1).
    """
    breaks, order = room.sort(dim=-1)
    size = g.abs().gather(-1, order)
    ahead = size.flip(-1).cumsum(-1).flip(-1)  # sums over the coordinates that reach their walls at or after the break
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
    """Steps of `majorize_step` that are undone if the loss lies below the surrogate; L then grows.

    Rows of the state: the accepted iterate with its gradient and loss ("before" is the loss of the newest iterate, kept
    by the loop), L, and the surrogate's lower bound for the newest iterate.
    """

    def init(self, problem: Problem, eta: Tensor) -> Rows:
        none = torch.full_like(eta[:, :1], -float("inf"))
        state = {"eta": eta, "g": torch.zeros_like(eta), "loss": none, "bound": none, "L": torch.zeros_like(none)}
        return {**state, "before": none, "gains": torch.zeros_like(none)}

    def move(self, problem: Problem, eta: Tensor, g: Tensor, rows: Rows, k: int) -> tuple[Tensor, Rows]:
        size = (eta - rows["eta"]).abs().amax(-1, keepdim=True).square()
        kept = rows["before"] >= rows["bound"]
        linear = rows["bound"] + rows["L"] / 2 * size
        observed = 2 * (linear - rows["before"]) / size  # curvature along the step that failed
        grown = torch.maximum(2 * rows["L"], observed.nan_to_num(nan=0.0, posinf=0.0))
        eta, g = torch.where(kept, eta, rows["eta"]), torch.where(kept, g, rows["g"])
        loss = torch.where(kept, rows["before"], rows["loss"])
        room = _room(problem, eta, g)
        smoothness = torch.where(kept, rows["L"], grown) if k > 0 else _flattest(g, room)
        d = majorize_step(g, room, smoothness)
        bound = loss + (g * d).sum(-1, keepdim=True) - smoothness / 2 * d.abs().amax(-1, keepdim=True).square()
        return problem.project(eta + d), {**rows, "eta": eta, "g": g, "loss": loss, "bound": bound, "L": smoothness}


def _flattest(g: Tensor, room: Tensor) -> Tensor:
    """Return the largest L with which a step leads to the corner, as that of FGSM does."""
    most = room.amax(-1, keepdim=True)
    ahead = torch.where(room >= most, g.abs(), 0).sum(-1, keepdim=True)
    return (ahead / most.clamp_min(1e-12)).clamp_min(1e-30)


def _room(problem: Problem, eta: Tensor, g: Tensor) -> Tensor:
    """Return the distance from η to the wall of ball and box in the direction of the gradient."""
    eps, image = problem.threat.eps, problem.a + eta
    ahead = torch.where(g > 0, problem.threat.high - image, image - problem.threat.low)
    return torch.minimum(ahead, eps - g.sign() * eta).clamp_min(0)


def _rows(smoothness: Radius, p: Problem) -> Tensor:
    """Return the smoothness of each row, (N, 1)."""
    a, column = p.a, per_row("smoothness", smoothness, (len(p.a), *p.shape))
    rows = torch.as_tensor(column, dtype=a.dtype, device=a.device).reshape(-1, 1)
    if not bool(((rows > 0) & (rows < float("inf"))).all()):  # also refuses NaN
        raise GameError(f"smoothness is {smoothness}: a finite number > 0 is needed, or None to find it")
    return rows.expand(len(a), 1)
