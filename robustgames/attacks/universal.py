"""One perturbation for all inputs, and the exact worst case of a linear classifier."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Generator, Tensor

from robustgames.attacks.directions import slide, steepest
from robustgames.attacks.losses import LabelLoss
from robustgames.attacks.masking import after_attack, announce
from robustgames.attacks.narrow import round_toward, widen
from robustgames.attacks.problem import Bounds, Problem, Radius, pose_problem
from robustgames.attacks.steps import Constant, check_motion
from robustgames.attacks.victim import Model, Victim
from robustgames.errors import GameError
from robustgames.games.threat import ThreatModel, convex_norm


def universal(
    model: Model | Victim,
    x: Tensor,
    y: Tensor,
    eps: float,
    norm: str | float = "linf",
    epochs: int = 10,
    batch_size: int = 100,
    step_size: float | None = None,
    *,
    clip: float = float("inf"),
    loss: str | LabelLoss = "ce",
    targets: Tensor | None = None,
    bounds: Bounds = (0.0, 1.0),
    generator: Generator | None = None,
    eot: int = 1,
) -> Tensor:
    """Ascent on η -> mean_i min(L(h(a_i + η), b_i), clip) over minibatches, |η|_norm <= eps; a_i + η is clipped.

    Returns η in the shape of one input, x.shape[1:]; the images are (x + η) clipped to the bounds. Source:
    Moosavi-Dezfooli et al. 2017 for the aim; Shafahi et al. 2020, algorithm 2, for the ascent.

    Args:
        model, x, y, norm, loss, targets, bounds, generator, eot: See `robustgames.attacks.gradient`.
        eps: Radius, one number.
        epochs: Passes over the inputs, each in a new random order.
        batch_size: Inputs in a step; the last step of an epoch takes the rest.
        step_size: First size of a step in the norm, in the direction of `pgd`; it decreases linearly to 0. If None, it
            is 2.5 eps / epochs.
        clip: Loss above which an image has no gradient, so that no image outweighs the others.

    Example:
        >>> images = torch.tensor([[0.5, 0.5], [0.9, 0.2]])
        >>> universal(torch.nn.Identity(), images, torch.tensor([0, 0]), eps=0.2, epochs=3)
        tensor([-0.2000,  0.2000])
    """
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        if not value >= 1:
            raise GameError(f"{name} is {value}: at least 1 is needed")
    check_motion(step_size)
    if clip != clip:
        raise GameError("clip is nan: a level of the loss is needed, e.g. clip=5.0, or inf to clip none")
    if isinstance(eps, Tensor) and eps.numel() != 1:
        raise GameError(f"eps has {eps.numel()} values: one perturbation has one radius, e.g. eps=0.3")
    norm = convex_norm(norm, "universal")
    with pose_problem(model, x, y, float(eps), norm, bounds, generator, loss, targets, eot) as p:
        if len(x) == 0:
            raise GameError("there are no inputs: a universal perturbation is learned from at least 1")
        eta = _ascend(p, epochs, batch_size, step_size, clip)
        notes = after_attack(p)
    announce(notes)
    return (eta if p.dtype is None else round_toward(eta, torch.zeros_like(eta), p.dtype)).view(x.shape[1:])


def linear_worst_case(
    weights: Tensor,
    x: Tensor,
    y: Tensor,
    eps: Radius,
    norm: str | float = "linf",
    *,
    bias: Tensor | None = None,
    targets: Tensor | None = None,
    bounds: Bounds = (0.0, 1.0),
) -> Tensor:
    """Return the inputs of largest margin max_{c != y} z_c - z_y of the linear classifier z = W a + b, exactly.

    Each difference of two scores is linear in η with slope w = w_c - w_y. Its maximizer over ball and box is known:
    without an active box <w, η> = eps |w|_dual, in ℓ∞ η = eps sign(w). (The lecture's slide omits the eps.)

    Args:
        weights: Weights W, (classes, p).
        x, y, eps, norm, bounds: See `robustgames.attacks.gradient`.
        bias: Bias b, (classes,).
        targets: Classes (N,) to lead to; z_target - z_y is then maximized.

    Example:
        >>> weights, image = torch.tensor([[2.0, -1.0], [0.0, 0.0]]), torch.tensor([[0.5, 0.95]])
        >>> linear_worst_case(weights, image, torch.tensor([0]), eps=0.1)
        tensor([[0.4000, 1.0000]])
    """
    width = x[0].numel() if len(x) > 0 else weights.shape[-1]
    if weights.dim() != 2 or weights.shape[1] != width:
        raise GameError(f"weights have shape {tuple(weights.shape)}: (classes, {width}) is needed for such inputs")
    weights, norm = widen(weights), convex_norm(norm, "linear_worst_case")
    shift = weights.new_zeros(len(weights)) if bias is None else widen(bias)

    def scores(images: Tensor) -> Tensor:
        return torch.nn.functional.linear(widen(images).reshape(len(images), -1), weights, shift)

    with pose_problem(scores, x, y, eps, norm, bounds, None, "margin", targets) as p:
        if len(x) == 0:
            return x.clone()
        best, worst = torch.zeros_like(p.a), torch.full_like(p.a[:, 0], -float("inf"))
        z = p.victim.logits(p.images(best))  # also checks the class numbers
        every = [torch.full_like(p.labels, c) for c in range(len(weights))]
        for rival in every if p.targets is None else [p.targets]:
            pair = z.gather(-1, torch.stack([rival, p.labels], -1))
            slope = weights[rival] - weights[p.labels]
            eta = p.threat.at(p.a).maximize(slope)
            value = pair[:, 0] - pair[:, 1] + (slope * eta).sum(-1)
            better = (value > worst) & (p.labels != rival)
            best, worst = torch.where(better.unsqueeze(-1), eta, best), torch.where(better, value, worst)
        return p.images(best).view_as(x)


def _ascend(p: Problem, epochs: int, batch_size: int, step_size: float | None, clip: float) -> Tensor:
    """Return the universal perturbation (1, p)."""
    free = ThreatModel(p.threat.norm, p.threat.eps, -float("inf"), float("inf"))
    ball = replace(p, a=torch.zeros_like(p.a[:1]), threat=free)  # η alone: its ball has no box
    first = 2.5 * float(p.threat.eps) / epochs if step_size is None else step_size
    direction = slide if p.threat.norm == "l1" else steepest
    eta, count = torch.zeros_like(ball.a), epochs * -(-len(p.a) // batch_size)
    k = 0
    for _ in range(epochs):
        order = torch.randperm(len(p.a), generator=p.generator, device=p.a.device)
        for index in order.split(batch_size):
            step = Constant(first * (1 - k / count), direction=direction)
            eta, _ = step.move(ball, eta, _slope(p.rows(index), eta, clip), {}, k)
            k += 1
    return eta


def _slope(part: Problem, eta: Tensor, clip: float) -> Tensor:
    """Return the gradient of the mean clipped loss of the clipped images in η, (1, p)."""
    free = part.a + eta
    images = free.clamp_min(part.threat.low).clamp_max(part.threat.high)
    value, _, g = part.gradient(images - part.a)
    counts = (images == free) & (value < clip).unsqueeze(-1)  # a clipped coordinate or image has no slope
    return (g * counts).mean(0, keepdim=True)
