"""DeepFool: steps to the nearest boundary of the linearized classifier, and the linearization that FAB shares."""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.nn.functional import normalize, pad

from robustgames.attacks.engine import check_steps
from robustgames.attacks.minimum_norm import DUALS, aim
from robustgames.attacks.problem import Bounds, Problem, problem
from robustgames.attacks.victim import Model, Victim
from robustgames.errors import GameError, unknown

LEAST = 1e-3  # share of |η| that a step adds: else steps die out on the near side where the box stops some pixels
FAR = 1e18  # stands for an open side of the box: 0 * inf is not a number


def deepfool(
    model: Model | Victim,
    x: Tensor,
    y: Tensor,
    norm: str = "l2",
    steps: int = 50,
    overshoot: float = 0.02,
    classes: int = 10,
    *,
    targets: Tensor | None = None,
    bounds: Bounds = (0.0, 1.0),
    generator: Generator | None = None,
) -> Tensor:
    """DeepFool: of the boundaries z_k = z_y, linearized at η, cross the nearest; repeat from there.

    r = (|f_k| / |w_k|_dual) u(w_k) with f_k = z_k - z_y, w_k = ∇f_k, k = argmin |f_k| / |w_k|_dual, u the steepest
    direction: w / |w|_2 in ℓ2, sign(w) in ℓ∞. η is (1 + overshoot) times the sum of all r; both are clipped to the box,
    and r is longer by a thousandth of the sum (the authors' code: by 1e-4, whatever the scale). Images and classes are
    batched; a row that is fooled leaves, which waits for the device in every step.
    Source: Moosavi-Dezfooli, Fawzi and Frossard 2016, algorithm 2.

    Args:
        model, x, y, bounds: see `minimum_norm`. Rows that no step fools come back as they were.
        norm: "l2" or "linf".
        steps: at most; each is two passes forward and one back per class.
        overshoot: share of η that is added to cross the boundary.
        classes: how many of the likeliest wrong classes at x to look at; no more than there are.
        targets: classes (N,) to lead to; the boundary is then the one with whichever class is likeliest beside it.
        generator: not used, DeepFool is deterministic.

    Example:
        >>> x = torch.tensor([[0.5, 0.5]])
        >>> deepfool(lambda x: torch.stack([x[:, 0], 0 * x[:, 0] + 0.4], 1), x, torch.tensor([0]), overshoot=0.1)
        tensor([[0.3900, 0.5000]])
    """
    check_steps(steps)
    if norm not in ("linf", "l2"):
        raise unknown("norm", norm, ("linf", "l2"))
    if not 0 <= overshoot < float("inf"):
        raise GameError(f"overshoot is {overshoot}: a share >= 0 of the perturbation is needed, e.g. 0.02")
    check_classes(classes)
    with problem(model, x, y, 0.0, norm, bounds, generator, targets=targets) as p:
        return x.clone() if len(x) == 0 else p.images(cross(p, steps, overshoot, classes)).view_as(x)


def cross(p: Problem, steps: int, overshoot: float, classes: int) -> Tensor:
    """Return the perturbations that DeepFool ends with, 0 where it fools nothing."""
    out, alive, order = torch.zeros_like(p.a), torch.arange(len(p.a), device=p.a.device), candidates(p, classes)
    eta, total, norm = torch.zeros_like(p.a), torch.zeros_like(p.a), p.threat.norm
    for k in range(steps + 1):
        fooled = p.fooled(p.victim.logits(p.images(eta)))
        if bool(fooled.any()):
            out[alive[fooled]] = eta[fooled]
            keep = (~fooled).nonzero().squeeze(-1)
            alive, total, order, p = alive[keep], total[keep], order[keep], p.rows(keep)
            eta = eta[keep]
        if len(alive) == 0 or k == steps:
            break
        value, w = nearest_boundary(p, *linearize(p, eta, order))
        low, high = walls(p)
        length = value.abs() / torch.linalg.vector_norm(w, DUALS[norm], dim=-1).clamp_min(1e-12)
        length = (length + LEAST * p.threat.size(total)).unsqueeze(-1)
        step = length * (w.sign() if norm == "linf" else normalize(w))
        total = (total + step).clamp_min(low).clamp_max(high)
        eta = ((1 + overshoot) * total).clamp_min(low).clamp_max(high)
    return out


# -- linearized boundaries ------------------------------------------------------------------------------------
def candidates(p: Problem, classes: int) -> Tensor:
    """Return the classes whose boundaries count, (N, k): the target, or the likeliest wrong ones in falling order."""
    if p.targets is not None:
        return p.targets.unsqueeze(-1)
    logits = p.victim.logits(p.images(torch.zeros_like(p.a)))
    wrong = logits.scatter(-1, p.labels.unsqueeze(-1), -float("inf"))
    return wrong.topk(min(classes, logits.shape[1] - 1), dim=-1).indices


