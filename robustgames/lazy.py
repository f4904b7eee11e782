"""Imports of a package that wait for the first use of a name (PEP 562)."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any


def attach(package: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` of a package, which import what its file imports `if TYPE_CHECKING:`.

    Type checkers and the interpreter so read one list.

    Args:
        package: Name of the package.
        file: Its `__init__.py`.
    """
    home = dict(_imports(ast.parse(Path(file).read_text(encoding="utf-8"))))

    def get(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if home[name] == package:
            return import_module(f"{package}.{name}")
        found = getattr(import_module(home[name]), name)
        setattr(sys.modules[package], name, found)  # the next use does not come here
        return found

    return get, lambda: sorted({*vars(sys.modules[package]), *home})


def _imports(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield (name, module) of every `from module import name` under `if TYPE_CHECKING:`."""
    for block in tree.body:
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING":
            for line in block.body:
                if isinstance(line, ast.ImportFrom):
                    yield from ((alias.name, line.module or "") for alias in line.names)
