"""A network of the user's: module:function in a file of their own, a file of TorchScript, or one of the zoo."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from robustgames.attacks.reach import reachable_modules
from robustgames.attacks.victim import Model
from robustgames.disk import check_plain
from robustgames.errors import GameError
from robustgames.experiment.user_code import call, import_object, in_words, kind_of, parameters_of, required
from robustgames.zoo.loading import load
from robustgames.zoo.table import PREFIX

SCRIPTS = (".pt", ".pth", ".ts", ".jit")
EXAMPLE = "--model my_nets:load for load() in my_nets.py"
FLAG = "--model-set"


def load_network(name: str, settings: dict[str, Any] | None = None, trust: bool = False) -> Model:
    """Return a classifier: a module, or a function of images.

    Args:
        name: "module:attribute", which is a module; or a function that returns one, or returns a function of images;
            or, if one of its arguments has no default and `settings` is empty, a function of images itself. Or the path
            of a file that torch.jit.save wrote. Or "zoo:" and a key of `ZOO`.
        settings: Arguments of the function that returns the classifier.
        trust: Whether to load a file of TorchScript, which is a program.

    Raises:
        GameError: The name cannot be imported or called, or gives something else; settings that the function does not
            take; a file that is not TorchScript, or that nobody trusts.
    """
    settings = settings or {}
    if name.startswith(PREFIX):
        return _checked(name, load(name), settings)
    path = Path(name).expanduser()
    if path.suffix in SCRIPTS and (":" not in name or path.exists()):
        if settings:
            raise GameError(f"{FLAG} gives arguments to a function, {name} is a file: leave it out")
        return _script(path, trust)
    found = import_object(name, "--model", EXAMPLE)
    if isinstance(found, nn.Module) or not callable(found):
        return _checked(name, found, settings)
    parameters = parameters_of(found) or {}
    open_ = [key for key in required(parameters) if key not in settings]
    if len(open_) == 1 and not settings and not isinstance(found, type):
        return cast(Model, found)
    return _checked(name, call(name, found, settings, FLAG), {})


def modules_of(model: Model) -> list[nn.Module]:
    """Return the modules whose parameters a classifier uses."""
    return [model] if isinstance(model, nn.Module) else reachable_modules(model)


def _checked(name: str, found: Any, settings: dict[str, Any]) -> Model:
    if not (isinstance(found, nn.Module) or callable(found)) or isinstance(found, type):
        raise GameError(
            f"{name} gives an object of type {kind_of(found)}: a torch.nn.Module, or a function that returns one, is "
            "needed"
        )
    if settings:
        raise GameError(f"{name} is a classifier already: leave out {FLAG}, or name a function that returns it")
    return cast(Model, found)


def _script(path: Path, trust: bool) -> nn.Module:
    if not path.exists():
        raise GameError(f"no file {path} for --model: give a file of TorchScript, or {EXAMPLE}")
    check_plain(path)
    if not trust:
        raise GameError(
            f"{path} is a program in TorchScript, which runs when it is loaded and called: if you trust whoever wrote "
            "it, add --trust (in Python trust=True)"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return torch.jit.load(path, map_location="cpu")
    except Exception as error:
        raise GameError(
            f"{path} is not TorchScript ({in_words(error, 60)}): write it by torch.jit.save; for weights or a pickle "
            "write a function that loads them, --model my_nets:load --model-set path=..."
        ) from error
