"""DeepFool: steps to the nearest boundary of the linearized classifier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor
from torch.nn.functional import normalize

from robustgames.attacks.boundaries import nearest_boundary, slope
from robustgames.attacks.engine import check_steps
from robustgames.attacks.minimum_norm import MinimumNorm
from robustgames.attacks.problem import Bounds, Problem
from robustgames.attacks.restarts import check_classes
from robustgames.attacks.victim import Model, Victim
from robustgames.errors import GameError

LEAST = 1e-3  # share of |η| that a step adds; without it steps vanish before a boundary if the box stops some pixels


@dataclass(frozen=True, kw_only=True)
class DeepFool(MinimumNorm):
    """Settings of `deepfool`."""

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")

    steps: int = 50
    overshoot: float = 0.02
    classes: int = 9  # the authors' 10 and foolbox's count the true class as well

    def __post_init__(self) -> None:
        check_steps(self.steps)
        if not 0 <= self.overshoot < float("inf"):
            raise GameError(f"overshoot is {self.overshoot}: a share >= 0 of the perturbation is needed, e.g. 0.02")
        check_classes(self.classes)

    def run(self, p: Problem) -> Tensor:
        """Return the perturbations, 0 for rows that no step fools."""
        out, alive, order = torch.zeros_like(p.a), torch.arange(len(p.a), device=p.a.device), p.candidates(self.classes)
        eta, total = torch.zeros_like(p.a), torch.zeros_like(p.a)
        for k in range(self.steps + 1):
            fooled, _ = p.judge(eta)
            if bool(fooled.any()):
                out[alive[fooled]] = eta[fooled]
                keep = (~fooled).nonzero().squeeze(-1)
                alive, total, order, p = alive[keep], total[keep], order[keep], p.rows(keep)
                eta = eta[keep]
            if len(alive) == 0 or k == self.steps:
                break
            total, eta = self._step(p, total, eta, order)
        return out

    def _step(self, p: Problem, total: Tensor, eta: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next (sum of the steps, η)."""
        _, values, g = p.differences(eta, order)
        value, w = nearest_boundary(p, values, g)
        low, high = p.walls
        length = (value.abs() / slope(p, w) + LEAST * p.threat.size(total)).unsqueeze(-1)
        step = length * (w.sign() if p.threat.norm == "linf" else normalize(w))
        total = (total + step).clamp_min(low).clamp_max(high)
        return total, ((1 + self.overshoot) * total).clamp_min(low).clamp_max(high)


def deepfool(
    model: Model | Victim,
    x: Tensor,
    y: Tensor,
    norm: str | float = "l2",
    steps: int = DeepFool.steps,
    overshoot: float = DeepFool.overshoot,
    classes: int = DeepFool.classes,
    *,
    targets: Tensor | None = None,
    bounds: Bounds = (0.0, 1.0),
    generator: Generator | None = None,
    eot: int = 1,
) -> Tensor:
    """DeepFool: of the boundaries z_k = z_y, linearized at η, cross the nearest; repeat from there.

    r = (|f_k| / |w_k|_dual) u(w_k) with f_k = z_k - z_y, w_k = ∇f_k, k = argmin |f_k| / |w_k|_dual, u the steepest
    direction: w / |w|_2 in ℓ2, sign(w) in ℓ∞. η is (1 + overshoot) times the sum of all r; both are clipped to the box,
    and r is longer by a thousandth of the sum (in the authors' code by 1e-4, whatever the scale). Images and classes
    are batched; a fooled row leaves, which waits for the device in every step.
    Source: Moosavi-Dezfooli, Fawzi and Frossard 2016, algorithm 2.

    Args:
        model, x, y, bounds: See `minimum_norm`. Rows that no step fools are returned unchanged.
        norm: "l2" or "linf".
        steps: Maximum number of steps; each is two forward passes and one backward pass per class.
        overshoot: Share of η that is added to cross the boundary.
        classes: Number of the likeliest wrong classes at x to consider, at most all.
        targets: Classes (N,) to lead to; the boundary is then that with the likeliest other class.
        generator: Not used, unless eot is above 1, because DeepFool is deterministic.
        eot: See `minimum_norm`.

    Example:
        >>> x = torch.tensor([[0.5, 0.5]])
        >>> deepfool(lambda x: torch.stack([x[:, 0], 0 * x[:, 0] + 0.4], 1), x, torch.tensor([0]), overshoot=0.1)
        tensor([[0.3900, 0.5000]])
    """
    attack = DeepFool(steps=steps, overshoot=overshoot, classes=classes)
    return attack(model, x, y, 0.0, norm, targets=targets, bounds=bounds, generator=generator, eot=eot)
