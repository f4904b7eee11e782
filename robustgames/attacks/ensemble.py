"""AutoAttack: several attacks, one after the other, each on the inputs that the previous ones could not fool."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Generator, Tensor

from robustgames.attacks import checks
from robustgames.attacks.borrowed import note_of_leaving
from robustgames.attacks.halving import note_of_memory, release
from robustgames.attacks.inputs import check_batch_size
from robustgames.attacks.masking import announce, lost_gradients
from robustgames.attacks.members import VERSIONS, Member, check_norm, members_of, names_of
from robustgames.attacks.passes import draw_seed, seeded, stronger
from robustgames.attacks.problem import Bounds, Problem, Radius, pose_problem
from robustgames.attacks.report import Report, Tally
from robustgames.attacks.victim import Model, Victim
from robustgames.errors import unknown
from robustgames.games.threat import norm_name
from robustgames.interrupts import deferred_interrupt
from robustgames.processes import Processes, alone

ALONE = alone()
Progress = Callable[[str, int, int, int], None]  # (attack, inputs done, inputs to do, inputs still robust)


def autoattack(
    model: Model | Victim,
    x: Tensor,
    y: Tensor,
    eps: Radius,
    norm: str | float = "linf",
    *,
    version: str = "standard",
    bounds: Bounds = (0.0, 1.0),
    generator: Generator | None = None,
    eot: int | None = None,
    batch_size: int = 250,
) -> Tensor:
    """Return the adversarial inputs of `evaluate`; an input that no attack could fool is returned unchanged.

    Source: Croce and Hein 2020.

    Args:
        model, x, y, eps, norm, bounds, generator: See `robustgames.attacks.gradient`.
        version: "standard": APGD-CE, targeted APGD-DLR, targeted FAB, Square; "plus": also untargeted APGD-DLR and
            FAB, with 5 restarts; "rand", for stochastic classifiers: APGD-CE and APGD-DLR with eot=20.
        eot: See `evaluate`.
        batch_size: Inputs that are attacked together.

    Example:
        >>> model = lambda x: torch.cat([x, 0.5 + 0 * x, 0 * x, 0 * x], 1)
        >>> autoattack(model, torch.tensor([[0.55], [0.9]]), torch.tensor([0, 0]), eps=0.1)
        tensor([[0.4500],
                [0.9000]])
    """
    if version not in VERSIONS:
        raise unknown("version", version, VERSIONS)
    found = evaluate(
        model, x, y, eps, norm, version, bounds=bounds, generator=generator, eot=eot, batch_size=batch_size
    )
    return found.x_adv


def evaluate(
    model: Model | Victim,
    x: Tensor,
    y: Tensor,
    eps: Radius,
    norm: str | float = "linf",
    attacks: str | Sequence[str] = "standard",
    *,
    settings: Mapping[str, Any] | None = None,
    bounds: Bounds = (0.0, 1.0),
    generator: Generator | None = None,
    eot: int | None = None,
    batch_size: int = 250,
    precision: torch.dtype | None = None,
    self_checks: bool = True,
    progress: Progress | None = None,
    processes: Processes = ALONE,
) -> Report:
    """Attack a classifier with an ensemble and report its remaining accuracy.

    The attacks run one after the other, each on the inputs that are still robust, in batches. Every success is verified
    by a forward pass in the model's own precision, and all of them again at the end together with ball and box: an
    example that does not pass counts as robust. Ctrl-C ends the search and returns the result until then.

    Every batch of every attack draws from a generator of its own, so several processes that share the batches find what
    one finds.

    A stochastic classifier has a chance to be right at each point. With `eot` above 1 every attack runs on every input,
    the point that fools most passes is kept, and accuracies are means over new passes, with standard errors.

    Args:
        model, x, y, eps, norm, bounds, generator: See `robustgames.attacks.gradient`.
        attacks: Version (see `autoattack`), or names out of `MEMBERS`, or of attacks of other libraries such as
            "foolbox:L2CarliniWagnerAttack" and "art:ElasticNet", in the order in which they run.
        settings: Settings of the attacks, e.g. {"steps": 40}, each for those that have it.
        eot: Passes of a stochastic classifier over which losses, gradients and verdicts are means, e.g. 20. If None, it
            is 20 for the attacks of the version "rand", else 1.
        batch_size: Inputs that are attacked together.
        precision: Data type of the search, e.g. torch.bfloat16, which is faster. If the model's own precision does not
            confirm a success, the attack runs again in that precision.
        self_checks: Whether to check for signs of gradient masking first (a few passes), see
            `robustgames.attacks.checks`.
        progress: Function that is called after every batch as progress(attack, inputs done, inputs to do, inputs still
            robust).
        processes: Processes that call this function together and attack the batches in turn. All return one result.

    Raises:
        GameError: If an attack, version, setting or norm is unknown, an attack does not search balls of the norm, or
            batch_size is below 1; and the errors of all attacks on their inputs.
    """
    names, norm = names_of(attacks), norm_name(norm)
    members = members_of(names, settings)
    check_norm(members, norm)
    check_batch_size(batch_size)
    eot = max(member.passes for member in members.values()) if eot is None else eot
    search = model if isinstance(model, Victim) and precision is None else Victim(_plain(model), precision)
    with pose_problem(search, x, y, eps, norm, bounds, generator, eot=eot) as p:
        run = _Run(p, members, batch_size, processes)
        notes = run.start()
        if self_checks and len(x) > 0:
            notes += checks.inspect(p.rows(torch.arange(min(len(x), batch_size), device=x.device)), names)
        try:
            for name in names:
                run.attack(name, progress)
            interrupted = False
        except KeyboardInterrupt:
            if processes.world > 1:  # they are at different points
                raise
            interrupted = True
        with deferred_interrupt() as pressed:  # what the attacks found is not lost by it
            x_adv, lost = run.verify(x)
            left = [note for of_one in processes.collect(lost_gradients(p)) for note in of_one]
            notes += run.notes_of_memory() + run.notes_of_leaving() + lost + left
        if pressed and processes.world > 1:
            raise KeyboardInterrupt
        interrupted = interrupted or bool(pressed)
    notes += checks.black_box_wins([(tally.name, tally.fooled) for tally in run.tallies], len(x))
    announce(notes)
    return run.report(x_adv, tuple(notes), interrupted, len(names))


class _Run:
    """The state of every input between the attacks of an ensemble."""

    def __init__(self, p: Problem, members: Mapping[str, Member], batch_size: int, team: Processes) -> None:
        self.p, self.members, self.batch_size, self.team = p, members, batch_size, team
        self.judge = p.victim if p.victim.precision is None else Victim(p.victim.model)
        self.eta, self.tried, self.classes = torch.zeros_like(p.a), torch.zeros_like(p.labels), 0
        self.right = torch.ones(p.eot, len(p.a), dtype=torch.bool, device=p.a.device)  # verdicts of the passes
        self.clean = self.right
        self.share = torch.ones(len(p.a), device=p.a.device)  # of the passes that are right at the best point so far
        self.moved = torch.zeros_like(p.labels, dtype=torch.bool)
        self.tallies: list[Tally] = []
        self.elsewhere = torch.zeros(2, dtype=torch.int64)
        self.fits = batch_size  # rows that fit into the memory of the device together
        self.left: Counter[str] = Counter()  # perturbations of an attack outside of ball or box

    @property
    def robust(self) -> Tensor:
        """The inputs that are classified correctly, in most passes."""
        return self.share > 0.5

    def start(self) -> list[str]:
        """Find the inputs that are classified correctly; return notes on attacks that the number of classes changes."""
        self.clean = self._verdicts(self.p.images(self.eta), self.share > 0)
        self.share = self.clean.to(self.share.dtype).mean(0)
        return [
            f"the loss of {name} needs {member.classes_needed} classes, the model has {self.classes}: "
            f"{name} raises the margin instead"
            for name, member in self.members.items()
            if 0 < self.classes < member.classes_needed
        ]

    def attack(self, name: str, progress: Progress | None) -> None:
        """Run one attack on the inputs that are still robust."""
        before, began, attacked, were = self._passes(), time.perf_counter(), 0, int(self.robust.sum())
        open_, seed = self.share > 0, draw_seed(self.p.generator)
        count, own = int(open_.sum()), open_ & False
        try:
            for number, batch in enumerate(self._batches(open_)):
                attacked += len(batch)
                if number % self.team.world == self.team.rank:
                    own[batch] = True
                    generator = Generator(batch.device).manual_seed((seed + number) % 2**63)
                    with seeded(generator, self.p.eot):
                        self._batch(name, batch, generator)
                if progress is not None:
                    progress(name, attacked, count, int(self.robust.sum()))
            self._merge(own | ~open_ & self.team.is_first)
            spent = self._passes() - before
            self.elsewhere += self.team.add(spent) - spent
        finally:
            each = ((self._passes() - before) / max(attacked, 1)).tolist()
            fooled, seconds = were - int(self.robust.sum()), time.perf_counter() - began
            self.tallies.append(Tally(name, attacked, fooled, each[0], each[1], seconds))

    def _merge(self, own: Tensor) -> None:
        """Take every row from the process that has attacked it."""
        merge = self.team.merge
        self.eta, self.share = merge(self.eta, own), merge(self.share, own)
        self.tried, self.moved = merge(self.tried, own), merge(self.moved, own)

    def verify(self, x: Tensor) -> tuple[Tensor, list[str]]:
        """Verify every success again, with ball and box; return (x_adv, notes on the examples that did not pass)."""
        images = self.p.images(self.eta).view_as(x)
        passed = self.moved & self.p.allowed(images.reshape(self.p.a.shape))
        if self.p.eot == 1:
            again = self._verdicts(images, self.moved)[0]
            passed = passed & ~again
            self.right = self.clean & ~passed
        else:
            images = torch.where(_rows_like(passed, x), images, x)
            self.right = self._verdicts(images, passed | True)
        lost = int((self.moved & ~passed).sum())
        note = f"{lost} examples did not fool the model when judged again, or left ball or box: they count as robust"
        return torch.where(_rows_like(passed, x), images, x.detach()), [note] if lost else []

    def notes_of_leaving(self) -> list[str]:
        """Return a note for each attack of which perturbations left ball or box."""
        left, attacked = self.team.collect(list(self.left.items())), {t.name: t.attacked for t in self.tallies}
        total: Counter[str] = Counter()
        for name, count in (pair for pairs in left for pair in pairs):
            total[name] += count
        return [note_of_leaving(name, count, attacked[name]) for name, count in total.items() if count]

    def notes_of_memory(self) -> list[str]:
        """Return a note if a batch did not fit into the memory of the device."""
        fits = min(
            self.batch_size, *(victim.fits or self.batch_size for victim in (self.p.victim, self.judge)), self.fits
        )
        least = min(self.team.collect(fits))
        return [note_of_memory(least)] if least < self.batch_size else []

    def report(self, x_adv: Tensor, notes: tuple[str, ...], interrupted: bool, attacks: int) -> Report:
        """Return the result."""
        clean, robust = (part.double().mean(0) > 0.5 for part in (self.clean, self.right))
        unfinished = robust & (self.tried < attacks)
        if self.p.eot > 1:  # what all passes misclassified needed no further attack, and may be right in new ones
            unfinished &= self.share > 0
        passes = {"clean_passes": self.clean, "robust_passes": self.right} if self.p.eot > 1 else {}
        tallies = tuple(self.tallies)
        left = int(unfinished.sum())
        return Report(x_adv, clean, robust, tallies, notes, interrupted, left, self.p.eot, **passes)

    def _verdicts(self, images: Tensor, mask: Tensor) -> Tensor:
        """Return whether each pass classifies the images of a mask correctly, (eot, N); True elsewhere."""
        right = torch.ones(self.p.eot, len(images), dtype=torch.bool, device=images.device)
        for rows in self._batches(mask):
            for k in range(self.p.eot):
                logits = self.judge.logits(images[rows])
                right[k, rows], self.classes = logits.argmax(-1) == self.p.labels[rows], logits.shape[1]
        self.judge.check_finite()
        return right

    def _batches(self, mask: Tensor) -> Sequence[Tensor]:
        rows = mask.nonzero().squeeze(-1)
        return rows.split(self.batch_size) if len(rows) > 0 else ()

    def _batch(self, name: str, batch: Tensor, generator: Generator) -> None:
        """Attack a batch, in smaller ones from now on if the memory of the device is not enough."""
        waiting = list(batch.split(self.fits))
        while waiting:
            rows = waiting.pop()
            try:
                self._attack_rows(name, rows, generator)
                continue
            except torch.OutOfMemoryError:
                if len(rows) == 1:
                    raise
            self.fits = (len(rows) + 1) // 2
            release()
            waiting = [part for each in (*waiting, rows) for part in each.split(self.fits)]

    def _attack_rows(self, name: str, batch: Tensor, generator: Generator) -> None:
        p = replace(self.p.rows(batch), loss=self.members[name].loss_for(self.classes), generator=generator)
        eta, right = self._once(name, p)
        if self.judge is not p.victim:  # successes in the coarse arithmetic alone are attacked again
            again = ((p.losses(eta)[1] > 0.5) & (right > 0.5)).nonzero().squeeze(-1)
            if len(again) > 0:
                eta[again], right[again] = self._once(name, replace(p.rows(again), victim=self.judge))
        better = right < self.share[batch] if p.eot == 1 else self._stronger(p, eta, self.eta[batch])
        self.eta[batch] = torch.where(better.unsqueeze(-1), eta, self.eta[batch])
        self.share[batch] = torch.where(better, right, self.share[batch])
        self.moved[batch] |= better
        self.tried[batch] += 1

    def _once(self, name: str, p: Problem) -> tuple[Tensor, Tensor]:
        """Return (η, share of the passes that classify it correctly); what leaves ball or box is 0."""
        eta = self.members[name].attack_for(p.threat.norm).run_in_ball(p)
        inside = p.allowed(p.a + eta)
        self.left[name] += int((~inside).sum())
        eta = torch.where(inside.unsqueeze(-1), eta, 0)
        return eta, 1 - self._judged(p, eta)[1].to(self.share.dtype)

    def _stronger(self, p: Problem, new: Tensor, old: Tensor) -> Tensor:
        """Return the rows in which a new η is stronger than the best one before, under the same noise."""
        loss, share = self._judged(p, new)
        before, best = self._judged(p, old)
        return stronger(share, loss, best, before)

    def _judged(self, p: Problem, eta: Tensor) -> tuple[Tensor, Tensor]:
        """Return (mean margins, shares of fooled passes) of η, under noise that the search has not seen."""
        judged = replace(p, victim=self.judge, seed=p.seed + 1, loss="margin").losses_at(p.images(eta))
        self.judge.check_finite()
        return judged

    def _passes(self) -> Tensor:
        """Return the forward and backward passes so far, (2,), those of other processes since they were merged."""
        victims = {id(victim): victim for victim in (self.p.victim, self.judge)}.values()
        return torch.tensor([[victim.forwards, victim.backwards] for victim in victims]).sum(0) + self.elsewhere


def _rows_like(mask: Tensor, x: Tensor) -> Tensor:
    return mask.view(-1, *(1 for _ in x.shape[1:]))


def _plain(model: Model | Victim) -> Model:
    return model.model if isinstance(model, Victim) else model
