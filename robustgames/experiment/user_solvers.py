"""Solvers of the user's own: module:function in the place of a name of the table."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping

from robustgames.errors import GameError, unknown
from robustgames.experiment.user_code import call, import_object, kind_of
from robustgames.solvers import RECIPES, Scheme

EXAMPLE = "my_module:my_solver for my_solver(lr: float = 0.1) in my_module.py"


def recipe_of(agent: str) -> Callable[..., Scheme]:
    """Return the recipe of that name in `RECIPES`, or the function module:function, which returns a solver.

    Raises:
        GameError: No such module or function, or an object that is not a function.
    """
    if agent in RECIPES:
        return RECIPES[agent]
    if ":" not in agent:
        raise unknown("agent", agent, RECIPES)
    found = import_object(agent, "the agent", EXAMPLE)
    if not inspect.isfunction(found):
        raise GameError(f"{agent} is a {kind_of(found)}: give a function that returns a solver, e.g. {EXAMPLE}")

    def recipe(**settings: object) -> Scheme:
        solver = call(agent, found, settings, "--")
        if not isinstance(solver, Scheme):
            raise GameError(f"{agent} returned a {kind_of(solver)}: return a solver, e.g. Simultaneous(SGD(lr))")
        return solver

    recipe.__doc__ = found.__doc__ or f"The solver {agent}."
    recipe.__annotations__ = found.__annotations__
    recipe.__dict__["__signature__"] = inspect.signature(found)
    recipe.__dict__["__wrapped__"] = found  # its annotations are names of its own module
    return recipe


def parameters_of_solver(agent: str) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a recipe; {} if it is unknown, or of a module that is not imported."""
    known = agent in RECIPES or (":" in agent and agent.partition(":")[0] in sys.modules)
    return inspect.signature(recipe_of(agent)).parameters if known else {}


def is_user_solver(word: str) -> bool:
    """Return whether a word has the form module:function."""
    module, colon, name = word.partition(":")
    return bool(colon) and all(part.isidentifier() for part in (*module.split("."), name))
