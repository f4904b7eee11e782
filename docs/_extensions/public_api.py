"""The public names, as tests/test_api.py lists them, and the one name under which each is documented."""

import importlib
import inspect
import sys
from functools import cache
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[2] / "tests"))
from test_api import MODULES, public_names


@cache
def documented() -> dict[str, Any]:
    """Return {name: object}. What several modules export has the name of the first of them."""
    every: dict[str, Any] = {}
    names: dict[int, str] = {}
    for module in MODULES:
        for name in public_names(importlib.import_module(module)):
            value = getattr(importlib.import_module(module), name)
            if not inspect.ismodule(value) and id(value) not in names:
                names[id(value)] = f"{module}.{name}"
                every[f"{module}.{name}"] = value
    return every


@cache
def names_of_objects() -> dict[int, str]:
    """Return {id of the object: its documented name}."""
    return {id(value): name for name, value in documented().items()}


@cache
def short_names() -> dict[str, str]:
    """Return {last word: documented name} where the word has one meaning."""
    every: dict[str, list[str]] = {}
    for name in documented():
        every.setdefault(name.rpartition(".")[2], []).append(name)
    return {word: names[0] for word, names in every.items() if len(names) == 1}


def aliases(name: str) -> list[str]:
    """Return every name under which examples can import the object of a documented name."""
    value = documented()[name]
    word = name.rpartition(".")[2]
    own = getattr(value, "__module__", None)
    places = [*MODULES, "robustgames.diagnostics", *([own] if isinstance(own, str) else [])]
    return [f"{place}.{word}" for place in dict.fromkeys(places) if found(f"{place}.{word}") is value]


def full_name(target: str, module: str | None = None, cls: str | None = None) -> str | None:
    """Return the documented name of what a reference names; for a member of a class, "Class.member"."""
    where = [f"{module}.{cls}" if module and cls else None, module, "robustgames", ""]
    for place in filter(lambda place: place is not None, where):
        path = f"{place}.{target}".lstrip(".")
        if path.startswith("robustgames.") and (name := _name_of(path)):
            return name
    head, _, rest = target.partition(".")
    if head in short_names():
        return _name_of(f"{short_names()[head]}.{rest}".rstrip("."))
    return None


def _name_of(path: str) -> str | None:
    value = found(path)
    if value is not None and id(value) in names_of_objects():
        return names_of_objects()[id(value)]
    owner, _, member = path.rpartition(".")
    cls = found(owner)
    for base in inspect.getmro(cls) if inspect.isclass(cls) else ():
        value = vars(base).get(member)
        documented_here = inspect.isroutine(value) or isinstance(value, property | classmethod | staticmethod)
        if documented_here and id(base) in names_of_objects():
            return f"{names_of_objects()[id(base)]}.{member}"
    return None


@cache
def found(path: str) -> Any:
    """Return the object at a dotted path, or None."""
    words = path.split(".")
    for count in range(len(words), 0, -1):
        try:
            value = importlib.import_module(".".join(words[:count]))
        except ImportError:
            continue
        for word in words[count:]:
            value = getattr(value, word, None)
        return value
    return None
