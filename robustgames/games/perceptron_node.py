"""A perceptron as one node of autograd: its passes are written out, whoever calls it in a payoff.

Autograd multiplies by MKL. Where oneDNN is faster (`robustgames.games.products`), the node takes its products, and
writes the gradient in the flat weights in place; elsewhere it would save nothing. Where a graph of the gradient itself
is wanted, autograd of the definition gives it.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from robustgames.games.in_place import DERIVATIVES, IN_PLACE
from robustgames.games.products import NARROW, by_onednn, product


def fits(net: Any, weights: Tensor, inputs: Tensor) -> bool:
    """Return whether this node computes net(weights, inputs): of one run, and products by oneDNN.

    With or without a graph, so a prediction does not depend on whether its gradient is wanted.
    """
    return (
        _pays(tuple(net.widths), len(inputs) if inputs.dim() else 0)
        and weights.dim() == 1
        and inputs.dim() == 2
        and not net.norm
        and inputs.dtype == weights.dtype == torch.float32
        and inputs.shape[-1] == net.widths[0]
        and inputs.device == weights.device
        and weights.device.type == "cpu"
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined]
        and not torch._C._are_functorch_transforms_active()
        and not torch.is_autocast_enabled("cpu")
        and forward_ad._current_level < 0
    )


@cache
def _pays(widths: tuple[int, ...], rows: int) -> bool:
    """Return whether oneDNN is faster in a layer."""
    like = torch.empty(0)
    return any(by_onednn(rows, p, q, like) for p, q in pairwise(widths))


def call(net: Any, weights: Tensor, inputs: Tensor) -> Tensor:
    """Return net(weights, inputs), (B, q): weights (size,), inputs (B, p)."""
    return _Node.apply(weights, inputs, net)  # type: ignore[no-any-return]


class _Node(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor, inputs: Tensor, net: Any) -> Tensor:
        values, layers = [inputs], _layers(net, weights)
        activations = [net.activation] * (len(layers) - 1) + [net.last]
        for (w, b), activation in zip(layers, activations, strict=True):
            values.append(_linear(values[-1], w, b, activation))
        ctx.net, ctx.layers, ctx.activations = net, layers, activations
        ctx.save_for_backward(weights, *values)
        return values[-1]

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None, None]:  # type: ignore[override]
        weights, *values = ctx.saved_tensors
        in_weights, in_inputs, _ = ctx.needs_input_grad
        if torch.is_grad_enabled():
            return *_differentiable(ctx.net, weights, values[0], g, (in_weights, in_inputs)), None
        found = torch.empty_like(weights) if in_weights else None
        slopes = [] if found is None else _layers(ctx.net, found)
        last = len(values) - 2
        for i in range(last, -1, -1):
            if (activation := ctx.activations[i]) is not None:
                g = g.clone(memory_format=torch.contiguous_format) if i == last else g
                DERIVATIVES[activation](g, values[i + 1])()
            if slopes:
                in_w, in_b = slopes[i]
                torch.sum(g, 0, out=in_b)
                _outer(g, values[i], in_w)
            if i > 0 or in_inputs:
                g = _times(g, ctx.layers[i][0])
        return found, g if in_inputs else None, None


def _layers(net: Any, flat: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return matrix (q, p) and bias (q,) of every layer, as views of flat weights."""
    parts = iter(flat.split([n for p, q in pairwise(net.widths) for n in (p * q, q)]))
    return [(next(parts).view(q, p), next(parts)) for p, q in pairwise(net.widths)]


def _linear(h: Tensor, w: Tensor, b: Tensor, activation: str | None) -> Tensor:
    if by_onednn(len(h), w.shape[1], w.shape[0], h):
        out = product(h, w, b, relu=activation == "relu")
        return out if activation in ("relu", None) else IN_PLACE[activation](out)
    out = torch.addmm(b, h, w.T)
    return out if activation is None else IN_PLACE[activation](out)


def _times(g: Tensor, w: Tensor) -> Tensor:
    """Return g w; MKL takes four times as long if w has few columns and is not transposed."""
    if by_onednn(len(g), w.shape[0], w.shape[1], g):
        return product(g, w.T)
    return g @ (w if w.shape[1] >= NARROW else w.T.contiguous().T)


def _outer(g: Tensor, h: Tensor, out: Tensor) -> None:
    """Write gᵀ h to out; MKL takes four times as long if h has few columns."""
    q, p = out.shape
    if by_onednn(len(g), p, q, g):
        out.copy_(product(g.T, h.T))
    elif p < NARROW < q:
        out.copy_((h.T @ g).T)
    else:
        torch.mm(g.T, h, out=out)


def _differentiable(
    net: Any, weights: Tensor, inputs: Tensor, g: Tensor, wanted: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients of the definition, with their graph."""
    of = [tensor for tensor, own in zip((weights, inputs), wanted, strict=True) if own]
    found = iter(torch.autograd.grad(net.define(weights, inputs), of, g, create_graph=True, materialize_grads=True))
    return next(found) if wanted[0] else None, next(found) if wanted[1] else None
