"""What is written is true: examples run, layers hold, public names are documented."""

import ast
import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import gymnasium as gym
import pytest
import torch

import robustgames as rg

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "robustgames"
MODULES = sorted(m.name for m in pkgutil.walk_packages([str(PACKAGE)], "robustgames."))
LAYERS = {"games": 0, "attacks": 1, "solvers": 1, "envs": 2, "evaluation": 2, "agents": 3, "cli": 4}


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_give_what_they_show(name):
    module = importlib.import_module(name)
    known = {"torch": torch, "gym": gym, "rg": rg}
    failed, _ = doctest.testmod(module, extraglobs=known, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert failed == 0


def test_every_game_and_recipe_has_an_example_or_a_source():
    for game in (rg.games.toy, rg.games.matrix, rg.games.noisy):
        for name, cls in vars(game).items():
            if isinstance(cls, type) and issubclass(cls, rg.Game) and cls.__module__ == game.__name__:
                assert "Example:" in cls.__doc__, name
    for name, recipe in rg.solvers.RECIPES.items():
        assert "Source:" in recipe.__doc__ and "Args:" in recipe.__doc__, name


def imported(path):
    """Yield the parts of the package that a file imports, in whichever form it is written."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "robustgames":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("robustgames."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (a.name.split(".")[1] for a in node.names if a.name.startswith("robustgames."))


def test_imports_follow_the_layers():
    for path in PACKAGE.rglob("*.py"):
        own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for other in imported(path):
            assert LAYERS.get(own, 9) >= LAYERS.get(other, -1), f"{path} imports {other}"
            assert (own, other) != ("envs", "agents"), f"{path}: envs never import agents"


def test_games_do_not_know_gymnasium():
    for path in (PACKAGE / "games").glob("*.py"):
        assert "gymnasium" not in re.sub(r'""".*?"""', "", path.read_text(), flags=re.S), path


def test_every_public_name_has_a_docstring():
    bare = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            named = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            if named and not ast.get_docstring(node) and path.name != "__init__.py":
                overload = any(getattr(d, "id", "") == "overload" for d in node.decorator_list)
                bare += [] if overload else [f"{path.name}:{node.name}"]
    assert bare == []


def test_readme_python_blocks_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.S)
    assert len(blocks) >= 3
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {"__name__": "readme"})


def test_importing_the_package_builds_nothing_heavy():
    import subprocess
    import sys

    code = "import sys, robustgames; print([m for m in ('stable_baselines3', 'mujoco', 'sklearn') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
