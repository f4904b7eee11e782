"""One classifier under attack: its inputs in parts that fit into memory, with a progress bar."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from torch import Generator, Tensor

from robustgames.attacks.checks import black_box_wins
from robustgames.attacks.ensemble import evaluate
from robustgames.attacks.gradient import fgsm, pgd
from robustgames.attacks.report import Report, join_reports
from robustgames.attacks.saving import Quantized, to_8_bit
from robustgames.cli import launch
from robustgames.cli.attack_report import predict
from robustgames.cli.words import pairs
from robustgames.evaluation.certificates import COLLAPSE, TELLING, catastrophic_overfitting
from robustgames.evaluation.metrics import FGSM_ACCURACY, pgd_accuracy
from robustgames.experiment.classifiers import Classifiers
from robustgames.games.classification import PRECISIONS
from robustgames.interrupts import deferred_interrupt
from robustgames.processes import current

FEW, STEPS = 250, 20  # images and PGD steps of the check for catastrophic overfitting


class Settings(Protocol):
    """The flags of an attack."""

    @property
    def seed(self) -> int: ...
    @property
    def attack_set(self) -> tuple[str, ...]: ...
    @property
    def eot(self) -> int | None: ...
    @property
    def batch(self) -> int: ...
    @property
    def precision(self) -> str: ...


def attack_classifier(
    subject: Classifiers, name: str, attacks: tuple[str, ...], settings: Settings
) -> tuple[Report, Quantized | None]:
    """Attack one of the classifiers; return its report and its examples in 8 bits.

    The report counts all inputs; its examples are of the first ones, as many as `subject.images`. Inputs without
    levels, which are those with bounds of their own for each feature, have no examples in 8 bits. Of inputs in several
    parts the first ones show whether gradients are masked, and what black boxes win is judged over all of them.
    """
    generator, count = Generator(subject.images.device).manual_seed(settings.seed), len(subject.labels)
    _warn_of_overfitting(subject, name, generator, settings.eot or 1)
    each = count if subject.part is None else min(max(subject.part // settings.batch, 1) * settings.batch, count)
    reports: list[Report] = []
    levels: list[Quantized] = []
    for start in range(0, count, each):
        rows = slice(start, min(start + each, count))
        title = name if each == count else f"{name} {start // each + 1}/{-(-count // each)}"
        try:
            with _without_wins(each < count) as own:
                report, quantized = _attack_part(subject, name, title, rows, attacks, settings, generator)
                own.append(report)
        except KeyboardInterrupt:
            if not reports:
                raise
            reports[-1] = replace(reports[-1], interrupted=True)
            break
        reports.append(report)
        levels += [] if quantized is None else [quantized]
        if report.interrupted:
            break
    whole = join_reports(reports)
    if each < count:
        kept = [note for note in whole.warnings if note not in {win for part in reports for win in _wins(part)}]
        for note in _wins(whole):
            warnings.warn(note, stacklevel=2)
        whole = replace(whole, warnings=(*kept, *_wins(whole)))
    return whole, _joined(levels)


def _wins(report: Report) -> list[str]:
    """Return the note on what attacks without gradients won."""
    return black_box_wins([(tally.name, tally.fooled) for tally in report.attacks], len(report.clean))


@contextmanager
def _without_wins(some: bool) -> Iterator[list[Report]]:
    """Hold back the warnings about black boxes of the reports that are put in the list, which is yielded."""
    reports: list[Report] = []
    with warnings.catch_warnings(record=some) as caught:
        yield reports
    wins = {win for report in reports for win in _wins(report)}
    for one in caught or ():
        if str(one.message) not in wins:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)


def _attack_part(
    subject: Classifiers,
    name: str,
    title: str,
    rows: slice,
    attacks: tuple[str, ...],
    settings: Settings,
    generator: Generator,
) -> tuple[Report, Quantized | None]:
    model, threat = subject.models[name], subject.threat
    x, y = subject.read(rows), subject.labels[rows]
    with _bar(title, attacks[0], len(x)) as progress:
        report = evaluate(
            model,
            x,
            y,
            threat.eps,
            threat.norm,
            attacks,
            settings=pairs(settings.attack_set, "--attack-set", "steps=100"),
            bounds=subject.bounds,
            generator=generator,
            eot=settings.eot,
            batch_size=settings.batch,
            precision=PRECISIONS[settings.precision],
            self_checks=rows.start == 0,
            progress=progress,
            processes=current(),
        )
    with deferred_interrupt() as pressed:  # the results of the attacks are not lost by it
        quantized = _in_8_bits(subject, name, x, y, report, settings.batch)
    if pressed and current().world > 1:  # the other processes continue
        raise KeyboardInterrupt
    report = replace(report, interrupted=report.interrupted or bool(pressed))
    kept = max(len(subject.images) - rows.start, 0)
    quantized = quantized and replace(quantized, images=_first(quantized.images, kept))
    return replace(report, x_adv=_first(report.x_adv, kept)), quantized


def not_attacked(subject: Classifiers, name: str, settings: Settings) -> tuple[Report, Quantized | None]:
    """Return the report of a classifier before any attack, whose inputs are in memory, and these in 8 bits."""
    x, y, eot = subject.images, subject.labels, settings.eot or 1
    right = predict(subject.models[name], x, eot) == y
    report = Report(x.clone(), right, right, (), interrupted=True, unfinished=int(right.sum()), eot=eot)
    return report, _in_8_bits(subject, name, x, y, report, settings.batch)


def _in_8_bits(subject: Classifiers, name: str, x: Tensor, y: Tensor, report: Report, batch: int) -> Quantized | None:
    """Return the adversarial images in 8 bits, None of inputs without levels and in processes that write nothing."""
    model, threat = subject.models[name], subject.threat
    if not launch.is_first() or isinstance(threat.low, Tensor) or isinstance(threat.high, Tensor):
        return None
    bounds, eps = (threat.low, threat.high), float(threat.eps)
    batches = zip(x.split(batch), report.x_adv.split(batch), y.split(batch), strict=True)
    return _joined([to_8_bit(model, a, b, c, eps, threat.norm, bounds, eot=report.eot) for a, b, c in batches])


def _first(x: Tensor, kept: int) -> Tensor:
    """Return the first inputs; the memory of the others is given back."""
    return x if kept >= len(x) else x[:kept].clone()


def _joined(parts: list[Quantized]) -> Quantized | None:
    if not parts:
        return None
    images, adversarial, inside = (
        torch.cat([getattr(part, key) for part in parts]) for key in ("images", "adversarial", "inside")
    )
    return Quantized(images, adversarial, inside, sum(part.lost for part in parts))


@contextmanager
def _bar(classifier: str, first: str, count: int) -> Iterator[Callable[[str, int, int, int], None]]:
    """Show the progress of each attack on a terminal; yield the function that updates it."""
    robust = TextColumn("{task.fields[robust]} robust")
    columns = (TextColumn("{task.description:<24}"), BarColumn(), MofNCompleteColumn(), robust, TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not (console.is_terminal and launch.is_first())
    ) as bar:
        tasks = {first: bar.add_task(f"{classifier}  {first}", total=count, robust="…")}

        def progress(attack: str, done: int, total: int, robust: int) -> None:
            if attack not in tasks:
                tasks[attack] = bar.add_task(f"{classifier}  {attack}", robust=robust)
            bar.update(tasks[attack], completed=done, total=total, robust=robust)

        yield progress


def _warn_of_overfitting(subject: Classifiers, name: str, generator: Generator, eot: int) -> None:
    """Warn if a classifier resists FGSM but not PGD, in the norms in which that tells something."""
    if subject.threat.norm not in TELLING:
        return
    model, x, y, threat = subject.models[name], subject.images[:FEW], subject.labels[:FEW], subject.threat
    y, settings = y[: len(x)], {"bounds": subject.bounds, "eot": eot}
    found = {
        FGSM_ACCURACY.name: fgsm(model, x, y, threat.eps, threat.norm, **settings),
        pgd_accuracy(STEPS).name: pgd(
            model, x, y, threat.eps, threat.norm, STEPS, generator=generator, early="drop", **settings
        ),
    }
    shares = {key: (predict(model, x_adv, eot) == y).double().mean() for key, x_adv in found.items()}
    misled = catastrophic_overfitting(shares, STEPS)
    lost = len(y) * float(shares[FGSM_ACCURACY.name] - shares[pgd_accuracy(STEPS).name])
    sure = lost - 2 * max(lost, 0) ** 0.5 > COLLAPSE * len(y)  # not by the chance of a few images
    if misled is not None and bool(misled) and sure:
        one, several = (f"{100 * float(share):.0f} %" for share in shares.values())
        warnings.warn(
            f"catastrophic overfitting of {name}: FGSM leaves {one}, {STEPS} steps of PGD {several}; it was trained "
            "against weak attacks only",
            stacklevel=2,
        )
