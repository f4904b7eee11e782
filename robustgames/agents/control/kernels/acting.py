"""The actions of both players."""

from __future__ import annotations

import numpy as np

from robustgames.agents.control.kernels.compiling import CLIP, ONE, ZERO, compiled, part
from robustgames.agents.control.kernels.networks import normalize
from robustgames.agents.control.kernels.rules import clamp


@part
def _policy(weights, widths, norm, state, memory):
    """Return the action (k,) in one state, in `memory` (2, width)."""
    h, w = state, 0
    for layer in range(len(widths) - 1):
        p, q = widths[layer], widths[layer + 1]
        out = memory[layer % 2, :q]
        for i in range(q):
            total = ZERO
            for j in range(p):
                total += weights[w + i * p + j] * h[j]
            out[i] = total + weights[w + p * q + i]
        if layer < len(widths) - 2:
            if norm:
                normalize(out.reshape(1, q), memory[2, :1])
            for i in range(q):
                if out[i] < ZERO:
                    out[i] = ZERO
        else:
            for i in range(q):
                out[i] = np.tanh(out[i])
        h, w = out, w + p * q + q
    return h


@compiled
def act(players, norm, forgiving, widths, z, observations, shift, scale, noise, left, actions, memory):
    """Write the actions of both players of every run, (R, 2, k).

    Args:
        players: Number of players with a policy; the actions of the other stay.
        norm: Whether there is layer normalization.
        forgiving: Whether an action that is NaN becomes 0, as for diverged runs of a batch.
        widths: Widths of the policies.
        z: Weights to act with, (R, n + m).
        observations: (R, p).
        shift, scale: Of the observations, (R, p), or empty.
        noise, left: Block of noise on the protagonist's actions, (R, any, k), and the place in it; or empty.
        actions: (R, 2, k).
        memory: (4, width).
    """
    n = z.shape[1] // players
    for run in range(len(z)):
        state = memory[3, : widths[0]]
        for j in range(widths[0]):
            state[j] = observations[run, j]
            if len(scale) > 0:
                state[j] = clamp((state[j] - shift[run, j]) * scale[run, j], np.float32(CLIP))
        for player in range(players):
            found = _policy(z[run, player * n : player * n + n], widths, norm, state, memory)
            for j in range(widths[-1]):
                action = found[j]
                if player == 0 and len(noise) > 0:
                    action = clamp(action + noise[run, left, j], ONE)
                actions[run, player, j] = ZERO if forgiving and action != action else action
