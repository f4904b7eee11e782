"""Passes of a network with one score a row, written out: one backward pass serves any number of losses of the scores.

With δ_b the gradient of the score D(a_b) in the output of a layer and h_b the layer's input, the gradient of
Σ_b c_b D(a_b) in its matrix is Σ_b c_b δ_b h_bᵀ: the weights c of a loss enter at the end. And the gradient of a
function of the slopes s_b = ∇_a D(a_b) needs no second backward pass if the activations are piecewise linear: with u_b
its gradient in s_b, carried forwards through the layers without biases, it is Σ_b δ_b u_bᵀ.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from robustgames.games.networks import MLP
from robustgames.games.passes import NARROW, Calls, Passes

PIECEWISE_LINEAR = ("relu", "leaky_relu", None)
EVERY = slice(None)


class ScorePasses:
    """The passes of an `MLP` with one output, for R runs of B rows, in memory that the next pass overwrites.

    Args:
        critic: Network D.
        runs, rows: R and B.
        like: Tensor of the device and dtype.
        inner: Rows in which `in_inputs` computes ∇_a D(a), or None.
        bent: Rows of whose ∇_a D(a) a function can be differentiated; among those of `inner`; None for no rows.

    Example:
        >>> critic = MLP((2, 3, 1))
        >>> weights, points = torch.ones(1, critic.size), torch.ones(1, 4, 2)
        >>> passes = ScorePasses(critic, 1, 4, weights, inner=slice(0, 4))
        >>> passes.inputs.copy_(points).shape, passes.forward(weights).shape
        (torch.Size([1, 4, 2]), torch.Size([1, 4, 1]))
        >>> passes.in_inputs()[0, 0]
        tensor([3., 3.])
        >>> passes.in_weights(torch.ones(1, 4, 1)).shape
        torch.Size([1, 13])
    """

    def __init__(
        self, critic: MLP, runs: int, rows: int, like: Tensor, inner: slice | None = None, bent: slice | None = None
    ) -> None:
        self._net = Passes(critic, runs, rows, like)
        self.inputs, self.forward = self._net.inputs, self._net.forward
        self._in_inputs = None if inner is None else self._net.slopes[0][:, inner].clone()
        self._back = self._plan_back(inner)
        self._tangents: list[Tensor] = []
        self._ahead = [] if bent is None else self._plan_ahead(bent)
        self._bent = EVERY if bent is None else bent
        self._sums = self._plan_sums()

    @staticmethod
    def fits(critic: object, bent: bool = False) -> bool:
        """Return whether a network is of this kind, also for functions of its slopes if `bent`."""
        if type(critic) is not MLP or critic.widths[-1] != 1:
            return False
        return not bent or (not critic.norm and {critic.activation, critic.last} <= set(PIECEWISE_LINEAR))

    def in_inputs(self) -> Tensor | None:
        """Return ∇_a D(a) in the rows `inner`, (R, rows, p), after `forward`; to be called before `in_weights`."""
        for call in self._back:
            call()
        return self._in_inputs

    def in_weights(self, c: Tensor, u: Tensor | None = None) -> Tensor:
        """Return the gradient of Σ_b c_b D(a_b) + f(slopes) in the weights, (R, size), after `in_inputs`.

        Args:
            c: Weights of the scores, (R, B, 1).
            u: Gradient of f in the slopes of the rows `bent`, (R, rows, p).
        """
        if u is not None:
            self._tangents[0].copy_(u)
            for call in self._ahead:
                call()
        for i, (h, (_, in_bias)) in enumerate(zip(self._net.values, self._net.in_parts, strict=False)):
            h.mul_(c)
            if u is not None:
                h[:, self._bent].add_(self._tangents[i])
            torch.bmm(c.mT, self._net.slopes[i + 1], out=in_bias)
        for call in self._sums:
            call()
        return self._net.found

    def _plan_back(self, inner: slice | None) -> Calls:
        net = self._net
        calls: Calls = [partial(net.slope.fill_, 1.0)]
        for i in reversed(range(len(net.layers))):
            calls += net.derivative(i)
            if i > 0:
                calls.append(partial(torch.bmm, net.slopes[i + 1], net.matrices[i], out=net.slopes[i]))
            elif self._in_inputs is not None and inner is not None:
                calls += _product(net.slopes[1][:, inner], net.matrices[0], self._in_inputs)
        return calls

    def _plan_ahead(self, bent: slice) -> Calls:
        net, calls = self._net, []
        self._tangents = [torch.empty_like(h[:, bent]) for h in net.values[:-1]]
        for i, (u, after) in enumerate(zip(self._tangents, self._tangents[1:], strict=False)):
            calls.append(partial(torch.bmm, u, net.matrices[i].mT, out=after))
            calls += net.times_derivative(i, after, bent)
        return calls

    def _plan_sums(self) -> Calls:
        return [call for i in reversed(range(len(self._net.layers))) for call in self._net.in_matrix(i)]


def _product(g: Tensor, w: Tensor, out: Tensor) -> Calls:
    """Return the calls of g w -> out; MKL takes four times as long if w has few columns and is not transposed."""
    if w.shape[-1] >= NARROW:
        return [partial(torch.bmm, g, w, out=out)]
    rows = torch.empty_like(w.mT, memory_format=torch.contiguous_format)
    return [partial(rows.copy_, w.mT), partial(torch.bmm, g, rows.mT, out=out)]
