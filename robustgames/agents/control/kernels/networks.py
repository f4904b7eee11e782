"""Passes of a perceptron of ReLUs, maybe with layer normalization.

Its values lie in `memory` from `at` on, layer by layer: (normalized input, 1 / deviation) if `norm`, then output.
"""

from __future__ import annotations

import numpy as np

from robustgames.agents.control.kernels import products
from robustgames.agents.control.kernels.compiling import ONE, ZERO, part

_forward, _below, _in_matrix = products.forward, products.below, products.in_matrix


@part
def space(widths, layer, rows, norm):
    """Return the size of the memory of a layer."""
    hidden = norm and layer < len(widths) - 2
    return rows * widths[layer + 1] * (2 if hidden else 1) + (rows if hidden else 0)


@part
def normalize(before, scale):
    """Normalize every row in place, and write 1 / its deviation to `scale`."""
    rows, n = before.shape
    for b in range(rows):
        mean = ZERO
        for j in range(n):
            mean += before[b, j]
        mean /= np.float32(n)
        square = ZERO
        for j in range(n):
            before[b, j] -= mean
            square += before[b, j] * before[b, j]
        scale[b] = ONE / np.sqrt(square / np.float32(n) + np.float32(1e-5))
        for j in range(n):
            before[b, j] *= scale[b]


@part
def _through_norm(slope, normalized, scale):
    rows, n = slope.shape
    for b in range(rows):
        mean, along = ZERO, ZERO
        for j in range(n):
            mean += slope[b, j]
            along += slope[b, j] * normalized[b, j]
        mean, along = mean / np.float32(n), along / np.float32(n)
        for j in range(n):
            slope[b, j] = scale[b] * (slope[b, j] - mean - normalized[b, j] * along)


@part
def _through_relu(slope, out):
    for i in range(len(slope)):
        slope[i] = ZERO if out[i] <= ZERO else slope[i]


@part
def forward(weights, widths, norm, squash, inputs, memory, at, panel):
    """Return the output (B, q), in `memory`; squash: whether it is tanh of the last layer; panel: for products."""
    rows, h, w = inputs.shape[0], inputs.reshape(-1), 0
    for layer in range(len(widths) - 1):
        p, q = widths[layer], widths[layer + 1]
        end = at + space(widths, layer, rows, norm)
        line = memory[end - rows * q : end]
        out, matrix = line.reshape(rows, q), weights[w : w + p * q]
        bias = weights[w + p * q : w + p * q + q]
        if layer == len(widths) - 2:
            _forward(h, matrix, rows, p, q, line, panel)
            for b in range(rows):
                for j in range(q):
                    out[b, j] += bias[j]
                    if squash:
                        out[b, j] = np.tanh(out[b, j])
        elif norm:
            before = memory[at : at + rows * q].reshape(rows, q)
            _forward(h, matrix, rows, p, q, memory[at : at + rows * q], panel)
            for b in range(rows):
                for j in range(q):
                    before[b, j] += bias[j]
            normalize(before, memory[at + rows * q : at + rows * q + rows])
            for b in range(rows):
                for j in range(q):
                    v = before[b, j]
                    out[b, j] = ZERO if v < ZERO else v
        else:
            _forward(h, matrix, rows, p, q, line, panel)
            for b in range(rows):
                for j in range(q):
                    v = out[b, j] + bias[j]
                    out[b, j] = ZERO if v < ZERO else v
        h, w, at = line, w + p * q + q, end
    return h.reshape(rows, widths[-1])


@part
def backward(weights, widths, norm, inputs, memory, at, slope, slopes, found, in_inputs, panel):
    """Write the gradient in the weights to `found` (n,) or that in the inputs to `in_inputs` (B, p), if not empty.

    `slope` (B, q) is the gradient in the output of the last layer, before tanh; `slopes` (2, B * width) is memory.
    """
    rows, w = inputs.shape[0], len(weights)
    line = slope.reshape(-1)
    for layer in range(len(widths) - 1):
        at += space(widths, layer, rows, norm)
    for layer in range(len(widths) - 2, -1, -1):
        p, q = widths[layer], widths[layer + 1]
        at -= space(widths, layer, rows, norm)
        w -= p * q + q
        if layer < len(widths) - 2:
            end = at + space(widths, layer, rows, norm)
            _through_relu(line[: rows * q], memory[end - rows * q : end])
            if norm:
                normalized = memory[at : at + rows * q].reshape(rows, q)
                _through_norm(line.reshape(rows, q), normalized, memory[at + rows * q : at + rows * q + rows])
        if len(found) > 0:
            in_bias, slope = found[w + p * q : w + p * q + q], line.reshape(rows, q)
            in_bias[:] = ZERO
            for b in range(rows):
                for j in range(q):
                    in_bias[j] += slope[b, j]
            h = memory[at - rows * p : at] if layer > 0 else inputs.reshape(-1)
            _in_matrix(line, h, rows, p, q, found[w : w + p * q], panel)
        matrix = weights[w : w + p * q]
        if layer > 0:
            under = slopes[layer % 2, : rows * p]
            _below(line, matrix, rows, p, q, under, panel)
            line = under
        elif len(in_inputs) > 0:
            _below(line, matrix, rows, p, q, in_inputs.reshape(-1), panel)
