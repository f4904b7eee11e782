"""Texts of others on a terminal."""

from __future__ import annotations

from rich.markup import escape

from robustgames.disk import printable


def plain(value: object) -> str:
    """Return a value as a text for a console of Rich: no markup, and no signs that a terminal would act upon."""
    return escape(printable(str(value)))
