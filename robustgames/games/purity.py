"""Modules that are functions of their weights and inputs, and nothing else: no hidden state, no global randomness."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from robustgames.errors import GameError


def refuse_hidden_state(module: nn.Module) -> None:
    """Refuse what needs no input to be found.

    Raises:
        GameError: A layer keeps running statistics, drops units at random, or has no shapes yet.
    """
    for name, part in module.named_modules():
        place = f"{type(part).__name__} at {name!r}"
        if any(isinstance(p, nn.parameter.UninitializedParameter) for p in part.parameters(recurse=False)):
            raise GameError(f"{place} has no shape before its first call: use a layer with given sizes")
        if getattr(part, "track_running_stats", False):
            raise GameError(
                f"{place} keeps running statistics, a state outside z that all runs would share: "
                "use track_running_stats=False, GroupNorm or LayerNorm"
            )
        dropout = part.p if isinstance(part, nn.modules.dropout._DropoutNd) else getattr(part, "dropout", 0.0)
        if isinstance(dropout, float) and dropout > 0:
            raise GameError(
                f"{place} draws from the global generator, so no run could be repeated: set it to 0 or remove it"
            )


def can_check(inputs: Tensor) -> bool:
    """Return whether a call can be repeated and compared here: eagerly, outside of vmap and `torch.func.grad`."""
    return inputs.numel() > 0 and not (torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active())


@torch.no_grad()
def check_pure(module: nn.Module, weights: Mapping[str, Tensor], inputs: Tensor) -> None:
    """Call a module twice on the same weights and inputs, once on others in between; compare what should not change.

    Args:
        module: Module.
        weights: Values of its parameters by name.
        inputs: Inputs.

    Raises:
        GameError: The outputs differ, or a call draws from torch's global generator, changes a buffer, a weight or its
            input. The message names the layer if there is one to name.
    """
    given = inputs.detach()
    weights = {name: weight.detach().clone() for name, weight in weights.items()}
    others = {name: _shaken(weight) for name, weight in weights.items()}
    kept, held = {name: weight.clone() for name, weight in weights.items()}, given.clone()
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    with torch.random.fork_rng([given.device] if given.is_cuda else []), _watched(module) as drawing:
        before, call = _generators(given), torch.func.functional_call
        first = call(module, weights, (held,)).clone()
        call(module, others, (_shaken(given),))
        second = call(module, weights, (held,))
        drew = not _equal(before, _generators(given))
    changed = [name for name, buffer in module.named_buffers() if not _same(buffer, buffers.get(name))]
    moved = [name for name, weight in weights.items() if not _same(weight, kept[name])]
    if drew:
        where = _place(module, drawing[0]) if drawing else type(module).__name__
        raise GameError(
            f"{where} draws from the global generator, so no run could be repeated: remove it, or call .eval() on it"
        )
    if changed or moved:
        name = (changed or moved)[0]
        where = _place(module, name.rpartition(".")[0])
        raise GameError(
            f"{where} changes {name.rpartition('.')[2]!r} in every call, a state outside z that all runs would share: "
            "remove it, or call .eval() on it (for spectral normalization use lipschitz='spectral')"
        )
    if not _same(held, given):
        raise GameError(f"{type(module).__name__} changes its input in place: use inplace=False in its first layers")
    if not _same(first, second):
        raise GameError(
            f"{type(module).__name__} returns another output for the same weights and input, by a state or randomness "
            "outside z: remove it"
        )


def _shaken(values: Tensor) -> Tensor:
    """Return other values of the same size, which move a state that has settled."""
    if not values.is_floating_point():
        return values.clone()
    noise = torch.randn(values.shape, generator=torch.Generator().manual_seed(0)).to(values)
    size = values.square().mean().sqrt()
    return values + torch.where(size > 0, size, 1.0) * noise


@contextmanager
def _watched(module: nn.Module) -> Iterator[list[str]]:
    """Collect the names of the innermost submodules whose forward draws from the global generator."""
    drawing: list[str] = []
    states: dict[str, Tensor] = {}
    handles = []
    for name, part in module.named_modules():
        if not any(part.children()):
            handles.append(part.register_forward_pre_hook(partial(_note, name, states)))
            handles.append(part.register_forward_hook(partial(_compare, name, states, drawing)))
    try:
        yield drawing
    finally:
        for handle in handles:
            handle.remove()


def _note(name: str, states: dict[str, Tensor], *_: object) -> None:
    states[name] = torch.get_rng_state()


def _compare(name: str, states: dict[str, Tensor], drawing: list[str], *_: object) -> None:
    if not torch.equal(states[name], torch.get_rng_state()):
        drawing.append(name)


def _generators(inputs: Tensor) -> list[Tensor]:
    own = [torch.cuda.get_rng_state(inputs.device)] if inputs.is_cuda else []
    return [torch.get_rng_state(), *own]


def _equal(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def _same(first: Tensor, second: Tensor | None) -> bool:
    """Return whether two tensors are equal; on a GPU, whose sums vary in order, up to rounding."""
    if not isinstance(second, Tensor) or first.shape != second.shape:
        return False
    if first.is_cuda and first.is_floating_point():
        return torch.allclose(first, second, rtol=1e-4, atol=1e-6, equal_nan=True)
    return bool(((first == second) | (first.isnan() & second.isnan())).all())


def _place(module: nn.Module, name: str) -> str:
    return f"{type(module.get_submodule(name)).__name__} at {name!r}" if name else type(module).__name__
