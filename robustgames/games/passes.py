"""Forward and backward passes of a perceptron, written out: what autograd computes, without its graph.

At the sizes of control (two layers of 64, minibatches of 128) the calls around the arithmetic cost as much as the
arithmetic: those of autograd, and every view and every new tensor. So a network of one shape works in memory of its
own, and a pass is a list of calls on it that is built once. Batched products compute all runs side by side, which costs
a single run nothing.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from robustgames.games.in_place import DERIVATIVES, IN_PLACE
from robustgames.games.networks import ACTIVATIONS, MLP
from robustgames.games.products import NARROW, Calls, linear, outer, times

aten = torch.ops.aten
assert ACTIVATIONS.keys() == IN_PLACE.keys() == DERIVATIVES.keys()
MOST = 8  # shapes of a network whose memory is kept


class Passes:
    """The passes of an `MLP` for R runs and B rows, in memory of their own: every result is overwritten by the next.

    Args:
        net: Network, whose own call is the reference of the tests.
        runs, rows: R and B.
        like: Tensor of the device and dtype.
        first: First input in which `in_inputs` gives gradients.
        scratch: Memory in which passes share the gradients in their layers, all overwritten by each pass.
        place: Memory of weights and gradient, each (R, size); its own by default.
        keep: Whether the gradients in all layers outlast a pass, in memory of their own. By default the layers take
            turns in the memory of two, which stays in the cache.

    Example:
        >>> net = MLP((2, 3, 1), "tanh")
        >>> weights, inputs = torch.ones(1, net.size, requires_grad=True), torch.ones(1, 4, 2)
        >>> net(weights, inputs).sum().backward()
        >>> passes = Passes(net, 1, 4, inputs)
        >>> output = passes.forward(weights.detach(), inputs)
        >>> passes.slope.fill_(1.0).shape
        torch.Size([1, 4, 1])
        >>> torch.allclose(passes.in_weights(), weights.grad)
        True
    """

    def __init__(
        self,
        net: MLP,
        runs: int,
        rows: int,
        like: Tensor,
        first: int = 0,
        scratch: dict[Any, Any] | None = None,
        place: tuple[Tensor, Tensor] | None = None,
        keep: bool = False,
    ) -> None:
        self.layers = list(pairwise(net.widths))
        self._activations = [net.activation] * (len(self.layers) - 1) + [net.last]
        self._norms = [_Norm(runs, rows, q, like) for _, q in self.layers[:-1]] if net.norm else []
        self.weights, self.found = place or (like.new_empty(runs, net.size), like.new_empty(runs, net.size))
        self.values = [like.new_empty(runs, rows, q) for q in net.widths]
        """Inputs, and outputs of the layers."""
        memory = {} if scratch is None else scratch
        self.slopes = [
            torch.empty_like(value) if keep else _shared(memory, i % 2, value) for i, value in enumerate(self.values)
        ]
        """The gradients in them."""
        self.inputs, self.output = self.values[0], self.values[-1]
        self.slope = self.slopes[-1]
        """The gradient in the output, (R, B, q), to be written here before a backward pass."""
        self.head, self.tail = self.inputs[..., :first], self.inputs[..., first:]
        self._in_tail = like.new_empty(runs, rows, net.widths[0] - first)
        self.matrices = [w for w, _ in self._parts(self.weights)]
        self.in_parts = self._parts(self.found)
        """The gradients in matrices and biases, views of `found`."""
        self._forward = self._plan_forward()
        self._backward = self._plan_in_weights()
        self._through = self._plan_in_inputs(first)

    def forward(self, weights: Tensor | None = None, inputs: Tensor | None = None) -> Tensor:
        """Return h_w(inputs), (R, B, q): weights (R, size), inputs (R, B, p), by default those in memory."""
        if weights is not None:
            self.weights.copy_(weights.detach() if weights.requires_grad else weights)
        if inputs is not None:
            self.inputs.copy_(inputs.detach() if inputs.requires_grad else inputs)
        for call in self._forward:
            call()
        return self.output

    def in_weights(self) -> Tensor:
        """Return the gradient in the weights, (R, size), given that in the output in `slope`, which it overwrites."""
        for call in self._backward:
            call()
        return self.found

    def in_inputs(self) -> Tensor:
        """Return the gradient in the inputs from `first` on, (R, B, p - first), given that in the output in `slope`."""
        for call in self._through:
            call()
        return self._in_tail

    def _parts(self, flat: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return views of flat weights: per layer the matrix (R, q, p) and the bias (R, 1, q)."""
        runs, sizes = len(flat), [n for p, q in self.layers for n in (p * q, q)]
        parts = flat.split(sizes, -1)
        return [
            (parts[2 * i].view(runs, q, p), parts[2 * i + 1].view(runs, 1, q)) for i, (p, q) in enumerate(self.layers)
        ]

    def _plan_forward(self) -> Calls:
        calls: Calls = []
        for i, (w, b) in enumerate(self._parts(self.weights)):
            h, out, activation = self.values[i], self.values[i + 1], self._activations[i]
            norm = self._norms[i] if i < len(self._norms) else None
            relu = norm is None and activation == "relu"
            calls += linear(h, w, b, out if norm is None else norm.before, relu)
            if norm is not None:
                calls.append(partial(norm.forward, out))
            if activation is not None and not relu:
                calls.append(partial(IN_PLACE[activation], out))
        return calls

    def _plan_in_weights(self) -> Calls:
        calls: Calls = []
        for i in reversed(range(len(self.layers))):
            calls += [*self.derivative(i), *self.in_matrix(i)]
            calls.append(partial(torch.sum, self.slopes[i + 1], -2, keepdim=True, out=self.in_parts[i][1]))
            if i > 0:
                calls += times(self.slopes[i + 1], self.matrices[i], self.slopes[i])
        return calls

    def _plan_in_inputs(self, first: int) -> Calls:
        calls: Calls = []
        for i, w in reversed(list(enumerate(self.matrices))):
            wanted, out = (w, self.slopes[i]) if i > 0 else (w[..., first:], self._in_tail)
            calls += [*self.derivative(i), *times(self.slopes[i + 1], wanted, out)]
        return calls

    def derivative(self, layer: int) -> Calls:
        """Return the calls that multiply the gradient in a layer's output by the derivative of its activation."""
        slope = self.slopes[layer + 1]
        calls = self.times_derivative(layer, slope)
        return calls if layer >= len(self._norms) else [*calls, partial(self._norms[layer].backward, slope)]

    def times_derivative(self, layer: int, of: Tensor, rows: slice = slice(None)) -> Calls:
        """Return the calls that multiply numbers (R, rows, q) by the derivative of a layer's activation in place."""
        activation = self._activations[layer]
        return [] if activation is None else [DERIVATIVES[activation](of, self.values[layer + 1][:, rows])]

    def in_matrix(self, layer: int) -> Calls:
        """Return the calls that compute the gradient in a layer's matrix from that in its output and its input."""
        (p, q), h, g, found = self.layers[layer], self.values[layer], self.slopes[layer + 1], self.in_parts[layer][0]
        if not p < NARROW < q:
            return outer(g, h, found)
        transposed = g.new_empty(len(g), p, q)
        return [partial(torch.bmm, h.mT, g, out=transposed), partial(found.copy_, transposed.mT)]


