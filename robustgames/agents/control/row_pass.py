"""The forward pass of one row of a perceptron in NumPy, whose calls cost less than PyTorch's."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from robustgames.games.networks import MLP


class RowPass:
    """h_w(s) of an `MLP` of ReLUs with tanh at its end, for one state.

    Args:
        net: Network, whose own call is the reference of the tests.

    Example:
        >>> net = MLP((3, 8, 1), last="tanh")
        >>> RowPass(net)(np.zeros(net.size, np.float32), np.zeros(3, np.float32))
        array([0.], dtype=float32)
    """

    def __init__(self, net: MLP) -> None:
        self._net = net
        self._weights = np.empty(net.size, np.float32)
        self._layers: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        at = 0
        for p, q in pairwise(net.widths):
            matrix, bias = self._weights[at : at + p * q].reshape(q, p), self._weights[at + p * q : at + p * q + q]
            self._layers.append((matrix, bias, np.empty(q, np.float32)))
            at += p * q + q

    def __reduce__(self) -> tuple[type[RowPass], tuple[MLP]]:
        return RowPass, (self._net,)  # copied arrays would not be views of the copied weights

    @staticmethod
    def fits(net: object) -> bool:
        """Return whether a network is of this kind."""
        return type(net) is MLP and net.activation == "relu" and net.last == "tanh" and not net.norm

    def __call__(self, weights: np.ndarray, state: np.ndarray) -> np.ndarray:
        """Return the action, (k,), which the next call overwrites: weights (n,), state (p,)."""
        self._weights[:] = weights
        h = state
        for matrix, bias, out in self._layers[:-1]:
            np.matmul(matrix, h, out=out)
            out += bias
            h = np.maximum(out, 0, out=out)
        matrix, bias, out = self._layers[-1]
        np.matmul(matrix, h, out=out)
        out += bias
        return np.tanh(out, out=out)
