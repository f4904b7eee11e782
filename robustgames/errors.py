"""Errors that tell a user what was wrong, what is allowed and what to type next."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


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
