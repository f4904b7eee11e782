"""AutoAttack: several attacks, one after the other, each on the inputs that the ones before could not fool."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Generator, Tensor

from robustgames.attacks import checks
from robustgames.attacks.members import PASSES, VERSIONS, Member, check_norm, member_of, names_of
from robustgames.attacks.problem import Bounds, Problem, problem
from robustgames.attacks.report import Report, Tally
from robustgames.attacks.victim import Model, Victim
from robustgames.errors import GameError, unknown
from robustgames.games.threat import NORMS

Progress = Callable[[str, int, int, int], None]  # (attack, inputs done, inputs to do, inputs still robust)


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
    check_norm(names, norm)
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
            f"the loss of {name} needs {member_of(name).least} classes, the model has {self.classes}: "
            f"{name} raises the margin instead"
            for name in dict.fromkeys(names)
            if 0 < self.classes < member_of(name).least
        ]

    def attack(self, name: str, progress: Progress | None) -> None:
        """Run one attack on the inputs that are still robust."""
        before, began, attacked, fell = self._passes(), time.perf_counter(), 0, int(self.fell.sum())
        robust = self.clean & ~self.fell
        count = int(robust.sum())
        member = member_of(name)
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


def _plain(model: Model | Victim) -> Model:
    return model.model if isinstance(model, Victim) else model
