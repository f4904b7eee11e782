"""The attacker's half of the game: max over η of L(h(a + η), b), row by row, with the classifier h fixed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Generator, Tensor

from robustgames.attacks.inputs import (
    Bounds,
    Radius,
    check_inputs,
    check_labels,
    check_targets,
    flat_bound,
    per_row,
    warn_of_wide_balls,
)
from robustgames.attacks.losses import LOSSES, LabelLoss, classes_needed, margin, targeted_dlr
from robustgames.attacks.narrow import NARROW, round_toward, widen
from robustgames.attacks.passes import check_passes, common_noise, draw_seed, mean_over, seeded
from robustgames.attacks.victim import ALL, Model, Victim
from robustgames.errors import GameError, unknown
from robustgames.games.threat import NORMS, ThreatModel, norm_name

__all__ = ["Bounds", "Problem", "Radius", "pose_problem"]

FAR = 1e18  # replaces infinity on an open side of the box, because 0 * inf is nan


@dataclass(frozen=True, eq=False)
class Problem:
    """The problem of every attack, on flat inputs: rows of `a` are inputs, rows of η their perturbations.

    Args:
        victim: Classifier under attack.
        a: Inputs (N, p).
        labels: True classes (N,).
        threat: Allowed perturbations.
        shape: Shape of one input, as the classifier takes it.
        generator: Source of the attack's randomness.
        loss: Loss to raise, a key of `LOSSES` or a function (logits, labels) -> (N,).
        targets: Classes (N,) to lead to. If None, the attack leads away from the label.
        reach: Whether a row counts as fooled only if its target is predicted. If False, any class but its label counts.
        eot: Passes of a stochastic classifier over which losses, gradients and verdicts are means.
        seed: Seed of the noise under which points are compared: with the same noise, none of them is a lucky one.
            Gradients take new noise.
        dtype: Data type of the inputs of the classifier, if it is too narrow to search in. If None, it is that of `a`.
    """

    victim: Victim
    a: Tensor
    labels: Tensor
    threat: ThreatModel
    shape: tuple[int, ...]
    generator: Generator
    loss: str | LabelLoss = "ce"
    targets: Tensor | None = None
    reach: bool = True
    eot: int = 1
    seed: int = 0
    dtype: torch.dtype | None = None

    def losses(self, eta: Tensor) -> tuple[Tensor, Tensor]:
        """Return (losses (N,), fooled (N,)) at η, without a gradient; with `eot`, means: the shares of passes."""
        return self.losses_at(self.inputs(eta))

    def losses_at(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return `losses` of inputs (N, ...)."""

        def once() -> tuple[Tensor, Tensor]:
            logits = self.victim.logits(inputs)
            return self.losses_of(logits), self.fooled(logits)

        return self._compared(once)

    def gradient(self, eta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return (losses (N,), fooled (N,), gradient of the losses in η (N, p)); with `eot`, means."""
        if self.eot > 1:
            return *self.losses(eta), self.slope(eta)
        logits, values, g = self.victim.gradient(self.inputs(eta), self.losses_of)
        return values, self.fooled(logits), g.reshape(self.a.shape)

    def slope(self, eta: Tensor) -> Tensor:
        """Return the gradient of the losses in η alone, (N, p)."""
        inputs = self.inputs(eta)
        (g,) = mean_over(self.eot, lambda: self.victim.gradient(inputs, self.losses_of)[2:])
        return g.reshape(self.a.shape)

    def stalled(self, g: Tensor) -> Tensor | None:
        """Return the rows (N, 1) that stay where they are: their gradient g, the last one, was NaN in every pass."""
        lost = self.victim.lost  # a pass that lost its gradient has 0 in the mean
        return None if lost is None else (lost & (g == 0).all(-1)).unsqueeze(-1)

    def judge(self, eta: Tensor) -> tuple[Tensor, Tensor]:
        """Return (fooled (N,) in most passes, margins (N,), their means) at η inside the box."""
        images = self.images(eta)

        def once() -> tuple[Tensor, Tensor]:
            logits = self.victim.logits(images)
            return self.fooled(logits), self.margin(logits)

        fooled, value = self._compared(once)
        return most(fooled), value

    def differences(self, eta: Tensor, classes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return (fooled (N,), f (N, k), ∇f (N, k, p)) at η: f_k = z_k - z_y, or the margin of a target to reach."""
        images = self.images(eta)

        def values_of(logits: Tensor, rows: slice) -> Tensor:
            if self.targets is not None and self.reach:
                return -margin(logits, self.targets[rows]).unsqueeze(-1)
            return logits.gather(-1, classes[rows]) - logits.gather(-1, self.labels[rows].unsqueeze(-1))

        def once() -> tuple[Tensor, Tensor, Tensor]:
            logits, values, g = self.victim.gradients(images, values_of)
            return self.fooled(logits), values, g.reshape(*values.shape, -1)

        if self.eot == 1:
            return once()
        _, values, g = mean_over(self.eot, once)
        return self.judge(eta)[0], values, g

    def fooled(self, logits: Tensor) -> Tensor:
        """Return the rows in which the attack has reached its aim, (N,)."""
        guess = logits.argmax(-1)
        return guess == self.targets if self.targets is not None and self.reach else guess != self.labels

    def margin(self, logits: Tensor) -> Tensor:
        """Return the margin of the attack's aim (N,): positive if it is reached."""
        if self.targets is not None and self.reach:
            return -margin(logits, self.targets)
        return margin(logits, self.labels)

    def candidates(self, classes: int) -> Tensor:
        """Return the classes to lead to, (N, k): the target, or the likeliest wrong ones in descending order."""
        if self.targets is not None:
            return self.targets.unsqueeze(-1)
        images = self.images(torch.zeros_like(self.a))
        (logits,) = mean_over(self.eot, lambda: (self.victim.logits(images),))
        wrong = logits.scatter(-1, self.labels.unsqueeze(-1), -float("inf"))
        return wrong.topk(min(classes, logits.shape[1] - 1), dim=-1).indices

    @cached_property
    def room(self) -> tuple[Tensor, Tensor]:
        """Least and largest η of each coordinate, (N, p): the box of the inputs, in ℓ∞ joined with the ball."""
        return self.threat.room(self.a)

    @cached_property
    def walls(self) -> tuple[Tensor, Tensor]:
        """Least and largest η of each coordinate inside the box alone, finite, (N, p)."""
        return (self.threat.low - self.a).clamp_min(-FAR), (self.threat.high - self.a).clamp_max(FAR)

    @cached_property
    def width(self) -> float | Tensor:
        """Width of the box, the unit of lengths, a number or one per row (N, 1): the root mean square of its sides.

        It is 1 if a side is open or none has a length.
        """
        sides = self.threat.high - self.threat.low
        if not isinstance(sides, Tensor):
            return sides if 0 < sides < FAR else 1.0
        found = sides.square().mean(-1, keepdim=True).sqrt()
        return torch.where((found > 0) & (found < FAR), found, 1.0)

    def project(self, eta: Tensor) -> Tensor:
        """Return the nearest allowed perturbation."""
        return self.threat.project_into(eta, *self.room)

    def allowed(self, x_adv: Tensor, precision: torch.dtype | None = None) -> Tensor:
        """Return the rows (N,) of x_adv = a + η (N, p) in ball and box, up to the rounding of sum and projection.

        In ℓ0 the count of changed coordinates is exact.

        Args:
            x_adv: Perturbed inputs.
            precision: Data type of that rounding; by default that of `a`.
        """
        x_adv, a = x_adv.double(), self.a.double()
        low, high, radius = (
            torch.as_tensor(t, dtype=a.dtype, device=a.device)
            for t in (self.threat.low, self.threat.high, self.threat.eps)
        )
        unit = torch.finfo(precision or self.a.dtype).eps
        rounding = unit * x_adv.abs().amax(-1)
        radius, order = radius.view(-1), NORMS[self.threat.norm]
        slack = a.shape[-1] ** (1 / order) * rounding + 100 * unit * radius if order > 0 else 0.0
        edge = rounding.unsqueeze(-1)
        inside = ((x_adv >= low - edge) & (x_adv <= high + edge)).all(-1)
        return inside & (self.threat.size(x_adv - a) <= radius + slack)

    def rows(self, keep: Tensor) -> Problem:
        """Return the problem of some rows, given by an index or a mask."""
        targets = None if self.targets is None else self.targets[keep]
        return replace(self, a=self.a[keep], labels=self.labels[keep], threat=self.threat.rows(keep), targets=targets)

    def images(self, eta: Tensor) -> Tensor:
        """Return a + η in the shape and data type of the inputs, inside their box in spite of rounding."""
        inside = (self.a + eta).clamp_min(self.threat.low).clamp_max(self.threat.high)  # one bound may be a number
        return self._as_inputs(inside)

    def losses_of(self, logits: Tensor, rows: slice = ALL) -> Tensor:
        """Return the losses (N,) of the logits of some rows; those of a target are negated."""
        _check_classes(logits, classes_needed(self.loss, self.targets is not None))
        labels, targets = self.labels, self.targets
        if rows != ALL:
            labels, targets = labels[rows], None if targets is None else targets[rows]
        if targets is not None and self.loss == "dlr":
            return targeted_dlr(logits, labels, targets)
        loss = LOSSES[self.loss] if isinstance(self.loss, str) else self.loss
        return loss(logits, labels) if targets is None else -loss(logits, targets)

    def inputs(self, eta: Tensor) -> Tensor:
        """Return a + η in the shape and data type of the inputs."""
        return self._as_inputs(self.a + eta)

    def _compared(self, once: Callable[[], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """Return the means over the passes, under common noise."""
        if self.eot == 1:
            return once()
        with common_noise(self.seed, self.a.device):
            return mean_over(self.eot, once)

    def _as_inputs(self, flat: Tensor) -> Tensor:
        if self.dtype is not None:
            flat = round_toward(flat, self.a, self.dtype)
        return flat.view(-1, *self.shape)


def most(fooled: Tensor) -> Tensor:
    """Return the rows that are fooled in most passes, from a mask or the shares of passes."""
    return fooled if fooled.dtype == torch.bool else fooled > 0.5


@contextmanager
def pose_problem(
    model: Model | Victim,
    x: Tensor,
    y: Tensor,
    eps: Radius,
    norm: str | float,
    bounds: Bounds = (0.0, 1.0),
    generator: Generator | None = None,
    loss: str | LabelLoss = "ce",
    targets: Tensor | None = None,
    eot: int = 1,
    any_radius: bool = False,
) -> Iterator[Problem]:
    """Check the input of an attack, keep its model in evaluation mode, and yield the problem.

    With `eot` above 1 the global generator, from which most stochastic models draw, is seeded from `generator`, and
    restored afterwards.

    Args:
        model, x, y, eps, norm, bounds, generator, loss, targets, eot: See `robustgames.attacks.gradient`.
        any_radius: Whether a ball that covers the box makes sense.

    Raises:
        GameError: If inputs are integers, not finite or outside their bounds, or if labels have the wrong type or
            number, or exceed the classes of the model.
    """
    if not callable(loss) and loss not in LOSSES:
        raise unknown("loss", loss, LOSSES)
    check_passes(eot)
    check_inputs(x, bounds)
    classes = check_labels("labels", y, x)
    if targets is not None:
        classes = max(classes, check_targets(targets, y, x))
        targets = targets.to(x.device, torch.int64)
    a = widen(x.detach().flatten(1) if x.dim() > 1 else x.detach().unsqueeze(1))
    radius = per_row("eps", eps, x.shape)
    radius = radius.to(a) if isinstance(radius, Tensor) and radius.dim() > 0 else radius
    threat = ThreatModel(norm_name(norm), radius, *(flat_bound(bound, x) for bound in bounds))
    if not any_radius:
        warn_of_wide_balls(radius, threat.norm, bounds, x, stacklevel=6)
    victim = model if isinstance(model, Victim) else Victim(model)
    generator = generator if generator is not None else Generator(x.device).manual_seed(0)
    dtype = x.dtype if x.dtype in NARROW else None
    with seeded(generator, eot), victim.under_attack(classes), torch.no_grad():
        labels = y.to(x.device, torch.int64, copy=True)
        shape = tuple(x.shape[1:])
        problem = Problem(victim, a.clone(), labels, threat, shape, generator, loss, targets, eot=eot, dtype=dtype)
        yield problem if eot == 1 else replace(problem, seed=draw_seed(generator))


def _check_classes(logits: Tensor, least: int) -> None:
    if logits.shape[1] < least:
        raise GameError(
            f"the DLR loss needs at least {least} classes, the model has {logits.shape[1]}: use loss='ce' or 'margin'"
        )
