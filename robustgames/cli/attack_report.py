"""What `robustgames attack` tells: its table, attack.json and examples.safetensors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from torch import Tensor

from robustgames.attacks.report import Report
from robustgames.attacks.saving import Quantized, save_examples
from robustgames.attacks.victim import Model
from robustgames.errors import writing
from robustgames.evaluation import summarize
from robustgames.experiment.classifiers import Classifiers
from robustgames.experiment.folder import write_result

ACCURACIES = ("clean_accuracy", "robust_accuracy")
BATCH = 250  # images that a classifier sees together when it only predicts


@dataclass(frozen=True)
class Outcome:
    """What was found: one report and one set of 8-bit images per classifier."""

    subject: Classifiers
    reports: dict[str, Report]
    quantized: dict[str, Quantized]
    warnings: list[str]
    interrupted: bool
    seconds: float


def content_of(outcome: Outcome, settings: dict[str, Any]) -> dict[str, Any]:
    """Return what attack.json holds: settings, accuracies over the classifiers, one report of each."""
    subject, reports = outcome.subject, outcome.reports
    shares = {key: [getattr(report, key) for report in reports.values()] for key in ACCURACIES}
    threat = {"eps": float(subject.threat.eps), "norm": subject.threat.norm, "device": str(subject.images.device)}
    settings = {key: str(value) if isinstance(value, Path) else value for key, value in settings.items()}
    return {
        "subject": subject.title,
        **settings,
        **threat,
        "images": len(subject.images),
        **summarize({key: torch.tensor(values, dtype=torch.float64) for key, values in shares.items()}),
        "classifiers": {name: report.table() | _counts(outcome, name) for name, report in reports.items()},
        "warnings": outcome.warnings,
        "interrupted": outcome.interrupted,
        "seconds": round(outcome.seconds, 2),
    }


def _counts(outcome: Outcome, name: str) -> dict[str, int]:
    """Return how many adversarial examples there are, and how many of them 8 bits destroy."""
    fell = outcome.reports[name].clean & ~outcome.reports[name].robust
    return {"examples": int(fell.sum()), "lost_in_8_bits": int((fell & ~outcome.quantized[name].adversarial).sum())}


def write(folder: Path, outcome: Outcome, content: dict[str, Any]) -> None:
    """Write attack.json and examples.safetensors; the examples of several classifiers are stacked."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_result(folder, "attack.json", content)
    subject, reports, parts = outcome.subject, outcome.reports, list(outcome.quantized.values())
    images, adversarial, inside = (
        _stack([getattr(q, key) for q in parts]) for key in ("images", "adversarial", "inside")
    )
    save_examples(
        folder / "examples.safetensors",
        _stack([report.x_adv for report in reports.values()]),
        subject.images,
        subject.labels,
        _stack([predict(subject.models[name], report.x_adv) for name, report in reports.items()]),
        eps=content["eps"],
        norm=content["norm"],
        attack=" ".join(content["attack"]),
        quantized=Quantized(images, adversarial, inside, sum(q.lost for q in parts)),
        classifiers=list(reports),
        interrupted=outcome.interrupted,
    )


def _stack(parts: list[Tensor]) -> Tensor:
    return torch.stack(parts) if len(parts) > 1 else parts[0]


def show(outcome: Outcome, content: dict[str, Any], folder: Path) -> None:
    """Print accuracies, one row per attack, warnings, and where the files are."""
    console, several = Console(highlight=False), len(outcome.reports)
    spread = f", mean ± std over {several} runs" if several > 1 else ""
    where = f"{content['norm']} eps {content['eps']:g}, {content['images']:,} images"
    console.print(f"[bold]{escape(content['subject'])}[/]: {where}{spread}", soft_wrap=True)
    for key in ACCURACIES:
        mean, std = content[key]["mean"], content[key]["std"]
        told = f"{100 * mean:.1f} ± {100 * std:.1f} %" if several > 1 else f"{100 * mean:.1f} %"
        console.print(f"{key.replace('_', ' '):<16} {told}")
    console.print(_table(list(content["classifiers"].values())))
    rows = content["classifiers"].values()
    examples, lost, left = (sum(row[key] for row in rows) for key in ("examples", "lost_in_8_bits", "unfinished"))
    if left:
        console.print(f"[yellow]{left:,} images count as robust, though not every attack was tried on them[/]")
    for note in content["warnings"]:
        console.print(f"[yellow]warning:[/] {escape(note)}", soft_wrap=True)
    console.print(
        f"examples     {examples:,} fool the classifier, {examples - lost:,} also as 8-bit images in the ball"
    )
    console.print(f"written to   {escape(str(folder))}: attack.json, examples.safetensors", soft_wrap=True)


def _table(rows: list[dict[str, Any]]) -> Table:
    """Return the table of the attacks, over all classifiers together; passes are per attacked image."""
    table = Table()
    for heading in ("attack", "images", "fallen", "success", "forwards", "backwards", "seconds"):
        table.add_column(heading, justify="left" if heading == "attack" else "right")
    tallies: dict[str, list[dict[str, Any]]] = {}
    for tally in (tally for row in rows for tally in row["attacks"]):
        tallies.setdefault(tally["name"], []).append(tally)
    for name, found in tallies.items():
        images, fell = (sum(t[key] for t in found) for key in ("attacked", "fooled"))
        passes = (sum(t[key] * t["attacked"] for t in found) / max(images, 1) for key in ("forwards", "backwards"))
        success = f"{100 * fell / images:.1f} %" if images else "-"
        seconds = sum(t["seconds"] for t in found)
        table.add_row(name, f"{images:,}", f"{fell:,}", success, *(f"{p:,.1f}" for p in passes), f"{seconds:.1f}")
    return table


@torch.no_grad()
def predict(model: Model, x: Tensor) -> Tensor:
    """Return the predicted classes (N,)."""
    return torch.cat([model(part).argmax(-1) for part in x.split(BATCH)])
