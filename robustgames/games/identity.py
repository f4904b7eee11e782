"""The identity of a game: a digest of its class, settings and tensors, which a checkpoint names."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cached_property
from numbers import Integral, Number
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robustgames.tensors import Movable, tensors_of

PLACES = ("device", "dtype")  # where a game is, not which one
DATA = "data"  # a word by this name is the place of images, whose tensors count


def fingerprint(game: Movable, computed: bool = False) -> str:
    """Return the digest of a game.

    Settings are the attributes that are numbers, words, arrays, and tuples, lists, sets and dictionaries of these, and
    likewise the public attributes of the games, sets, networks and data that the game holds, and of dataclasses. Of a
    function the name counts, and of a module the classes of its parts. The place of images does not count. Attributes
    that are None or empty, or those of the class, are left out, so a new setting that is off by default keeps the
    fingerprints of earlier runs.

    Args:
        game: Game.
        computed: Whether the solutions that a game computes count, as in earlier versions. Their last digits, and of
            several equilibria the one that is found, depend on the libraries and the processor.
    """
    own = {name: value for name, value in vars(game).items() if not _is_made(name, value)}
    digest = hashlib.sha256(json.dumps(_settings(game, own), sort_keys=True).encode())
    for tensor in game.tensors() if computed else _given(game):
        digest.update(f"{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _given(owner: Movable) -> Iterator[Tensor]:
    """Yield the tensors of an object that it does not compute from the others, in the order of `Movable.tensors`."""
    if type(owner).tensors is not Movable.tensors:
        yield from owner.tensors()
        return
    for name, value in sorted(vars(owner).items()):
        if name not in getattr(owner, "_computed", ()):
            yield from _given(value) if isinstance(value, Movable) else tensors_of(value)


def former_fingerprint(game: Movable) -> str:
    """Return the digest in checkpoints of 0.1.0, which knew numbers and words of the game itself, and its tensors."""
    settings = {name: value for name, value in vars(game).items() if isinstance(value, int | float | str)}
    digest = hashlib.sha256(f"{type(game).__name__}{settings}".encode())
    for tensor in game.tensors():
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _is_made(name: str, value: Any) -> bool:
    """Return whether a game has made an attribute for itself; its other private attributes are settings."""
    return name.startswith("_") and isinstance(value, Movable | nn.Module)


def _settings(owner: object, named: Mapping[str, Any]) -> dict[str, Any]:
    """Return the class of an object and the descriptions of its attributes that are settings."""
    cls, found = type(owner), {}
    for name, value in named.items():
        usual = getattr(cls, name, None)
        is_place = name in PLACES or (name == DATA and isinstance(value, str))
        if not is_place and not isinstance(usual, cached_property):
            described = _described(value)
            if described is not None and described != _described(usual):  # `Movable.to` copies those of the class
                found[name] = described
    return {"class": cls.__name__, **found}


def _described(value: Any) -> Any:
    """Return a value in words and numbers, ready for JSON; None if nothing of it is a setting."""
    if isinstance(value, Enum):
        return value.name
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Number):
        return int(value) if isinstance(value, Integral) else float(value) if np.isreal(value) else str(value)  # type: ignore[arg-type]
    if isinstance(value, np.ndarray):
        return [str(value.dtype), list(value.shape), hashlib.sha256(value.tobytes()).hexdigest()]
    if isinstance(value, nn.Module):
        return [type(module).__name__ for module in value.modules()]
    if isinstance(value, Mapping):
        return _whole({str(key): _described(item) for key, item in value.items()})
    if isinstance(value, Set):
        return sorted(map(repr, value)) or None
    if isinstance(value, tuple | list):
        return _listed(value)
    if isinstance(value, Movable):
        return _settings(value, {name: item for name, item in vars(value).items() if not name.startswith("_")})
    if is_dataclass(value) and not isinstance(value, type):
        return {"class": type(value).__name__} | {f.name: _described(getattr(value, f.name)) for f in fields(value)}
    return None if isinstance(value, Tensor) else getattr(value, "__qualname__", None)


def _listed(values: Iterable[Any]) -> list[Any] | None:
    items = [_described(value) for value in values]
    return items if any(item is not None for item in items) else None


def _whole(items: dict[str, Any]) -> dict[str, Any] | None:
    return items if any(item is not None for item in items.values()) else None
