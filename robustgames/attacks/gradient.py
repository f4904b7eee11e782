"""White-box attacks inside a ball: settings of one engine.

All take a classifier (a module or a function, inputs -> logits), inputs x (N, ...) inside `bounds`, labels y (N,), and
return perturbed inputs of the shape and dtype of x with |x_adv - x|_norm <= eps, inside the bounds. `targets` (N,) are
classes to lead to instead of away from y. Randomness comes from `generator` alone (seed 0 by default). `eps` is one
radius or one per input, `norm` "linf", "l2" or "l1" (also written 2, "L2", float("inf")).

`eot` is the number of passes of a stochastic classifier: losses, gradients and verdicts are means over so many, and of
the points found the one that fools most passes is returned. The global generator, from which most such classifiers draw
their noise, is then seeded from `generator` during the attack, and restored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Generator, Tensor

from robustgames.attacks.attack import Attack
from robustgames.attacks.directions import DIRECTIONS
from robustgames.attacks.engine import Early, ascend, check_steps
from robustgames.attacks.losses import LabelLoss
from robustgames.attacks.problem import Bounds, Problem, Radius
from robustgames.attacks.restarts import check_restarts, restart
from robustgames.attacks.steps import Constant, check_motion
from robustgames.attacks.victim import Model, Victim
from robustgames.errors import unknown

Start = Literal["random", "zero"]
RAW_STEP = 1.0  # default step size of raw gradients, which no radius scales


@dataclass(frozen=True, kw_only=True)
class FGSM(Attack):
    """`fgsm`, which has no settings: one steepest step of length eps."""

    def run(self, p: Problem) -> Tensor:
        return ascend(p, torch.zeros_like(p.a), Constant(share=1.0), 1, "last")


@dataclass(frozen=True, kw_only=True)
class PGD(Attack):
    """Settings of `pgd`."""

    steps: int = 40
    step_size: float | None = None
    direction: str = "steepest"
    start: Start = "random"
    restarts: int = 1
    momentum: float = 0.0
    early: Early = "best"

    def __post_init__(self) -> None:
        if self.direction not in DIRECTIONS:
            raise unknown("direction", self.direction, DIRECTIONS)
        check_start(self.start)
        check_steps(self.steps, self.early)
        check_restarts(self.restarts)
        check_motion(self.step_size, self.momentum)

    def run(self, p: Problem) -> Tensor:
        return restart(p, self._search, self.restarts)

    def _search(self, p: Problem) -> Tensor:
        """Return the perturbations of one run."""
        start = random_start(p) if self.start == "random" else torch.zeros_like(p.a)
        direction = "slide" if self.direction == "steepest" and p.threat.norm == "l1" else self.direction
        size = RAW_STEP if self.step_size is None and direction == "raw" else self.step_size
        step = Constant(size, share=2.5 / self.steps, direction=DIRECTIONS[direction], momentum=self.momentum)
        return ascend(p, start, step, self.steps, self.early)


def fgsm(
    model: Model | Victim,
    x: Tensor,
    y: Tensor,
    eps: Radius,
    norm: str | float = "linf",
    *,
    loss: str | LabelLoss = FGSM.loss,
    targets: Tensor | None = None,
    bounds: Bounds = (0.0, 1.0),
    generator: Generator | None = None,
    eot: int = 1,
) -> Tensor:
    """Fast gradient (sign) method: η = argmax of <∇L, η> over the ball, clipped to the box; eps sign(∇L) in ℓ∞.

    Source: Goodfellow, Shlens and Szegedy 2015; lecture "Fast Gradient Sign Method".

    Example:
        >>> rg.attacks.fgsm(lambda x: torch.cat([x, -x], 1), torch.tensor([[0.5]]), torch.tensor([0]), eps=0.1)
        tensor([[0.4000]])
    """
    return FGSM()(model, x, y, eps, norm, loss=loss, targets=targets, bounds=bounds, generator=generator, eot=eot)


def pgd(
    model: Model | Victim,
    x: Tensor,
    y: Tensor,
    eps: Radius,
    norm: str | float = "linf",
    steps: int = PGD.steps,
    step_size: float | None = PGD.step_size,
    *,
    direction: str = PGD.direction,
    start: Start = PGD.start,
    restarts: int = PGD.restarts,
    momentum: float = PGD.momentum,
    early: Early = PGD.early,
    loss: str | LabelLoss = PGD.loss,
    targets: Tensor | None = None,
    bounds: Bounds = (0.0, 1.0),
    generator: Generator | None = None,
    eot: int = 1,
) -> Tensor:
    """Projected gradient descent on -L: η⁺ = P(η + step_size d(∇L)), P the exact projection on ball and box.

    Source: Madry et al. 2018; lecture "Projected gradient ascent".

    Args:
        model, x, y, eps, norm, loss, targets, bounds, generator, eot: See the module.
        steps: Gradient steps; each is one forward and one backward pass.
        step_size: Size of a step in the norm. If None, it is 2.5 eps / steps, and 1 for raw gradients.
        direction: "steepest" (sign in ℓ∞, g/|g| in ℓ2; "slide" in ℓ1, where the steepest direction moves one
            coordinate), "raw", "slide", "top_k".
        start: "random" in the ball (in ℓ2 and ℓ1 in a tenth of it: budget that is spread over all coordinates is hard
            to take back), or "zero".
        restarts: Runs from other random starts, each on the rows that are not fooled yet.
        momentum: Weight of the previous steps as in MI-FGSM, e.g. 1.0.
        early: "best", "last", "drop" or "loss", see `engine.ascend`.
    """
    attack = PGD(
        steps=steps,
        step_size=step_size,
        direction=direction,
        start=start,
        restarts=restarts,
        momentum=momentum,
        early=early,
    )
    return attack(model, x, y, eps, norm, loss=loss, targets=targets, bounds=bounds, generator=generator, eot=eot)


def pga(
    model: Model | Victim,
    x: Tensor,
    y: Tensor,
    eps: Radius,
    norm: str | float = "linf",
    steps: int = PGD.steps,
    step_size: float = RAW_STEP,
    *,
    start: Start = "zero",
    early: Early = PGD.early,
    loss: str | LabelLoss = PGD.loss,
    targets: Tensor | None = None,
    bounds: Bounds = (0.0, 1.0),
    generator: Generator | None = None,
    eot: int = 1,
) -> Tensor:
    """Projected gradient ascent with raw gradients: η⁺ = P(η + step_size ∇L).

    Gradients of a trained classifier are tiny, so the step must be large; one step with step_size |∇L_i| >= eps for
    every i is FGSM. Source: lecture "Projected gradient ascent".
    """
    attack = PGD(steps=steps, step_size=step_size, direction="raw", start=start, early=early)
    return attack(model, x, y, eps, norm, loss=loss, targets=targets, bounds=bounds, generator=generator, eot=eot)


def random_start(p: Problem) -> Tensor:
    """Return the start of PGD: uniform in the ball in ℓ∞, in a tenth of it in ℓ2 and ℓ1."""
    eta = p.threat.sample(p.a, p.generator)
    return eta if p.threat.norm == "linf" else 0.1 * eta


def check_start(start: str) -> None:
    """Refuse an unknown start."""
    if start not in get_args(Start):
        raise unknown("start", start, get_args(Start))
