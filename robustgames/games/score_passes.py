"""Passes of a network with one score a row, written out: one backward pass serves any number of losses of the scores.

With δ_b the gradient of the score D(a_b) in the output of a layer and h_b the layer's input, the gradient of
Σ_b c_b D(a_b) in its matrix is Σ_b c_b δ_b h_bᵀ: the weights c of a loss enter at the end. And the gradient of a
function of the slopes s_b = ∇_a D(a_b) needs no second backward pass if the activations are piecewise linear: with u_b
its gradient in s_b, carried forwards through the layers without biases, it is Σ_b δ_b u_bᵀ.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from robustgames.games.networks import MLP
from robustgames.games.passes import Passes
from robustgames.games.products import NARROW, Calls, times

PIECEWISE_LINEAR = ("relu", "leaky_relu", None)
EVERY = slice(None)


class ScorePasses:
    """The passes of an `MLP` with one output, for R runs of B rows, in memory that the next pass overwrites.

    Args:
        critic: Network D.
        runs, rows: R and B.
        like: Tensor of the device and dtype.
        inner: Rows in which a backward pass computes ∇_a D(a), or None.
        bent: Rows of `inner` of whose ∇_a D(a) the loss contains a function, or None.
        scratch, place: Memory, see `Passes`.

    Example:
        >>> critic = MLP((2, 3, 1))
        >>> weights, points = torch.ones(1, critic.size), torch.ones(1, 4, 2)
        >>> passes = ScorePasses(critic, 1, 4, weights, inner=slice(0, 4))
        >>> passes.inputs.copy_(points).shape, passes.forward(weights).shape
        (torch.Size([1, 4, 2]), torch.Size([1, 4, 1]))
        >>> passes.c.fill_(1.0).shape
        torch.Size([1, 4, 1])
        >>> passes.in_weights().shape, passes.slopes[0, 0]
        (torch.Size([1, 13]), tensor([3., 3.]))
    """

    def __init__(
        self,
        critic: MLP,
        runs: int,
        rows: int,
        like: Tensor,
        inner: slice | None = None,
        bent: slice | None = None,
        scratch: dict[Any, Any] | None = None,
        place: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        self._net = net = Passes(critic, runs, rows, like, 0, scratch, place, keep=bent is not None)
        self.inputs, self.scores, self.forward = net.inputs, net.output, net.forward
        self.slopes = net.inputs[:, EVERY if inner is None else inner].clone()
        """∇_a D(a) in the rows `inner`, (R, rows, p), after a backward pass."""
        self.c = like.new_zeros(runs, rows, 1)
        """Weights of the scores in the loss, to be written here before a backward pass."""
        layers, self._bent = range(len(net.layers) - 1, -1, -1), bent
        self._tangents = [] if bent is None else [torch.empty_like(h[:, bent]) for h in net.values[:-1]]
        back = [self._plan_back(i, inner) for i in layers]
        sums = [self._plan_sums(i) for i in layers]
        self._back = [call for calls in back for call in calls]
        # each gradient is used while it is in the cache, unless the weights of the loss depend on the last of them
        self._sums = [call for calls in sums for call in calls]
        self._both = [call for pair in zip(back, sums, strict=True) for calls in pair for call in calls]
        self._ahead = [] if bent is None else self._plan_ahead(bent)

    @staticmethod
    def fits(critic: object, bent: bool = False) -> bool:
        """Return whether a network is of this kind, also for functions of its slopes if `bent`."""
        if type(critic) is not MLP or critic.widths[-1] != 1:
            return False
        return not bent or (not critic.norm and {critic.activation, critic.last} <= set(PIECEWISE_LINEAR))

    def in_inputs(self) -> Tensor:
        """Return `slopes`, after `forward`."""
        _run(self._back)
        return self.slopes

    def in_weights(self, u: Tensor | None = None) -> Tensor:
        """Return the gradient of Σ_b c_b D(a_b) in the weights, (R, size), after `forward`; writes `slopes` as well.

        Args:
            u: Gradient of f in the slopes of the rows `bent`, (R, rows, p): then the gradient is that of Σ_b c_b D(a_b)
                + f(slopes), after `in_inputs`.
        """
        if u is None:
            _run(self._both)
        else:
            self._tangents[0].copy_(u)
            _run(self._ahead)
            _run(self._sums)
        return self._net.found

    def _plan_back(self, i: int, inner: slice | None) -> Calls:
        """Plan the way of the gradient from the output of layer i, before its activation, to that of layer i - 1."""
        net = self._net
        calls = [partial(net.slope.fill_, 1.0), *net.derivative(i)] if i == len(net.layers) - 1 else []
        if i > 0:
            return [*calls, *times(net.slopes[i + 1], net.matrices[i], net.slopes[i]), *net.derivative(i - 1)]
        return calls if inner is None else [*calls, *_product(net.slopes[1][:, inner], net.matrices[0], self.slopes)]

    def _plan_sums(self, i: int) -> Calls:
        """Plan the gradients in matrix and bias of layer i; its input is overwritten by c_b h_b + u_b."""
        net, h = self._net, self._net.values[i]
        in_bias = partial(torch.bmm, self.c.mT, net.slopes[i + 1], out=net.in_parts[i][1])
        tangent = [] if self._bent is None else [partial(h[:, self._bent].add_, self._tangents[i])]
        return [in_bias, partial(h.mul_, self.c), *tangent, *net.in_matrix(i)]

    def _plan_ahead(self, bent: slice) -> Calls:
        """Plan the way of u forwards."""
        net, calls = self._net, []
        for i, (u, after) in enumerate(pairwise(self._tangents)):
            calls += times(u, net.matrices[i].mT, after)
            calls += net.times_derivative(i, after, bent)
        return calls


def _run(calls: Calls) -> None:
    for call in calls:
        call()


def _product(g: Tensor, w: Tensor, out: Tensor) -> Calls:
    """Return the calls of g w -> out; MKL takes four times as long if w has few columns and is not transposed."""
    if w.shape[-1] >= NARROW:
        return times(g, w, out)
    rows = torch.empty_like(w.mT, memory_format=torch.contiguous_format)
    return [partial(rows.copy_, w.mT), partial(torch.bmm, g, rows.mT, out=out)]
