"""The figures of an attack in TensorBoard: an event file in the attack's folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from stable_baselines3.common.logger import TensorBoardOutputFormat

from robustgames.cli.attack_examples import Example
from robustgames.disk import printable
from robustgames.errors import writing
from robustgames.experiment.folder import Content
from robustgames.experiment.logs import show_figures
from robustgames.figures.attack_results import class_accuracies, confusions, example_rows
from robustgames.figures.attacks import draw_accuracies
from robustgames.figures.style import Figure

EVENTS = "events.out.tfevents.attack"  # one name, so a second attack replaces the file
MOST = 3  # classifiers with figures of their own


def log_figures(folder: Path, content: Content, examples: Mapping[str, Sequence[Example]]) -> None:
    """Write the figures of the page to `EVENTS` in the folder, those of the first `MOST` classifiers."""
    with writing(folder), TemporaryDirectory(dir=folder, prefix="events-") as apart:
        output = TensorBoardOutputFormat(apart)
        show_figures(output, figures_of(content, examples), 0)
        output.close()
        (written,) = Path(apart).iterdir()
        os.replace(written, folder / EVENTS)


def figures_of(content: Content, examples: Mapping[str, Sequence[Example]]) -> dict[str, Figure]:
    """Return the figures by name: the curve of all classifiers, and classes, confusion and examples of each."""
    rows, drawn = content["classifiers"], {}
    names = [printable(name) for name in content["class_names"]]
    curves = {printable(name): row["curve"] for name, row in rows.items() if row["curve"] is not None}
    for first in list(curves.values())[:1]:
        shares = {name: curve["accuracy"] for name, curve in curves.items()}
        marks = {f"eps {content['eps']:g}": content["eps"]}
        drawn["accuracy against eps"] = draw_accuracies(first["eps"], shares, first["images"], content["norm"], marks)
    for at, (name, row) in enumerate(list(rows.items())[:MOST]):
        place, title = f"classifier {at}/" if len(rows) > 1 else "", printable(name)
        drawn[f"{place}classes"] = class_accuracies(row["classes"], names, title)
        drawn[f"{place}confusion under attack"] = confusions(row["confusion"], names, title)
        if examples[name]:
            pictures = [(one.clean, one.change, one.attacked) for one in examples[name]]
            labels = [(names[one.label], names[one.predicted]) for one in examples[name]]
            drawn[f"{place}examples"] = example_rows(pictures, labels, title)
    return drawn
