"""Rules of numbers and weights: interpolation, Adam, and targets that follow."""

from __future__ import annotations

import numpy as np

from robustgames.agents.control.kernels.compiling import ONE, ZERO, part

LEAST = np.finfo(np.float32).tiny  # numbers below it take the processor a hundred times as long


@part
def lerp(a, b, weight):
    """Return (1 - weight) a + weight b, rounded as PyTorch does."""
    if weight < np.float32(0.5):
        return a + weight * (b - a)
    return b - (b - a) * (ONE - weight)


@part
def clamp(value, bound):
    """Return the value in [-bound, bound]; NaN stays."""
    return -bound if value < -bound else bound if value > bound else value


@part
def adam(w, v, m, s, rule):
    """Ascend v in place by application k of Adam: rule holds (lr, beta1, beta2, eps, k), in float64.

    No two arguments share memory: the loop would be compiled for that, and take eight times as long. Moments that
    decay to less than the least normal number become 0: else those of a ReLU that is off slow down every later step.
    """
    lr, b1, b2, k = rule[0], rule[1], rule[2], rule[4]
    rate, root = np.float32(lr / (1 - b1**k)), np.float32(np.sqrt(1 - b2**k))
    fresh, decay, eps = np.float32(1 - b1), np.float32(b2), np.float32(rule[3])
    young = np.float32(1 - b2)
    for i in range(len(w)):
        first, second = m[i] + fresh * (v[i] - m[i]), decay * s[i] + young * v[i] * v[i]
        first = ZERO if abs(first) < LEAST else first
        second = ZERO if second < LEAST else second
        w[i] += rate * first / (np.sqrt(second) / root + eps)
        m[i], s[i] = first, second


@part
def follow(target, w, tau):
    """Move the target in place by tau towards w."""
    for i in range(len(w)):
        target[i] = lerp(target[i], w[i], tau)
