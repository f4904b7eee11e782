"""The graph of a step on columns: the graph of one run with a vector over the runs for every number."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, fx
from torch.fx.node import map_aggregate, map_arg

aten = torch.ops.aten

Numbers = np.ndarray
"""A small tensor as an array of objects: columns or numbers."""


@dataclass(frozen=True, eq=False)
class _Column:
    """A vector over the runs, as a node of the new graph; NumPy adds and multiplies columns in sums and products."""

    node: fx.Node

    def __add__(self, other: _Column | float) -> _Column:
        return _call(aten.add.Tensor, (self, other), {})

    def __mul__(self, other: _Column | float) -> _Column:
        return _call(aten.mul.Tensor, (self, other), {})

    __radd__, __rmul__ = __add__, __mul__


def _call(op: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> _Column:
    """Add an operation on columns to their graph."""
    graph = next(arg.node.graph for arg in args if isinstance(arg, _Column))
    if op is aten.where.self and (numbers := tuple(not isinstance(arg, _Column) for arg in args[1:])) in WHERE:
        op = WHERE[numbers]
    plain = tuple(arg.node if isinstance(arg, _Column) else arg for arg in args)
    return _Column(graph.call_function(op, plain, kwargs))


def on_columns(traced: fx.GraphModule) -> fx.GraphModule:
    """Return the graph with a column for every number; its outputs overwrite its inputs.

    Args:
        traced: Graph of tensors of shape (d,) to as many tensors of the same shapes.

    Raises:
        TypeError: An operation that is neither elementwise nor one of `REARRANGE`.
    """
    graph, values = fx.Graph(), {}
    inputs: list[_Column] = []
    for node in traced.graph.nodes:
        if node.op == "placeholder":
            size = node.meta["val"].shape[0]
            placed = [_Column(graph.placeholder(f"c{len(inputs) + i}")) for i in range(size)]
            inputs += placed
            values[node] = _array(placed, (size,))
        elif node.op == "get_attr":
            values[node] = getattr(traced, node.target)
        elif node.op == "call_function":
            values[node] = _apply(node, map_arg((node.args, node.kwargs), lambda n: values[n]))
        else:
            outputs = [item for out in node.args[0] for item in _numbers(values[out]).ravel()]
    moved = zip(inputs, outputs, strict=True)
    kept = [_call(aten.clone.default, (i,), {}) if i in inputs and i is not place else i for place, i in moved]
    for place, item in zip(inputs, kept, strict=True):
        if item is not place:
            _call(aten.copy_.default if isinstance(item, _Column) else aten.fill_.Scalar, (place, item), {})
    graph.output(())
    return fx.GraphModule(traced, graph)


def _apply(node: fx.Node, given: tuple[tuple[Any, ...], dict[str, Any]]) -> Any:
    """Return the value of a node: a tensor if it depends on no column, else the array of its numbers."""
    (args, kwargs), op = given, cast(Any, node.target)
    parts: list[Any] = []
    map_aggregate((args, kwargs), parts.append)  # type: ignore[arg-type]
    if torch.Tag.nondeterministic_seeded in getattr(op, "tags", ()):
        raise TypeError(f"{op} draws random numbers")
    if not any(isinstance(part, np.ndarray) for part in parts):
        return op(*args, **kwargs)
    if op in REARRANGE:
        return REARRANGE[op](*args, **kwargs)
    if op in SAME:
        return args[0]
    if op in FILLED:
        like = node.args[0].meta["val"]  # type: ignore[union-attr]
        return op(torch.empty(tuple(like.shape), dtype=like.dtype), *args[1:], **kwargs)
    if torch.Tag.pointwise in op.tags and not op._schema.is_mutable:
        return _elementwise(op, args, kwargs)
    raise TypeError(f"{op} is not elementwise")


def _elementwise(op: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Numbers:
    """Apply an operation to every element of its arguments, which are broadcast against each other."""
    arrays = [_numbers(arg) if isinstance(arg, np.ndarray | Tensor) else arg for arg in args]
    at = [i for i, arg in enumerate(arrays) if isinstance(arg, np.ndarray)]
    together = np.broadcast_arrays(*[arrays[i] for i in at])
    found = np.empty(together[0].shape, dtype=object)
    for index in np.ndindex(found.shape):
        own = list(arrays)
        for i, array in zip(at, together, strict=True):
            own[i] = array[index]
        found[index] = _call(op, own, kwargs)
    return found


def _numbers(value: Numbers | Tensor) -> Numbers:
    return _array(value.reshape(-1).tolist(), value.shape) if isinstance(value, Tensor) else value


def _array(items: list[Any], shape: Sequence[int]) -> Numbers:
    found = np.empty(len(items), dtype=object)
    for i, item in enumerate(items):  # of columns, of which NumPy would try to make arrays
        found[i] = item
    return found.reshape(tuple(shape))


def _split(array: Numbers, sizes: Sequence[int], dim: int = 0) -> list[Numbers]:
    return np.split(array, np.cumsum(sizes)[:-1], axis=dim)


def _slice(array: Numbers, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Numbers:
    return np.moveaxis(np.moveaxis(array, dim, 0)[start:end:step], 0, dim)


def _expand(array: Numbers, shape: Sequence[int]) -> Numbers:
    lead = len(shape) - array.ndim
    return np.broadcast_to(array, [n if n >= 0 else array.shape[i - lead] for i, n in enumerate(shape)])


def _product(a: Numbers | Tensor, b: Numbers | Tensor) -> Numbers:
    return _as_numbers(_numbers(a) @ _numbers(b))  # by * and + of the columns


def _total(array: Numbers, dim: Any = None, keepdim: bool = False) -> Numbers:
    return _as_numbers(np.sum(array, axis=None if dim is None else tuple(dim), keepdims=keepdim))


def _as_numbers(value: Any) -> Numbers:
    """Return an array; NumPy returns the element of one without dimensions."""
    return value if isinstance(value, np.ndarray) else _array([value], ())


REARRANGE: dict[Any, Callable[..., Any]] = {
    operator.getitem: lambda values, i: values[i],
    aten.split_with_sizes.default: _split,
    aten.cat.default: lambda parts, dim=0: np.concatenate([_numbers(part) for part in parts], axis=dim),
    aten.stack.default: lambda parts, dim=0: np.stack([_numbers(part) for part in parts], axis=dim),
    aten.flip.default: lambda array, dims: np.flip(array, dims),
    aten.slice.Tensor: _slice,
    aten.select.int: lambda array, dim, i: _as_numbers(np.take(array, i, axis=dim)),
    aten.squeeze.dim: lambda array, dim: np.squeeze(array, dim) if array.shape[dim] == 1 else array,
    aten.squeeze_.dim: lambda array, dim: np.squeeze(array, dim) if array.shape[dim] == 1 else array,
    aten.squeeze.dims: lambda array, dims: np.squeeze(array, tuple(d for d in dims if array.shape[d] == 1)),
    aten.unsqueeze.default: lambda array, dim: np.expand_dims(array, dim),
    aten.view.default: lambda array, shape: array.reshape(shape),
    aten._unsafe_view.default: lambda array, shape: array.reshape(shape),
    aten.reshape.default: lambda array, shape: array.reshape(shape),
    aten.expand.default: _expand,
    aten.t.default: np.transpose,
    aten.transpose.int: np.swapaxes,
    aten.permute.default: np.transpose,
    aten.mm.default: _product,
    aten.mv.default: _product,
    aten.dot.default: _product,
    aten.bmm.default: _product,
    aten.sum.default: _total,
    aten.sum.dim_IntList: _total,
}
"""Operations that only move numbers, and those that add products of few of them."""
FILLED = (aten.ones_like.default, aten.zeros_like.default, aten.full_like.default)
SAME = (aten.detach.default, aten.alias.default, aten.clone.default, aten.lift_fresh_copy.default)
WHERE: dict[tuple[bool, ...], Any] = {(True, False): aten.where.ScalarSelf, (False, True): aten.where.ScalarOther}
"""`where` with a number in the place of a tensor, by whether its second and third argument are numbers."""
