"""The command `robustgames attack`: the classifier of a saved run, of the zoo, or of the user, under attack."""

from __future__ import annotations

import shlex
import time
import warnings
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from robustgames.attacks.report import Report
from robustgames.attacks.saving import Quantized
from robustgames.attacks.transfers import Transfers
from robustgames.certificates import Certificate, Verdicts
from robustgames.cli import certify, corruptions, launch, transfer
from robustgames.cli.attack_curve import curves_of
from robustgames.cli.attack_options import AttackOptions, check, data_options, folder_name, read_flags
from robustgames.cli.attack_report import Outcome, content_of, show, write
from robustgames.cli.attack_run import attack_classifier, not_attacked
from robustgames.cli.screen import plain
from robustgames.cli.words import pairs
from robustgames.data.labeled import shipped
from robustgames.errors import check_writable
from robustgames.evaluation.under_corruption import Corrupted
from robustgames.experiment.any_classifier import NetworkOptions, from_module
from robustgames.experiment.classifiers import Classifiers, from_run
from robustgames.interrupts import deferred_interrupt
from robustgames.zoo import table

OF_PROGRAMMERS = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)


def attack(words: list[str]) -> int:
    """Attack, write the files, print the table; return 130 after Ctrl-C, 1 if a certificate is contradicted, else 0."""
    options = read_flags(words)
    names = check(options)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        outcome = _attack(options, names, certify.certificates_of(options))
    except KeyboardInterrupt:
        if launch.may_report():
            console.print("[red]robustgames:[/] interrupted: nothing is written")
        return 130
    if not launch.is_first():
        return 0
    folder, command = _folder(options, outcome.subject), shlex.join(["robustgames", "attack", *words])
    settings = {"command": command} | asdict(options)
    curves = curves_of(outcome.subject, outcome.reports, settings)
    with deferred_interrupt() as pressed:  # a second Ctrl-C gives the results up
        content = content_of(outcome, settings, curves)
        write(folder, outcome, content)
    show(outcome, content, folder)
    interrupted = outcome.interrupted or bool(pressed)
    if interrupted:
        console.print(f"[red]robustgames:[/] interrupted; the results so far are in {plain(folder)}")
    for line in outcome.contradictions:
        console.print(f"[bold red]robustgames:[/] {plain(line)}")
    return 130 if interrupted else 1 if outcome.contradictions else 0


def _folder(options: AttackOptions, subject: Classifiers) -> Path:
    """Return the folder of the files; fail now, not after a long attack, if it cannot be written."""
    folder = options.out or subject.home / folder_name(options, subject.threat.norm, float(subject.threat.eps))
    check_writable(folder)
    return folder


def _subject(options: AttackOptions) -> Classifiers:
    eps, norm, device, trust = options.eps, options.norm, options.device, options.trust
    if options.model is not None:
        _warn_of_seen_images(options)
        network = NetworkOptions(options.model, pairs(options.model_set, "--model-set", "width=64"), trust)
        return from_module(network, data_options(options), eps, norm, device)
    folder = options.folder or Path(".")
    return from_run(folder, options.images, eps, norm, options.data, options.run, device, trust, options.save_examples)


def _warn_of_seen_images(options: AttackOptions) -> None:
    """Warn if a classifier of the zoo was trained on the images on which it is attacked."""
    name = options.model or ""
    if name.startswith(table.PREFIX) and table.entry(name).data == table.MNIST and shipped(options.data or "mnist"):
        warnings.warn(
            f"the shipped images are out of MNIST's training set, on which {name} was trained: give its test images, "
            "--data with the folder of MNIST's four IDX files, or --data openml",
            stacklevel=2,
        )


# -- attacking ------------------------------------------------------------------------------------------
def _attack(options: AttackOptions, names: tuple[str, ...], methods: dict[str, Certificate]) -> Outcome:
    with warnings.catch_warnings(record=True) as caught:  # printed below the table
        warnings.simplefilter("always")
        for kind in OF_PROGRAMMERS:
            warnings.simplefilter("ignore", kind)
        subject, began = _subject(options), time.perf_counter()
        _folder(options, subject)
        certify.check(subject, methods)
        corruptions.check(subject, options.corruptions)
        reports, verdicts, quantized, interrupted = _attack_each(subject, names, options, methods)
        changed: dict[str, Corrupted] = {}
        transfers: Transfers | None = None
        if not interrupted:
            transfers, changed, interrupted = _also(subject, reports, options)
    notes = list(dict.fromkeys(str(warning.message) for warning in caught))
    levels = {name: one for name, one in quantized.items() if one is not None}
    seconds = time.perf_counter() - began
    return Outcome(subject, reports, verdicts, levels, notes, interrupted, seconds, transfers, changed)


def _also(
    subject: Classifiers, reports: dict[str, Report], options: AttackOptions
) -> tuple[Transfers | None, dict[str, Corrupted], bool]:
    """Return the transfers, the accuracies under corruption, and whether Ctrl-C came; what is done is kept."""
    data = data_options(options)
    try:
        transfers = transfer.transfers_of(subject, reports, options.transfer, data, options.trust, options)
    except KeyboardInterrupt:
        return None, {}, True
    changed, interrupted = corruptions.corrupted(subject, reports, options.corruptions, options.seed, options.batch)
    return transfers, changed, interrupted


def _attack_each(
    subject: Classifiers, names: tuple[str, ...], options: AttackOptions, methods: dict[str, Certificate]
) -> tuple[dict[str, Report], dict[str, dict[str, Verdicts]], dict[str, Quantized | None], bool]:
    """Return {classifier: report}, its verdicts of each certificate, its images in 8 bits, and whether Ctrl-C came."""
    reports: dict[str, Report] = {}
    verdicts: dict[str, dict[str, Verdicts]] = {}
    quantized: dict[str, Quantized | None] = {}
    for name in subject.models:
        try:
            reports[name], quantized[name], verdicts[name] = _attack_one(subject, name, names, options, methods)
        except KeyboardInterrupt:
            if reports:
                return reports, verdicts, quantized, True
            raise
        if reports[name].interrupted:
            return reports, verdicts, quantized, True
    return reports, verdicts, quantized, False


def _attack_one(
    subject: Classifiers, name: str, names: tuple[str, ...], options: AttackOptions, methods: dict[str, Certificate]
) -> tuple[Report, Quantized | None, dict[str, Verdicts]]:
    """Return the report of a classifier, images in 8 bits, and verdicts; Ctrl-C keeps the verdicts there are."""
    found = certify.certify(subject, name, methods)
    if not certify.interrupted(found):
        try:
            return *attack_classifier(subject, name, names, options), found
        except KeyboardInterrupt:
            if not found:
                raise
    return *not_attacked(subject, name, options), found
