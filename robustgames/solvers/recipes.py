"""The named table of solvers. A new one is a function and a line in a file of recipes: its signature becomes flags.

Every recipe with a learning rate takes `lr`, that of both players (or of player 0 if `lr_y` is given). A rate may also
be a tensor of shape (runs, 1) with one rate per run, or a schedule `k -> rate`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Literal

from robustgames.errors import GameError, unknown
from robustgames.solvers.annealing import annealed
from robustgames.solvers.first_order_recipes import FIRST_ORDER
from robustgames.solvers.frontier_recipes import FRONTIER
from robustgames.solvers.langevin_recipes import LANGEVIN
from robustgames.solvers.matrix_recipes import MATRIX
from robustgames.solvers.schemes import Averaged, Scheme
from robustgames.solvers.training_recipes import TRAINING

RECIPES: dict[str, Callable[..., Scheme]] = {**FIRST_ORDER, **FRONTIER, **MATRIX, **TRAINING, **LANGEVIN}
POWERS = {"uniform": 0, "linear": 1, "quadratic": 2}
"""Averages by name, with the power of k with which the weights of later points grow."""


def make_solver(
    name: str | Callable[..., Scheme],
    average: Literal["uniform", "linear", "quadratic"] | float | None = None,
    anneal: int = 0,
    average_lookaheads: bool = False,
    **settings: Any,
) -> Scheme:
    """Return the solver of that name.

    Args:
        name: Key of `RECIPES`, or a function that returns a solver.
        average: Average of the iterates that is kept as well: "uniform", "linear" or "quadratic" (weights that grow
            like k or k²), or the decay of an exponential one, e.g. 0.999.
        anneal: Oracle calls of one run, over which all learning rates fall linearly to 0. 0 keeps those of the recipe.
        average_lookaheads: Whether the average is that of the points of the last field evaluation of each step, for
            which the theory of extragradient holds; needs an average.
        **settings: Arguments of the recipe.

    Raises:
        GameError: The name is unknown (close matches are shown) or a setting is (the allowed ones are listed).

    Example:
        >>> make_solver("extra_adam", lr=0.1)
        Extragradient(rule=Adam(lr=0.1, betas=(0.5, 0.9), eps=1e-08), alternating=False, ahead=None, same_sample=False)
    """
    if isinstance(name, str) and name not in RECIPES:
        raise unknown("agent", name, RECIPES)
    recipe = RECIPES[name] if isinstance(name, str) else name
    said = name if isinstance(name, str) else getattr(name, "__name__", repr(name))
    allowed = inspect.signature(recipe).parameters
    for setting, value in settings.items():
        if setting not in allowed:
            raise unknown(f"setting of {said}", setting, allowed)
        if isinstance(allowed[setting].default, bool) and not isinstance(value, bool):
            raise GameError(f"{setting} is {value!r}: it must be true or false, e.g. {setting}=true")
    solver = recipe(**settings)
    if anneal and "lr" not in allowed:
        raise GameError(f"{said} has no learning rate that could fall: leave anneal out")
    if anneal:
        solver = annealed(solver, anneal)
    if average is None:
        if average_lookaheads:
            raise GameError("average_lookaheads averages nothing without an average: give e.g. average='uniform'")
        return solver
    if isinstance(average, str) and average not in POWERS:
        raise GameError(f"average is {average!r}: None, {', '.join(map(repr, POWERS))} or a decay such as 0.999")
    if isinstance(solver, Averaged):  # the requested average replaces that of the recipe
        solver = solver.scheme
    if isinstance(average, str):
        return Averaged(solver, None, average_lookaheads, POWERS[average])
    return Averaged(solver, average, average_lookaheads)
