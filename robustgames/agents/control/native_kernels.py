"""The update of DDPG and TD3 for one run after another, and the actions of both players, compiled by Numba.

The formulas are those of `TemporalDifference` and `PolicyGame`, whose passes in PyTorch are the definition. Matrix
products go to the BLAS of SciPy, into memory that is kept; the loops around them are compiled. At the sizes of control
an update then costs what its products cost. `native.py` calls the two functions without an underscore. All is in one
file, because Numba compiles again what it keeps on disk if the file of the called function changes, not of others.

NaN is never hidden: the compiler may reorder sums and contract products, but has to assume that NaN and inf occur
(no "nnan", no "ninf"), and every comparison below lets NaN pass, as those of PyTorch do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

MATH = {"contract", "reassoc", "arcp", "nsz"}
CLIP = 5.0  # of normalization.py, whose scaling is repeated here
ONE, ZERO = np.float32(1), np.float32(0)
LEAST = np.finfo(np.float32).tiny  # numbers below it take the processor a hundred times as long
TURNED = 64 * 64  # largest matrix that is transposed before a product: BLAS then takes two thirds of the time


def _compiled(function: Callable[..., Any]) -> Any:
    """Compile a function when it is first called, and keep the code on disk if a folder for it can be written."""
    options: dict[str, Any] = {"fastmath": MATH, "error_model": "numpy", "nogil": True}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # neither the folder of this file nor one of the user can be written
        return njit(**options)(function)


def _part(function: Callable[..., Any]) -> Any:
    return njit(fastmath=MATH, error_model="numpy", nogil=True)(function)


# -- a perceptron of ReLUs, maybe with layer normalization ---------------------------------------------------------
# Its values lie in `memory` from `at` on, layer by layer: (normalized input, 1 / deviation) if `norm`, then output.
@_part
def _room(widths, layer, rows, norm):
    hidden = norm and layer < len(widths) - 2
    return rows * widths[layer + 1] * (2 if hidden else 1) + (rows if hidden else 0)


@_part
def _normalize(before, scale):
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


@_part
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


@_part
def _product(h, matrix, out, memory):
    """Write h Wᵀ to `out`: (B, p), (q, p) -> (B, q); the end of `memory` is overwritten."""
    q, p = matrix.shape
    if len(h) < 32 or p * q > TURNED:
        np.dot(h, matrix.T, out)
        return
    turned = memory[len(memory) - p * q :].reshape(p, q)
    for i in range(p):
        for j in range(q):
            turned[i, j] = matrix[j, i]
    np.dot(h, turned, out)


@_part
def _forward(weights, widths, norm, squash, inputs, memory, at):
    """Return the output (B, q), in `memory`; squash: whether it is tanh of the last layer."""
    rows, h, w = inputs.shape[0], inputs, 0
    for layer in range(len(widths) - 1):
        p, q = widths[layer], widths[layer + 1]
        end = at + _room(widths, layer, rows, norm)
        out = memory[end - rows * q : end].reshape(rows, q)
        bias = weights[w + p * q : w + p * q + q]
        if layer == len(widths) - 2:
            _product(h, weights[w : w + p * q].reshape(q, p), out, memory)
            for b in range(rows):
                for j in range(q):
                    out[b, j] += bias[j]
                    if squash:
                        out[b, j] = np.tanh(out[b, j])
        elif norm:
            before = memory[at : at + rows * q].reshape(rows, q)
            _product(h, weights[w : w + p * q].reshape(q, p), before, memory)
            for b in range(rows):
                for j in range(q):
                    before[b, j] += bias[j]
            _normalize(before, memory[at + rows * q : at + rows * q + rows])
            for b in range(rows):
                for j in range(q):
                    v = before[b, j]
                    out[b, j] = ZERO if v < ZERO else v
        else:
            _product(h, weights[w : w + p * q].reshape(q, p), out, memory)
            for b in range(rows):
                for j in range(q):
                    v = out[b, j] + bias[j]
                    out[b, j] = ZERO if v < ZERO else v
        h, w, at = out, w + p * q + q, end
    return h


@_part
def _backward(weights, widths, norm, inputs, memory, at, slope, slopes, found, in_inputs):
    """Write the gradient in the weights to `found` (n,) or that in the inputs to `in_inputs` (B, p), if not empty.

    `slope` (B, q) is the gradient in the output of the last layer, before tanh; `slopes` (2, B * width) is memory.
    """
    rows, w = inputs.shape[0], len(weights)
    for layer in range(len(widths) - 1):
        at += _room(widths, layer, rows, norm)
    for layer in range(len(widths) - 2, -1, -1):
        p, q = widths[layer], widths[layer + 1]
        at -= _room(widths, layer, rows, norm)
        w -= p * q + q
        if layer < len(widths) - 2:
            end = at + _room(widths, layer, rows, norm)
            out = memory[end - rows * q : end].reshape(rows, q)
            for b in range(rows):
                for j in range(q):
                    slope[b, j] = ZERO if out[b, j] <= ZERO else slope[b, j]
            if norm:
                normalized = memory[at : at + rows * q].reshape(rows, q)
                _through_norm(slope, normalized, memory[at + rows * q : at + rows * q + rows])
        if len(found) > 0:
            in_bias = found[w + p * q : w + p * q + q]
            in_bias[:] = ZERO
            for b in range(rows):
                for j in range(q):
                    in_bias[j] += slope[b, j]
            h = memory[at - rows * p : at].reshape(rows, p) if layer > 0 else inputs
            np.dot(slope.T, h, found[w : w + p * q].reshape(q, p))
        matrix = weights[w : w + p * q].reshape(q, p)
        if layer > 0:
            below = slopes[layer % 2, : rows * p].reshape(rows, p)
            np.dot(slope, matrix, below)
            slope = below
        elif len(in_inputs) > 0:
            np.dot(slope, matrix, in_inputs)


# -- rules ---------------------------------------------------------------------------------------------------------
@_part
def _lerp(a, b, weight):
    """Return (1 - weight) a + weight b, rounded as PyTorch does."""
    if weight < np.float32(0.5):
        return a + weight * (b - a)
    return b - (b - a) * (ONE - weight)


@_part
def _clamp(value, bound):
    return -bound if value < -bound else bound if value > bound else value


@_part
def _adam(w, v, m, s, rule):
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


@_part
def _follow(target, w, tau):
    for i in range(len(w)):
        target[i] = _lerp(target[i], w[i], tau)


# -- the update ----------------------------------------------------------------------------------------------------
@_part
def _gather(run, runs, high, block, first, lines, shift, scale, states, played, after, rewards, continues):
    """Copy the transitions number floor(u * high), u in the block; observations are scaled if `scale` is not empty."""
    p, k = states.shape[1], played.shape[1] - states.shape[1]
    for b in range(len(states)):
        row = lines[int(block[run, first + b] * high) * runs + run]
        for j in range(p):
            s, following = row[j], row[p + k + j]
            if len(scale) > 0:
                s = _clamp((s - shift[run, j]) * scale[run, j], np.float32(CLIP))
                following = _clamp((following - shift[run, j]) * scale[run, j], np.float32(CLIP))
            states[b, j] = played[b, j] = s
            after[b, j] = following
        for j in range(k):
            played[b, p + j] = row[p + j]
        rewards[b], continues[b] = row[2 * p + k], row[2 * p + k + 1]


@_part
def _write_inputs(separate, alone, alpha, states, mu, nu, inputs):
    """Write [s | action] for every action at which the critic is evaluated: a mixture, or both in turn if separate."""
    rows, p = states.shape
    for b in range(rows):
        for j in range(p):
            inputs[b, j] = states[b, j]
        for j in range(mu.shape[1]):
            inputs[b, p + j] = mu[b, j] if separate or alone else _lerp(mu[b, j], nu[b, j], alpha)
    if len(inputs) > rows:
        for b in range(rows):
            for j in range(p):
                inputs[rows + b, j] = states[b, j]
            for j in range(mu.shape[1]):
                inputs[rows + b, p + j] = nu[b, j]


@_part
def _descend_critic(w, v, inputs, targets, error, widths, norm, memory, slopes, m, s, rule, l2):
    """Take a step of one critic on the mean squared error."""
    rows = len(targets)
    q = _forward(w, widths, norm, False, inputs, memory, 0)
    slope = slopes[2, :rows].reshape(rows, 1)
    for b in range(rows):
        error[b, 0] = q[b, 0] - targets[b]
        slope[b, 0] = error[b, 0] * np.float32(-2 / rows)
    _backward(w, widths, norm, inputs, memory, 0, slope, slopes, v, inputs[:0])
    if l2 > ZERO:
        for i in range(len(w)):
            v[i] -= l2 * w[i]
    _adam(w, v, m, s, rule)


@_part
def _ascend(
    weights, following, v, factor, action, in_action, first, widths, norm, states, memory, at, slopes, m, s, rule
):
    """Take a step of one player along factor times the critic's gradient in its action."""
    rows, k = action.shape
    slope = slopes[2, : rows * k].reshape(rows, k)
    for b in range(rows):
        for j in range(k):
            slope[b, j] = factor * in_action[b, first + j] * (ONE - action[b, j] * action[b, j])
    _backward(weights, widths, norm, states, memory, at, slope, slopes, v, states[:0])
    following[:] = weights
    _adam(following, v, m, s, rule)


