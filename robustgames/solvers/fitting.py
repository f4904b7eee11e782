"""Fitting a solver to the game and the runs that it is about to train."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

from torch import Tensor

from robustgames.errors import GameError
from robustgames.games.oracle import Oracle
from robustgames.games.sets import Product, Simplex
from robustgames.solvers.rules import Entropic, Rule, Sign, Steepest
from robustgames.solvers.schemes import BestResponse, Scheme


def fit(solver: Scheme, oracle: Oracle) -> Scheme:
    """Return the solver with its rates on the device and in the dtype of the game, and its rows as wide as an image.

    Raises:
        GameError: no scheme; a tensor of rates that is not one per run; entropic steps off the simplex; an attacker's
            steps in another norm than its ball.
    """
    if not isinstance(solver, Scheme):
        raise GameError(f"the solver is {solver!r}: a scheme is needed, e.g. make_solver('gda', lr=0.1)")
    return _fit(solver, oracle)


def _fit(part: Any, oracle: Oracle, player: int = 1) -> Any:
    """Fit a part of a solver; rows are those of the player whose rule it is, of player 1 in a rule for both."""
    if isinstance(part, Tensor):
        if part.dim() > 0 and tuple(part.shape) != (*oracle.shape, 1):
            raise GameError(f"lr has shape {tuple(part.shape)}: one rate per run has shape {(*oracle.shape, 1)} here")
        return part.to(oracle.game.device, oracle.game.dtype)
    if isinstance(part, Entropic) and not all(isinstance(s, Simplex) for s in oracle.game.sets):
        raise GameError(f"entropic steps live on simplices, {oracle.game!r} has other sets: use e.g. extragradient")
    if isinstance(part, BestResponse) and part.inner_steps:
        _check_norm(part.inner, oracle)
    if isinstance(part, Steepest) and part.width is None and isinstance(rows := oracle.game.sets[player], Product):
        return replace(part, width=rows.width)
    if isinstance(part, tuple):
        return tuple(_fit(item, oracle, i) for i, item in enumerate(part))
    if is_dataclass(part) and not isinstance(part, type):
        values = {f.name: getattr(part, f.name) for f in fields(part)}
        fitted = {name: _fit(value, oracle, 0 if name == "outer" else player) for name, value in values.items()}
        changed = {name: value for name, value in fitted.items() if value is not values[name]}
        return replace(part, **changed) if changed else part
    return part


def _check_norm(rule: Rule, oracle: Oracle) -> None:
    ball = getattr(oracle.game, "threat", None)  # of an attacker
    steps = "linf" if isinstance(rule, Sign) else rule.norm if isinstance(rule, Steepest) else None
    if ball is not None and steps is not None and steps != ball.norm:
        wanted = f"use norm={ball.norm!r} (--norm {ball.norm})"
        raise GameError(f"the attacker steps in {steps}, the ball of the game is in {ball.norm}: {wanted}")
