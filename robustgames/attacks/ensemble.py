"""AutoAttack: several attacks, one after the other, each on the inputs that the previous ones could not fool."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Generator, Tensor

from robustgames.attacks import checks
from robustgames.attacks.members import MEMBERS, PASSES, VERSIONS, Member, check_norm, names_of
from robustgames.attacks.problem import Bounds, Problem, pose_problem
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
    """Return the adversarial inputs of `evaluate`; an input that no attack could fool is returned unchanged.

    Source: Croce and Hein 2020.

    Args:
        model, x, y, eps, norm, bounds, generator: See `robustgames.attacks.gradient`.
        version: "standard": APGD-CE, targeted APGD-DLR, targeted FAB, Square; "plus": also untargeted APGD-DLR and
            FAB, with 5 restarts; "rand", for randomized classifiers: APGD-CE and APGD-DLR, averaged over 20 passes.
        batch_size: Inputs that are attacked together.

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
    """Attack a classifier with an ensemble and report its remaining accuracy.

    The attacks run one after the other, each on the inputs that are still robust, in batches. Every success is verified
    by a forward pass in the model's own precision, and all of them again at the end together with ball and box: an
    example that does not pass counts as robust. Ctrl-C ends the search and returns the result until then.

    Args:
        model, x, y, eps, norm, bounds, generator: See `robustgames.attacks.gradient`.
        attacks: Version (see `autoattack`), or names out of `MEMBERS`, in the order in which they run.
        batch_size: Inputs that are attacked together.
        precision: Data type of the search, e.g. torch.bfloat16, which is faster. If the model's own precision does not
            confirm a success, the attack runs again in that precision.
        self_checks: Whether to check for signs of gradient masking first (a few passes), see
            `robustgames.attacks.checks`.
        progress: Function that is called after every batch as progress(attack, inputs done, inputs to do, inputs still
            robust).

    Raises:
        GameError: If an attack, version or norm is unknown, an attack does not search balls of the norm, or batch_size
            is below 1; and the errors of all attacks on their inputs.
    """
    names = names_of(attacks)
    check_norm(names, norm)
    if not batch_size >= 1:
        raise GameError(f"batch_size is {batch_size}: at least 1 input is attacked at a time")
    search = model if isinstance(model, Victim) and precision is None else Victim(_plain(model), precision)
    with pose_problem(search, x, y, eps, norm, bounds, generator) as p:
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
    notes += lost + checks.black_box_wins([(tally.name, tally.fooled) for tally in run.tallies], len(x))
    checks.announce(notes)
    unfinished = int((run.clean & ~run.fooled & (run.tried < len(names))).sum())
    return Report(x_adv, run.clean, run.clean & ~run.fooled, tuple(run.tallies), tuple(notes), interrupted, unfinished)


