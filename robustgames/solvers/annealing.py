"""Learning rates that fall to 0 over a run, for any solver."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import singledispatch
from typing import Any

from robustgames.errors import GameError
from robustgames.solvers.chains import LangevinChains
from robustgames.solvers.rules import Linear
from robustgames.solvers.schemes import (
    Alternating,
    Averaged,
    BestResponse,
    Extragradient,
    Optimistic,
    Rules,
    Scheme,
    Simultaneous,
    Turns,
    pair,
)


@singledispatch
def annealed(solver: Scheme, calls: int) -> Scheme:
    """Return the solver with every learning rate falling linearly to 0 over a run of so many oracle calls.

    A rate is a function of how often its rule was applied; each scheme knows how many applications a call pays for.

    Args:
        solver: its rates are numbers.
        calls: oracle calls of one run.

    Raises:
        GameError: a rate is a schedule already or one per run; a scheme that is not the package's.

    Example:
        >>> from robustgames.solvers import make_solver
        >>> annealed(make_solver("alt_gda", lr=0.1), 1000)    # each player moves in every second call
        Alternating(rule=SGD(lr=Linear(scale=0.1, steps=500)))
    """
    raise GameError(
        f"{type(solver).__name__} cannot be annealed: give its rules schedules, e.g. SGD(Linear(0.1, 1000))"
    )


@annealed.register
def _(solver: Averaged, calls: int) -> Scheme:
    return replace(solver, scheme=annealed(solver.scheme, calls))


@annealed.register
def _(solver: Simultaneous, calls: int) -> Scheme:
    return replace(solver, rule=_falling(solver.rule, calls))


@annealed.register
def _(solver: Alternating, calls: int) -> Scheme:
    return replace(solver, rule=_falling(solver.rule, calls / 2))


@annealed.register
def _(solver: Extragradient, calls: int) -> Scheme:
    return replace(solver, rule=_falling(solver.rule, calls / 2 if solver.alternating else calls))


@annealed.register
def _(solver: Optimistic, calls: int) -> Scheme:
    return replace(solver, rule=_falling(solver.rule, 2 * calls))


@annealed.register
def _(solver: BestResponse, calls: int) -> Scheme:
    answers = 2 if solver.lookahead == "extra" else 1
    steps = calls / (answers * (solver.inner_steps + 1))
    outer = _falling(solver.outer, steps * (1 if solver.lookahead == "none" else 2))
    if solver.start != "keep":  # a fresh rule for every answer
        return replace(solver, outer=outer)
    return replace(solver, outer=outer, inner=_falling(solver.inner, max(1, steps * answers * solver.inner_steps)))


@annealed.register
def _(solver: Turns, calls: int) -> Scheme:
    rounds = calls / (solver.ratio + 1)
    x, y = pair(solver.rule)
    return replace(solver, rule=(_falling(x, rounds * solver.ratio), _falling(y, rounds)))


@annealed.register
def _(solver: LangevinChains, calls: int) -> Scheme:
    if solver.growth:
        raise GameError("chains that grow cannot be annealed: use lr_decay, or growth=0")
    steps = calls / ((2 * solver.inner_steps - 1) + (2 * solver.inner_steps if solver.prox else 0))
    return replace(solver, rule=_falling(solver.rule, steps))


def _falling(rules: Rules, applications: float) -> Any:
    if isinstance(rules, tuple):
        return tuple(_falling(rule, applications) for rule in rules)
    if not any(f.name == "lr" for f in fields(rules)) or not isinstance(rules.lr, int | float):  # type: ignore[attr-defined]
        raise GameError(f"{rules} has no single number as rate that could fall: leave anneal out")
    return replace(rules, lr=Linear(float(rules.lr), max(1, round(applications))))  # type: ignore[attr-defined]
