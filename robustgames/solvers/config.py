"""Solvers as plain data, for checkpoints and config files: nothing in them is ever executed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from robustgames.errors import GameError, unknown
from robustgames.solvers.rules import Rule
from robustgames.solvers.schedules import Exponential, InversePower, Linear, Triangular
from robustgames.solvers.schemes import Scheme


def to_config(value: Any) -> Any:
    """Return a solver, or any part of it, as dictionaries, lists, numbers and strings.

    Example:
        >>> from robustgames.solvers.recipes import make_solver
        >>> to_config(make_solver("gda", lr=0.5))
        {'class': 'Simultaneous', 'rule': {'class': 'SGD', 'lr': 0.5}, 'replays': 1}
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {"class": type(value).__name__, **{f.name: to_config(getattr(value, f.name)) for f in fields(value)}}
    if isinstance(value, Tensor):
        return {"$values": value.tolist(), "dtype": str(value.dtype).removeprefix("torch.")}
    if isinstance(value, type) and issubclass(value, torch.optim.Optimizer):
        return {"$optimizer": value.__name__}
    if isinstance(value, Mapping):
        return {name: to_config(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_config(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise GameError(
        f"{value!r} cannot be written to a checkpoint: write a schedule as a frozen dataclass like InversePower"
    )


def from_config(config: Any) -> Any:
    """Return the solver of a `to_config`. Classes are looked up among the rules and schemes that are imported.

    Raises:
        GameError: A class is not known. Import the module that defines it, or pass `solver=` to `load`.
    """
    if isinstance(config, list):
        return tuple(from_config(item) for item in config)
    if not isinstance(config, Mapping):
        return config
    if "$values" in config:
        return torch.tensor(config["$values"], dtype=getattr(torch, config["dtype"]))
    if "$optimizer" in config:
        optimizers = {cls.__name__: cls for cls in _subclasses(torch.optim.Optimizer)}
        if config["$optimizer"] not in optimizers:
            raise unknown("torch optimizer", config["$optimizer"], optimizers)
        return optimizers[config["$optimizer"]]
    if "class" not in config:
        return {name: from_config(item) for name, item in config.items()}
    schedules = {cls.__name__: cls for cls in (Exponential, InversePower, Linear, Triangular)}
    classes = {cls.__name__: cls for root in (Rule, Scheme) for cls in _subclasses(root)} | schedules
    if config["class"] not in classes:
        raise unknown("solver class", config["class"], classes)
    return classes[config["class"]](**{k: from_config(v) for k, v in config.items() if k != "class"})


def _subclasses(root: type) -> Iterator[type]:
    for cls in root.__subclasses__():
        yield cls
        yield from _subclasses(cls)
