"""The report of `robustgames attack` in Markdown, for a pull request or a notebook."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

from robustgames.cli import attack_rows as tables
from robustgames.cli.attack_advice import advice_for
from robustgames.cli.attack_rows import Rows, threat_of
from robustgames.cli.screen import markdown
from robustgames.disk import printable
from robustgames.experiment.folder import Content

SHOWN = 10  # mistakes of a classifier


def markdown_of(content: Content, faults: Sequence[str] = ()) -> str:
    """Return the tables of the page, without its pictures."""
    attack = " ".join(content["attack"])
    lead = f"{threat_of(content)}, {content['images']:,} images, {attack}, seed {content['seed']}."
    parts = [f"# {_text(content['subject'])} under attack", _text(lead), _table(tables.classifiers(content))]
    if content["interrupted"]:
        parts.append("The attack was interrupted: images on which not every attack was tried count as robust.")
    notes = [f"* {_text(fault)}" for fault in faults]
    notes += [f"* {_text(note)} ({_text(advice_for(note).to_do)})" for note in content["warnings"]]
    parts += ["## Warnings", "\n".join(notes) or "None."]
    if content["transfers"] is not None:
        found = content["transfers"]
        parts += ["## Transfer", _text(tables.transfers_note(found)), _table(tables.transfers_table(found))]
    for name, row in content["classifiers"].items():
        parts += [f"## {_text(name)}", _table(tables.attacks(row))]
        parts += [_table(tables.certificates(row))] if row["certificates"] else []
        if row["curve"] is not None:
            parts += [f"Accuracy from {_text(row['curve']['source'])}:", _table(tables.curve(row))]
        if row["corruptions"] is not None:
            error = tables.corruption_error(row["corruptions"])
            parts += [_text(f"{error[:1].upper()}{error[1:]}:"), _table(tables.corruptions_table(row["corruptions"]))]
        parts.append(_table(tables.classes(row, content["class_names"])))
        if (mistakes := tables.mistakes(row, content["class_names"], SHOWN)).rows:
            parts += ["Most frequent mistakes under attack:", _table(mistakes)]
    command = printable(content["command"])
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", command)), default=0))
    parts += ["## Repeat it", f"{fence}sh\n{command}\n{fence}", _table(tables.settings(content))]
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def _table(rows: Rows) -> str:
    return markdown([_text(head) for head in rows.heads], [[_text(cell) for cell in row] for row in rows.rows])


def _text(text: str) -> str:
    """Return a text that Markdown shows as it is: neither HTML nor a sign of Markdown."""
    return re.sub(r"([\\`*_\[\]#])", r"\\\1", escape(printable(text), quote=False))
