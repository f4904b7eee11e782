"""Runs that several processes divide among them: one checkpoint of all, and the part of one process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from robustgames.tensors import Keys

OF_RUNS = ("alphas", "recent", "owed")
"""Lists with an item for every run."""
KEY = 8  # bytes of the count, and of the key of a run, in the state of `Streams`


def join_runs(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the checkpoint of all runs, from those of parts with equally many runs each, in the order of the runs."""
    runs = len(parts[0]["z"])

    def join(nodes: list[Any], path: Keys) -> Any:
        first = nodes[0]
        if isinstance(first, Tensor):
            return _join_tensors(nodes, path, runs)
        if isinstance(first, dict):
            if path[-2:] == ("episodes", "runs"):
                return {str(i * runs + int(run)): state for i, node in enumerate(nodes) for run, state in node.items()}
            return {key: join([node[key] for node in nodes], (*path, key)) for key in first}
        if isinstance(first, list) and path[-1] in OF_RUNS:
            return [item for node in nodes for item in node]
        return first

    return join(list(parts), ())


def own_runs(content: dict[str, Any], own: range) -> dict[str, Any]:
    """Return the checkpoint of some runs, from that of all."""
    runs = len(content["z"])

    def take(node: Any, path: Keys) -> Any:
        if isinstance(node, Tensor):
            return _take(node, path, runs, own)
        if isinstance(node, dict):
            if path[-2:] == ("episodes", "runs"):
                return {str(i): node[str(run)] for i, run in enumerate(own)}
            return {key: take(item, (*path, key)) for key, item in node.items()}
        if isinstance(node, list) and path[-1] in OF_RUNS:
            return node[own.start : own.stop]
        return node

    return take(content, ())


def _join_tensors(tensors: list[Tensor], path: Keys, runs: int) -> Tensor:
    first = tensors[0]
    if first.dtype == torch.uint8:  # the state of `Streams`: a count, a key for every run, and a further stream
        end = KEY * (1 + runs)
        return torch.cat([first[:KEY], *(state[KEY:end] for state in tensors), first[end:]])
    dim = _dimension(first, path, runs)
    return first if dim is None else torch.cat(tensors, dim)


def _take(tensor: Tensor, path: Keys, runs: int, own: range) -> Tensor:
    if tensor.dtype == torch.uint8:
        keys = tensor[KEY * (1 + own.start) : KEY * (1 + own.stop)]
        return torch.cat([tensor[:KEY], keys, tensor[KEY * (1 + runs) :]])
    dim = _dimension(tensor, path, runs)
    return tensor if dim is None else tensor.narrow(dim, own.start, len(own)).clone()


def _dimension(tensor: Tensor, path: Keys, runs: int) -> int | None:
    """Return the dimension of the runs; transitions come before them."""
    dim = 1 if path[-1] == "rows" else 0
    return dim if tensor.dim() > dim and tensor.shape[dim] == runs else None