def linearize(p: Problem, eta: Tensor, classes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return (logits (N, C), f (N, k), ∇f (N, k, p)) at η: f_k = z_k - z_y, or the margin of a target to reach."""

    def differences(logits: Tensor) -> Tensor:
        if p.targets is not None and p.reach:
            return aim(p, logits).unsqueeze(-1)
        return logits.gather(-1, classes) - logits.gather(-1, p.labels.unsqueeze(-1))

    logits, values, g = p.victim.gradients(p.images(eta), differences)
    return logits, values, g.flatten(2)


def nearest_boundary(p: Problem, logits: Tensor, values: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """Return f (N,) and ∇f (N, p) of the boundary with the least |f| / |∇f|_dual."""
    if values.shape[1] == 1:
        return values[:, 0], g[:, 0]
    slope = torch.linalg.vector_norm(g, DUALS[p.threat.norm], dim=-1)
    best = (values.abs() / slope.clamp_min(1e-12)).argmin(-1, keepdim=True)
    return values.gather(1, best).squeeze(1), g.take_along_dim(best.unsqueeze(-1), 1).squeeze(1)


def check_classes(classes: int) -> None:
    """Refuse a number of classes that there is not."""
    if not classes >= 1:
        raise GameError(f"classes is {classes}: at least 1 wrong class is needed")


# -- projection on a hyperplane inside a box ------------------------------------------------------------------
def to_hyperplane(w: Tensor, gap: Tensor, low: Tensor, high: Tensor, norm: str, rounds: int = 24) -> Tensor:
    """Return the d of least |d|_norm with <w, d> = gap and low <= d <= high, where low <= 0 <= high are finite.

    |d_i| = min(λ u_i, room_i) with u = 1 in ℓ∞ and |w| in ℓ2, room_i the way to the box in the direction that helps:
    <w, d> is concave and piecewise linear in λ, so that Newton's method climbs to the root from below and ends there.
    In ℓ1 the coordinates of largest |w| are filled one after the other. Where the box does not reach the hyperplane, d
    is its corner nearest to it.

    Args:
        w: (N, p).
        gap: (*S, N).
        low, high: (*S, N, p).
        norm: "linf", "l2" or "l1".
        rounds: of Newton's method, at most; on a CPU it stops when all rows have arrived.
    """
    side = w.sign() * gap.sign().unsqueeze(-1)
    room, gain, gap = torch.maximum(side * high, side * low), w.abs(), gap.abs().unsqueeze(-1)
    return side * (_fill(gain, gap, room) if norm == "l1" else _level(gain, gap, room, norm, rounds))


def _level(gain: Tensor, gap: Tensor, room: Tensor, norm: str, rounds: int) -> Tensor:
    u = torch.ones_like(gain) if norm == "linf" else gain
    rates, tiny = u * gain, torch.finfo(gain.dtype).tiny
    level = (gap / rates.sum(-1, keepdim=True).clamp_min(tiny)).clamp_max(FAR)
    for _ in range(rounds):
        reach = level * u
        rest = gap - torch.linalg.vecdot(torch.minimum(reach, room), gain).unsqueeze(-1)
        slope = torch.linalg.vecdot((room > reach).to(gain.dtype), rates).unsqueeze(-1)
        higher = (level + rest.clamp_min(0) / slope.clamp_min(tiny)).clamp_max(FAR)
        arrived = higher <= level * (1 + 4 * torch.finfo(gain.dtype).eps)
        level = higher
        if not gain.is_cuda and bool(arrived.all()):
            break
    return torch.minimum(level * u, room)


def _fill(gain: Tensor, gap: Tensor, room: Tensor) -> Tensor:
    gain, order = gain.sort(-1, descending=True)
    order = order.expand_as(room)
    room = room.gather(-1, order)
    before = pad((gain * room).cumsum(-1)[..., :-1], (1, 0))
    taken = ((gap - before) / gain.clamp_min(torch.finfo(gain.dtype).tiny)).clamp_min(0)
    return torch.zeros_like(room).scatter(-1, order, torch.minimum(taken, room))


def walls(p: Problem) -> tuple[Tensor, Tensor]:
    """Return the least and the largest perturbation of each coordinate inside the box, finite."""
    return (p.threat.low - p.a).clamp_min(-FAR), (p.threat.high - p.a).clamp_max(FAR)
