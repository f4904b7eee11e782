"""The flag `--certify` of `robustgames attack`: certificates of the same images, checked against the attacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Protocol

import torch
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from robustgames.attacks.report import Report
from robustgames.certificates import CERTIFICATES, Certificate, Verdicts, certificate_of
from robustgames.errors import GameError
from robustgames.evaluation.metrics import SHARE, Metric
from robustgames.evaluation.rounding import cell
from robustgames.evaluation.statistics import summarize
from robustgames.experiment.classifiers import Classifiers
from robustgames.experiment.folder import Content


class Settings(Protocol):
    """The flags of the certificates, which have the names of their settings."""

    @property
    def certify(self) -> tuple[str, ...]: ...


def certificates_of(settings: Settings) -> dict[str, Certificate]:
    """Return the certificates that the flags ask for, each with those of its settings that are flags."""
    found = {}
    for name in dict.fromkeys(settings.certify):
        own = [field.name for field in fields(CERTIFICATES[name])] if name in CERTIFICATES else []
        found[name] = certificate_of(name, **{key: getattr(settings, key) for key in own if hasattr(settings, key)})
    return found


def check(subject: Classifiers, methods: dict[str, Certificate]) -> None:
    """Refuse, before any attack, what a method cannot certify, and inputs that are read in parts."""
    if methods and subject.rest is not None:
        most = len(subject.images)
        raise GameError(f"certificates are of the images in memory: add --images {most}, or leave out --certify")
    for method in methods.values():
        for model in subject.models.values():
            method.check(model, subject.images, subject.threat.norm)


def certify(subject: Classifiers, name: str, methods: dict[str, Certificate]) -> dict[str, Verdicts]:
    """Return the verdicts of each method on one classifier, with its progress on a terminal.

    After Ctrl-C the last one has verdicts on a part of the images, or there are none and `KeyboardInterrupt` is raised.
    """
    console, found = Console(stderr=True), {}
    columns = (TextColumn("{task.description}"), TextColumn("{task.fields[state]}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        for key, method in methods.items():
            task = bar.add_task(f"{name}  {key}", state="…")

            def progress(done: int, count: int, certified: int, task: Any = task) -> None:
                bar.update(task, state=f"{certified} certified of {done}/{count}")

            images, labels, threat = subject.images, subject.labels, subject.threat
            found[key] = method.certify(
                subject.models[name], images, labels, threat.eps, threat.norm, subject.bounds, progress=progress
            )
            if found[key].unreached:
                if len(found) == 1 and found[key].unreached == len(images):
                    raise KeyboardInterrupt
                break
    return found


def interrupted(found: dict[str, Verdicts]) -> bool:
    """Return whether Ctrl-C ended the certificates of a classifier."""
    return any(verdicts.unreached > 0 for verdicts in found.values())


def contradictions(name: str, report: Report, found: dict[str, Verdicts]) -> list[str]:
    """Return a sentence for each method that certified images which the attacks fool: one of both is wrong."""
    lines = []
    for method, verdicts in found.items():
        both = verdicts.certified & ~report.robust
        if not verdicts.of_smoothed and bool(both.any()):
            shown = ", ".join(map(str, both.nonzero().squeeze(-1)[:5].tolist()))
            lines.append(
                f"internal error: {method} certified {int(both.sum())} images of {name} that an attack fools (image "
                f"{shown}): one of the two is wrong, do not use these figures, and report this with attack.json"
            )
    return lines


def content_of(verdicts: Sequence[dict[str, Verdicts]]) -> Content:
    """Return the certified accuracies over all classifiers, for attack.json."""
    methods = list(verdicts[0]) if verdicts else []
    shares = {f"certified_{m}": [one[m].certified_accuracy for one in verdicts if m in one] for m in methods}
    return {**summarize({key: torch.tensor(values, dtype=torch.float64) for key, values in shares.items()})}


def rows_of(content: Content) -> list[str]:
    """Return one line of the table per method, from attack.json."""
    classifiers = [row["certificates"] for row in content["classifiers"].values()]
    lines = []
    for method in classifiers[0] if classifiers else []:
        each = [row[method] for row in classifiers if method in row]
        metric = Metric(f"certified_{method}", f"certified {method}", SHARE, "higher")
        certified, falsified, unknown = (sum(row[key] for row in each) for key in ("certified", "falsified", "unknown"))
        counts = f"{certified:,} certified, {falsified:,} falsified, {unknown:,} unknown"
        low, high = each[0]["interval"]
        interval = f", 95 % interval {100 * low:.1f} to {100 * high:.1f}" if len(each) == 1 else ""
        about = ", of the smoothed classifier" if each[0]["of_smoothed"] else ""
        unreached = sum(row["unreached"] for row in each)
        about += f"; Ctrl-C left out {unreached:,}" if unreached else ""
        value = cell(metric, content[metric.name], len(each))
        lines.append(f"{metric.label:<16} {value}{interval}  ({counts}{about})")
    return lines
