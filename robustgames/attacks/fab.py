"""FAB, the fast adaptive boundary attack: the smallest perturbation, by projections on the linearized boundary."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Generator, Tensor

from robustgames.attacks.deepfool import candidates, check_classes, linearize, nearest_boundary, to_hyperplane, walls
from robustgames.attacks.engine import check_steps
from robustgames.attacks.gradient import targeted
from robustgames.attacks.minimum_norm import nearer, nothing, shorten
from robustgames.attacks.problem import Bounds, Problem, problem
from robustgames.attacks.victim import Model, Victim
from robustgames.errors import GameError, unknown

Early = Literal["best", "drop"]


@dataclass(frozen=True)
class Fab:
    """Settings of one run.

    Args:
        steps: passes forward and back; one pass forward more judges the last iterate.
        early: "best": all steps; "drop": a row leaves with its first perturbation inside the ball.
        restarts: from random points in half the ball; the first run starts at x.
        alpha_max: largest weight of the projection of x against that of the iterate.
        overshoot: η of the paper, how far each projection goes, 1 is onto the boundary.
        back: β of the paper, what is kept of a perturbation that fools; None: 0.9 in ℓ∞, 0.8 in ℓ2 and ℓ1.
        search: passes forward at the end that look for a nearer point.
    """

    steps: int = 100
    early: Early = "best"
    restarts: int = 1
    alpha_max: float = 0.1
    overshoot: float = 1.05
    back: float | None = None
    search: int = 3

    def __post_init__(self) -> None:
        check_steps(self.steps)
        if self.early not in get_args(Early):
            raise unknown("value of early", self.early, get_args(Early))
        if self.restarts < 1:
            raise GameError(f"restarts is {self.restarts}: at least 1 run is needed")


def fab(
    model: Model | Victim,
    x: Tensor,
    y: Tensor,
    eps: float | Tensor,
    norm: str = "linf",
    steps: int = 100,
    *,
    classes: int = 9,
    restarts: int = 1,
    early: Early = "best",
    targets: Tensor | None = None,
    bounds: Bounds = (0.0, 1.0),
    generator: Generator | None = None,
) -> Tensor:
    """FAB: project iterate and input on the nearest linearized boundary inside the box, and mix: small by construction.

    η⁺ = (1 - α) (η + 1.05 d) + 1.05 α d₀, where d and d₀ are the smallest steps in the norm from η and from 0 to
    {f + <∇f, .> = 0} inside the box, α = min(|d| / (|d| + |d₀|), 0.1). Where η fools the classifier, the step starts
    from β η. One pass forward serves the test and the gradient, so f is linearized at η, the published order at β η;
    for that β is 0.8 in ℓ2 and ℓ1. False position at the end shortens what was found.
    Source: Croce and Hein 2020, "Minimally distorted adversarial examples", algorithm 1.

    Args:
        model, x, y, targets, bounds, generator: see `minimum_norm`.
        eps: radius of the ball: the smallest perturbation found comes back where it lies inside, x itself elsewhere. A
            large eps makes FAB a minimum-norm attack.
        norm: "linf", "l2" or "l1".
        steps: each is one pass forward and one back per class.
        classes: how many of the likeliest wrong classes at x to look at.
        restarts: runs from random points in half the ball, after one from x.
        early: "best", the smallest of all steps and restarts; "drop", a row leaves with the first inside the ball,
            which waits for the device in every step.

    Example:
        >>> x = torch.tensor([[0.5, 0.5]])
        >>> fab(lambda x: torch.stack([x[:, 0], 0 * x[:, 0] + 0.4], 1), x, torch.tensor([0]), eps=0.2, norm="l2")
        tensor([[0.4000, 0.5000]])
    """
    check_classes(classes)
    settings = Fab(steps, early, restarts)
    with problem(model, x, y, eps, norm, bounds, generator, targets=targets) as p:
        return x.clone() if len(x) == 0 else p.images(fast_boundary(p, settings, classes)).view_as(x)


def fab_targeted(
    model: Model | Victim,
    x: Tensor,
    y: Tensor,
    eps: float | Tensor,
    norm: str = "linf",
    steps: int = 100,
    *,
    classes: int = 9,
    restarts: int = 1,
    early: Early = "best",
    bounds: Bounds = (0.0, 1.0),
    generator: Generator | None = None,
) -> Tensor:
    """FAB towards each of the likeliest wrong classes in turn (FAB-T); a row is fooled with any wrong class.

    It needs one gradient per step whatever the number of classes. Source: Croce and Hein 2020, "Reliable evaluation",
    section 5 (FAB-T).

    Args:
        model, x, y, eps, norm, restarts, bounds, generator: see `fab`.
        steps: per class and restart.
        classes: how many wrong classes to try; no more than there are.
        early: "best", the smallest over all classes; "drop", a row leaves with the first inside the ball, also
            between classes.
    """
    check_classes(classes)
    settings = Fab(steps, early, restarts)
    with problem(model, x, y, eps, norm, bounds, generator) as p:
        return x.clone() if len(x) == 0 else p.images(fast_boundary_targeted(p, settings, classes)).view_as(x)


def fast_boundary_targeted(p: Problem, settings: Fab, classes: int = 9) -> Tensor:
    """Return the perturbations of FAB-T, inside the ball; 0 where it finds none there."""
    if settings.early == "drop":
        return targeted(p, lambda q: fast_boundary(q, settings), classes)
    best = nothing(p.a)
    for t in candidates(p, classes).unbind(-1):
        eta = fast_boundary(replace(p, targets=t, reach=False), settings)
        best = nearer(p, best, eta, p.fooled(p.victim.logits(p.images(eta))))
    return best["eta"]


def fast_boundary(p: Problem, settings: Fab, classes: int = 9) -> Tensor:
    """Return the perturbations of FAB, inside the ball; 0 where it finds none there."""
    best, open_ = nothing(p.a), torch.arange(len(p.a), device=p.a.device)
    order = candidates(p, classes)
    for run in range(settings.restarts):
        part = p.rows(open_)
        start = torch.zeros_like(part.a) if run == 0 else 0.5 * part.threat.sample(part.a, p.generator)
        found = _run_once(part, start, order[open_], settings)
        norm = torch.full_like(best["norm"], float("inf")).index_put((open_,), found["norm"])
        eta = torch.zeros_like(p.a).index_put((open_,), found["eta"])
        best = nearer(p, best, eta, norm < float("inf"))
        if settings.early == "drop" and run + 1 < settings.restarts:
            open_ = (~_inside(p, best["norm"])).nonzero().squeeze(-1)
            if len(open_) == 0:
                break
    return torch.where(_inside(p, best["norm"]).unsqueeze(-1), best["eta"], 0)


def _run_once(p: Problem, eta: Tensor, order: Tensor, settings: Fab) -> dict[str, Tensor]:
    out, best, alive = nothing(p.a), nothing(p.a), torch.arange(len(p.a), device=p.a.device)
    for k in range(settings.steps + 1):
        if k == settings.steps:
            logits, w, value = p.victim.logits(p.images(eta)), p.a, p.a[:, 0]
        else:
            logits, values, g = linearize(p, eta, order)
            value, w = nearest_boundary(p, logits, values, g)
        fooled = p.fooled(logits)
        best = nearer(p, best, eta, fooled)
        if settings.early == "drop" and bool((done := _inside(p, best["norm"])).any()):
            for name in out:
                out[name][alive[done]] = best[name][done]
            keep = (~done).nonzero().squeeze(-1)
            alive, eta, order, p, fooled = alive[keep], eta[keep], order[keep], p.rows(keep), fooled[keep]
            value, w, best = value[keep], w[keep], {name: rows[keep] for name, rows in best.items()}
        if len(alive) == 0 or k == settings.steps:
            break
        eta = _mix(p, eta, value, w, fooled, settings)
    if len(alive) > 0:
        eta = shorten(p, best["eta"], settings.search)
        out["norm"][alive] = torch.where(best["norm"] < float("inf"), p.threat.size(eta), best["norm"])
        out["eta"][alive] = eta
    return out


def _mix(p: Problem, eta: Tensor, value: Tensor, w: Tensor, fooled: Tensor, settings: Fab) -> Tensor:
    """Return the next iterate from f = value and ∇f = w at η."""
    low, high = walls(p)
    back = settings.back if settings.back is not None else 0.9 if p.threat.norm == "linf" else 0.8
    base = eta * torch.where(fooled, back, 1.0).to(eta).unsqueeze(-1)
    points = torch.stack([base, torch.zeros_like(base)])
    gaps = -value - torch.linalg.vecdot(w, points - eta)
    steps = to_hyperplane(w, gaps, low - points, high - points, p.threat.norm)
    near, far = p.threat.size(steps).clamp_min(1e-8).unsqueeze(-1)
    alpha = (near / (near + far)).clamp_max(settings.alpha_max)
    mixed = torch.lerp(base + settings.overshoot * steps[0], settings.overshoot * steps[1], alpha)
    return mixed.clamp_min(low).clamp_max(high)


def _inside(p: Problem, norm: Tensor) -> Tensor:
    radius = torch.as_tensor(p.threat.eps, device=norm.device, dtype=norm.dtype)
    return norm <= radius.view(-1)
