"""Errors that state what was wrong, what is allowed and what to type next."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from itertools import accumulate
from pathlib import Path
from typing import Any

SHOWN = 200  # characters of a list that is given in full
LONGEST = 80  # characters of a value in a message


class GameError(ValueError):
    """Wrong input to a game, solver, env or run; the command line prints it in one line and exits with 2."""


class DivergedError(GameError):
    """Every run diverged (non-finite values); the message names the step and the run."""


def unknown(what: str, name: str, known: Iterable[str], listed: str = "") -> GameError:
    """Return the error for a `name` outside `known`, which shows the close matches.

    Args:
        what: Kind of the name, e.g. "setting".
        name: The unknown name.
        known: The names that exist.
        listed: Command that lists them, named in place of a long list.
    """
    known = sorted(known)
    close = get_close_matches(name, known, n=3, cutoff=0.5)
    hints = [f"did you mean {' or '.join(map(shorten, close))}?"] if close else []
    if listed:
        hints.append(f"`{listed}` lists all")
    elif not close:
        hints.append(f"known: {_listing(known)}")
    return GameError(f"unknown {what} {shorten(name)!r}: {' '.join(hints)}")


def shorten(text: str, longest: int = LONGEST) -> str:
    """Return a text of at most `longest` characters, with … in its middle if it is longer."""
    if len(text) <= longest:
        return text
    head = 2 * longest // 3
    return f"{text[:head]}…{text[len(text) - (longest - head - 1) :]}"


def one_line(value: object) -> str:
    """Return a value in one line of at most `LONGEST` characters."""
    return shorten(" ".join(str(value).split()))


def _listing(names: list[str]) -> str:
    """Return the names that fit into `SHOWN` characters, and the number of the others."""
    shown = [name for name, end in zip(names, accumulate(len(name) + 2 for name in names), strict=True) if end <= SHOWN]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return f"{', '.join(shown)}{more}"


def check_whole_numbers(options: Any, **least: int) -> None:
    """Check that attributes are whole numbers of at least the given ones.

    Raises:
        GameError: If one is not; the message names its flag.
    """
    for name, low in least.items():
        value = getattr(options, name)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value < 2**63:
            wanted = f"it must be a whole number of at least {low}, e.g. --{name} {low or 1000}"
            raise GameError(f"{name} is {shorten(str(value))}: {wanted}")


def check_writable(folder: Path, advice: str = "choose another one with --out") -> None:
    """Check that files can be written to a folder, which need not exist yet, before work is done for them.

    Args:
        folder: Folder of the files.
        advice: What to do if it cannot be written to.

    Raises:
        GameError: If they cannot be written.
    """
    try:
        there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        writable = there.is_dir() and os.access(there, os.W_OK, effective_ids=os.access in os.supports_effective_ids)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise GameError(
            f"cannot write to {shorten(str(folder))}: {reason.lower()}; choose another one, --out"
        ) from error
    if not writable:
        raise GameError(f"cannot write to {folder}: {there} is not a folder that you can write to; {advice}")


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn an error of the file system into a `GameError` that names the folder."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise GameError(f"cannot write to {folder}: {reason}; choose another folder, e.g. --out /tmp/runs") from error
