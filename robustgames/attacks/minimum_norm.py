"""Attacks that search for the smallest perturbation, without a radius: DDN and FMN, and the parts that they share.

All take a classifier, inputs x (N, ...) inside `bounds` and labels y (N,), and return, in the shape and dtype of x, the
nearest point found for each row that fools the classifier, inside the bounds; x itself if none was found. Rows that are
misclassified from the start are returned unchanged. `targets` (N,) are classes to lead to instead of away from y.
Randomness comes from `generator` alone (seed 0 by default). `eot` is the number of passes of a stochastic classifier
over which losses, gradients and verdicts are means; a point then counts as fooled if most passes are. With one pass a
lucky one counts, so a model whose logits differ from pass to pass is warned of.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor
from torch.nn.functional import normalize

from robustgames.attacks.attack import Attack
from robustgames.attacks.boundaries import slope
from robustgames.attacks.engine import Rows, check_steps
from robustgames.attacks.losses import LabelLoss
from robustgames.attacks.problem import Bounds, Problem, most
from robustgames.attacks.sparse import drop, fewest
from robustgames.attacks.victim import Model, Victim
from robustgames.errors import GameError
from robustgames.games.threat import CONVEX, IN_BOX


@dataclass(frozen=True, kw_only=True)
class MinimumNorm(Attack):
    """An attack that searches for the smallest perturbation, whatever the radius."""

    claims: ClassVar[bool] = True

    def run_in_ball(self, p: Problem) -> Tensor:
        """Return the projections on the ball: of those found beyond it some still fool the classifier."""
        return p.project(self.run(p))


@dataclass(frozen=True, kw_only=True)
class DDN(MinimumNorm):
    """Settings of `ddn`."""

    norms: ClassVar[tuple[str, ...]] = ("l2",)

    steps: int = 100
    gamma: float = 0.05
    radius: float | None = None
    search: int = 3

    def __post_init__(self) -> None:
        check_steps(self.steps)
        _check_rates(self.gamma, 1.0 if self.radius is None else self.radius)

    def run(self, p: Problem) -> Tensor:
        low, high = p.threat.low - p.a, p.threat.high - p.a
        eta, best = torch.zeros_like(p.a), nothing(p.a)
        first = p.width if self.radius is None else self.radius
        eps, spare = first * torch.ones_like(p.a[:, :1]), _noise(p)
        for k in range(self.steps):
            _, share, g = p.gradient(eta)
            fooled, stalled = most(share), p.stalled(g)
            best = nearer(p, best, eta, fooled)
            eps = eps * torch.where(fooled, 1 - self.gamma, 1 + self.gamma).unsqueeze(-1)
            u = eta + (0.01 + 0.99 * _cosine(k, self.steps)) * p.width * _unit(g, spare)
            moved = (eps * normalize(u, dim=-1)).clamp_min(low).clamp_max(high)
            eta = moved if stalled is None else torch.where(stalled, eta, moved)
        best = nearer(p, best, eta, most(p.losses(eta)[1]))
        return shrink(p, best["eta"], self.search)


@dataclass(frozen=True, kw_only=True)
class FMN(MinimumNorm):
    """Settings of `fmn`."""

    norms: ClassVar[tuple[str, ...]] = (*CONVEX, "l0")
    loss: ClassVar[str] = "margin"  # its linearization gives the distance to the boundary

    steps: int = 100
    gamma: float = 0.05
    step_size: float | None = None
    search: int = 3

    def __post_init__(self) -> None:
        check_steps(self.steps)
        _check_rates(self.gamma, 1.0 if self.step_size is None else self.step_size)

    def run(self, p: Problem) -> Tensor:
        eta, best = torch.zeros_like(p.a), nothing(p.a)
        eps, spare = torch.full_like(p.a[:, 0], float("inf")), _noise(p)
        length = _first_step(p) if self.step_size is None else self.step_size
        for k in range(self.steps):
            value, share, g = p.gradient(eta)
            fooled, stalled = most(share), p.stalled(g)
            best, decay = nearer(p, best, eta, fooled), _cosine(k, self.steps)
            change = 1e-4 + (self.gamma - 1e-4) * decay
            eps = torch.where(best["norm"] < float("inf"), eps, _distance(p, eta, value, g))
            less, more = _changed(p, eps, change)
            eps = torch.where(fooled, torch.minimum(less, best["norm"]), more)
            u = eta + length * (0.01 + 0.99 * decay) * _unit(g, spare)
            moved = _project(p, u, eps.unsqueeze(-1))
            eta = moved if stalled is None else torch.where(stalled, eta, moved)
        best = nearer(p, best, eta, most(p.losses(eta)[1]))
        return (drop if p.threat.norm == "l0" else shrink)(p, best["eta"], self.search)


def ddn(
    model: Model | Victim,
    x: Tensor,
    y: Tensor,
    steps: int = DDN.steps,
    *,
    gamma: float = DDN.gamma,
    radius: float | None = DDN.radius,
    search: int = DDN.search,
    loss: str | LabelLoss = DDN.loss,
    targets: Tensor | None = None,
    bounds: Bounds = (0.0, 1.0),
    generator: Generator | None = None,
    eot: int = 1,
) -> Tensor:
    """Decoupled direction and norm, in ℓ2: steps along ∇L / |∇L|_2, projected on a sphere that shrinks when fooled.

    eps⁺ = (1 - gamma) eps if η fools the classifier, else (1 + gamma) eps; η⁺ = eps⁺ u / |u|_2, clipped to the
    box, u = η + a ∇L / |∇L|_2, with a from 1 to 0.01 widths of the box along a cosine.
    Source: Rony et al. 2019, algorithm 1.

    Args:
        model, x, y, loss, targets, bounds, generator, eot: See the module.
        steps: Gradient steps; one more forward pass evaluates the last iterate.
        gamma: Relative change of the norm in a step, in (0, 1).
        radius: First norm. If None, it is the width of the box, so 1 for images in [0, 1].
            Bounds a hundred times wider than the inputs vary make the result less exact.
        search: Forward passes at the end that search for a nearer point between x and the one found (`shrink`).

    Example:
        >>> x = torch.tensor([[0.5, 0.5]])
        >>> ddn(lambda x: torch.stack([x[:, 0], 0 * x[:, 0] + 0.4], 1), x, torch.tensor([0]))    # z_0 - z_1 = x_0 - 0.4
        tensor([[0.4000, 0.5000]])
    """
    attack = DDN(steps=steps, gamma=gamma, radius=radius, search=search)
    return attack(model, x, y, 0.0, "l2", loss=loss, targets=targets, bounds=bounds, generator=generator, eot=eot)


def fmn(
    model: Model | Victim,
    x: Tensor,
    y: Tensor,
    norm: str | float = "l2",
    steps: int = FMN.steps,
    *,
    gamma: float = FMN.gamma,
    step_size: float | None = FMN.step_size,
    search: int = FMN.search,
    targets: Tensor | None = None,
    bounds: Bounds = (0.0, 1.0),
    generator: Generator | None = None,
    eot: int = 1,
) -> Tensor:
    """Fast minimum norm: steps that raise the margin, projected on a ball whose radius seeks the boundary.

    η⁺ = P(η + a ∇m / |∇m|_2), m the margin (positive if fooled), P the joint projection on ball and box. While no
    point is found, eps = |η| + |m| / |∇m|_dual. If η fools, eps⁺ = min((1 - c) eps, least norm found), else
    (1 + c) eps; the paper does not widen the estimate, so it creeps up to a boundary that is nearly linear from the
    near side. a decreases from step_size to a hundredth, c from gamma to 1e-4, along cosines.
    Source: Pintor et al. 2021, algorithm 1.

    In ℓ0, where |η| is the number of coordinates that change, eps is a whole number and changes by at least 1. The
    estimate is the least number of coordinates that reach the boundary of the linearization inside the box.

    Args:
        model, x, y, targets, bounds, generator, eot: See the module.
        norm: "linf", "l2", "l1" or "l0".
        steps: Gradient steps; one more forward pass evaluates the last iterate.
        gamma: First relative change of the radius in a step, in (0, 1).
        step_size: First length of a step, in ℓ2. If None, it is 10 widths of the box in ℓ∞, where a step of 1 moves no
            pixel far, 3 in ℓ2 and ℓ1, and in ℓ0 100 times the distance to the farthest wall, which takes coordinates to
            their walls. The width is the root mean square of the sides of the box, so 1 for images in [0, 1].
        search: Forward passes at the end that search for a nearer point between x and the one found (`shrink`), in ℓ0
            for coordinates that need not change (`sparse.drop`).

    Example:
        >>> model = lambda x: torch.stack([x @ torch.tensor([6.0, 2.0, -4.0]), 0 * x[:, 0]], 1)
        >>> fmn(model, torch.full((1, 3), 0.5), torch.tensor([0]), "l0")    # z_0 = 2: x_0 alone can lower it by 3
        tensor([[0.0000, 0.5000, 0.5000]])
    """
    attack = FMN(steps=steps, gamma=gamma, step_size=step_size, search=search)
    return attack(model, x, y, 0.0, norm, targets=targets, bounds=bounds, generator=generator, eot=eot)


# -- parts of minimum-norm attacks ----------------------------------------------------------------------------
def nothing(a: Tensor) -> Rows:
    """Return the record of rows for which no point is found yet: η = 0 with norm inf."""
    return {"eta": torch.zeros_like(a), "norm": torch.full_like(a[:, 0], float("inf"))}


def nearer(p: Problem, best: Rows, eta: Tensor, fooled: Tensor) -> Rows:
    """Return the record after η, which enters it in rows that it fools with a smaller norm than before."""
    norm = p.threat.size(eta)
    better = fooled & (norm < best["norm"])
    return {
        "eta": torch.where(better.unsqueeze(-1), eta, best["eta"]),
        "norm": torch.where(better, norm, best["norm"]),
    }


def shrink(p: Problem, eta: Tensor, steps: int) -> Tensor:
    """Return the point t η that fools the classifier with the smallest t found in some steps of false position.

    Each step is one forward pass. The bracket starts at [0, 1]; the margin at the end that stays is halved (Illinois
    rule), so both ends move. Rows that η does not fool keep it.
    """
    if steps < 1:
        return eta
    left, right = torch.zeros_like(p.a[:, 0]), torch.ones_like(p.a[:, 0])
    won, above = p.judge(eta)
    _, below = p.judge(torch.zeros_like(eta))
    for _ in range(steps):
        share = (below / (below - above).clamp_max(-1e-12)).clamp(0.02, 1)  # never onto the end that does not fool
        t = torch.where(won, left + share * (right - left), 1)
        fooled, value = p.judge(t.unsqueeze(-1) * eta)
        left, right = torch.where(fooled, left, t), torch.where(fooled, t, right)
        below, above = torch.where(fooled, below / 2, value), torch.where(fooled, value, above / 2)
    return right.unsqueeze(-1) * eta


def _first_step(p: Problem) -> float | Tensor:
    """Return the default of the first length of a step of FMN, a number or one per row (N, 1)."""
    if p.threat.norm == "l0":  # any length for which the projection ranks coordinates by slope times room
        low, high = p.walls
        return 100 * torch.maximum(-low, high).amax(-1, keepdim=True)
    return (10.0 if p.threat.norm == "linf" else 3.0) * p.width


def _distance(p: Problem, eta: Tensor, value: Tensor, g: Tensor) -> Tensor:
    """Return the norm at which the linearized margin at η is 0, (N,)."""
    return fewest(p, eta, value, g) if p.threat.norm == "l0" else p.threat.size(eta) + value.abs() / slope(p, g)


def _changed(p: Problem, eps: Tensor, change: float) -> tuple[Tensor, Tensor]:
    """Return the next smaller and the next larger radius."""
    less, more = (1 - change) * eps, (1 + change) * eps
    if p.threat.norm != "l0":
        return less, more
    return torch.minimum(less.floor(), eps - 1).clamp_min(1), torch.maximum(more.floor(), eps + 1)


def _project(p: Problem, eta: Tensor, eps: Tensor) -> Tensor:
    """Return the nearest point with |η|_norm <= eps (N, 1) in the box; unlike a threat model it does not check eps."""
    low, high = p.threat.low - p.a, p.threat.high - p.a
    if p.threat.norm == "linf":
        return torch.clamp(eta, low.clamp_min(-eps), high.clamp_max(eps))
    return IN_BOX[p.threat.norm](eta, eps, low, high)


def _noise(p: Problem) -> Tensor:
    return torch.randn(p.a.shape, generator=p.generator, device=p.a.device, dtype=p.a.dtype)


def _unit(g: Tensor, spare: Tensor) -> Tensor:
    """Return g / |g|_2, with a spare direction in rows whose g vanishes, e.g. because the loss is saturated."""
    return normalize(torch.where((g == 0).all(-1, keepdim=True), spare, g), dim=-1)


def _cosine(k: int, steps: int) -> float:
    return (1 + math.cos(math.pi * k / steps)) / 2


def _check_rates(gamma: float, length: float) -> None:
    if not 0 < gamma < 1:
        raise GameError(f"gamma is {gamma}: the norm changes by a factor 1 ± gamma in (0, 2), e.g. gamma=0.05")
    if not 0 < length < float("inf"):
        raise GameError(f"the first length is {length}: a finite number > 0 is needed, e.g. 1.0")
