"""Auto-PGD: gradient steps whose size adapts to the progress of each row, also toward each of several classes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Generator, Tensor

from robustgames.attacks.attack import Attack
from robustgames.attacks.engine import Early, Step, ascend, check_steps
from robustgames.attacks.losses import LabelLoss
from robustgames.attacks.problem import Bounds, Problem, Radius
from robustgames.attacks.restarts import check_classes, check_restarts, restart, toward_each_class
from robustgames.attacks.steps import Halving, Sparse
from robustgames.attacks.victim import Model, Victim


@dataclass(frozen=True, kw_only=True)
class APGD(Attack):
    """Settings of `apgd`."""

    steps: int = 100
    restarts: int = 1
    early: Early = "best"

    def __post_init__(self) -> None:
        check_steps(self.steps, self.early)
        check_restarts(self.restarts)

    def run(self, p: Problem) -> Tensor:
        return restart(p, self._search, self.restarts)

    def _search(self, p: Problem) -> Tensor:
        """Return the perturbations of one run."""
        if p.threat.norm == "l1":
            return self._search_l1(p)
        start = p.threat.sample(p.a, p.generator) if p.threat.norm == "l2" else _corner_start(p)
        return ascend(p, start, Halving(self.steps), self.steps, self.early)

    def _search_l1(self, p: Problem) -> Tensor:
        eta = p.width * torch.randn(p.a.shape, generator=p.generator, device=p.a.device, dtype=p.a.dtype)
        first = min(-(-3 * self.steps // 10), (self.steps - 1) // 2)  # rounded up; the last phase has a step at least
        phases = [(3.0, first), (2.0, first), (1.0, self.steps - 2 * first)]
        for scale, count in phases:
            if count < 1:
                continue
            wide = replace(p, threat=replace(p.threat, eps=scale * p.threat.eps))
            step: Step = Sparse(count, leap=scale == 1 and self.early != "last")
            eta = ascend(wide, wide.project(eta), step, count, self.early if scale == 1 else "loss")
        return eta


@dataclass(frozen=True, kw_only=True)
class TargetedAPGD(APGD):
    """Settings of `apgd_targeted`."""

    loss: ClassVar[str] = "dlr"
    targeted: ClassVar[bool] = True

    classes: int = 9

    def __post_init__(self) -> None:
        super().__post_init__()
        check_classes(self.classes)

    def run(self, p: Problem) -> Tensor:
        return toward_each_class(p, self._search, self.classes, self.restarts)


def apgd(
    model: Model | Victim,
    x: Tensor,
    y: Tensor,
    eps: Radius,
    norm: str | float = "linf",
    steps: int = APGD.steps,
    *,
    loss: str | LabelLoss = APGD.loss,
    restarts: int = APGD.restarts,
    early: Early = APGD.early,
    targets: Tensor | None = None,
    bounds: Bounds = (0.0, 1.0),
    generator: Generator | None = None,
    eot: int = 1,
) -> Tensor:
    """Auto-PGD: step sizes from the progress of each row alone. The strongest single attack here; nothing to tune.

    In ℓ1 the sparsity of the step adapts as well, and the radius takes the values 3 eps, 2 eps, eps in 30, 30 and 40 %
    of the steps. Source: Croce and Hein 2020; Croce and Hein 2021 for ℓ1.

    Args:
        model, x, y, eps, norm, loss, targets, bounds, generator, eot: See `robustgames.attacks.gradient`; loss
            "dlr" with targets is the targeted DLR loss.
        steps: Gradient steps of each restart.
        restarts: Random starts, each on the rows that are not fooled yet.
        early: See `engine.ascend`.
    """
    attack = APGD(steps=steps, restarts=restarts, early=early)
    return attack(model, x, y, eps, norm, loss=loss, targets=targets, bounds=bounds, generator=generator, eot=eot)


def apgd_targeted(
    model: Model | Victim,
    x: Tensor,
    y: Tensor,
    eps: Radius,
    norm: str | float = "linf",
    steps: int = TargetedAPGD.steps,
    *,
    classes: int = TargetedAPGD.classes,
    loss: str | LabelLoss = TargetedAPGD.loss,
    restarts: int = TargetedAPGD.restarts,
    early: Early = TargetedAPGD.early,
    bounds: Bounds = (0.0, 1.0),
    generator: Generator | None = None,
    eot: int = 1,
) -> Tensor:
    """Auto-PGD toward each of the most likely wrong classes in turn; a row is fooled with any wrong class.

    Source: Croce and Hein 2020, section 4 (APGD-T with the targeted DLR loss).

    Args:
        model, x, y, eps, norm, loss, bounds, generator, eot: See `robustgames.attacks.gradient`.
        steps: Gradient steps per class and restart.
        classes: Number of wrong classes to try, at most all.
        restarts: Random starts per class.
        early: See `engine.ascend`.
    """
    attack = TargetedAPGD(steps=steps, classes=classes, restarts=restarts, early=early)
    return attack(model, x, y, eps, norm, loss=loss, bounds=bounds, generator=generator, eot=eot)


def _corner_start(p: Problem) -> Tensor:
    """Return a uniform direction stretched to the surface of the ball, then clipped."""
    u = 2 * torch.rand(p.a.shape, generator=p.generator, device=p.a.device, dtype=p.a.dtype) - 1
    return p.project(p.threat.eps * u / u.abs().amax(-1, keepdim=True).clamp_min(1e-12))
