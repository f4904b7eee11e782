"""What is written is true: examples run, layers hold, public names are documented."""

import ast
import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import gymnasium as gym
import pytest
import torch

import robustgames as rg

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "robustgames"
MODULES = sorted(m.name for m in pkgutil.walk_packages([str(PACKAGE)], "robustgames."))


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_give_what_they_show(name):
    module = importlib.import_module(name)
    known, ids = {"torch": torch, "gym": gym, "rg": rg}, set(gym.registry)
    failed, _ = doctest.testmod(module, extraglobs=known, optionflags=doctest.NORMALIZE_WHITESPACE)
    for id in set(gym.registry) - ids:  # classes of an example are gone after it
        del gym.registry[id]
    assert failed == 0


def test_every_game_and_recipe_has_an_example_or_a_source():
    names = ("toy", "matrix", "noisy", "cycling", "constrained", "weak_minty", "ratio", "finite_sum", "regression")
    for game in [importlib.import_module(f"robustgames.games.{name}") for name in names]:
        for name, cls in vars(game).items():
            if isinstance(cls, type) and issubclass(cls, rg.Game) and cls.__module__ == game.__name__:
                assert "Example:" in cls.__doc__, name
    for name, recipe in rg.solvers.RECIPES.items():
        assert "Source:" in recipe.__doc__ and "Args:" in recipe.__doc__, name


# every file and folder of the package; a file imports from its own layer and from lower ones
LAYERS = {
    "errors": 0,
    "lazy": 0,
    "tensors": 1,
    "streams": 1,
    "processes": 1,
    "tensor_file": 1,
    "checkpoints": 1,
    "disk": 1,
    "interrupts": 1,
    "executors": 1,
    "notebook": 1,
    "data": 2,
    "games": 3,
    "attacks": 4,
    "certificates": 4,
    "envs": 4,
    "solvers": 4,
    "zoo": 4,
    "evaluation": 5,
    "figures": 6,
    "agents": 6,
    "experiment": 7,
    "sweeps": 8,
    "cli": 9,
    "testing": 9,
    "__init__": 10,
    "__main__": 10,
}


def module_of(path):
    """Return the dotted name of a file of the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_of(path): path for path in PACKAGE.rglob("*.py")}


def imports_of(path):
    """Return the modules of the package that a file imports, wherever in the file and in whichever form."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in FILES else node.module or "" for name in inner}
    return found & set(FILES)


def layer_of(module):
    """Return the layer of a module; an unknown file or folder is an error."""
    return LAYERS[module.split(".")[1] if "." in module else "__init__"]


def test_the_table_of_layers_is_complete():
    shelves = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in FILES.values()}
    assert shelves == set(LAYERS)


def test_imports_follow_the_layers():
    against = [
        (module, other)
        for module, path in FILES.items()
        for other in imports_of(path)
        if layer_of(module) < layer_of(other)
    ]
    assert against == []


def test_no_modules_import_each_other_in_a_circle():
    ahead = {module: imports_of(path) - {module} for module, path in FILES.items()}
    TopologicalSorter(ahead).prepare()  # raises CycleError with the modules of a circle


def test_evaluation_loads_no_matplotlib():
    below = [module for module in FILES if layer_of(module) <= LAYERS["evaluation"]]
    code = f"import sys, importlib; [importlib.import_module(m) for m in {below}]; print('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


ENGLISH = {
    "the text of an argument begins with a noun": r"^\s+\w+(?: \([^)]*\))?: "
    r"(?:of|for|in|as|by|likewise|how|what|when|who)\b",
    "is not a": r"(?<![Tt]here )\bis no\b|\b(?:that|which) (?:is|are) none\b",
    "fooled, misclassified": r"\bfell(?:ed|s)?\b|\bfallen\b",
    "continue, resume": r"\bgo(?:es|ing)? on\b|\bwent on\b",
    "again": r"\banew\b|\bonce more\b|\ball the same\b",
}


@pytest.mark.parametrize("wanted", ENGLISH)
def test_english(wanted):
    every = [*PACKAGE.rglob("*.py"), *ROOT.glob("scripts/**/*.py"), *ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    hits = []
    for path in every:
        text = path.read_text()
        if "noun" in wanted:
            text = "\n".join(docstrings(text)) if path.suffix == ".py" else ""
        hits += [f"{path.relative_to(ROOT)}: {m.group(0).strip()}" for m in re.finditer(ENGLISH[wanted], text, re.M)]
    assert hits == [], wanted


def docstrings(text):
    """Yield the docstrings of a file, those of attributes included."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value


def test_markdown_is_wrapped_at_100_columns():
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        prose = re.sub(r"```.*?```", "", path.read_text(), flags=re.S)
        long = [line for line in prose.split("\n") if len(line) > 100 and not line.lstrip().startswith("|")]
        assert long == [], path


def test_games_and_what_is_below_them_need_no_gymnasium():
    below = [path for module, path in FILES.items() if layer_of(module) <= LAYERS["games"]]
    for path in below:
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


@pytest.mark.parametrize("page", ["README.md", "docs/explain/command_line.md"])
def test_python_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), flags=re.S)
    assert len(blocks) >= 3
    for block in blocks:
        exec(compile(block, page, "exec"), {"__name__": "page"})


def test_importing_the_package_builds_nothing_heavy():
    code = "import sys, robustgames; print([m for m in ('stable_baselines3', 'mujoco', 'sklearn') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
