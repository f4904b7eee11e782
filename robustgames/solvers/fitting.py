"""Fitting a solver to the game and the runs that it is about to train."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from robustgames.errors import GameError
from robustgames.games.oracle import Oracle
from robustgames.games.sets import Product, Simplex
from robustgames.solvers.best_response import BestResponse
from robustgames.solvers.fused_adam import fused
from robustgames.solvers.magnetic import Magnetic
from robustgames.solvers.players import player_of
from robustgames.solvers.rules import Entropic, Rule, Sign, Steepest
from robustgames.solvers.schemes import Scheme
from robustgames.tensors import Keys, rebuild

LARGE = 2**12  # coordinates of a game from which on a fused kernel matters; those of toys stay exact formulas


def fit(solver: Scheme, oracle: Oracle) -> Scheme:
    """Return the solver as `adapted`, with every `Adam` of a large game fused: the same steps up to rounding."""
    solver = adapted(solver, oracle)
    return fused(solver) if sum(oracle.game.sizes) >= LARGE else solver


def adapted(solver: Scheme, oracle: Oracle) -> Scheme:
    """Return the solver with its rates on the device and in the dtype of the game, and its rows as wide as an image.

    Raises:
        GameError: The solver is not a scheme, a tensor of rates does not hold one per run, entropic steps leave the
            simplex, or an attacker steps in another norm than that of its ball.
    """
    if not isinstance(solver, Scheme):
        raise GameError(f"the solver is {solver!r}: it must be a scheme, e.g. make_solver('gda', lr=0.1)")

    def fitted(node: object, path: Keys) -> object:
        if isinstance(node, Tensor):
            return _fit_rate(node, oracle)
        if isinstance(node, Entropic | Magnetic) and not all(isinstance(s, Simplex) for s in oracle.game.sets):
            raise GameError(f"entropic steps need simplices, {oracle.game!r} has other sets: use e.g. extragradient")
        if isinstance(node, BestResponse) and node.inner_steps:
            _check_norm(node.inner, oracle)
        if isinstance(node, Steepest) and node.width is None:
            return _fit_rows(node, path, oracle)
        return node

    return rebuild(solver, fitted)


def _fit_rate(lr: Tensor, oracle: Oracle) -> Tensor:
    if lr.dim() > 0 and tuple(lr.shape) != (*oracle.shape, 1):
        raise GameError(f"lr has shape {tuple(lr.shape)}: one rate per run has shape {(*oracle.shape, 1)} here")
    return lr.to(oracle.game.device, oracle.game.dtype)


def _fit_rows(rule: Steepest, path: Keys, oracle: Oracle) -> Steepest:
    """Fit rows to the player whose rule it is, or to player 1 if it is of both."""
    rows = oracle.game.sets[0 if player_of(path) == 0 else 1]
    return replace(rule, width=rows.width) if isinstance(rows, Product) else rule


def _check_norm(rule: Rule, oracle: Oracle) -> None:
    ball = getattr(oracle.game, "threat", None)  # of an attacker
    steps = "linf" if isinstance(rule, Sign) else rule.norm if isinstance(rule, Steepest) else None
    if ball is not None and steps is not None and steps != ball.norm:
        wanted = f"use norm={ball.norm!r} (--norm {ball.norm})"
        raise GameError(f"the attacker steps in {steps}, the ball of the game is in {ball.norm}: {wanted}")
