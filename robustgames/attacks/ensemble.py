"""AutoAttack: several attacks, one after the other, each on the inputs that the ones before could not fool."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor

from robustgames.attacks import checks
from robustgames.attacks.deepfool import cross
from robustgames.attacks.engine import Constant, ascend, slide, steepest
from robustgames.attacks.fab import Fab, fast_boundary, fast_boundary_targeted
from robustgames.attacks.gradient import auto_pgd, repeat, targeted
from robustgames.attacks.minimum_norm import adaptive_norm, decoupled
from robustgames.attacks.problem import Bounds, Problem, problem
from robustgames.attacks.square import random_search
from robustgames.attacks.victim import Model, Victim
from robustgames.errors import GameError, unknown
from robustgames.games.threat import NORMS

Progress = Callable[[str, int, int, int], None]  # (attack, inputs done, inputs to do, inputs still robust)
PASSES = 20  # of a randomized classifier, for each loss and gradient


@dataclass(frozen=True)
class Member:
    """One attack of an ensemble.

    Args:
        run: the attack: problem -> perturbations (N, p).
        loss: that it raises: a key of `LOSSES`.
        least: fewest classes for which that loss exists; with fewer it raises the margin.
        passes: forward passes for each loss and gradient.
        norms: of the balls that it can attack in.
    """

    run: Callable[[Problem], Tensor]
    loss: str = "ce"
    least: int = 2
    passes: int = 1
    norms: tuple[str, ...] = tuple(NORMS)


@dataclass(frozen=True)
class Tally:
    """What one attack did: inputs it attacked, inputs that fell, images passed through per input, wall-clock time."""

    name: str
    attacked: int = 0
    fell: int = 0
    forwards: float = 0.0
    backwards: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class Report:
    """What an evaluation found.

    Args:
        x_adv: adversarial inputs (N, ...); the input itself where it is robust, or misclassified from the start.
        clean: classified correctly, (N,).
        robust: classified correctly under every attack, (N,).
        attacks: one tally for each attack that began.
        warnings: signs that the figures say less than they seem to.
        interrupted: Ctrl-C stopped it; what was found until then is kept.
        unfinished: inputs that count as robust, though not every attack was tried on them.
    """

    x_adv: Tensor
    clean: Tensor
    robust: Tensor
    attacks: tuple[Tally, ...]
    warnings: tuple[str, ...] = ()
    interrupted: bool = False
    unfinished: int = 0

    @property
    def clean_accuracy(self) -> float:
        """Share of inputs that are classified correctly."""
        return _share(self.clean)

    @property
    def robust_accuracy(self) -> float:
        """Share of inputs that no attack could fool."""
        return _share(self.robust)

    def table(self) -> dict[str, Any]:
        """Return all but the tensors, ready for JSON."""
        return {
            "inputs": len(self.clean),
            "clean_accuracy": self.clean_accuracy,
            "robust_accuracy": self.robust_accuracy,
            "attacks": [asdict(tally) for tally in self.attacks],
            "warnings": list(self.warnings),
            "interrupted": self.interrupted,
            "unfinished": self.unfinished,
        }


def autoattack(
    model: Model | Victim,
    x: Tensor,
    y: Tensor,
    eps: float | Tensor,
    norm: str = "linf",
    *,
    version: str = "standard",
    bounds: Bounds = (0.0, 1.0),
    generator: Generator | None = None,
    batch_size: int = 250,
) -> Tensor:
    """Return the adversarial inputs of `evaluate`; an input that no attack could fool is returned as it is.

    Source: Croce and Hein 2020.

    Args:
        version: "standard": APGD-CE, targeted APGD-DLR, targeted FAB, Square; "plus": also untargeted APGD-DLR and
            FAB, with 5 restarts; "rand", for randomized classifiers: APGD-CE and APGD-DLR, averaged over 20 passes.

    Example:
        >>> model = lambda x: torch.cat([x, 0.5 + 0 * x, 0 * x, 0 * x], 1)
        >>> autoattack(model, torch.tensor([[0.55], [0.9]]), torch.tensor([0, 0]), eps=0.1)
        tensor([[0.4500],
                [0.9000]])
    """
    if version not in VERSIONS:
        raise unknown("version", version, VERSIONS)
    found = evaluate(model, x, y, eps, norm, version, bounds=bounds, generator=generator, batch_size=batch_size)
    return found.x_adv


def evaluate(
    model: Model | Victim,
    x: Tensor,
    y: Tensor,
    eps: float | Tensor,
    norm: str = "linf",
    attacks: str | Sequence[str] = "standard",
    *,
    bounds: Bounds = (0.0, 1.0),
    generator: Generator | None = None,
    batch_size: int = 250,
    precision: torch.dtype | None = None,
    self_checks: bool = True,
    progress: Progress | None = None,
) -> Report:
    """Attack a classifier with an ensemble and report how much of its accuracy is left.

    The attacks run one after the other, each on what is still robust, in batches. Every success is judged by a
    forward pass in the model's own precision, and all of them once more at the end together with ball and box: an
    example that does not pass counts as robust. Ctrl-C ends the search and returns what it found.

    Args:
        model, x, y, eps, norm, bounds, generator: see `robustgames.attacks.gradient`.
        attacks: a version (see `autoattack`), or names out of `MEMBERS` and `MINIMUM_NORM`, in the order in which
            they run.
        batch_size: inputs that are attacked together.
        precision: of the search, e.g. torch.bfloat16: faster. Where the model's own precision does not confirm a
            success, the attack runs again in that precision.
        self_checks: look for signs of gradient masking first (a few passes), see `robustgames.attacks.checks`.
        progress: called after every batch as progress(attack, inputs done, inputs to do, inputs still robust).

    Raises:
        GameError: unknown attack, version or norm, an attack of other norms, batch_size below 1, and the input errors
            of all attacks.
    """
    names = names_of(attacks)
    _check_norm(names, norm)
    if not batch_size >= 1:
        raise GameError(f"batch_size is {batch_size}: at least 1 input is attacked at a time")
    search = model if isinstance(model, Victim) and precision is None else Victim(_plain(model), precision)
    with problem(search, x, y, eps, norm, bounds, generator) as p:
        run = _Run(p, batch_size)
        notes = run.start(names)
        if self_checks and len(x) > 0:
            notes += checks.inspect(p.rows(torch.arange(min(len(x), batch_size), device=x.device)), names)
        try:
            for name in names:
                run.attack(name, progress)
            interrupted = False
        except KeyboardInterrupt:
            interrupted = True
        x_adv, lost = run.verify(x)
    notes += lost + checks.black_box_wins([(tally.name, tally.fell) for tally in run.tallies], len(x))
    checks.announce(notes)
    unfinished = int((run.clean & ~run.fell & (run.tried < len(names))).sum())
    return Report(x_adv, run.clean, run.clean & ~run.fell, tuple(run.tallies), tuple(notes), interrupted, unfinished)


class _Run:
    """What is known of every input while the attacks go on."""

    def __init__(self, p: Problem, batch_size: int) -> None:
        self.p, self.batch_size = p, batch_size
        self.judge = p.victim if p.victim.precision is None else Victim(p.victim.model)
        self.eta, self.tried, self.classes = torch.zeros_like(p.a), torch.zeros_like(p.labels), 0
        self.clean = torch.ones_like(p.labels, dtype=torch.bool)
        self.fell = ~self.clean
        self.tallies: list[Tally] = []

    def start(self, names: Sequence[str]) -> list[str]:
        """Find what is classified correctly; return notes on attacks that the number of classes changes."""
        for rows in self._batches(self.clean):
            logits = self.judge.logits(self.p.rows(rows).images(self.eta[rows]))
            self.clean[rows], self.classes = logits.argmax(-1) == self.p.labels[rows], logits.shape[1]
        return [
            f"the loss of {name} needs {_member(name).least} classes, the model has {self.classes}: {name} raises the "
            "margin instead"
            for name in dict.fromkeys(names)
            if 0 < self.classes < _member(name).least
        ]

    def attack(self, name: str, progress: Progress | None) -> None:
        """Run one attack on the inputs that are still robust."""
        before, began, attacked, fell = self._passes(), time.perf_counter(), 0, int(self.fell.sum())
        robust = self.clean & ~self.fell
        count = int(robust.sum())
        member = _member(name)
        member = member if self.classes >= member.least else replace(member, loss="margin")
        try:
            for batch in self._batches(robust):
                attacked += len(batch)
                self._batch(member, batch)
                if progress is not None:
                    progress(name, attacked, count, int((self.clean & ~self.fell).sum()))
        finally:
            each = [(now - then) / max(attacked, 1) for now, then in zip(self._passes(), before, strict=True)]
            fell, seconds = int(self.fell.sum()) - fell, time.perf_counter() - began
            self.tallies.append(Tally(name, attacked, fell, each[0], each[1], seconds))

    def verify(self, x: Tensor) -> tuple[Tensor, list[str]]:
        """Judge every success once more, with ball and box; return (x_adv, notes on what did not pass)."""
        x_adv = torch.where(self.fell.unsqueeze(-1), self.p.images(self.eta).flatten(1), self.p.a)
        passed = self.fell & _allowed(self.p, x_adv)
        for rows in self._batches(self.fell):
            guess = self.judge.logits(x_adv[rows].view(-1, *self.p.shape)).argmax(-1)
            passed[rows] &= guess != self.p.labels[rows]
        lost, self.fell = int((self.fell & ~passed).sum()), passed
        x_adv = torch.where(passed.unsqueeze(-1), x_adv, self.p.a).view_as(x)
        note = f"{lost} examples did not fool the model when judged again, or left ball or box: they count as robust"
        return x_adv, [note] if lost else []

    def _batches(self, mask: Tensor) -> Sequence[Tensor]:
        rows = mask.nonzero().squeeze(-1)
        return rows.split(self.batch_size) if len(rows) > 0 else ()

    def _batch(self, member: Member, batch: Tensor) -> None:
        p = replace(self.p.rows(batch), loss=member.loss)
        eta, fooled = self._once(member, p)
        if self.judge is not p.victim:  # what only the coarse arithmetic took for a success is attacked once more
            again = (p.evaluate(eta)[1] & ~fooled).nonzero().squeeze(-1)
            if len(again) > 0:
                eta[again], fooled[again] = self._once(member, replace(p.rows(again), victim=self.judge))
        self.eta[batch] = torch.where(fooled.unsqueeze(-1), eta, self.eta[batch])
        self.fell[batch] = fooled
        self.tried[batch] += 1

    def _once(self, member: Member, p: Problem) -> tuple[Tensor, Tensor]:
        eta = member.run(p if member.passes == 1 else _averaged(p, member.passes))
        return eta, p.fooled(self.judge.logits(p.images(eta)))

    def _passes(self) -> tuple[int, int]:
        victims = {id(victim): victim for victim in (self.p.victim, self.judge)}.values()
        return sum(victim.forwards for victim in victims), sum(victim.backwards for victim in victims)


@dataclass(frozen=True, eq=False)
class Averaged(Problem):
    """The problem of a randomized classifier: losses and gradients are means over forward passes.

    A row is fooled where most passes are.
    """

    passes: int = PASSES

    def evaluate(self, eta: Tensor) -> tuple[Tensor, Tensor]:
        losses, fooled = zip(*(Problem.evaluate(self, eta) for _ in range(self.passes)), strict=True)
        return _mean(losses), _mean(fooled) > 0.5

    def gradient(self, eta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        losses, fooled, g = zip(*(Problem.gradient(self, eta) for _ in range(self.passes)), strict=True)
        return _mean(losses), _mean(fooled) > 0.5, _mean(g)


def _averaged(p: Problem, passes: int) -> Averaged:
    return Averaged(**{field.name: getattr(p, field.name) for field in fields(p)}, passes=passes)


def _mean(parts: Sequence[Tensor]) -> Tensor:
    total = parts[0].to(torch.get_default_dtype()) if parts[0].dtype == torch.bool else parts[0]
    for part in parts[1:]:
        total = total + part
    return total / len(parts)


def _allowed(p: Problem, x_adv: Tensor) -> Tensor:
    """Return which rows lie in ball and box, up to the rounding of a + η and of the projection."""
    exact = p.threat.size(x_adv.double() - p.a.double())
    radius = torch.as_tensor(p.threat.eps, dtype=torch.float64, device=exact.device).view(-1)
    count = x_adv.shape[-1] ** (1 / NORMS[p.threat.norm])
    slack = torch.finfo(x_adv.dtype).eps * (count * x_adv.abs().amax(-1) + 100 * radius)
    inside = ((x_adv >= p.threat.low) & (x_adv <= p.threat.high)).all(-1)
    return inside & (exact <= radius + slack)


def _share(mask: Tensor) -> float:
    return float(mask.double().mean()) if len(mask) > 0 else float("nan")


def _plain(model: Model | Victim) -> Model:
    return model.model if isinstance(model, Victim) else model


def names_of(attacks: str | Sequence[str]) -> tuple[str, ...]:
    """Return the attacks that a version, or names of attacks, stand for.

    Raises:
        GameError: an unknown one, or none.
    """
    known = {*MEMBERS, *MINIMUM_NORM}
    if isinstance(attacks, str):
        if attacks not in {*VERSIONS, *known}:
            raise unknown("version or attack", attacks, {*VERSIONS, *known})
        return VERSIONS.get(attacks, (attacks,))
    for name in attacks:
        if name not in known:
            raise unknown("attack", name, known)
    if not attacks:
        raise GameError("no attack is named: give a version or names, e.g. attacks=('apgd-ce', 'square')")
    return tuple(attacks)


def _check_norm(names: Sequence[str], norm: str) -> None:
    for name in names:
        if norm in NORMS and norm not in _member(name).norms:
            raise GameError(f"{name} attacks in {' and '.join(_member(name).norms)}, not in {norm}: use fmn or apgd-ce")


def _member(name: str) -> Member:
    return MEMBERS[name] if name in MEMBERS else MINIMUM_NORM[name]


# -- the members ----------------------------------------------------------------------------------------------
def _fgsm(p: Problem) -> Tensor:
    return ascend(p, torch.zeros_like(p.a), Constant(share=1.0), 1, "last")


def _pgd(p: Problem, steps: int = 40) -> Tensor:
    direction = slide if p.threat.norm == "l1" else steepest
    start = p.threat.sample(p.a, p.generator)
    return ascend(p, start, Constant(share=2.5 / steps, direction=direction), steps, "drop")


def _apgd(p: Problem, restarts: int = 1) -> Tensor:
    restarts = 5 if p.threat.norm == "l1" else restarts  # as the standard has it
    return repeat(p, [lambda q, _: auto_pgd(q, 100, "drop")] * restarts)


def _apgd_targeted(p: Problem) -> Tensor:
    return targeted(p, lambda q: auto_pgd(q, 100, "drop"), classes=5 if p.threat.norm == "l1" else 9)


def _fab(p: Problem, restarts: int = 1) -> Tensor:
    return fast_boundary(p, Fab(100, "drop", restarts))


def _fab_targeted(p: Problem) -> Tensor:
    return fast_boundary_targeted(p, Fab(100, "drop"))


def _smallest(find: Callable[[Problem], Tensor], p: Problem) -> Tensor:
    return p.project(find(p))  # of no use beyond the ball, unless its projection is


MEMBERS: dict[str, Member] = {
    "fgsm": Member(_fgsm),
    "pgd": Member(_pgd),
    "apgd-ce": Member(_apgd),
    "apgd-ce-5": Member(partial(_apgd, restarts=5)),
    "apgd-dlr": Member(_apgd, "dlr", 3),
    "apgd-dlr-5": Member(partial(_apgd, restarts=5), "dlr", 3),
    "apgd-t": Member(_apgd_targeted, "dlr", 4),
    "fab": Member(_fab),
    "fab-5": Member(partial(_fab, restarts=5)),
    "fab-t": Member(_fab_targeted),
    "square": Member(random_search, "margin"),
    "apgd-ce-rand": Member(_apgd, passes=PASSES),
    "apgd-dlr-rand": Member(_apgd, "dlr", 3, PASSES),
}
MINIMUM_NORM: dict[str, Member] = {
    "deepfool": Member(partial(_smallest, lambda p: cross(p, 50, 0.02, 9)), norms=("linf", "l2")),
    "ddn": Member(partial(_smallest, lambda p: decoupled(p, 100, 0.05, 1.0)), norms=("l2",)),
    "fmn": Member(
        partial(_smallest, lambda p: adaptive_norm(p, 100, 0.05, 10.0 if p.threat.norm == "linf" else 3.0)), "margin"
    ),
}
VERSIONS: dict[str, tuple[str, ...]] = {
    "standard": ("apgd-ce", "apgd-t", "fab-t", "square"),
    "plus": ("apgd-ce-5", "apgd-dlr-5", "fab-5", "square", "apgd-t", "fab-t"),
    "rand": ("apgd-ce-rand", "apgd-dlr-rand"),
}
