"""Which games a scheme applies to."""

from __future__ import annotations

from robustgames.errors import GameError
from robustgames.games.game import ZeroSumGame
from robustgames.games.oracle import Oracle
from robustgames.games.sets import Space
from robustgames.solvers.schemes import Scheme


def check_unconstrained(scheme: Scheme, oracle: Oracle) -> None:
    """Raise a `GameError` if the game of an oracle has constraints."""
    if not all(isinstance(part, Space) for part in oracle.game.sets):
        raise GameError(
            f"{type(scheme).__name__} is for games without constraints, {oracle.game!r} has sets {oracle.game.sets!r}: "
            "use e.g. extragradient"
        )


def check_zero_sum(scheme: Scheme, oracle: Oracle) -> None:
    """Raise a `GameError` if the players of the game do not share one payoff."""
    if not isinstance(oracle.game.exact, ZeroSumGame):
        raise GameError(
            f"{type(scheme).__name__} is for zero-sum games with a payoff, {oracle.game!r} is none: use e.g. consensus"
        )


def check_small(scheme: Scheme, oracle: Oracle, most: int) -> None:
    """Raise a `GameError` if a game has too many coordinates for the whole derivative of its field."""
    if (d := sum(oracle.whole.sizes)) > most:
        raise GameError(
            f"{type(scheme).__name__} computes the whole derivative of the field, {oracle.game!r} has {d} coordinates: "
            f"it is for games of at most {most}"
        )
