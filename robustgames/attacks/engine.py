"""The one loop of all gradient attacks: η⁺ = P(η + step(∇L)), from a start, for a number of steps.

FGSM, projected gradient ascent, PGD, momentum and APGD differ in their `Step` and their start. All tensors of a loop
have one row per input, so that fooled rows can leave it (`early="drop"`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, get_args

import torch
from torch import Tensor

from robustgames.attacks.passes import stronger
from robustgames.attacks.problem import Problem
from robustgames.errors import GameError, unknown

Early = Literal["best", "last", "drop", "loss"]
PATIENCE = {"cuda": 20}  # steps after which fooled rows leave, if each look at them waits for the device; 1 elsewhere
Rows = dict[str, Tensor]


class Step(ABC):
    """The move of an iterate. Its state is a dictionary of tensors with one row per input."""

    @abstractmethod
    def init(self, problem: Problem, eta: Tensor) -> Rows:
        """Return the state before the first step from η."""

    @abstractmethod
    def move(self, problem: Problem, eta: Tensor, g: Tensor, rows: Rows, k: int) -> tuple[Tensor, Rows]:
        """Return (the projected iterate k + 1, the next state) from iterate k at η with gradient g."""

    def due(self, k: int) -> bool:
        """Return whether `check` examines iterate k."""
        return False

    def check(self, problem: Problem, rows: Rows, top: Rows, k: int) -> tuple[Tensor, Rows]:
        """Return (rows (N, 1) that restart from the best point, the next state) at iterate k, if it is due."""
        raise NotImplementedError


def ascend(problem: Problem, start: Tensor, step: Step, steps: int, early: Early = "best") -> Tensor:
    """Return the perturbations at which `steps` gradient steps from the start end, (N, p).

    Args:
        problem: Problem to solve.
        start: First iterate (N, p).
        step: Move of an iterate.
        steps: Number of gradient steps.
        early: Iterate that is returned for each row. "best": the last one that fools the classifier, else the one of
            highest loss; one more forward pass evaluates the last iterate. "last": the last one, not evaluated. "drop":
            the first one that fools the classifier, else as "best"; fooled rows leave the loop, at once on a CPU, every
            20 steps on a GPU, which the host waits for then. "loss": the one of highest loss, fooled or not. If
            `problem.eot` is above 1, "best" and "drop" are the one that fools in most passes, and of equals that of
            highest mean loss.
    """
    check_steps(steps, early)
    if early == "last":
        return _last(problem, start, step, steps)
    shares = problem.eot > 1 and early != "loss"
    out, alive = start.clone(), torch.arange(len(start), device=start.device)
    returns = type(step).check is not Step.check  # only then the gradient at the best point is needed
    eta, rows, top = start, step.init(problem, start), _no_best(start, returns)
    won, champion, held = torch.zeros(len(start), dtype=torch.bool, device=start.device), Rows(), start
    patience = PATIENCE.get(start.device.type, 1)
    for k in range(steps + 1):
        last = k == steps
        value, fooled, g = (*problem.losses(eta), eta) if last else problem.gradient(eta)
        stalled = None if last else problem.stalled(g)
        rows = _count_gains(rows, value)
        top = _better(top, {"eta": eta, "loss": value.unsqueeze(-1), "g": g})
        if shares:
            new = {"eta": eta, "share": fooled, "loss": value}
            champion = new if k == 0 else _champion(champion, new)
        elif early == "drop":
            held = eta if patience == 1 else torch.where((fooled & ~won).unsqueeze(-1), eta, held)
            won = won | fooled
            if (k % patience == 0) and bool(won.any()):
                out[alive[won]] = held[won]
                keep = (~won).nonzero().squeeze(-1)
                alive, eta, g, problem = alive[keep], eta[keep], g[keep], problem.rows(keep)
                rows, top = ({name: value[keep] for name, value in part.items()} for part in (rows, top))
                stalled = None if stalled is None else stalled[keep]
                held, won = held[keep], won[keep]
            if len(alive) == 0:
                return out
        elif early == "best":
            out, won = torch.where(fooled.unsqueeze(-1), eta, out), won | fooled
        if last:
            break
        here = eta
        if k > 0 and step.due(k):
            again, rows = step.check(problem, rows, top, k)
            eta, g = torch.where(again, top["eta"], eta), torch.where(again, top["g"], g)
        eta, rows = step.move(problem, eta, g, rows, k)
        eta = eta if stalled is None else torch.where(stalled, here, eta)
    if shares:
        return champion["eta"]
    if early == "drop":
        out[alive] = torch.where(won.unsqueeze(-1), held, top["eta"])
        return out
    return torch.where(won.unsqueeze(-1), out, top["eta"])


def _last(problem: Problem, eta: Tensor, step: Step, steps: int) -> Tensor:
    rows = step.init(problem, eta)
    for k in range(steps):
        g = problem.slope(eta)
        stalled = problem.stalled(g)
        moved, rows = step.move(problem, eta, g, rows, k)
        eta = moved if stalled is None else torch.where(stalled, eta, moved)
    return eta


def _no_best(eta: Tensor, gradient: bool) -> Rows:
    lowest = torch.full_like(eta[:, :1], -float("inf"))
    return {"eta": eta, "loss": lowest, **({"g": torch.zeros_like(eta)} if gradient else {})}


def _better(top: Rows, new: Rows) -> Rows:
    better = new["loss"] > top["loss"]
    return {name: torch.where(better, new[name], top[name]) for name in top}


def _champion(old: Rows, new: Rows) -> Rows:
    """Return the better of two points of each row by the share of the passes that it fools."""
    better = stronger(new["share"], new["loss"], old["share"], old["loss"])
    return {name: torch.where(better.unsqueeze(-1) if name == "eta" else better, new[name], old[name]) for name in old}


def _count_gains(rows: Rows, value: Tensor) -> Rows:
    if "gains" not in rows:
        return rows
    value = value.unsqueeze(-1)
    return {**rows, "gains": rows["gains"] + (value > rows["before"]), "before": value}


def check_steps(steps: int, early: str = "best") -> None:
    """Refuse a number of steps below 1 and an unknown `early`."""
    if not steps >= 1:
        raise GameError(f"steps is {steps}: an attack takes at least 1 step")
    if early not in get_args(Early):
        raise unknown("value of early", early, get_args(Early))
