"""Tables of what is chosen by its name: the solvers, the envs, the couplings, the attacks."""

import inspect
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import gymnasium as gym
from house_docstrings import plain
from sphinx.application import Sphinx

import robustgames
from robustgames.cli import listing
from robustgames.envs.registration import ONE_PLAYER, control_ids, game_ids
from robustgames.solvers import RECIPES

GENERATED = Path(__file__).parents[1] / "reference" / "tables"


def setup(app: Sphinx) -> dict[str, Any]:
    """Write the tables before Sphinx looks for documents."""
    app.connect("builder-inited", write, priority=100)
    return {"parallel_read_safe": True}


def write(app: Sphinx) -> None:
    """Write one file per table, which the pages of the reference include."""
    GENERATED.mkdir(parents=True, exist_ok=True)
    for name, text in {
        "games.inc": table("id", "", described(game_ids())),
        "control.inc": table("id", "", described(control_ids())),
        "one_player.inc": table("id", "", described(ONE_PLAYER)),
        "recipes.inc": table("name", "", [(link(name), first_line(recipe)) for name, recipe in RECIPES.items()]),
        "recipe_pages.inc": "\n\n".join(section(name, recipe) for name, recipe in RECIPES.items()),
    }.items():
        path = GENERATED / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def described(ids: Iterable[str]) -> list[tuple[str, str]]:
    """Return (id, line about it)."""
    return [(f"``{id}``", plain(listing.describe(id))) for id in ids]


def first_line(value: Callable[..., Any]) -> str:
    """Return the first line of a docstring as reStructuredText."""
    return plain((inspect.getdoc(value) or "").split("\n")[0])


def link(name: str) -> str:
    """Return a link to the section of a solver."""
    return f":ref:`{name} <solver-{name}>`"


def table(first: str, second: str, rows: Iterable[tuple[str, str]]) -> str:
    """Return a table of two columns."""
    lines = "".join(f"   * - {left}\n     - {right}\n" for left, right in rows)
    return f".. list-table::\n   :widths: auto\n   :class: names\n\n{lines}"


def section(name: str, recipe: Callable[..., Any]) -> str:
    """Return the entry of a solver: its signature and docstring, with a label."""
    home = recipe.__module__
    assert getattr(sys.modules[home], recipe.__name__, None) is recipe, name
    return f".. _solver-{name}:\n\n.. autofunction:: {home}.{recipe.__name__}\n"


assert gym.registry and robustgames  # registered on import
