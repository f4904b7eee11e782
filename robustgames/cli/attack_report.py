"""The results of `robustgames attack`: its table, attack.json, the report, and examples.safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from robustgames.attacks.halving import in_parts
from robustgames.attacks.report import Report
from robustgames.attacks.saving import Quantized, save_examples
from robustgames.attacks.transfers import Transfers
from robustgames.attacks.victim import Model
from robustgames.certificates import Verdicts
from robustgames.cli import certify
from robustgames.cli.attack_examples import examples_of
from robustgames.cli.attack_figures import log_figures
from robustgames.cli.attack_page import write_page
from robustgames.cli.attack_rows import Rows, corruption_error, corruptions_table, in_8_bits, transfers_table
from robustgames.cli.screen import plain
from robustgames.errors import writing
from robustgames.evaluation import metric_of, summarize
from robustgames.evaluation.rounding import cell
from robustgames.evaluation.under_attack import by_class, confusion, interval
from robustgames.evaluation.under_corruption import Corrupted
from robustgames.experiment.classifiers import Classifiers
from robustgames.experiment.driver import versions
from robustgames.experiment.folder import Content, write_result

ACCURACIES = ("clean_accuracy", "robust_accuracy")
FILES = ("report.html", "report.md", "attack.json", "examples.safetensors")
BATCH, LARGEST = 250, 2**22  # images per forward pass of `predict`, and bytes unless one image is larger


@dataclass(frozen=True)
class Outcome:
    """Result of an attack on one or several classifiers.

    Attributes:
        subject: The classifiers and their images.
        reports: One report per classifier that was attacked, by its name.
        verdicts: Verdicts of each certificate on each of these classifiers, {classifier: {method: verdicts}}.
        quantized: The adversarial images in 8 bits, by the same names; none of inputs that have no levels.
        warnings: Signs that the accuracies are too optimistic.
        interrupted: Whether Ctrl-C ended the attack early.
        seconds: Wall-clock time.
        transfers: Verdicts of networks on perturbations found on others; None if that was not asked for.
        corrupted: Accuracies on corrupted images, by the name of the classifier.
    """

    subject: Classifiers
    reports: dict[str, Report]
    verdicts: dict[str, dict[str, Verdicts]]
    quantized: dict[str, Quantized]
    warnings: list[str]
    interrupted: bool
    seconds: float
    transfers: Transfers | None = None
    corrupted: Mapping[str, Corrupted] = field(default_factory=dict[str, Corrupted])

    @cached_property
    def predictions(self) -> dict[str, Tensor]:
        """Predicted classes of the adversarial images that are kept, (K,), by the name of the classifier."""
        models, kept = self.subject.models, self.kept
        return {name: predict(models[name], report.x_adv[:kept], report.eot) for name, report in self.reports.items()}

    @property
    def kept(self) -> int:
        """Number of inputs whose adversarial images are kept."""
        return min(len(report.x_adv) for report in self.reports.values())

    @property
    def class_names(self) -> list[str]:
        """Names of all classes among labels and predictions, by their numbers."""
        found = [self.subject.labels, *self.predictions.values()]
        count = max((int(part.max()) + 1 for part in found if len(part) > 0), default=0)
        given = self.subject.class_names
        return [given[k] if k < len(given) else str(k) for k in range(max(count, len(given)))]

    @property
    def contradictions(self) -> list[str]:
        """Contradictions between certificates and attacks, in sentences."""
        each = (certify.contradictions(name, self.reports[name], found) for name, found in self.verdicts.items())
        return [line for lines in each for line in lines]


def content_of(outcome: Outcome, settings: Content, curves: Mapping[str, Content | None]) -> Content:
    """Return the content of attack.json: settings, accuracies over the classifiers, one report and curve of each."""
    subject, reports = outcome.subject, outcome.reports
    shares = {key: [getattr(report, key) for report in reports.values()] for key in ACCURACIES}
    threat = {"eps": float(subject.threat.eps), "norm": subject.threat.norm, "device": str(subject.images.device)}
    settings = {key: str(value) if isinstance(value, Path) else value for key, value in settings.items()}
    return {
        "subject": subject.title,
        **settings,
        **threat,
        "images": max(len(report.clean) for report in reports.values()),
        **summarize({key: torch.tensor(values, dtype=torch.float64) for key, values in shares.items()}),
        **certify.content_of(list(outcome.verdicts.values())),
        "class_names": outcome.class_names,
        "transfers": outcome.transfers and outcome.transfers.table(),
        "classifiers": {
            name: report.table() | _counts(outcome, name) | {"curve": curves[name]} for name, report in reports.items()
        },
        "warnings": outcome.warnings,
        "interrupted": outcome.interrupted,
        "seconds": round(outcome.seconds, 2),
        "versions": versions(),
    }


def _counts(outcome: Outcome, name: str) -> Content:
    """Return what the report of a classifier does not have: intervals, examples, classes, mistakes, certificates."""
    report, labels, guesses = outcome.reports[name], outcome.subject.labels, outcome.predictions[name]
    fooled = report.clean & ~report.robust
    levels = outcome.quantized.get(name)
    certificates = {method: found.table() for method, found in outcome.verdicts[name].items()}
    return {
        "clean_interval": interval(report.clean, report.clean_passes),
        "robust_interval": interval(report.robust, report.robust_passes),
        "examples": int(fooled.sum()),
        "lost_in_8_bits": None if levels is None else int((fooled & ~levels.adversarial).sum()),
        "classes": by_class(labels[: len(report.clean)], report.clean, report.clean & report.robust),
        "confusion": confusion(labels[: len(guesses)], guesses),
        "certificates": certificates,
        "corruptions": outcome.corrupted[name].table() if name in outcome.corrupted else None,
    }


def write(folder: Path, outcome: Outcome, content: Content) -> None:
    """Write attack.json, examples.safetensors and the report; the examples of several classifiers are stacked."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_result(folder, "attack.json", content)
    subject, reports = outcome.subject, outcome.reports
    kept = outcome.kept
    found = {name: report.x_adv[:kept] for name, report in reports.items()}
    save_examples(
        folder / "examples.safetensors",
        _stack(list(found.values())),
        subject.images[:kept],
        subject.labels[:kept],
        _stack(list(outcome.predictions.values())),
        eps=content["eps"],
        norm=content["norm"],
        attack=" ".join(content["attack"]),
        quantized=_quantized(list(outcome.quantized.values()), kept),
        **({} if subject.numbers is None else {"numbers": subject.numbers[:kept].tolist()}),
        **({"class_names": subject.class_names} if subject.class_names else {}),
        classifiers=list(reports),
        interrupted=outcome.interrupted,
        certified=_certified(outcome),
    )
    examples = examples_of(subject, reports, outcome.predictions)
    write_page(folder, content, examples, outcome.contradictions)
    log_figures(folder, content, examples)


