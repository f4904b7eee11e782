"""Errors that state what was wrong, what is allowed and what to type next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

SHOWN = 20  # names of a list that is given in full


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
    hints = [f"did you mean {' or '.join(close)}?"] if close else []
    if listed:
        hints.append(f"`{listed}` lists all")
    elif not close:
        more = f" and {len(known) - SHOWN} more" if len(known) > SHOWN else ""
        hints.append(f"known: {', '.join(known[:SHOWN])}{more}")
    return GameError(f"unknown {what} {name!r}: {' '.join(hints)}")


def check_whole_numbers(options: Any, **least: int) -> None:
    """Check that attributes are whole numbers of at least the given ones.

    Raises:
        GameError: If one is not; the message names its flag.
    """
    for name, low in least.items():
        value = getattr(options, name)
        if not isinstance(value, int) or not low <= value < 2**63:
            wanted = f"it must be a whole number of at least {low}, e.g. --{name} {low or 1000}"
            raise GameError(f"{name} is {value}: {wanted}")


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn an error of the file system into a `GameError` that names the folder."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise GameError(f"cannot write to {folder}: {reason}; choose another folder, e.g. --out /tmp/runs") from error