class _Run:
    """The state of every input between the attacks of an ensemble."""

    def __init__(self, p: Problem, batch_size: int) -> None:
        self.p, self.batch_size = p, batch_size
        self.judge = p.victim if p.victim.precision is None else Victim(p.victim.model)
        self.eta, self.tried, self.classes = torch.zeros_like(p.a), torch.zeros_like(p.labels), 0
        self.clean = torch.ones_like(p.labels, dtype=torch.bool)
        self.fooled = ~self.clean
        self.tallies: list[Tally] = []

    def start(self, names: Sequence[str]) -> list[str]:
        """Find the inputs that are classified correctly; return notes on attacks that the number of classes changes."""
        for rows in self._batches(self.clean):
            logits = self.judge.logits(self.p.rows(rows).images(self.eta[rows]))
            self.clean[rows], self.classes = logits.argmax(-1) == self.p.labels[rows], logits.shape[1]
        return [
            f"the loss of {name} needs {MEMBERS[name].classes_needed} classes, the model has {self.classes}: "
            f"{name} raises the margin instead"
            for name in dict.fromkeys(names)
            if 0 < self.classes < MEMBERS[name].classes_needed
        ]

    def attack(self, name: str, progress: Progress | None) -> None:
        """Run one attack on the inputs that are still robust."""
        before, began, attacked, fooled = self._passes(), time.perf_counter(), 0, int(self.fooled.sum())
        robust = self.clean & ~self.fooled
        count, member = int(robust.sum()), MEMBERS[name]
        try:
            for batch in self._batches(robust):
                attacked += len(batch)
                self._batch(member, batch)
                if progress is not None:
                    progress(name, attacked, count, int((self.clean & ~self.fooled).sum()))
        finally:
            each = [(now - then) / max(attacked, 1) for now, then in zip(self._passes(), before, strict=True)]
            fooled, seconds = int(self.fooled.sum()) - fooled, time.perf_counter() - began
            self.tallies.append(Tally(name, attacked, fooled, each[0], each[1], seconds))

    def verify(self, x: Tensor) -> tuple[Tensor, list[str]]:
        """Verify every success again, with ball and box; return (x_adv, notes on the examples that did not pass)."""
        x_adv = torch.where(self.fooled.unsqueeze(-1), self.p.images(self.eta).flatten(1), self.p.a)
        passed = self.fooled & _allowed(self.p, x_adv)
        for rows in self._batches(self.fooled):
            guess = self.judge.logits(x_adv[rows].view(-1, *self.p.shape)).argmax(-1)
            passed[rows] &= guess != self.p.labels[rows]
        lost, self.fooled = int((self.fooled & ~passed).sum()), passed
        x_adv = torch.where(passed.unsqueeze(-1), x_adv, self.p.a).view_as(x)
        note = f"{lost} examples did not fool the model when judged again, or left ball or box: they count as robust"
        return x_adv, [note] if lost else []

    def _batches(self, mask: Tensor) -> Sequence[Tensor]:
        rows = mask.nonzero().squeeze(-1)
        return rows.split(self.batch_size) if len(rows) > 0 else ()

    def _batch(self, member: Member, batch: Tensor) -> None:
        p = replace(self.p.rows(batch), loss=member.loss_for(self.classes))
        eta, fooled = self._once(member, p)
        if self.judge is not p.victim:  # successes in the coarse arithmetic alone are attacked again
            again = (p.losses(eta)[1] & ~fooled).nonzero().squeeze(-1)
            if len(again) > 0:
                eta[again], fooled[again] = self._once(member, replace(p.rows(again), victim=self.judge))
        self.eta[batch] = torch.where(fooled.unsqueeze(-1), eta, self.eta[batch])
        self.fooled[batch] = fooled
        self.tried[batch] += 1

    def _once(self, member: Member, p: Problem) -> tuple[Tensor, Tensor]:
        eta = member.attack_for(p.threat.norm).run_in_ball(p if member.passes == 1 else _randomized(p, member.passes))
        return eta, p.fooled(self.judge.logits(p.images(eta)))

    def _passes(self) -> tuple[int, int]:
        victims = {id(victim): victim for victim in (self.p.victim, self.judge)}.values()
        return sum(victim.forwards for victim in victims), sum(victim.backwards for victim in victims)


@dataclass(frozen=True, eq=False)
class _Randomized(Problem):
    """The problem of a randomized classifier: losses and gradients are means over forward passes.

    A row is fooled if it is fooled in most passes.
    """

    passes: int = PASSES

    def losses(self, eta: Tensor) -> tuple[Tensor, Tensor]:
        losses, fooled = zip(*(Problem.losses(self, eta) for _ in range(self.passes)), strict=True)
        return _mean(losses), _mean(fooled) > 0.5

    def gradient(self, eta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        losses, fooled, g = zip(*(Problem.gradient(self, eta) for _ in range(self.passes)), strict=True)
        return _mean(losses), _mean(fooled) > 0.5, _mean(g)


def _randomized(p: Problem, passes: int) -> _Randomized:
    return _Randomized(**{field.name: getattr(p, field.name) for field in fields(p)}, passes=passes)


def _mean(parts: Sequence[Tensor]) -> Tensor:
    total = parts[0].to(torch.get_default_dtype()) if parts[0].dtype == torch.bool else parts[0]
    for part in parts[1:]:
        total = total + part
    return total / len(parts)


def _allowed(p: Problem, x_adv: Tensor) -> Tensor:
    """Return the mask of the rows in ball and box, up to the rounding of a + η and of the projection."""
    exact = p.threat.size(x_adv.double() - p.a.double())
    radius = torch.as_tensor(p.threat.eps, dtype=torch.float64, device=exact.device).view(-1)
    count = x_adv.shape[-1] ** (1 / NORMS[p.threat.norm])
    slack = torch.finfo(x_adv.dtype).eps * (count * x_adv.abs().amax(-1) + 100 * radius)
    inside = ((x_adv >= p.threat.low) & (x_adv <= p.threat.high)).all(-1)
    return inside & (exact <= radius + slack)


def _plain(model: Model | Victim) -> Model:
    return model.model if isinstance(model, Victim) else model
