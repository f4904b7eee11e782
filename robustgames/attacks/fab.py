"""FAB, the fast adaptive boundary attack: the smallest perturbation, by projections on the linearized boundary."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, get_args

import torch
from torch import Generator, Tensor

from robustgames.attacks.attack import Attack
from robustgames.attacks.boundaries import nearest_boundary, to_hyperplane
from robustgames.attacks.engine import PATIENCE, Rows, check_steps
from robustgames.attacks.minimum_norm import nearer, nothing, shrink
from robustgames.attacks.problem import Bounds, Problem, Radius
from robustgames.attacks.restarts import check_classes, check_restarts, toward_each_class
from robustgames.attacks.victim import Model, Victim
from robustgames.errors import unknown

Keep = Literal["best", "drop"]


@dataclass(frozen=True, kw_only=True)
class FAB(Attack):
    """Settings of `fab`; its function leaves the last four at their defaults.

    Args:
        steps: Forward and backward passes; one more forward pass evaluates the last iterate.
        classes: Number of the likeliest wrong classes at x to consider.
        restarts: Runs, the first from x, the others from random points in half the ball.
        early: "best": all steps; "drop": a row leaves with its first perturbation inside the ball.
        alpha_max: Largest weight of the projection of x against that of the iterate.
        overshoot: η of the paper, the length of each projection; 1 ends on the boundary.
        back: β of the paper, the share of a perturbation that fools to keep. If None, it is 0.9 in ℓ∞, else 0.8.
        search: Forward passes at the end that search for a nearer point.
    """

    any_radius: ClassVar[bool] = True  # a large one makes it a minimum-norm attack
    claims: ClassVar[bool] = True

    steps: int = 100
    classes: int = 9
    restarts: int = 1
    early: Keep = "best"
    alpha_max: float = 0.1
    overshoot: float = 1.05
    back: float | None = None
    search: int = 3

    def __post_init__(self) -> None:
        check_steps(self.steps)
        check_classes(self.classes)
        check_restarts(self.restarts)
        if self.early not in get_args(Keep):
            raise unknown("value of early", self.early, get_args(Keep))

    def run(self, p: Problem) -> Tensor:
        """Return perturbations inside the ball, 0 for rows in which none is found there."""
        return self._search(p)

    def _search(self, p: Problem) -> Tensor:
        """Return the perturbations of all restarts."""
        best, open_ = nothing(p.a), torch.arange(len(p.a), device=p.a.device)
        order = p.candidates(self.classes)
        for run in range(self.restarts):
            part = p.rows(open_)
            start = torch.zeros_like(part.a) if run == 0 else 0.5 * part.threat.sample(part.a, p.generator)
            found = self._search_once(part, start, order[open_])
            norm = torch.full_like(best["norm"], float("inf")).index_put((open_,), found["norm"])
            eta = torch.zeros_like(p.a).index_put((open_,), found["eta"])
            best = nearer(p, best, eta, norm < float("inf"))
            if self.early == "drop" and run + 1 < self.restarts:
                open_ = (~_inside(p, best["norm"])).nonzero().squeeze(-1)
                if len(open_) == 0:
                    break
        return torch.where(_inside(p, best["norm"]).unsqueeze(-1), best["eta"], 0)

    def _search_once(self, p: Problem, eta: Tensor, order: Tensor) -> Rows:
        """Return the record of the nearest points of one run from η."""
        out, best, alive = nothing(p.a), nothing(p.a), torch.arange(len(p.a), device=p.a.device)
        patience = PATIENCE.get(p.a.device.type, 1)
        for k in range(self.steps + 1):
            if k == self.steps:
                fooled, w, value = p.judge(eta)[0], p.a, p.a[:, 0]
            else:
                fooled, values, g = p.differences(eta, order)
                value, w = nearest_boundary(p, values, g)
            best = nearer(p, best, eta, fooled)
            look = self.early == "drop" and k % patience == 0
            if look and bool((done := _inside(p, best["norm"])).any()):
                for name in out:
                    out[name][alive[done]] = best[name][done]
                keep = (~done).nonzero().squeeze(-1)
                alive, eta, order, p, fooled = alive[keep], eta[keep], order[keep], p.rows(keep), fooled[keep]
                value, w, best = value[keep], w[keep], {name: rows[keep] for name, rows in best.items()}
            if len(alive) == 0 or k == self.steps:
                break
            eta = self._mix(p, eta, value, w, fooled)
        if len(alive) > 0:
            eta = shrink(p, best["eta"], self.search)
            out["norm"][alive] = torch.where(best["norm"] < float("inf"), p.threat.size(eta), best["norm"])
            out["eta"][alive] = eta
        return out

    def _mix(self, p: Problem, eta: Tensor, value: Tensor, w: Tensor, fooled: Tensor) -> Tensor:
        """Return the next iterate from f = value and ∇f = w at η."""
        low, high = p.walls
        back = self.back if self.back is not None else 0.9 if p.threat.norm == "linf" else 0.8
        base = eta * torch.where(fooled, back, 1.0).to(eta).unsqueeze(-1)
        points = torch.stack([base, torch.zeros_like(base)])
        gaps = -value - torch.linalg.vecdot(w, points - eta)
        steps = to_hyperplane(w, gaps, low - points, high - points, p.threat.norm)
        near, far = p.threat.size(steps).clamp_min(1e-8).unsqueeze(-1)
        alpha = (near / (near + far)).clamp_max(self.alpha_max)
        mixed = torch.lerp(base + self.overshoot * steps[0], self.overshoot * steps[1], alpha)
        return mixed.clamp_min(low).clamp_max(high)


@dataclass(frozen=True, kw_only=True)
class TargetedFAB(FAB):
    """Settings of `fab_targeted`."""

    targeted: ClassVar[bool] = True

    def run(self, p: Problem) -> Tensor:
        """Return perturbations inside the ball, 0 for rows in which none is found there."""
        if self.early == "drop":
            return toward_each_class(p, self._search, self.classes)
        best = nothing(p.a)
        for goal in p.candidates(self.classes).unbind(-1):
            eta = self._search(replace(p, targets=goal, reach=False))
            best = nearer(p, best, eta, p.judge(eta)[0])
        return best["eta"]


def fab(
    model: Model | Victim,
    x: Tensor,
    y: Tensor,
    eps: Radius,
    norm: str | float = "linf",
    steps: int = FAB.steps,
    *,
    classes: int = FAB.classes,
    restarts: int = FAB.restarts,
    early: Keep = FAB.early,
    targets: Tensor | None = None,
    bounds: Bounds = (0.0, 1.0),
    generator: Generator | None = None,
    eot: int = 1,
) -> Tensor:
    """FAB: project iterate and input on the nearest linearized boundary inside the box, and mix: small by construction.

    η⁺ = (1 - α) (η + 1.05 d) + 1.05 α d₀, where d and d₀ are the smallest steps in the norm from η and from 0 to
    {f + <∇f, .> = 0} inside the box, α = min(|d| / (|d| + |d₀|), 0.1). If η fools the classifier, the step starts
    from β η. One forward pass serves the test and the gradient, so f is linearized at η, but at β η in the paper;
    therefore β is 0.8 in ℓ2 and ℓ1. False position at the end shortens the result.
    Source: Croce and Hein 2020, "Minimally distorted adversarial examples", algorithm 1.

    Args:
        model, x, y, targets, bounds, generator, eot: See `minimum_norm`.
        eps: Radius of the ball. The smallest perturbation found is returned if it lies inside, else x itself. A large
            eps makes FAB a minimum-norm attack.
        norm: "linf", "l2" or "l1".
        steps: Steps of a run; each is one forward pass and one backward pass per class.
        classes: Number of the likeliest wrong classes at x to consider.
        restarts: Runs, the first from x, the others from random points in half the ball.
        early: "best", the smallest of all steps and restarts; "drop", a row leaves with the first inside the ball (on
            a GPU every 20 steps, which the host waits for then).

    Example:
        >>> x = torch.tensor([[0.5, 0.5]])
        >>> fab(lambda x: torch.stack([x[:, 0], 0 * x[:, 0] + 0.4], 1), x, torch.tensor([0]), eps=0.2, norm="l2")
        tensor([[0.4000, 0.5000]])
    """
    attack = FAB(steps=steps, classes=classes, restarts=restarts, early=early)
    return attack(model, x, y, eps, norm, targets=targets, bounds=bounds, generator=generator, eot=eot)


def fab_targeted(
    model: Model | Victim,
    x: Tensor,
    y: Tensor,
    eps: Radius,
    norm: str | float = "linf",
    steps: int = TargetedFAB.steps,
    *,
    classes: int = TargetedFAB.classes,
    restarts: int = TargetedFAB.restarts,
    early: Keep = TargetedFAB.early,
    bounds: Bounds = (0.0, 1.0),
    generator: Generator | None = None,
    eot: int = 1,
) -> Tensor:
    """FAB toward each of the likeliest wrong classes in turn (FAB-T); a row is fooled with any wrong class.

    It needs one gradient per step whatever the number of classes. Source: Croce and Hein 2020, "Reliable evaluation",
    section 5 (FAB-T).

    Args:
        model, x, y, eps, norm, restarts, bounds, generator, eot: See `fab`.
        steps: Steps per class and restart.
        classes: Number of wrong classes to try, at most all.
        early: "best", the smallest over all classes; "drop", a row leaves with the first inside the ball, also
            between classes.
    """
    attack = TargetedFAB(steps=steps, classes=classes, restarts=restarts, early=early)
    return attack(model, x, y, eps, norm, bounds=bounds, generator=generator, eot=eot)


def _inside(p: Problem, norm: Tensor) -> Tensor:
    """Return the rows whose norm is at most the radius, (N,)."""
    radius = torch.as_tensor(p.threat.eps, device=norm.device, dtype=norm.dtype)
    return norm <= radius.view(-1)
