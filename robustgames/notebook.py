"""Tables of HTML, with which a notebook shows games, agents and results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

_TEXT = "text-align: left"
_NUMBER = "text-align: right; font-variant-numeric: tabular-nums"


def html_table(
    rows: Iterable[Sequence[object]], head: Sequence[object] = (), caption: str = "", numbers: bool = False
) -> str:
    """Return a table of HTML.

    Args:
        rows: Cells of every row, escaped here.
        head: Cells of the first row.
        caption: Line above the table.
        numbers: Whether the columns after the first one hold numbers, which are aligned at the right.

    Example:
        >>> html_table([("residual", "0.1 < 1")]).count("0.1 &lt; 1")
        1
    """
    parts = [f"<caption style='caption-side: top; {_TEXT}'>{escape(caption)}</caption>"] if caption else []
    parts += [_row(head, "th", numbers)] if head else []
    return f"<table>{''.join([*parts, *(_row(row, 'td', numbers) for row in rows)])}</table>"


def _row(cells: Sequence[object], tag: str, numbers: bool) -> str:
    styles = [_TEXT, *[_NUMBER if numbers else _TEXT] * (len(cells) - 1)]
    written = [f"<{tag} style='{style}'>{escape(str(cell))}</{tag}>" for cell, style in zip(cells, styles, strict=True)]
    return f"<tr>{''.join(written)}</tr>"
