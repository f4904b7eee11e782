"""CartPole-v1 with an adversary, thousands side by side in torch."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, pi
from typing import ClassVar

import gymnasium as gym
import torch
from torch import Tensor

from robustgames.envs.control.parameters import CARTPOLE, Parameters
from robustgames.envs.control.separate_ends import SeparateEnds

TAU, FAR, TILTED = 0.02, 2.4, 12 * 2 * pi / 360


class RobustCartPoleVectorEnv(SeparateEnds):
    """`num_envs` carts on a track, each with a pole; a protagonist balances, an adversary replaces its pushes.

    Actions are preferences for a push to the left and to the right, (N, 2). Observation: (x, x', θ, θ'), (N, 4). Reward
    of the protagonist: 1 for every step, the one in which the cart leaves the track or the pole falls included. The
    protocol is that of `SeparateEnds`.

    Axes of a perturbation: mass (of {"cart": …, "pole": …}, or of both), length of the pole, gravity, gain (the force),
    action_noise. Scales lie in [0.001, 1000].

    Args:
        num_envs: N.
        alpha: The adversary's share α in [0, 1], a number, or a list with one per env; 0.1 by default.
        coupling: Name of an `ActionCoupling` ("probabilistic", "noisy"), or such an object.
        perturbation: Perturbation of the first episode, as in `reset`.
        max_episode_steps: Number of steps after which an episode is truncated, 500 by default.
        dtype: Precision of actions, observations and rewards, "float32" or "float64".
        device: "auto", "cpu" or "cuda".
        env_id: "CartPole-v1".
        **settings: Settings of the coupling.

    Raises:
        GameError: Numbers out of range, unknown names, and what `reset` and `step` raise.

    Source: Barto, Sutton and Anderson 1983; Gymnasium's CartPole-v1.

    Example:
        >>> env = RobustCartPoleVectorEnv(num_envs=4096, alpha=0.1, coupling="probabilistic")
        >>> observation, info = env.reset(seed=0, options={"perturbation": {"mass": {"pole": (0.5, 2.0)}}})
        >>> right = torch.tensor([-1.0, 1.0]).expand(4096, 2)
        >>> observation, reward, terminated, truncated, info = env.step({"protagonist": right, "adversary": -right})
        >>> observation.shape, float(reward.mean())
        (torch.Size([4096, 4]), 1.0)
    """

    env_id: ClassVar[str] = "CartPole-v1"
    usual_steps: ClassVar[int] = 500
    title: ClassVar[str] = "the batched cart and pole"
    parameters: ClassVar[Parameters] = CARTPOLE
    finite = gym.spaces.Discrete(2)
    state_words: ClassVar[tuple[str, ...]] = ("x", "x'", "θ", "θ'")

    def _bounds(self) -> Sequence[float]:
        return 2 * FAR, inf, 2 * TILTED, inf

    def _start(self, u: Tensor) -> Tensor:
        return 0.1 * u - 0.05

    def _after(self, state: Tensor, action: Tensor) -> Tensor:
        p, (x, v, angle, spin) = self._now, state.unbind(-1)
        force = torch.where(action == 1, p["force_mag"], -p["force_mag"])
        cos, sin = torch.cos(angle), torch.sin(angle)
        push = (force + p["polemass_length"] * torch.square(spin) * sin) / p["total_mass"]
        inertia = p["length"] * (4.0 / 3.0 - p["masspole"] * torch.square(cos) / p["total_mass"])
        turn = (p["gravity"] * sin - cos * push) / inertia
        acceleration = push - p["polemass_length"] * turn * cos / p["total_mass"]
        after = (x + TAU * v, v + TAU * acceleration, angle + TAU * spin, spin + TAU * turn)
        return torch.stack(after, -1)

    def _judge(self, state: Tensor) -> tuple[Tensor, Tensor]:
        x, _, angle, _ = state.unbind(-1)
        return torch.ones_like(x), (x.abs() > FAR) | (angle.abs() > TILTED)

    def _observe(self) -> Tensor:
        return self._state.to(self.dtype, copy=True)
