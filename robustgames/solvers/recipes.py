"""The named table of solvers. A new one is a function and a line here: its signature becomes flags of the command line.

Every recipe takes `lr`, the learning rate of both players (or of player 0 if `lr_y` is given). A rate may also be a
tensor of shape (runs, 1) with one rate per run, or a schedule `k -> rate`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Literal

from robustgames.errors import GameError, unknown
from robustgames.solvers.annealing import annealed
from robustgames.solvers.first_order_recipes import (
    adam,
    alt_adam,
    alt_extra_adam,
    alt_gda,
    extra_adam,
    extragradient,
    gda,
    mirror_descent,
    mirror_prox,
    optimistic_adam,
    optimistic_gda,
    optimistic_mwu,
    pgd,
    rmsprop,
    turns,
    wgan,
)
from robustgames.solvers.langevin_recipes import langevin, mirror_gan, mirror_prox_gan, mixed_ne_ld
from robustgames.solvers.schemes import Averaged, Scheme
from robustgames.solvers.training_recipes import (
    adversarial_training,
    fast_training,
    free_training,
    game_training,
    standard_training,
)

RECIPES: dict[str, Callable[..., Scheme]] = {
    "gda": gda,
    "alt_gda": alt_gda,
    "extragradient": extragradient,
    "optimistic_gda": optimistic_gda,
    "adam": adam,
    "alt_adam": alt_adam,
    "rmsprop": rmsprop,
    "extra_adam": extra_adam,
    "alt_extra_adam": alt_extra_adam,
    "optimistic_adam": optimistic_adam,
    "mirror_descent": mirror_descent,
    "mirror_prox": mirror_prox,
    "optimistic_mwu": optimistic_mwu,
    "pgd": pgd,
    "adversarial_training": adversarial_training,
    "fast_training": fast_training,
    "free_training": free_training,
    "game_training": game_training,
    "standard_training": standard_training,
    "wgan": wgan,
    "langevin": langevin,
    "mirror_gan": mirror_gan,
    "mirror_prox_gan": mirror_prox_gan,
    "turns": turns,
    "mixed_ne_ld": mixed_ne_ld,
}


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
        Extragradient(rule=Adam(lr=0.1, betas=(0.5, 0.9), eps=1e-08), alternating=False)
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
