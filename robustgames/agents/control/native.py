"""Updates and actions of control in one compiled call each, for the networks and rules that the kernels know."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from math import prod
from typing import cast

import numpy as np
import torch
from torch import Tensor

from robustgames.agents.control.behavior import Behavior
from robustgames.agents.control.critic_training import CriticTraining
from robustgames.agents.control.exploration import GaussianNoise
from robustgames.agents.control.kernels import products
from robustgames.agents.control.kernels.acting import act
from robustgames.agents.control.kernels.updating import update
from robustgames.agents.control.normalization import RunningNorm
from robustgames.games import MLP
from robustgames.solvers import Adam, Simultaneous
from robustgames.solvers.players import NAMES, pair
from robustgames.solvers.rules import State, rate_at
from robustgames.streams import Streams, normal_array

NONE = np.empty((0, 0), np.float32)
NO_NOISE, NO_ACTIONS = np.empty((0, 0, 0), np.float32), np.empty((0, 0, 0, 0), np.float32)


def _room(actor: MLP, critic: MLP, rows: int) -> int:
    """Return the size of the memory of an update, as its kernel divides it."""
    layers = [2 * 2 * rows * (2 * sum(net.widths) + len(net.widths)) for net in (critic, actor)]
    p, width = actor.widths[0], critic.widths[0]
    return sum(layers) + rows * (p + 5 * width + 5)


def _aligned(*shape: int) -> np.ndarray:
    """Return memory that begins with a line of the cache, which vectors of the processor do not cross then."""
    memory = np.empty(prod(shape) + 16, np.float32)
    first = -memory.ctypes.data % 64 // 4
    return memory[first : first + prod(shape)].reshape(shape)


class Arrays:
    """NumPy arrays of tensors, which share their memory, kept as long as the tensors are the same."""

    def __init__(self) -> None:
        self._tensors: tuple[Tensor, ...] = ()
        self._ids: tuple[int, ...] = ()
        self._arrays: tuple[np.ndarray, ...] = ()

    def __call__(self, *tensors: Tensor) -> tuple[np.ndarray, ...]:
        """Return the arrays of the tensors."""
        ids = tuple(map(id, tensors))  # of tensors that are kept, so no other has them
        if ids != self._ids:
            self._tensors, self._ids, self._arrays = tensors, ids, tuple(tensor.numpy() for tensor in tensors)
        return self._arrays

    def tensor(self, array: np.ndarray) -> Tensor:
        """Return the tensor of an array, and keep both."""
        tensor = torch.from_numpy(array)
        self._tensors, self._ids, self._arrays = (tensor,), (id(tensor),), (array,)
        return tensor


class NativeUpdates:
    """What `TorchUpdates` does, with the same random numbers and up to rounding the same results, in compiled code.

    Critic, targets and moments change in place, in one call that nothing can interrupt. What can fail comes before it,
    and changes only the counts of the streams.

    Args:
        practice: Critic, target networks and replay.
        solver: Solver of the players, for which `why_not` is None.
        behavior: Exploration, which may adapt to an update.
        generator: Streams of the runs.
    """

    name = "native"

    def __init__(self, practice: CriticTraining, solver: Simultaneous, behavior: Behavior, generator: Streams) -> None:
        self.practice, self.behavior, self.generator = practice, behavior, generator
        learning, replay, policies = practice.learning, practice.replay, practice.learning.policies
        law, critic, actor = policies.expectation, learning.critic, policies.actor
        assert isinstance(actor, MLP) and isinstance(critic, MLP)
        runs, rows, k = len(practice.target), practice.batch_size, replay.action_size
        learned = policies.adversary is not None
        self._random, self._many, heads = not (learned or law.alone), law.rows(rows), 2 if learning.twin else 1
        offset = 0 if isinstance(solver.rule, tuple) else policies.sizes[0]
        flags = (learned, law.separate, law.alone, learning.twin, actor.norm, False, offset)
        numbers = (learning.gamma, learning.tau, learning.smoothing, learning.clip, learning.l2)
        self._flags, self._numbers = np.array(flags, np.int64), np.array(numbers, np.float32)
        self._policy, self._critic = np.array(actor.widths, np.int64), np.array(critic.widths, np.int64)
        alpha = law.share.alpha
        self._alphas = alpha.view(-1).numpy() if isinstance(alpha, Tensor) else np.full(runs, alpha, np.float32)
        self._rules_of = cast("list[Adam]", [*pair(solver.rule), learning.rule])  # of both players and the critic
        self._rules = np.empty((3, runs, 5))
        for own, rule in zip(self._rules, self._rules_of, strict=True):
            own[:, 0], own[:, 1:3], own[:, 3] = rule.lr if isinstance(rule.lr, float) else 0.0, rule.betas, rule.eps
        self._memory = _aligned(_room(actor, critic, rows))
        self._slopes = _aligned(3, 2 * rows * max(critic.widths))
        self._panel = _aligned(products.room(max(2 * rows, *actor.widths, *critic.widths)))
        self._gradient = _aligned(max(critic.size, actor.size))
        self._states = np.empty((runs, rows, replay.state_size), np.float32)
        self._error = np.empty((runs * heads, rows, 1), np.float32)
        self._shown = torch.from_numpy(self._states), torch.from_numpy(self._error)
        self._drawn = np.empty((2, runs, rows, k), np.float32)
        self.arrays, self._weights = Arrays(), Arrays()  # of the players' weights, and of all else

    def step(self, z: Tensor, state: State, due: bool) -> tuple[Tensor, State]:
        """Return the players and the state of their solver after an update; critic and targets change in place."""
        practice, replay, critic = self.practice, self.practice.replay, self.practice.state
        block, first = self.generator.take_array(practice.batch_size)
        noise = self._draw(z, block[:, first : first + practice.batch_size], due)
        x, y = (state, state) if "k" in state else (state[NAMES[0]], state[NAMES[1]])
        rule = critic["rule"]
        self._set_rule(0, x["k"] + 1)
        self._set_rule(1, y["k"] + 1)
        self._set_rule(2, rule["k"] + 1)
        (now,) = self.arrays(z)
        lines, target, mx, my, sx, sy, w, w_target, m, s = self._weights(
            replay.lines, practice.target, x["m"], y["m"], x["s"], y["s"],
            critic["w"], critic["target"], rule["m"], rule["s"],
        )  # fmt: skip
        following = np.empty_like(now) if due else now
        self._flags[5] = due
        shift, scale = (NONE, NONE) if practice.norm is None else practice.norm.arrays()
        update(
            self._flags, self._policy, self._critic, self._numbers, self._rules, self._alphas, replay.size,
            block, first, lines, shift, scale, noise, self._drawn, now, target, following, (mx, my), (sx, sy),
            w, w_target, m, s, self._memory, self._slopes, self._panel,
            self._gradient, self._states, self._error,
        )  # fmt: skip
        critic["rule"] = {**rule, "k": rule["k"] + 1}
        practice.states, practice.error = self._shown
        if not due:
            return z, state
        z = self.arrays.tensor(following)
        if "k" in state:
            return z, {**x, "k": x["k"] + 1}
        return z, {name: {**own, "k": own["k"] + 1} for name, own in zip(NAMES, (x, y), strict=True)}

    def _set_rule(self, i: int, k: int) -> None:
        """Set what application k of a rule depends on: k, and the rates if they are not a number."""
        self._rules[i, :, 4], rule = k, self._rules_of[i]
        if not isinstance(rule.lr, float):
            rate = rate_at(rule.lr, k)
            self._rules[i, :, 0] = rate.flatten().numpy() if isinstance(rate, Tensor) else rate

    def _draw(self, z: Tensor, u: np.ndarray, due: bool) -> np.ndarray:
        """Draw all else that the update needs, in the order of `TorchUpdates`; return the noise of the smoothing."""
        learning, noise = self.practice.learning, NO_NOISE
        if self._random:
            self._drawn[0] = self._actions_at_random()
        if learning.smoothing:
            noise = normal_array((len(z), self._many, len(self._drawn[0, 0, 0])), self.generator)
        if self.behavior.weights is not None:
            self.behavior.adapt(z, lambda: self.practice.states_at(u))
        if due and self._random:
            self._drawn[1] = self._actions_at_random()
        return noise

    def _actions_at_random(self) -> np.ndarray:
        drawn = self.practice.learning.policies.draw(self._drawn.shape[1:3], self.generator, torch.float32)
        assert drawn is not None
        return drawn.numpy()

    def mark(self) -> int:
        """Return the place to `go_back` to: what changes in place changes in a call that cannot fail."""
        return self.generator.count

    def go_back(self, mark: int) -> None:
        """Draw again what was drawn since `mark`."""
        self.generator.count = mark

    def mode(self) -> AbstractContextManager[None]:
        """Return the mode of a step: none, as there are no calls of PyTorch whose records it would spare."""
        return nullcontext()


class NativeActing:
    """The actions of both players with exploration, as `Behavior.act` and in its order of random numbers.

    Args:
        behavior: Policies with exploration.
        norm: Running scale of the observations, or None.
        runs: S.
        arrays: Arrays of the updates, which have that of the weights.
    """

    def __init__(self, behavior: Behavior, norm: RunningNorm | None, runs: int, arrays: Arrays) -> None:
        self.behavior, self.norm, self._arrays, self._noise = behavior, norm, arrays, Arrays()
        actor = behavior.policies.actor
        assert isinstance(actor, MLP)
        self._players = 1 if behavior.policies.adversary is None else 2
        self._norm, self._forgiving = actor.norm, runs > 1 or norm is not None
        self._widths = np.array(actor.widths, np.int64)
        self._actions = np.zeros((runs, 2, actor.widths[-1]), np.float32)
        self._memory = np.empty((4, max(actor.widths)), np.float32)

    def act(self, z: Tensor, observations: np.ndarray) -> np.ndarray:
        """Return the actions of both players, (S, 2, k), which the next call overwrites, for observations (S, p)."""
        behavior, (runs, _, k) = self.behavior, self._actions.shape
        drawn = behavior.policies.draw((runs, 1), behavior.generator, torch.float32)
        if drawn is not None:
            self._actions[:, 1] = drawn[:, 0].numpy()
        left, noise = 0, NO_NOISE
        if isinstance(behavior.noise, GaussianNoise):
            behavior.state = state = behavior.noise.advance(
                behavior.state, (runs, k), behavior.generator, torch.float32
            )
            (noise,), left = self._noise(state["block"]), state["left"]
        elif behavior.noise is not None:
            drawn, behavior.state = behavior.noise.step(behavior.state, z.new_empty(runs, k), behavior.generator)
            noise = drawn.unsqueeze(1).numpy()
        shift, scale = (NONE, NONE) if self.norm is None else self.norm.arrays()
        act(
            self._players, self._norm, self._forgiving, self._widths, *self._arrays(behavior.acting(z)), observations,
            shift, scale, noise, left, self._actions, self._memory,
        )  # fmt: skip
        return self._actions
