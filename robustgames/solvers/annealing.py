"""Learning rates that fall to 0 over a run, for any solver."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from robustgames.errors import GameError
from robustgames.solvers.best_response import BestResponse
from robustgames.solvers.players import Rules, player_of
from robustgames.solvers.rules import Rule
from robustgames.solvers.schedules import Linear
from robustgames.solvers.schemes import Scheme
from robustgames.tensors import Keys, rebuild


def annealed(solver: Scheme, calls: int) -> Scheme:
    """Return the solver with every learning rate falling linearly to 0 over a run of a number of oracle calls.

    A rate is a function of how often its rule was applied, see `Scheme.applications`.

    Args:
        solver: Solver whose rates are numbers.
        calls: Oracle calls of one run.

    Raises:
        GameError: A rate is a schedule already or one per run, the scheme does not count its applications, or `calls`
            is not a number >= 1 (True is for a `GameExperiment`, which knows its steps).

    Example:
        >>> from robustgames.solvers import make_solver
        >>> annealed(make_solver("alt_gda", lr=0.1), 1000)    # each player moves in every second call
        Alternating(rule=SGD(lr=Linear(scale=0.1, steps=500)))
    """
    if isinstance(calls, bool) or not calls >= 1:
        raise GameError(f"anneal is {calls}: the oracle calls of one run are needed, e.g. anneal=10_000")
    counts = solver.applications(calls)

    def anneal(node: object, path: Keys) -> object:
        if isinstance(node, BestResponse) and node.start != "keep":  # every answer starts with a fresh inner rule
            return replace(node, outer=_falling(node.outer, counts[0]))
        if isinstance(node, Scheme) and hasattr(node, "lr"):  # it follows the field without a rule
            return _without_rule(node, counts[0])
        return _of_players(node, player_of(path), counts) if isinstance(node, Rule) else node

    return rebuild(solver, anneal)


def _of_players(rule: Rule, player: int | None, counts: tuple[float, float]) -> Rules:
    if player is not None:
        return _falling(rule, counts[player])
    x, y = (_falling(rule, count) for count in counts)
    return x if x == y else (x, y)


def _without_rule(scheme: Any, applications: float) -> Scheme:
    falling = _falling(scheme, applications)
    return _falling(falling, applications, "lr_y") if getattr(scheme, "lr_y", None) is not None else falling


def _falling(node: Any, applications: float, name: str = "lr") -> Any:
    lr = getattr(node, name, None)
    if not isinstance(lr, int | float):
        got = f"{lr.numel()} rates, one per run" if isinstance(lr, Tensor) else repr(lr)
        raise GameError(f"{name} of {type(node).__name__} is {got}, no single number that could fall: leave anneal out")
    return replace(node, **{name: Linear(float(lr), max(1, round(applications)))})
