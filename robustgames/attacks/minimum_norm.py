"""Attacks that look for the smallest perturbation, with no radius given: DDN and FMN, and what such attacks share.

All take a classifier, inputs x (N, ...) inside `bounds` and labels y (N,), and return, in the shape and dtype of x, of
each row the nearest point found that fools the classifier, inside the bounds; x itself where none was found. Rows that
are misclassified already come back as they are. `targets` (N,) are classes to lead to instead of away from y.
Randomness comes from `generator` alone (seed 0 by default).
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor
from torch.nn.functional import normalize

from robustgames.attacks.engine import Rows, check_steps
from robustgames.attacks.losses import LabelLoss, margin
from robustgames.attacks.problem import Bounds, Problem, problem
from robustgames.attacks.victim import Model, Victim
from robustgames.errors import GameError
from robustgames.games.sets import project_l1_in_box, project_l2_in_box

DUALS = {"linf": 1.0, "l2": 2.0, "l1": float("inf")}


def ddn(
    model: Model | Victim,
    x: Tensor,
    y: Tensor,
    steps: int = 100,
    *,
    gamma: float = 0.05,
    radius: float = 1.0,
    search: int = 3,
    loss: str | LabelLoss = "ce",
    targets: Tensor | None = None,
    bounds: Bounds = (0.0, 1.0),
    generator: Generator | None = None,
) -> Tensor:
    """Decoupled direction and norm, in ℓ2: steps along ∇L / |∇L|_2, brought onto a sphere that shrinks when fooled.

    eps⁺ = (1 - gamma) eps where η fools the classifier, (1 + gamma) eps elsewhere; η⁺ = eps⁺ u / |u|_2, clipped to the
    box, u = η + a ∇L / |∇L|_2, with a from 1 to 0.01 along a cosine. Source: Rony et al. 2019, algorithm 1.

    Args:
        model, x, y, loss, targets, bounds, generator: see the module.
        steps: gradient steps; one pass forward more judges the last iterate.
        gamma: change of the norm in a step, in (0, 1).
        radius: first norm.
        search: passes forward at the end that look for a nearer point between x and the one found (`shorten`).

    Example:
        >>> x = torch.tensor([[0.5, 0.5]])
        >>> ddn(lambda x: torch.stack([x[:, 0], 0 * x[:, 0] + 0.4], 1), x, torch.tensor([0]))    # z_0 - z_1 = x_0 - 0.4
        tensor([[0.4000, 0.5000]])
    """
    check_steps(steps)
    _check_rates(gamma, radius)
    with problem(model, x, y, 0.0, "l2", bounds, generator, loss, targets) as p:
        if len(x) == 0:
            return x.clone()
        return p.images(shorten(p, decoupled(p, steps, gamma, radius), search)).view_as(x)


def fmn(
    model: Model | Victim,
    x: Tensor,
    y: Tensor,
    norm: str = "l2",
    steps: int = 100,
    *,
    gamma: float = 0.05,
    step_size: float | None = None,
    search: int = 3,
    targets: Tensor | None = None,
    bounds: Bounds = (0.0, 1.0),
    generator: Generator | None = None,
) -> Tensor:
    """Fast minimum norm: steps that raise the margin, projected on a ball whose radius seeks the boundary.

    η⁺ = P(η + a ∇m / |∇m|_2), m the margin (positive where fooled), P the joint projection on ball and box. While no
    point was found eps = |η| + |m| / |∇m|_dual. Where η fools, eps⁺ = min((1 - c) eps, least norm found), elsewhere
    (1 + c) eps; the paper does not widen the estimate, and creeps up to a boundary that is nearly linear from the near
    side. a falls from step_size to a hundredth, c from gamma to 1e-4, along cosines.
    Source: Pintor et al. 2021, algorithm 1.

    Args:
        model, x, y, targets, bounds, generator: see the module.
        norm: "linf", "l2" or "l1".
        steps: gradient steps; one pass forward more judges the last iterate.
        gamma: first change of the radius in a step, in (0, 1).
        step_size: first length of a step, in ℓ2; 10 by default in ℓ∞, where a step of 1 moves no pixel far, else 3.
        search: passes forward at the end that look for a nearer point between x and the one found (`shorten`).
    """
    check_steps(steps)
    length = step_size if step_size is not None else 10.0 if norm == "linf" else 3.0
    _check_rates(gamma, length)
    with problem(model, x, y, 0.0, norm, bounds, generator, "margin", targets) as p:
        if len(x) == 0:
            return x.clone()
        return p.images(shorten(p, adaptive_norm(p, steps, gamma, length), search)).view_as(x)


def decoupled(p: Problem, steps: int, gamma: float, radius: float) -> Tensor:
    """Return the smallest perturbations that DDN finds, 0 where it finds none."""
    low, high = p.threat.low - p.a, p.threat.high - p.a
    eta, best = torch.zeros_like(p.a), nothing(p.a)
    eps, spare = torch.full_like(p.a[:, :1], radius), _noise(p)
    for k in range(steps):
        _, fooled, g = p.gradient(eta)
        best = nearer(p, best, eta, fooled)
        eps = eps * torch.where(fooled, 1 - gamma, 1 + gamma).unsqueeze(-1)
        u = eta + (0.01 + 0.99 * _cosine(k, steps)) * _unit(g, spare)
        eta = (eps * normalize(u, dim=-1)).clamp_min(low).clamp_max(high)
    return nearer(p, best, eta, p.evaluate(eta)[1])["eta"]


def adaptive_norm(p: Problem, steps: int, gamma: float, step_size: float) -> Tensor:
    """Return the smallest perturbations that FMN finds, 0 where it finds none; the problem's loss is the margin."""
    eta, best = torch.zeros_like(p.a), nothing(p.a)
    eps, spare = torch.full_like(p.a[:, 0], float("inf")), _noise(p)
    for k in range(steps):
        value, fooled, g = p.gradient(eta)
        best, decay = nearer(p, best, eta, fooled), _cosine(k, steps)
        change = 1e-4 + (gamma - 1e-4) * decay
        slope = torch.linalg.vector_norm(g, DUALS[p.threat.norm], dim=-1).clamp_min(1e-12)
        eps = torch.where(best["norm"] < float("inf"), eps, p.threat.size(eta) + value.abs() / slope)
        eps = torch.where(fooled, torch.minimum((1 - change) * eps, best["norm"]), (1 + change) * eps)
        u = eta + step_size * (0.01 + 0.99 * decay) * _unit(g, spare)
        eta = _project(p, u, eps.unsqueeze(-1))
    return nearer(p, best, eta, p.evaluate(eta)[1])["eta"]


