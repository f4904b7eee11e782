"""Texts of others on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape

from robustgames.disk import printable


def plain(value: object) -> str:
    """Return a value as a text for a console of Rich: no markup, and no signs that a terminal would act upon."""
    return escape(printable(str(value)))


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in (heads, *rows)]
    return "\n".join(f"| {line} |" for line in (lines[0], " | ".join(["---"] * len(heads)), *lines[1:])) + "\n"
