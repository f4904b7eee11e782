"""The command `robustgames list`: games, envs and agents, one line each.

The lines are the first ones of docstrings. They are read from the source: importing everything would take seconds.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import gymnasium as gym
from rich.console import Console
from rich.markup import escape

from robustgames.envs.defaults import AGENTS, DEFAULTS, VERSION, id_of, in_words
from robustgames.envs.registration import BATCHED, CONTROLLED, ONE_PLAYER, control_ids, entry_name, game_ids
from robustgames.errors import GameError
from robustgames.zoo.table import PREFIX, ZOO

PACKAGE = Path(__file__).parents[1]
USAGE = """\
usage: robustgames list [--defaults]

List the registered games and the agents; with --defaults, an agent for every game, and the settings with which `train`
and `sweep` start an agent on a game if no flag says otherwise."""


def list_all(words: list[str]) -> None:
    """Print the registered games and envs, and the agents."""
    if set(words) & {"-h", "--help"}:
        print(USAGE)
        return
    if words == ["--defaults"]:
        return _list_defaults()
    if words:
        raise GameError(f"list takes no further words, got {' '.join(words)}: robustgames list [--defaults]")
    console = Console(highlight=False)
    for title, lines in {
        "games": _described(game_ids()),
        "control with an adversary": _described(control_ids()),
        "envs for one player, with gym.make": _described(ONE_PLAYER),
        "agents of games (solvers)": table("robustgames.solvers.recipes:RECIPES"),
        "agents of control": table("robustgames.experiment.control:CONTROL_AGENTS"),
        "classifiers of the zoo, with robustgames attack": {PREFIX + name: one.text for name, one in ZOO.items()},
    }.items():
        console.print(f"[bold]{title}[/]")
        column = max(map(len, lines)) + 4
        for name, line in lines.items():
            # in a file, each name keeps its line in one piece
            width = console.width - column if console.is_terminal else len(line)
            wrapped = textwrap.wrap(line, max(width, 20), break_long_words=False, break_on_hyphens=False)
            text = f"\n{'':{column}}".join(wrapped)
            console.print(f"  [cyan]{name:<{column - 2}}[/]{escape(text)}", soft_wrap=True)


def _list_defaults() -> None:
    """Print the table of agents and the table of settings."""
    console = Console(highlight=False)
    console.print("[bold]an agent for every game[/]")
    for game, agent in AGENTS.items():
        console.print(f"  robustgames train [cyan]{agent}[/] {id_of(game)}", soft_wrap=True)
    console.print("[bold]settings of train and sweep, if no flag says otherwise[/]")
    for (agents, games), settings in DEFAULTS.items():
        on = ", ".join(f"{game}{VERSION}" for game in games.split())
        console.print(f"  [cyan]{', '.join(agents.split())}[/] on {on}: {escape(in_words(settings))}", soft_wrap=True)


def _described(ids: Iterable[str]) -> dict[str, str]:
    return {id: describe(id) for id in ids}


def describe(id: str) -> str:
    """Return one line about a registered id: for a game, the first one of its docstring."""
    spec = gym.spec(id)
    if id in BATCHED:
        env_id = spec.kwargs["env_id"]
        return f"{env_id}, and an adversary; gym.make_vec: thousands in torch, on the CPU or a GPU."
    if entry_name(spec.entry_point) == CONTROLLED:
        return f"{spec.kwargs.get('env_id', 'Any env_id= with continuous or finitely many actions')}, and an adversary."
    game = spec.kwargs["game"]
    if isinstance(game, str) and game.startswith("robustgames."):
        return first_line(game)
    from robustgames.envs.game_env import find_game

    lines = (find_game(game).__doc__ or "").strip().splitlines()
    return lines[0] if lines else "(no docstring)"


# -- read from the source --------------------------------------------------------------------------------
def table(name: str) -> dict[str, str]:
    """Return {key: first line of the docstring} of "module:NAME", a dictionary of functions, classes and **tables."""
    module, node = _defined(name)
    if not isinstance(node, ast.AnnAssign) or not isinstance(node.value, ast.Dict):
        raise LookupError(f"{name} is not a dictionary with an annotation")
    lines: dict[str, str] = {}
    for key, value in zip(node.value.keys, node.value.values, strict=True):
        source = f"{module}:{ast.unparse(value)}"
        lines |= table(source) if key is None else {ast.literal_eval(key): first_line(source)}
    return lines


def first_line(name: str) -> str:
    """Return the first line of the docstring of the function or class "module:name"."""
    node = _defined(name)[1]
    documented = isinstance(node, ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node)
    return documented.splitlines()[0] if documented else "(no docstring)"


def _defined(name: str) -> tuple[str, ast.stmt]:
    """Return the module of this package that defines "module:name", which may import it, and the definition."""
    module, _, name = name.partition(":")
    for node in _source(module).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return module, node
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == name:
            return module, node
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if name == (alias.asname or alias.name):
                    return _defined(f"{node.module}:{alias.name}")
    raise LookupError(f"{module} does not define {name}")


@cache
def _source(module: str) -> ast.Module:
    path = PACKAGE.joinpath(*module.split(".")[1:])
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8"))