# -- what minimum-norm attacks share --------------------------------------------------------------------------
def nothing(a: Tensor) -> Rows:
    """Return the record of rows for which no point is found yet: η = 0 with norm inf."""
    return {"eta": torch.zeros_like(a), "norm": torch.full_like(a[:, 0], float("inf"))}


def nearer(p: Problem, best: Rows, eta: Tensor, fooled: Tensor) -> Rows:
    """Return the record after η: it enters where it fools the classifier with a smaller norm than before."""
    norm = p.threat.size(eta)
    better = fooled & (norm < best["norm"])
    return {
        "eta": torch.where(better.unsqueeze(-1), eta, best["eta"]),
        "norm": torch.where(better, norm, best["norm"]),
    }


def aim(p: Problem, logits: Tensor) -> Tensor:
    """Return the margin of the attack's aim (N,): positive where it is reached."""
    reach = p.targets is not None and p.reach
    return -margin(logits, p.targets) if reach and p.targets is not None else margin(logits, p.labels)


def shorten(p: Problem, eta: Tensor, steps: int) -> Tensor:
    """Return the point t η that fools the classifier with the smallest t found in some steps of false position.

    Each step is one pass forward. The bracket starts at [0, 1]; the margin at the end that stays is halved (Illinois
    rule), so that both ends move. Rows that η does not fool keep it.
    """
    if steps < 1:
        return eta
    left, right = torch.zeros_like(p.a[:, 0]), torch.ones_like(p.a[:, 0])
    logits = p.victim.logits(p.images(eta))
    below, above = aim(p, p.victim.logits(p.images(torch.zeros_like(eta)))), aim(p, logits)
    won = p.fooled(logits)
    for _ in range(steps):
        share = (below / (below - above).clamp_max(-1e-12)).clamp(0.02, 1)  # never onto the end that does not fool
        t = torch.where(won, left + share * (right - left), 1)
        logits = p.victim.logits(p.images(t.unsqueeze(-1) * eta))
        fooled, value = p.fooled(logits), aim(p, logits)
        left, right = torch.where(fooled, left, t), torch.where(fooled, t, right)
        below, above = torch.where(fooled, below / 2, value), torch.where(fooled, value, above / 2)
    return right.unsqueeze(-1) * eta


def _project(p: Problem, eta: Tensor, eps: Tensor) -> Tensor:
    """Return the nearest point with |η|_norm <= eps (N, 1) in the box."""
    low, high = p.threat.low - p.a, p.threat.high - p.a
    if p.threat.norm == "linf":
        return torch.clamp(eta, low.clamp_min(-eps), high.clamp_max(eps))
    return (project_l2_in_box if p.threat.norm == "l2" else project_l1_in_box)(eta, eps, low, high)


def _noise(p: Problem) -> Tensor:
    return torch.randn(p.a.shape, generator=p.generator, device=p.a.device, dtype=p.a.dtype)


def _unit(g: Tensor, spare: Tensor) -> Tensor:
    """Return g / |g|_2, of a spare direction where g vanishes: a saturated loss says nothing, and 0 / 0 less."""
    return normalize(torch.where((g == 0).all(-1, keepdim=True), spare, g), dim=-1)


def _cosine(k: int, steps: int) -> float:
    return (1 + math.cos(math.pi * k / steps)) / 2


def _check_rates(gamma: float, length: float) -> None:
    if not 0 < gamma < 1:
        raise GameError(f"gamma is {gamma}: the norm changes by a factor 1 ± gamma in (0, 2), e.g. gamma=0.05")
    if not 0 < length < float("inf"):
        raise GameError(f"the first length is {length}: a finite number > 0 is needed, e.g. 1.0")
