"""The attacker's half of the game: max over η of L(h(a + η), b), row by row, with the classifier h fixed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from robustgames.attacks.losses import LOSSES, LabelLoss, classes_needed, margin, targeted_dlr
from robustgames.attacks.victim import Model, Victim
from robustgames.errors import GameError, unknown
from robustgames.games.threat import ThreatModel

Bounds = tuple[float | Tensor, float | Tensor]


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

    def losses(self, eta: Tensor) -> tuple[Tensor, Tensor]:
        """Return (losses (N,), fooled (N,)) at η, without a gradient."""
        logits = self.victim.logits(self._inputs(eta))
        return self.losses_of(logits), self.fooled(logits)

    def gradient(self, eta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return (losses (N,), fooled (N,), gradient of the losses in η (N, p))."""
        logits, values, g = self.victim.gradient(self._inputs(eta), self.losses_of)
        return values, self.fooled(logits), g.flatten(1)

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
        logits = self.victim.logits(self.images(torch.zeros_like(self.a)))
        wrong = logits.scatter(-1, self.labels.unsqueeze(-1), -float("inf"))
        return wrong.topk(min(classes, logits.shape[1] - 1), dim=-1).indices

    def project(self, eta: Tensor) -> Tensor:
        """Return the nearest allowed perturbation."""
        return self.threat.project(self.a, eta)

    def rows(self, keep: Tensor) -> Problem:
        """Return the problem of some rows, given by an index or a mask."""
        targets = None if self.targets is None else self.targets[keep]
        return replace(self, a=self.a[keep], labels=self.labels[keep], threat=self.threat.rows(keep), targets=targets)

    def images(self, eta: Tensor) -> Tensor:
        """Return a + η in the shape of the inputs, inside their box in spite of rounding."""
        inside = (self.a + eta).clamp_min(self.threat.low).clamp_max(self.threat.high)  # one bound may be a number
        return inside.view(-1, *self.shape)

    def losses_of(self, logits: Tensor) -> Tensor:
        """Return the losses (N,) of logits; those of a target are negated."""
        _check_classes(logits, classes_needed(self.loss, self.targets is not None))
        if self.targets is not None and self.loss == "dlr":
            return targeted_dlr(logits, self.labels, self.targets)
        loss = LOSSES[self.loss] if isinstance(self.loss, str) else self.loss
        return loss(logits, self.labels) if self.targets is None else -loss(logits, self.targets)

    def _inputs(self, eta: Tensor) -> Tensor:
        return (self.a + eta).view(-1, *self.shape)


@contextmanager
def pose_problem(
    model: Model | Victim,
    x: Tensor,
    y: Tensor,
    eps: float | Tensor,
    norm: str,
    bounds: Bounds = (0.0, 1.0),
    generator: Generator | None = None,
    loss: str | LabelLoss = "ce",
    targets: Tensor | None = None,
) -> Iterator[Problem]:
    """Check the input of an attack, keep its model in evaluation mode, and yield the problem.

    Raises:
        GameError: If inputs are integers, not finite or outside their bounds, or if labels have the wrong type or
            number, or exceed the classes of the model.
    """
    if not callable(loss) and loss not in LOSSES:
        raise unknown("loss", loss, LOSSES)
    _check_inputs(x, bounds)
    classes = _check_labels("labels", y, x)
    if targets is not None:
        classes = max(classes, _check_labels("targets", targets, x))
        targets = targets.long()
    a = x.detach().flatten(1) if x.dim() > 1 else x.detach().unsqueeze(1)
    radius = eps.to(a).reshape(-1, 1) if isinstance(eps, Tensor) and eps.dim() > 0 else eps
    if isinstance(radius, Tensor) and radius.dim() > 0 and len(radius) not in (1, len(a)):
        raise GameError(f"eps has {len(radius)} values for {len(a)} inputs: one for all or one for each is needed")
    threat = ThreatModel(norm, radius, *(_flat_bound(bound, x) for bound in bounds))
    victim = model if isinstance(model, Victim) else Victim(model)
    generator = generator if generator is not None else Generator(x.device).manual_seed(0)
    with victim.under_attack(classes), torch.no_grad():
        labels = y.to(torch.int64, copy=True)
        yield Problem(victim, a.clone(), labels, threat, tuple(x.shape[1:]), generator, loss, targets)


def _flat_bound(bound: float | Tensor, x: Tensor) -> float | Tensor:
    """Return a bound as a number, as one row (1, p) for all inputs, or as rows (N, p)."""
    if not isinstance(bound, Tensor) or bound.dim() == 0:
        return bound if not isinstance(bound, Tensor) else float(bound)
    rows = len(x) if bound.dim() == x.dim() and len(bound) == len(x) else 1
    return bound.to(x).expand(rows, *x.shape[1:]).reshape(rows, -1)


def _check_inputs(x: Tensor, bounds: Bounds) -> None:
    if not isinstance(x, Tensor) or x.dim() == 0:
        raise GameError(f"inputs are a {type(x).__name__}: a tensor of shape (N, ...) is needed")
    if not x.is_floating_point():
        raise GameError(f"inputs are {x.dtype}: scale them to floating point first, e.g. x.float() / 255")
    low, high = bounds
    for bound in bounds:
        if isinstance(bound, Tensor) and not _broadcasts(bound, x):
            shape = tuple(bound.shape)
            raise GameError(f"a bound has shape {shape} for inputs of shape {tuple(x.shape)}: it must broadcast to it")
    if x.numel() == 0:
        return
    if not bool(torch.isfinite(x).all()):
        raise GameError(f"{int((~torch.isfinite(x)).sum())} values of the inputs are not finite")
    if not bool(((x >= low) & (x <= high)).all()):
        raise GameError(
            f"inputs lie in [{float(x.min()):g}, {float(x.max()):g}], outside their bounds: scale them, put a "
            "normalization into the model, or pass bounds=(low, high)"
        )


def _broadcasts(bound: Tensor, x: Tensor) -> bool:
    pairs = zip(bound.shape[::-1], x.shape[::-1], strict=False)
    return bound.dim() <= x.dim() and all(size in (1, whole) for size, whole in pairs)


def _check_labels(name: str, y: Tensor, x: Tensor) -> int:
    """Return the least number of classes that contains all labels."""
    if not isinstance(y, Tensor) or y.dtype not in (torch.int64, torch.int32, torch.int16, torch.uint8, torch.int8):
        kind = y.dtype if isinstance(y, Tensor) else type(y).__name__
        raise GameError(f"{name} are {kind}: a tensor of class numbers is needed, e.g. y.long()")
    if y.shape != (len(x),):
        raise GameError(f"{name} have shape {tuple(y.shape)} for {len(x)} inputs: ({len(x)},) is needed")
    least, most = (int(y.min()), int(y.max())) if len(y) > 0 else (0, 0)
    if least < 0:
        raise GameError(f"{name} go down to {least}: class numbers 0, 1, ... are needed")
    return most + 1


def _check_classes(logits: Tensor, least: int) -> None:
    if logits.shape[1] < least:
        raise GameError(
            f"the DLR loss needs at least {least} classes, the model has {logits.shape[1]}: use loss='ce' or 'margin'"
        )
