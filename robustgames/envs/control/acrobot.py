"""Acrobot-v1 with an adversary, thousands side by side in torch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from math import pi
from typing import Any, ClassVar

import gymnasium as gym
import torch
from torch import Tensor

from robustgames.envs.control.parameters import ACROBOT, Parameters
from robustgames.envs.control.separate_ends import SeparateEnds

DT, GRAVITY, FASTEST = 0.2, 9.8, (4 * pi, 9 * pi)


class RobustAcrobotVectorEnv(SeparateEnds):
    """`num_envs` chains of two links; a protagonist swings the tip above a line, an adversary replaces its torques.

    Actions are preferences for the torques -1, 0 and 1 between the links, (N, 3). Observation: (cos θ₁, sin θ₁, cos θ₂,
    sin θ₂, θ₁', θ₂'), (N, 6). Reward of the protagonist: -1 for every step but the last one, in which the tip is one
    length of a link above the base. The protocol is that of `SeparateEnds`.

    Axes of a perturbation: mass (with the moments of inertia), length of the links (with them also, as its square),
    gravity, gain (the torque), action_noise. Steps of 0.2 s follow only links of which torque and gravity accelerate
    neither more than 100 times as much as they do nominally; others are refused.

    Args:
        num_envs: N.
        alpha: The adversary's share α in [0, 1], a number, or a list with one per env; 0.1 by default.
        coupling: Name of an `ActionCoupling` ("probabilistic", "noisy"), or such an object.
        perturbation: Perturbation of the first episode, as in `reset`.
        max_episode_steps: Number of steps after which an episode is truncated, 500 by default.
        dtype: Precision of actions, observations and rewards, "float32" or "float64".
        device: "auto", "cpu" or "cuda".
        env_id: "Acrobot-v1".
        **settings: Settings of the coupling.

    Raises:
        GameError: Numbers out of range, unknown names, and what `reset` and `step` raise.

    Source: Sutton 1996; Sutton and Barto 1998, section 11.3; Gymnasium's Acrobot-v1.

    Example:
        >>> env = RobustAcrobotVectorEnv(num_envs=4096, alpha=0.1, coupling="probabilistic")
        >>> observation, info = env.reset(seed=0, options={"perturbation": {"gravity": 0.5}})
        >>> swing = torch.tensor([-1.0, -1.0, 1.0]).expand(4096, 3)
        >>> observation, reward, terminated, truncated, info = env.step({"protagonist": swing, "adversary": -swing})
        >>> observation.shape, float(reward.mean())
        (torch.Size([4096, 6]), -1.0)
    """

    env_id: ClassVar[str] = "Acrobot-v1"
    usual_steps: ClassVar[int] = 500
    title: ClassVar[str] = "the batched acrobot"
    parameters: ClassVar[Parameters] = ACROBOT
    finite = gym.spaces.Discrete(3)
    state_words: ClassVar[tuple[str, ...]] = ("θ₁", "θ₂", "θ₁'", "θ₂'")

    def _bounds(self) -> Sequence[float]:
        return 1.0, 1.0, 1.0, 1.0, *FASTEST

    def _start(self, u: Tensor) -> Tensor:
        return (0.2 * u - 0.1).float().double()  # as in Gymnasium, in which starts are float32

    def _perturb(self, perturbation: dict[str, Any]) -> None:
        super()._perturb(perturbation)
        p = self._now
        m1, m2, l1, inertia = p["LINK_MASS_1"], p["LINK_MASS_2"], p["LINK_LENGTH_1"], p["LINK_MOI"]
        c1, c2 = p["LINK_COM_POS_1"], p["LINK_COM_POS_2"]
        inertias = m1 * c1**2 + m2 * (l1**2 + c2**2) + 2 * inertia, m2 * c2**2 + inertia, m2 * l1 * c2
        self._fixed = *inertias, (m1 * c1 + m2 * l1) * GRAVITY, m2 * c2 * GRAVITY

    def _after(self, state: Tensor, action: Tensor) -> Tensor:
        torque = (action - 1) * self._now["AVAIL_TORQUE"][2]
        s = state.T.contiguous()  # (4, N): every number of a state is a row
        k1 = self._slope(s, torque)
        k2 = self._slope(torch.add(s, k1, alpha=DT / 2), torque)
        k3 = self._slope(torch.add(s, k2, alpha=DT / 2), torque)
        k4 = self._slope(torch.add(s, k3, alpha=DT), torque)
        s = torch.add(s, k1 + 2 * (k2 + k3) + k4, alpha=DT / 6.0)
        angles, speeds = s[:2], s[2:]
        angles = angles - 2 * pi * torch.ceil((angles.abs() - pi) / (2 * pi)).clamp_min(0) * angles.sign()
        return torch.cat([angles, speeds.clamp(-self._fastest, self._fastest)]).T

    @cached_property
    def _fastest(self) -> Tensor:
        return torch.tensor(FASTEST, dtype=torch.float64, device=self.device).unsqueeze(-1)

    def _slope(self, s: Tensor, torque: Tensor) -> Tensor:
        """Return the time derivative of states (4, N), by the equations of the book of Sutton and Barto."""
        (both, own, mixed, weight1, weight2), (angle1, angle2, spin1, spin2) = self._fixed, s
        cos, sin = mixed * torch.cos(angle2), mixed * torch.sin(angle2)
        d1, d2 = both + 2 * cos, own + cos
        phi2 = weight2 * torch.sin(angle1 + angle2)
        phi1 = weight1 * torch.sin(angle1) + phi2 - sin * spin2 * (spin2 + 2 * spin1)
        share = d2 / d1
        turn2 = (torque + share * phi1 - sin * spin1**2 - phi2) / (own - share * d2)
        turn1 = -(d2 * turn2 + phi1) / d1
        return torch.stack([spin1, spin2, turn1, turn2])

    def _judge(self, state: Tensor) -> tuple[Tensor, Tensor]:
        over = -torch.cos(state[:, 0]) - torch.cos(state[:, 1] + state[:, 0]) > 1.0
        return over.to(state.dtype) - 1.0, over

    def _observe(self) -> Tensor:
        angles, speeds = self._state[:, :2], self._state[:, 2:]
        both = torch.stack([torch.cos(angles), torch.sin(angles)], -1).flatten(1)
        return torch.cat([both, speeds], -1).to(self.dtype)
