"""Errors that tell a user what was wrong, what is allowed and what to type next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any


class GameError(ValueError):
    """Wrong input to a game, solver, env or run; the command line prints it in one line and exits with 2."""


class DivergedError(GameError):
    """Every run left the finite numbers; the message names the step and the run."""


def unknown(what: str, name: str, known: Iterable[str]) -> GameError:
    """Return the error for a `name` outside `known`, with the close matches first."""
    known = sorted(known)
    close = get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(known)}"
    return GameError(f"unknown {what} {name!r}: {hint}")


def check_whole_numbers(options: Any, **least: int) -> None:
    """Check that attributes are whole numbers of at least so much.

    Raises:
        GameError: one is not; the message names its flag.
    """
    for name, low in least.items():
        value = getattr(options, name)
        if not isinstance(value, int) or not low <= value < 2**63:
            wanted = f"a whole number of at least {low} is needed, e.g. --{name} {low or 1000}"
            raise GameError(f"{name} is {value}: {wanted}")


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn a refusal of the file system into a `GameError` that names the folder."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise GameError(f"cannot write to {folder}: {reason}; choose another folder, e.g. --out /tmp/runs") from error
