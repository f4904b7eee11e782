"""Tensors in objects and trees: where they are, moving them to another device or precision, mapping over them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from robustgames.errors import GameError

Keys = tuple[Hashable, ...]
"""The way from the root of a tree to a node: keys of dictionaries, indices, names of fields."""


class Movable:
    """An object whose tensors follow `to(device, dtype)`, as those of an `nn.Module` do.

    Attributes that are tensors, modules, other movables or trees of these (see `rebuild`) are moved; integers and
    booleans keep their type. The original is left as it was.
    """

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        """Return a copy on `device` in `dtype`; each is left as it is if None."""

        def move(node: Any, _: Keys) -> Any:
            if isinstance(node, Tensor):
                return node.to(device=device, dtype=dtype if node.is_floating_point() else None)
            if isinstance(node, nn.Module):
                return copy.deepcopy(node).to(device=device, dtype=dtype)
            return node.to(device, dtype) if isinstance(node, Movable) else node

        moved, kinds = copy.copy(self), Tensor | nn.Module | Movable | tuple | list | dict
        of_classes = {k: v for cls in reversed(type(self).__mro__) for k, v in vars(cls).items()}  # the last class wins
        held = {k: v for k, v in of_classes.items() if isinstance(v, kinds) and not k.startswith("__")}
        moved.__dict__.update(rebuild({**held, **vars(self)}, move))
        return moved

    def tensors(self) -> Iterator[Tensor]:
        """Yield the tensors that the object holds, in order of their names."""
        for _, value in sorted(vars(self).items()):
            yield from tensors_of(value)


def tensors_of(tree: Any) -> Iterator[Tensor]:
    """Yield the tensors of a tree (see `rebuild`) and of the movables in it."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, Movable):
        yield from tree.tensors()
    else:
        for item in _items(tree).values():
            yield from tensors_of(item)


def rebuild(tree: Any, function: Callable[[Any, Keys], Any], path: Keys = ()) -> Any:
    """Return a tree with some of its nodes replaced; the nodes are visited from the root down.

    Branches are dictionaries, lists, tuples and dataclasses. If `function` returns another object for a node, that
    object takes its place and is not visited itself; if it returns the node, the items of the node are visited. A
    branch without replacements is returned as it is, so an unchanged tree is the same object. A dataclass is rebuilt by
    its constructor, which computes the fields with `init=False`.

    Args:
        tree: Any value.
        function: Function of (node, path) that returns the node or its replacement.
        path: Path of the root.

    Example:
        >>> rebuild({"a": [1, 2], "b": (3,)}, lambda node, path: -node if path[-1:] == (0,) else node)
        {'a': [-1, 2], 'b': (-3,)}
    """
    found = function(tree, path)
    if found is not tree:
        return found
    items = _items(tree)
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


def _items(tree: Any) -> dict[Any, Any]:
    """Return the items of a branch by key, index or name of the field; {} of a leaf."""
    if isinstance(tree, dict):
        return tree
    if isinstance(tree, list | tuple):
        return dict(enumerate(tree))
    if is_dataclass(tree) and not isinstance(tree, type):
        return {f.name: getattr(tree, f.name) for f in fields(tree) if f.init}
    return {}


def choose_device(device: str | torch.device) -> torch.device:
    """Return the device; "auto" is the GPU if there is one, else the CPU."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        usable = "auto, cpu or cuda" if torch.cuda.is_available() else "auto or cpu"
        raise GameError(f"device {device!r} is not usable here: use {usable}") from error
