"""The update of DDPG and TD3, of one run after another."""

from __future__ import annotations

import numpy as np

from robustgames.agents.control.kernels.compiling import CLIP, ONE, ZERO, compiled, part
from robustgames.agents.control.kernels.networks import backward, forward, space
from robustgames.agents.control.kernels.rules import adam, clamp, follow, lerp


@part
def _gather(run, runs, high, block, first, lines, shift, scale, states, played, after, rewards, continues):
    """Copy the transitions number floor(u * high), u in the block; observations are scaled if `scale` is not empty."""
    p, k = states.shape[1], played.shape[1] - states.shape[1]
    for b in range(len(states)):
        row = lines[int(block[run, first + b] * high) * runs + run]
        for j in range(p):
            s, following = row[j], row[p + k + j]
            if len(scale) > 0:
                s = clamp((s - shift[run, j]) * scale[run, j], np.float32(CLIP))
                following = clamp((following - shift[run, j]) * scale[run, j], np.float32(CLIP))
            states[b, j] = played[b, j] = s
            after[b, j] = following
        for j in range(k):
            played[b, p + j] = row[p + j]
        rewards[b], continues[b] = row[2 * p + k], row[2 * p + k + 1]


@part
def _write_inputs(separate, alone, alpha, states, mu, nu, inputs):
    """Write [s | action] for every action at which the critic is evaluated: a mixture, or both in turn if separate."""
    rows, p = states.shape
    for b in range(rows):
        for j in range(p):
            inputs[b, j] = states[b, j]
        for j in range(mu.shape[1]):
            inputs[b, p + j] = mu[b, j] if separate or alone else lerp(mu[b, j], nu[b, j], alpha)
    if len(inputs) > rows:
        for b in range(rows):
            for j in range(p):
                inputs[rows + b, j] = states[b, j]
            for j in range(mu.shape[1]):
                inputs[rows + b, p + j] = nu[b, j]


@part
def _descend_critic(w, v, inputs, targets, error, widths, norm, memory, slopes, panel, m, s, rule, l2):
    """Take a step of one critic on the mean squared error."""
    rows = len(targets)
    q = forward(w, widths, norm, False, inputs, memory, 0, panel)
    slope = slopes[2, :rows].reshape(rows, 1)
    for b in range(rows):
        error[b, 0] = q[b, 0] - targets[b]
        slope[b, 0] = error[b, 0] * np.float32(-2 / rows)
    backward(w, widths, norm, inputs, memory, 0, slope, slopes, v, inputs[:0], panel)
    if l2 > ZERO:
        for i in range(len(w)):
            v[i] -= l2 * w[i]
    adam(w, v, m, s, rule)


@part
def _ascend(
    weights,
    following,
    v,
    factor,
    action,
    in_action,
    first,
    widths,
    norm,
    states,
    memory,
    at,
    slopes,
    panel,
    m,
    s,
    rule,
):
    """Take a step of one player along factor times the critic's gradient in its action."""
    rows, k = action.shape
    slope = slopes[2, : rows * k].reshape(rows, k)
    for b in range(rows):
        for j in range(k):
            slope[b, j] = factor * in_action[b, first + j] * (ONE - action[b, j] * action[b, j])
    backward(weights, widths, norm, states, memory, at, slope, slopes, v, states[:0], panel)
    following[:] = weights
    adam(following, v, m, s, rule)


@compiled
def update(
    flags, policy, critic, numbers, rules, alphas, high, block, first, lines, shift, scale, noise, drawn,
    z, z_target, z_next, moments, squares, w, w_target, w_moments, w_squares, memory, slopes, panel, gradient,
    states, error,
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
        memory, slopes, panel, gradient: Memory of the passes.
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
        room += space(policy, layer, rows, norm)
        wide += space(critic, layer, 2 * rows, norm)
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
        mu = forward(z_target[run, :n], policy, norm, True, after, memory, wide, panel)
        nu = mu
        if learned:
            nu = forward(z_target[run, n:], policy, norm, True, after, memory, wide + room, panel)
        elif not alone:
            nu = drawn[0, run]
        _write_inputs(separate, alone, alpha, after, mu, nu, inputs)
        if smoothing > ZERO:
            for b in range(many):
                for j in range(k):
                    shifted = inputs[b, p + j] + clamp(noise[run, b, j] * smoothing, clip)
                    inputs[b, p + j] = clamp(shifted, ONE)
        for head in range(heads):
            q = forward(w_target[run, head * c : head * c + c], critic, norm, False, inputs, memory, 0, panel)
            for b in range(many):
                if head == 0 or q[b, 0] < least[b] or q[b, 0] != q[b, 0]:
                    least[b] = q[b, 0]
        for b in range(rows):
            value = lerp(least[b], least[rows + b], alpha) if separate else least[b]
            targets[b] = rewards[b] + gamma * continues[b] * value
        for head in range(heads):
            a, e = head * c, head * c + c
            _descend_critic(
                w[run, a:e], gradient[:c], played, targets, error[run * heads + head], critic, norm, memory, slopes,
                panel, w_moments[run, a:e], w_squares[run, a:e], rules[2, run], l2,
            )  # fmt: skip
        if not due:
            continue
        # both players at the same time: the gradient of Q, in the actions
        mu = forward(z[run, :n], policy, norm, True, states[run], memory, wide, panel)
        nu = mu
        if learned:
            nu = forward(z[run, n:], policy, norm, True, states[run], memory, wide + room, panel)
        elif not alone:
            nu = drawn[1, run]
        asked = inputs if learned else inputs[:rows]  # nobody ascends at an action that was drawn
        _write_inputs(separate, alone, alpha, states[run], mu, nu, asked)
        forward(w[run, :c], critic, norm, False, asked, memory, 0, panel)
        slope = slopes[2, : len(asked)].reshape(len(asked), 1)
        slope[:] = np.float32(1 / rows)
        backward(
            w[run, :c], critic, norm, asked, memory, 0, slope, slopes, gradient[:0], in_inputs[: len(asked)], panel
        )
        _ascend(
            z[run, :n], z_next[run, :n], gradient[:n], ONE if alone else ONE - alpha, mu, in_inputs, p, policy, norm,
            states[run], memory, wide, slopes, panel, moments[0][run, :n], squares[0][run, :n], rules[0, run],
        )  # fmt: skip
        if learned:
            own = in_inputs[rows:] if separate else in_inputs
            at = flags[6]
            _ascend(
                z[run, n:], z_next[run, n:], gradient[:n], -alpha, nu, own, p, policy, norm,
                states[run], memory, wide + room, slopes, panel, moments[1][run, at:], squares[1][run, at:],
                rules[1, run],
            )  # fmt: skip
        follow(z_target[run], z_next[run], tau)
        follow(w_target[run], w[run], tau)