@_compiled
def update(
    flags, policy, critic, numbers, rules, alphas, high, block, first, lines, shift, scale, noise, drawn,
    z, z_target, z_next, moments, squares, w, w_target, w_moments, w_squares, memory, slopes, gradient, states, error,
):  # fmt: skip
    """Take an update of every run: a step of the critic, and one of players and targets if the flag `due` is set.

    Args:
        flags: (learned, separate, alone, twin, norm, due, offset of the adversary's moments), int64.
        policy, critic: Widths of the networks.
        numbers: (gamma, tau, smoothing, clip, l2), float32.
        rules: Settings of Adam for protagonist, adversary and critic of every run, (3, R, 6) in float64, see `_adam`.
        alphas: (R,).
        high: Number of transitions.
        block, first: Random numbers (R, any), in float64: those from `first` on choose the minibatch.
        lines: Replay, (capacity * R, width).
        shift, scale: Of the observations, (R, p), or empty.
        noise: Of N(0, 1) for the smoothing, (R, B or 2B, k), or empty.
        drawn: Actions of a random adversary in the target and in the game, (2, R, B, k), or empty.
        z, z_target, z_next: Policies, their targets, and where the next policies are written, (R, n + m).
        moments, squares: Of both players: of the protagonist, and of the adversary from the offset on, (2, R, ...).
        w, w_target, w_moments, w_squares: Critics, (R, heads * c).
        memory, slopes, gradient: Memory of the passes.
        states, error: Where the states (R, B, p) and Q - target (R * heads, B, 1) are written.
    """
    learned, separate, alone, twin, norm, due = (
        flags[0] != 0, flags[1] != 0, flags[2] != 0, flags[3] != 0, flags[4] != 0, flags[5] != 0,
    )  # fmt: skip
    runs, rows = states.shape[0], states.shape[1]
    p, k, heads = policy[0], policy[-1], 2 if twin else 1
    n, c = 0, 0
    for layer in range(len(policy) - 1):
        n += (policy[layer] + 1) * policy[layer + 1]
        c += (critic[layer] + 1) * critic[layer + 1]
    gamma, tau, smoothing, clip, l2 = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]
    room, wide = 0, 0
    for layer in range(len(policy) - 1):
        room += _room(policy, layer, rows, norm)
        wide += _room(critic, layer, 2 * rows, norm)
    rest = wide + 2 * room  # memory: critic, protagonist, adversary, then the arrays of a minibatch
    played = memory[rest : rest + rows * (p + k)].reshape(rows, p + k)
    rest += rows * (p + k)
    after = memory[rest : rest + rows * p].reshape(rows, p)
    rest += rows * p
    rewards, continues, targets = (
        memory[rest : rest + rows], memory[rest + rows : rest + 2 * rows], memory[rest + 2 * rows : rest + 3 * rows],
    )  # fmt: skip
    rest += 3 * rows
    many = 2 * rows if separate else rows
    inputs = memory[rest : rest + many * (p + k)].reshape(many, p + k)
    in_inputs = memory[rest + many * (p + k) : rest + 2 * many * (p + k)].reshape(many, p + k)
    least = memory[rest + 2 * many * (p + k) : rest + 2 * many * (p + k) + many]

    for run in range(runs):
        alpha = alphas[run]
        _gather(run, runs, high, block, first, lines, shift, scale, states[run], played, after, rewards, continues)
        # the target r + γ (1 - terminated) V'(s')
        mu = _forward(z_target[run, :n], policy, norm, True, after, memory, wide)
        nu = mu
        if learned:
            nu = _forward(z_target[run, n:], policy, norm, True, after, memory, wide + room)
        elif not alone:
            nu = drawn[0, run]
        _write_inputs(separate, alone, alpha, after, mu, nu, inputs)
        if smoothing > ZERO:
            for b in range(many):
                for j in range(k):
                    shifted = inputs[b, p + j] + _clamp(noise[run, b, j] * smoothing, clip)
                    inputs[b, p + j] = _clamp(shifted, ONE)
        for head in range(heads):
            q = _forward(w_target[run, head * c : head * c + c], critic, norm, False, inputs, memory, 0)
            for b in range(many):
                if head == 0 or q[b, 0] < least[b] or q[b, 0] != q[b, 0]:
                    least[b] = q[b, 0]
        for b in range(rows):
            value = _lerp(least[b], least[rows + b], alpha) if separate else least[b]
            targets[b] = rewards[b] + gamma * continues[b] * value
        for head in range(heads):
            a, e = head * c, head * c + c
            _descend_critic(
                w[run, a:e], gradient[:c], played, targets, error[run * heads + head], critic, norm, memory, slopes,
                w_moments[run, a:e], w_squares[run, a:e], rules[2, run], l2,
            )  # fmt: skip
        if not due:
            continue
        # both players at the same time: the gradient of Q, in the actions
        mu = _forward(z[run, :n], policy, norm, True, states[run], memory, wide)
        nu = mu
        if learned:
            nu = _forward(z[run, n:], policy, norm, True, states[run], memory, wide + room)
        elif not alone:
            nu = drawn[1, run]
        asked = inputs if learned else inputs[:rows]  # nobody ascends at an action that was drawn
        _write_inputs(separate, alone, alpha, states[run], mu, nu, asked)
        _forward(w[run, :c], critic, norm, False, asked, memory, 0)
        slope = slopes[2, : len(asked)].reshape(len(asked), 1)
        slope[:] = np.float32(1 / rows)
        _backward(w[run, :c], critic, norm, asked, memory, 0, slope, slopes, gradient[:0], in_inputs[: len(asked)])
        _ascend(
            z[run, :n], z_next[run, :n], gradient[:n], ONE if alone else ONE - alpha, mu, in_inputs, p, policy, norm,
            states[run], memory, wide, slopes, moments[0][run, :n], squares[0][run, :n], rules[0, run],
        )  # fmt: skip
        if learned:
            own = in_inputs[rows:] if separate else in_inputs
            at = flags[6]
            _ascend(
                z[run, n:], z_next[run, n:], gradient[:n], -alpha, nu, own, p, policy, norm,
                states[run], memory, wide + room, slopes, moments[1][run, at:], squares[1][run, at:], rules[1, run],
            )  # fmt: skip
        _follow(z_target[run], z_next[run], tau)
        _follow(w_target[run], w[run], tau)


# -- acting --------------------------------------------------------------------------------------------------------
@_part
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
                _normalize(out.reshape(1, q), memory[2, :1])
            for i in range(q):
                if out[i] < ZERO:
                    out[i] = ZERO
        else:
            for i in range(q):
                out[i] = np.tanh(out[i])
        h, w = out, w + p * q + q
    return h


@_compiled
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
                state[j] = _clamp((state[j] - shift[run, j]) * scale[run, j], np.float32(CLIP))
        for player in range(players):
            found = _policy(z[run, player * n : player * n + n], widths, norm, state, memory)
            for j in range(widths[-1]):
                action = found[j]
                if player == 0 and len(noise) > 0:
                    action = _clamp(action + noise[run, left, j], ONE)
                actions[run, player, j] = ZERO if forgiving and action != action else action
