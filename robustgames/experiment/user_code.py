"""Objects of the user's own files: module:name, called with settings that are checked against its signature."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any

from robustgames.errors import GameError, one_line, unknown

FEW = 200  # characters of another program's error


def import_object(name: str, flag: str, example: str) -> Any:
    """Return the object module:attribute.

    Args:
        name: The word module:attribute.
        flag: Flag that it belongs to, for messages.
        example: What to type instead, e.g. "--model my_nets:load for load() in my_nets.py".

    Raises:
        GameError: Another form, no such module or attribute, or an import that fails.
    """
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise GameError(f"{flag} is {name!r}: give module:function, e.g. {example}")
    try:
        found = importlib.import_module(module)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == module:
            raise GameError(f"no module {module!r} for {flag} {name}: run from the folder of {module}.py") from error
        raise GameError(f"importing {module!r} failed with {in_words(error)}") from error
    if not hasattr(found, attribute):
        raise unknown(f"name in {module}", attribute, (n for n in vars(found) if not n.startswith("_")))
    return getattr(found, attribute)


def call(name: str, function: Callable[..., Any], settings: dict[str, Any], flag: str) -> Any:
    """Return function(**settings).

    Raises:
        GameError: A setting that the function does not take, one that it needs and does not get, or a call that fails.
    """
    parameters = parameters_of(function)
    if parameters is not None:
        check_settings(name, parameters, settings, flag)
    try:
        return function(**settings)
    except GameError:
        raise
    except Exception as error:
        given = ", ".join(f"{key}={value!r}" for key, value in settings.items())
        about = "" if settings else "; it is called without arguments"
        raise GameError(f"{name}({given}) failed with {in_words(error)}{about}") from error


def check_settings(name: str, parameters: dict[str, inspect.Parameter], settings: dict[str, Any], flag: str) -> None:
    """Refuse settings that the function does not take, with close matches, and parameters without a value."""
    named = {k for k, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        for key in settings:
            if key not in named:
                if not named:
                    raise GameError(f"{name}() takes no arguments: leave out {flag} {key}=...")
                raise unknown(f"argument of {name}()", key, named)
    missing = [key for key in required(parameters) if key not in settings]
    if missing and not flag:
        raise GameError(f"{name}() needs {' and '.join(missing)}: it is called without arguments, give them defaults")
    if missing:
        example = " ".join(f"{key}=..." for key in missing)
        raise GameError(f"{name}() needs {' and '.join(missing)}: give {flag} {example}")


def required(parameters: dict[str, inspect.Parameter]) -> list[str]:
    """Return the names of the parameters without a default."""
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [key for key, p in parameters.items() if p.default is p.empty and p.kind not in kinds]


def parameters_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter] | None:
    """Return the parameters of a function, None if Python does not know them."""
    try:
        return dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return None


def in_words(error: BaseException, longest: int = FEW) -> str:
    """Return kind and message of an error in one line."""
    said = " ".join(str(error).split())[:longest]
    return f"{type(error).__name__}: {said}".removesuffix(": ")


def kind_of(value: object) -> str:
    """Return the name of the type of a value."""
    return one_line(type(value).__name__)