def _shared(scratch: dict[Any, Any], turn: int, like: Tensor) -> Tensor:
    """Return memory like a tensor, the same for all that have their turn at a time."""
    key = ("slope", turn, like.dtype, like.device)
    if key not in scratch or len(scratch[key]) < like.numel():
        scratch[key] = like.new_empty(like.numel())
    return scratch[key][: like.numel()].view(like.shape)


class _Norm:
    """Layer normalization of one layer: its input, and the statistics that its derivative needs."""

    def __init__(self, runs: int, rows: int, width: int, like: Tensor) -> None:
        self.before, self._shape = like.new_empty(runs, rows, width), [width]
        self._statistics = tuple(like.new_empty(runs, rows, 1) for _ in range(2))

    def forward(self, out: Tensor) -> None:
        """Write the normalized `before` to `out`."""
        mean, scale = self._statistics
        aten.native_layer_norm.out(self.before, self._shape, None, None, 1e-5, out0=out, out1=mean, out2=scale)

    def backward(self, slope: Tensor) -> None:
        """Overwrite the gradient in the output by that in `before`."""
        wanted = [True, False, False]
        found = aten.native_layer_norm_backward(slope, self.before, self._shape, *self._statistics, None, None, wanted)
        slope.copy_(found[0])


class Backprop:
    """The passes of one `MLP`, built for a shape on first use.

    Args:
        net: Network.
        first: First input in which gradients are computed; for a critic, the first of the action.
        scratch: Memory of the gradients, see `Passes`.
    """

    def __init__(self, net: MLP, first: int = 0, scratch: dict[Any, Any] | None = None) -> None:
        self.net, self.first, self._scratch = net, first, scratch
        self._built: dict[tuple, Passes] = {}

    def __reduce__(self) -> tuple:
        return Backprop, (self.net, self.first)  # a copy has memory of its own

    def at(self, runs: int, rows: int, like: Tensor) -> Passes:
        """Return the passes for R runs and B rows, on the device and in the dtype of `like`."""
        key = (runs, rows, like.dtype, like.device)
        passes = self._built.get(key)
        if passes is None:
            if len(self._built) == MOST:
                self._built.clear()
            with torch.inference_mode(False), torch.no_grad():  # memory that serves in and out of inference mode
                passes = self._built[key] = Passes(self.net, runs, rows, like, self.first, self._scratch)
        return passes