def _quantized(parts: list[Quantized], kept: int) -> Quantized | None:
    if not parts:
        return None
    images, adversarial, inside = (
        _stack([getattr(q, key)[:kept] for q in parts]) for key in ("images", "adversarial", "inside")
    )
    return Quantized(images, adversarial, inside, sum(q.lost for q in parts))


def _certified(outcome: Outcome) -> dict[str, list[list[int]]]:
    """Return the indices of the certified images by method, a list for each classifier."""
    each = list(outcome.verdicts.values())
    return {m: [one[m].certified.nonzero().squeeze(-1).tolist() for one in each] for m in (each[0] if each else {})}


def _stack(parts: list[Tensor]) -> Tensor:
    return torch.stack(parts) if len(parts) > 1 else parts[0]


def show(outcome: Outcome, content: Content, folder: Path) -> None:
    """Print accuracies, one row per attack, warnings, and the folder of the files."""
    console, several = Console(highlight=False), len(outcome.reports)
    spread = f", mean ± std over {several} runs" if several > 1 else ""
    threat = f"{content['norm']} eps {content['eps']:g}, {content['images']:,} images"
    console.print(f"[bold]{plain(content['subject'])}[/]: {threat}{spread}", soft_wrap=True)
    for metric in map(metric_of, ACCURACIES):
        console.print(f"{metric.label:<16} {cell(metric, content[metric.name], several)}{_noise(outcome, metric.name)}")
    for line in certify.rows_of(content):
        console.print(plain(line), soft_wrap=True)
    console.print(_table(list(content["classifiers"].values())))
    _show_more(console, content)
    rows = content["classifiers"].values()
    examples, left = (sum(row[key] for row in rows) for key in ("examples", "unfinished"))
    if left:
        console.print(f"[yellow]{left:,} images count as robust, though not every attack was tried on them[/]")
    for note in content["warnings"]:
        console.print(f"[yellow]warning:[/] {plain(note)}", soft_wrap=True)
    whole = in_8_bits(list(rows))
    levels = "" if whole is None else f", {whole:,} also as 8-bit images in the ball"
    console.print(f"examples     {examples:,} fool the classifier{levels}")
    console.print(f"written to   {plain(folder)}: {', '.join(FILES)}", soft_wrap=True)


