"""The named table of solvers. A new one is a function and a line in a file of recipes: its signature becomes flags.

Every recipe takes `lr`, the learning rate of both players (or of player 0 if `lr_y` is given). A rate may also be a
tensor of shape (runs, 1) with one rate per run, or a schedule `k -> rate`.
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
from robustgames.solvers.schemes import Averaged, Scheme
from robustgames.solvers.training_recipes import TRAINING

RECIPES: dict[str, Callable[..., Scheme]] = {**FIRST_ORDER, **FRONTIER, **TRAINING, **LANGEVIN}


def make_solver(
    name: str, average: Literal["uniform"] | float | None = None, anneal: int = 0, **settings: Any
) -> Scheme:
    """Return the solver of that name.

    Args:
        name: Key of `RECIPES`.
        average: Average of the iterates that is kept as well: "uniform", or the decay of an exponential one, e.g.
            0.999.
        anneal: Oracle calls of one run, over which all learning rates fall linearly to 0. 0 keeps those of the recipe.
        **settings: Arguments of the recipe.

    Raises:
        GameError: The name is unknown (close matches are shown) or a setting is (the allowed ones are listed).

    Example:
        >>> make_solver("extra_adam", lr=0.1)
        Extragradient(rule=Adam(lr=0.1, betas=(0.5, 0.9), eps=1e-08), alternating=False, ahead=None, same_sample=False)
    """
    if name not in RECIPES:
        raise unknown("agent", name, RECIPES)
    allowed = inspect.signature(RECIPES[name]).parameters
    for setting in settings:
        if setting not in allowed:
            raise unknown(f"setting of {name}", setting, allowed)
    solver = RECIPES[name](**settings)
    if anneal:
        solver = annealed(solver, anneal)
    if average is None:
        return solver
    if isinstance(average, str) and average != "uniform":
        raise GameError(f"average is {average!r}: None, 'uniform' or a decay such as 0.999")
    solver = (
        solver.scheme if isinstance(solver, Averaged) else solver
    )  # the requested average replaces that of the recipe
    return Averaged(solver, None if isinstance(average, str) else average)
