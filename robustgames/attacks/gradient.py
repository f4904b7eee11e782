"""White-box attacks inside a ball: settings of one engine.

All take a classifier (a module or a function, inputs -> logits), inputs x (N, ...) inside `bounds`, labels y (N,), and
return perturbed inputs of the shape and dtype of x with |x_adv - x|_norm <= eps, inside the bounds. `targets` (N,) are
classes to lead to instead of away from y. Randomness comes from `generator` alone (seed 0 by default).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal, get_args

import torch
from torch import Generator, Tensor

from robustgames.attacks.deepfool import candidates
from robustgames.attacks.engine import (
    Constant,
    Direction,
    Early,
    Halving,
    Sparse,
    Step,
    ascend,
    check_steps,
    raw,
    slide,
    steepest,
    top_k,
)
from robustgames.attacks.losses import LabelLoss
from robustgames.attacks.problem import Bounds, Problem, problem
from robustgames.attacks.victim import Model, Victim
from robustgames.errors import GameError, unknown

DIRECTIONS: dict[str, Direction] = {"steepest": steepest, "raw": raw, "slide": slide, "top_k": top_k}
Start = Literal["random", "zero"]


def fgsm(
    model: Model | Victim,
    x: Tensor,
    y: Tensor,
    eps: float | Tensor,
    norm: str = "linf",
    *,
    loss: str | LabelLoss = "ce",
    targets: Tensor | None = None,
    bounds: Bounds = (0.0, 1.0),
    generator: Generator | None = None,
) -> Tensor:
    """Fast gradient (sign) method: η = argmax of <∇L, η> over the ball, clipped to the box; eps sign(∇L) in ℓ∞.

    Source: Goodfellow, Shlens and Szegedy 2015; lecture "Fast Gradient Sign Method".

    Example:
        >>> rg.attacks.fgsm(lambda x: torch.cat([x, -x], 1), torch.tensor([[0.5]]), torch.tensor([0]), eps=0.1)
        tensor([[0.4000]])
    """
    with problem(model, x, y, eps, norm, bounds, generator, loss, targets) as p:
        return _run(p, x, lambda q: q.project(q.threat.eps * q.threat.steepest(q.gradient(torch.zeros_like(q.a))[2])))


def pgd(
    model: Model | Victim,
    x: Tensor,
    y: Tensor,
    eps: float | Tensor,
    norm: str = "linf",
    steps: int = 40,
    step_size: float | None = None,
    *,
    direction: str = "steepest",
    start: Start = "random",
    restarts: int = 1,
    momentum: float = 0.0,
    early: Early = "best",
    loss: str | LabelLoss = "ce",
    targets: Tensor | None = None,
    bounds: Bounds = (0.0, 1.0),
    generator: Generator | None = None,
) -> Tensor:
    """Projected gradient descent on -L: η⁺ = P(η + step_size d(∇L)), P the exact projection on ball and box.

    Source: Madry et al. 2018; lecture "Projected gradient ascent".

    Args:
        model, x, y, eps, norm, loss, targets, bounds, generator: see the module.
        steps: gradient steps; each is one pass forward and back.
        step_size: in the norm; 2.5 eps / steps by default (raw gradients: 1).
        direction: "steepest" (sign in ℓ∞, g/|g| in ℓ2; "slide" in ℓ1, where the steepest direction moves one
            coordinate), "raw", "slide", "top_k".
        start: "random" in the ball (in ℓ2 and ℓ1 in a tenth of it: budget that lies on all coordinates is hard to
            take back), or "zero".
        restarts: from other random starts, on what is not fooled yet.
        momentum: of MI-FGSM, e.g. 1.0.
        early: "best", "last", "drop" or "loss": see `engine.ascend`.
    """
    if direction not in DIRECTIONS:
        raise unknown("direction", direction, DIRECTIONS)
    if start not in get_args(Start):
        raise unknown("start", start, get_args(Start))
    check_steps(steps, early)
    if norm == "l1" and direction == "steepest":
        direction = "slide"
    with problem(model, x, y, eps, norm, bounds, generator, loss, targets) as p:
        step = Constant(
            1.0 if step_size is None and direction == "raw" else step_size, 2.5 / steps, DIRECTIONS[direction], momentum
        )
        begin = random_start if start == "random" else lambda q: torch.zeros_like(q.a)
        return _run(p, x, lambda q: ascend(q, begin(q), step, steps, early), restarts)


def pga(
    model: Model | Victim,
    x: Tensor,
    y: Tensor,
    eps: float | Tensor,
    norm: str = "linf",
    steps: int = 40,
    step_size: float = 1.0,
    *,
    start: Start = "zero",
    early: Early = "best",
    loss: str | LabelLoss = "ce",
    targets: Tensor | None = None,
    bounds: Bounds = (0.0, 1.0),
    generator: Generator | None = None,
) -> Tensor:
    """Projected gradient ascent with raw gradients: η⁺ = P(η + step_size ∇L).

    Gradients of a trained classifier are tiny, so the step must be large; one step with step_size |∇L_i| >= eps for
    every i is FGSM. Source: lecture "Projected gradient ascent".
    """
    return pgd(
        model, x, y, eps, norm, steps, step_size, direction="raw", start=start, early=early, loss=loss,
        targets=targets, bounds=bounds, generator=generator,
    )  # fmt: skip


def apgd(
    model: Model | Victim,
    x: Tensor,
    y: Tensor,
    eps: float | Tensor,
    norm: str = "linf",
    steps: int = 100,
    *,
    loss: str | LabelLoss = "ce",
    restarts: int = 1,
    early: Early = "best",
    targets: Tensor | None = None,
    bounds: Bounds = (0.0, 1.0),
    generator: Generator | None = None,
) -> Tensor:
    """Auto-PGD: step sizes from the progress of each row alone. The strongest single attack here; no parameter to tune.

    In ℓ1 the sparsity of the step adapts too, and the radius goes through 3 eps, 2 eps, eps in 30, 30 and 40 % of the
    steps. Source: Croce and Hein 2020; Croce and Hein 2021 for ℓ1.

    Args:
        model, x, y, eps, norm, loss, targets, bounds, generator: see the module; loss "dlr" with targets is the
            targeted DLR loss.
        steps: gradient steps of each restart.
        restarts: random starts, each on what is not fooled yet.
        early: see `engine.ascend`.
    """
    check_steps(steps, early)
    with problem(model, x, y, eps, norm, bounds, generator, loss, targets) as p:
        return _run(p, x, lambda q: auto_pgd(q, steps, early), restarts)


def apgd_targeted(
    model: Model | Victim,
    x: Tensor,
    y: Tensor,
    eps: float | Tensor,
    norm: str = "linf",
    steps: int = 100,
    *,
    classes: int = 9,
    loss: str | LabelLoss = "dlr",
    restarts: int = 1,
    early: Early = "best",
    bounds: Bounds = (0.0, 1.0),
    generator: Generator | None = None,
) -> Tensor:
    """Auto-PGD towards each of the most likely wrong classes in turn; a row is done with any wrong class.

    Source: Croce and Hein 2020, section 4 (APGD-T with the targeted DLR loss).

    Args:
        model, x, y, eps, norm, loss, bounds, generator: see the module.
        steps: gradient steps per class and restart.
        classes: how many wrong classes to try; no more than there are.
        restarts: random starts per class.
        early: see `engine.ascend`.
    """
    check_steps(steps, early)
    if classes < 1:
        raise GameError(f"classes is {classes}: at least 1 wrong class is needed")
    _check_restarts(restarts)
    with problem(model, x, y, eps, norm, bounds, generator, loss) as p:
        return _run(p, x, lambda q: targeted(q, lambda t: auto_pgd(t, steps, early), classes, restarts))


# -- what the attacks share -----------------------------------------------------------------------------------
def auto_pgd(p: Problem, steps: int, early: Early) -> Tensor:
    """Return the perturbations of one run of Auto-PGD."""
    if p.threat.norm != "l1":
        step: Step = Halving(steps)
        start = p.threat.sample(p.a, p.generator) if p.threat.norm == "l2" else _corner_start(p)
        return ascend(p, start, step, steps, early)
    eta = torch.randn(p.a.shape, generator=p.generator, device=p.a.device, dtype=p.a.dtype)
    first = -(-3 * steps // 10)  # rounded up
    phases = [(3.0, first), (2.0, min(first, steps - first)), (1.0, steps - 2 * first)]
    for scale, count in phases:
        if count < 1:
            continue
        wide = replace(p, threat=replace(p.threat, eps=scale * p.threat.eps))
        step = Sparse(count, leap=scale == 1 and early != "last")
        eta = ascend(wide, wide.project(eta), step, count, early if scale == 1 else "loss")
    return eta


def targeted(p: Problem, once: Callable[[Problem], Tensor], classes: int, restarts: int = 1) -> Tensor:
    """Return the perturbations of an attack towards each of the likeliest wrong classes, on what is not fooled yet."""
    tries = [target for target in candidates(p, classes).unbind(-1) for _ in range(restarts)]
    return repeat(p, [lambda q, rows, t=t: once(replace(q, targets=t[rows], reach=False)) for t in tries])


def repeat(p: Problem, tries: list[Callable[[Problem, Tensor], Tensor]]) -> Tensor:
    """Return η after several tries, each on the rows that are not fooled yet; else a row keeps its highest loss."""
    eta, open_ = torch.zeros_like(p.a), torch.arange(len(p.a), device=p.a.device)
    if len(tries) == 1:
        return tries[0](p, open_)
    best = torch.full_like(p.a[:, 0], -float("inf"))
    for once in tries:
        part = p.rows(open_)
        new = once(part, open_)
        loss, fooled = part.evaluate(new)
        better = fooled | (loss > best[open_])
        eta[open_] = torch.where(better.unsqueeze(-1), new, eta[open_])
        best[open_] = torch.maximum(loss, best[open_])
        open_ = open_[~fooled]
        if len(open_) == 0:
            break
    return eta


def _run(p: Problem, x: Tensor, once: Callable[[Problem], Tensor], restarts: int = 1) -> Tensor:
    _check_restarts(restarts)
    if len(x) == 0:
        return x.clone()
    eta = once(p) if restarts == 1 else repeat(p, [lambda q, _: once(q)] * restarts)
    return p.images(eta).view_as(x)


def _check_restarts(restarts: int) -> None:
    if restarts < 1:
        raise GameError(f"restarts is {restarts}: at least 1 run is needed")


def random_start(p: Problem) -> Tensor:
    """Return where PGD begins: anywhere in the ball in ℓ∞, in a tenth of it in ℓ2 and ℓ1."""
    eta = p.threat.sample(p.a, p.generator)
    return eta if p.threat.norm == "linf" else 0.1 * eta


def _corner_start(p: Problem) -> Tensor:
    """Return a uniform direction stretched to the surface of the ball, then clipped."""
    u = 2 * torch.rand(p.a.shape, generator=p.generator, device=p.a.device, dtype=p.a.dtype) - 1
    return p.project(p.threat.eps * u / u.abs().amax(-1, keepdim=True).clamp_min(1e-12))