def _show_more(console: Console, content: Content) -> None:
    """Print accuracies under transfer and under corruption."""
    if content["transfers"] is not None:
        console.print("Accuracy of each column on inputs that were perturbed against the row", soft_wrap=True)
        console.print(_plain_table(transfers_table(content["transfers"])))
    for name, row in content["classifiers"].items():
        if row["corruptions"] is not None:
            console.print(f"{plain(name)}: {corruption_error(row['corruptions'])}", soft_wrap=True)
            console.print(_plain_table(corruptions_table(row["corruptions"])))


def _plain_table(rows: Rows) -> Table:
    table = Table()
    for at, heading in enumerate(rows.heads):
        table.add_column(plain(heading), justify="right" if at else "left", overflow="fold")
    for row in rows.rows:
        table.add_row(*map(plain, row))
    return table


def _noise(outcome: Outcome, accuracy: str) -> str:
    """Return the standard error of an accuracy over the passes of stochastic classifiers, "" without passes."""
    errors = [getattr(report, accuracy.replace("accuracy", "standard_error")) for report in outcome.reports.values()]
    if any(error is None for error in errors):
        return ""
    error = sum(error**2 for error in errors) ** 0.5 / len(errors)
    return f"  (standard error of the noise {100 * error:.2f}, over {next(iter(outcome.reports.values())).eot} passes)"


def _table(rows: list[Content]) -> Table:
    """Return the table of the attacks over all classifiers together, with passes per attacked image."""
    table = Table()
    for heading in ("attack", "images", "fooled", "success", "forwards", "backwards", "seconds"):
        table.add_column(heading, justify="left" if heading == "attack" else "right", overflow="fold")
    tallies: dict[str, list[Content]] = {}
    for tally in (tally for row in rows for tally in row["attacks"]):
        tallies.setdefault(tally["name"], []).append(tally)
    for name, found in tallies.items():
        images, fooled = (sum(t[key] for t in found) for key in ("attacked", "fooled"))
        passes = (sum(t[key] * t["attacked"] for t in found) / max(images, 1) for key in ("forwards", "backwards"))
        success = f"{100 * fooled / images:.1f} %" if images else "-"
        seconds = sum(t["seconds"] for t in found)
        table.add_row(name, f"{images:,}", f"{fooled:,}", success, *(f"{p:,.1f}" for p in passes), f"{seconds:.1f}")
    return table


@torch.no_grad()
def predict(model: Model, x: Tensor, eot: int = 1) -> Tensor:
    """Return the predicted classes (N,); of a stochastic model those of most passes."""
    together = max(min(BATCH, LARGEST // max(x[:1].nbytes, 1)), 1)

    def of_part(rows: slice) -> Tensor:
        return model(x[rows].clone()).argmax(-1)  # a model may change its input in place

    passes = [torch.cat(in_parts(len(x), together, of_part)[0]) for _ in range(eot)]
    return torch.stack(passes).mode(0).values
