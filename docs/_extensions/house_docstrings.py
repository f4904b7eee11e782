"""Docstrings of this package are plain text in Google style: make valid reStructuredText of them.

Plain text means `(*S, n)`, |y|², z_ and `name` in single backticks. What is markup in reStructuredText is escaped, a
public name in backticks becomes a link, and other words in backticks become literals. Napoleon comes afterwards.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import public_api

if TYPE_CHECKING:
    from sphinx.application import Sphinx

COLON = "\ue000"
SHARED = re.compile("See (?:the module|``robustgames.attacks.gradient``)")  # of arguments that all attacks take
EMPHASIS = re.compile(r"(?<![\w*(])(\*\w(?:[\w -]*\w)?\*)(?![\w*])")
ITEM = re.compile(r"\s*(?:[*-]|\d+\.) ")


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect ahead of Napoleon, whose priority is the default of 500."""
    app.connect("autodoc-process-docstring", rewrite, priority=400)
    app.connect("autodoc-process-docstring", restore, priority=600)
    return {"parallel_read_safe": True}


def restore(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Put the colons back that Napoleon would have taken for the end of a type."""
    lines[:] = [line.replace(COLON, ":") for line in lines]


def rewrite(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Rewrite the lines of one docstring in place, except those of examples that run."""
    if (words := borrowed(what, name, obj)) is not None:
        lines[:] = [words, ""]
        return
    module = getattr(obj, "__module__", None)
    cls = name.rpartition(".")[0] if what in ("method", "attribute", "property") else name
    paragraphs, shown = [], False
    for line in lines:
        shown = (shown or line.lstrip().startswith(">>>")) and bool(line.strip())
        if shown or not paragraphs or not line.strip() or paragraphs[-1][0]:
            paragraphs.append((shown or not line.strip(), [line]))
        else:
            paragraphs[-1][1].append(line)
    lines[:] = [
        line
        for keep, block in paragraphs
        for line in (block if keep else plain("\n".join(block), module, cls).split("\n"))
    ]
    if what in ("attribute", "property", "data"):
        lines[:1] = [line.replace(":", COLON) for line in lines[:1]]
    if (module or "").startswith("robustgames.attacks"):
        lines[:] = [SHARED.sub("See :doc:`/reference/attacks`", line) for line in lines]


def borrowed(what: str, name: str, obj: Any) -> str | None:
    """Return what replaces the docstring of another package: that of `dict` for a table, that of Gymnasium's `step`."""
    if what == "data":
        keys = ", ".join(f"``{key}``" for key in obj) if isinstance(obj, Mapping) else ""
        return f"Dictionary with the keys {keys}." if keys else f"The {type(obj).__name__} ``{obj!r}``."
    if what != "method" or getattr(obj, "__doc__", None):
        return None
    owner, _, method = name.rpartition(".")
    for base in inspect.getmro(public_api.found(owner))[1:]:
        if getattr(vars(base).get(method), "__doc__", None):
            own = base.__module__.startswith("robustgames")
            return None if own else f"As in ``{base.__module__.partition('.')[0]}.{base.__name__}``."
    return None


def plain(text: str, module: str | None = None, cls: str | None = None) -> str:
    """Return a paragraph as reStructuredText; backticks may span a line break."""
    parts = re.split(r"(``[^`]+``|`[^`]+`)", text)
    return "".join(quoted(p, module, cls) if i % 2 else escaped(p) for i, p in enumerate(parts))


def quoted(part: str, module: str | None, cls: str | None) -> str:
    """Return `text` as a link to the public name that it is, or as a literal."""
    if part.startswith("``"):
        return part
    word = part.strip("`").removesuffix("()")
    owner = cls.removeprefix(f"{module}.") if cls and module else None
    target = public_api.full_name(word, module, owner) if re.fullmatch(r"[A-Za-z_][\w.]*", word) else None
    if target and target != cls:
        return f":py:obj:`{word} <{target}>`"
    return f"``{part.strip('`')}``"


def escaped(text: str) -> str:
    """Escape what would be markup: asterisks, bars, and underscores at the end of a word."""
    return "\n".join(_escaped_line(line) for line in text.split("\n"))


def _escaped_line(line: str) -> str:
    bullet = ITEM.match(line)
    start = bullet.end() if bullet else 0
    parameter = re.match(r"\s+\*{1,2}\w+(?=( \([^)]*\))?:)", line)  # *args: Napoleon escapes it
    start = parameter.end() if parameter else start
    pieces = EMPHASIS.split(line[start:].replace("\\", "\\\\").replace("|", r"\|"))  # every second one is emphasized
    rest = "".join(piece if i % 2 else piece.replace("*", r"\*") for i, piece in enumerate(pieces))
    return line[:start] + re.sub(r"(\w)_(?!\w)", r"\1\\_", rest)
