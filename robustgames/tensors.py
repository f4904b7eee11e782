"""Tensors in objects and trees: where they are, moving them to another device or precision, mapping over them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from robustgames.errors import GameError

Path = tuple[Any, ...]


class Movable:
    """An object whose tensors follow `to(device, dtype)`, as those of an `nn.Module` do.

    Attributes that are tensors, modules, other movables or tuples of these are moved; integers and
    booleans keep their type. The original is left as it was.
    """

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        """Return a copy on `device` in `dtype` (None: unchanged)."""
        moved = copy.copy(self)
        inherited = {k: v for cls in reversed(type(self).__mro__) for k, v in vars(cls).items() if isinstance(v, KINDS)}
        own = {**inherited, **vars(self)}
        moved.__dict__.update({name: _moved(value, device, dtype) for name, value in own.items()})
        return moved

    def tensors(self) -> Iterator[Tensor]:
        """Yield the tensors that the object holds, in order of their names."""
        for _, value in sorted(vars(self).items()):
            yield from tensors_of(value)


def tensors_of(value: Any) -> Iterator[Tensor]:
    """Yield the tensors of a value: its own, those of a movable, or of the items of a tuple, list or dictionary."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Movable):
        yield from value.tensors()
    elif isinstance(value, tuple | list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from tensors_of(item)


def rebuild(tree: Any, function: Callable[[Any, Path], Any], path: Path = ()) -> Any:
    """Return a tree with some of its nodes replaced; the nodes are visited from the root down.

    Branches are dictionaries, lists, tuples and dataclasses. If `function` returns another object for a node, that
    object takes its place and is not visited itself; if it returns the node, the items of the node are visited. A
    branch without replacements is returned as it is, so an unchanged tree is the same object.

    Args:
        tree: Any value.
        function: Maps (node, path) to the node or to its replacement; the path holds keys, indices and names of fields.
        path: Path of the root.

    Example:
        >>> rebuild({"a": [1, 2], "b": (3,)}, lambda node, path: -node if path[-1:] == (0,) else node)
        {'a': [-1, 2], 'b': (-3,)}
    """
    found = function(tree, path)
    if found is not tree:
        return found
    if isinstance(tree, dict):
        items = tree
    elif isinstance(tree, list | tuple):
        items = dict(enumerate(tree))
    elif is_dataclass(tree) and not isinstance(tree, type):
        items = {f.name: getattr(tree, f.name) for f in fields(tree) if f.init}
    else:
        return tree
    built = {key: rebuild(item, function, (*path, key)) for key, item in items.items()}
    changed = {key: item for key, item in built.items() if item is not items[key]}
    if not changed:
        return tree
    if isinstance(tree, dict):
        return built
    if isinstance(tree, list):
        return list(built.values())
    if isinstance(tree, tuple):
        return type(tree)(*built.values()) if hasattr(tree, "_fields") else tuple(built.values())
    return replace(tree, **changed)


def map_tensors(tree: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Return a tree with the function applied to its tensors, see `rebuild`."""
    return rebuild(tree, lambda node, _: function(node) if isinstance(node, Tensor) else node)


def _moved(value: Any, device: torch.device | str | None, dtype: torch.dtype | None) -> Any:
    if isinstance(value, Tensor):
        return value.to(device=device, dtype=dtype if value.is_floating_point() else None)
    if isinstance(value, nn.Module):
        return copy.deepcopy(value).to(device=device, dtype=dtype)
    if isinstance(value, Movable):
        return value.to(device, dtype)
    if isinstance(value, tuple) and type(value) is tuple:
        return tuple(_moved(item, device, dtype) for item in value)
    return value


KINDS = (Tensor, nn.Module, Movable, tuple)  # class attributes of these kinds are moved like those of the instance


def choose_device(device: str | torch.device) -> torch.device:
    """Return the device; "auto" is the GPU where there is one."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        usable = "auto, cpu or cuda" if torch.cuda.is_available() else "auto or cpu"
        raise GameError(f"device {device!r} is not usable here: use {usable}") from error
