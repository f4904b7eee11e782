"""Pendulum-v1 with an adversary, thousands side by side in torch: `ActionRobustEnv("Pendulum-v1")` as one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import pi
from typing import Any, ClassVar

import torch
from torch import Tensor

from robustgames.envs.control.batch import RobustVectorEnv
from robustgames.envs.control.batched_axes import ends_of
from robustgames.envs.control.inner import NUMBERS
from robustgames.envs.control.perturbations import Distribution
from robustgames.envs.control.uncertainty_sets import Axis
from robustgames.errors import GameError

MAX_SPEED, MAX_TORQUE, DT, GRAVITY = 8.0, 2.0, 0.05, 10.0
LARGEST = torch.finfo(torch.float64).max


class RobustPendulumVectorEnv(RobustVectorEnv):
    """`num_envs` pendulums on the device; a protagonist swings up and holds, an adversary disturbs its torque.

    Action: {"protagonist": a, "adversary": ā}, each (N, 1) in [-1, 1]. The coupling gives the executed action, and 2
    times that is the torque in N m. Observation: (cos θ, sin θ, θ'), (N, 3). Reward of the protagonist, (N,):
    -(θ² + 0.1 θ'² + 0.001 torque²); the adversary's is its negative. As in Gymnasium's Pendulum-v1, the state is
    float64 whatever the dtype of actions and observations is.

    Nothing terminates. All envs are truncated together, after `max_episode_steps`, and start a new episode in the same
    step (Gymnasium's SAME_STEP). The observation returned is then the first of the next episode; `info["final_obs"]`
    holds, in every step, the one that the action led to. No step waits for the device.

    `info` also holds `executed_action`, `adversary_acted`, `reward_adversary` and `perturbation`. Observations, rewards
    and flags are tensors; `robustgames.envs.NumpyBatch` makes arrays of them for the vector wrappers of Gymnasium.

    Args:
        num_envs: N.
        alpha: The adversary's share α in [0, 1], a number, or a list with one per env; 0.1 by default.
        coupling: Name of an `ActionCoupling` ("noisy", "probabilistic"), or such an object.
        perturbation: Perturbation of the first episode, as in `reset`.
        max_episode_steps: Number of steps after which an episode is truncated, 200 by default.
        dtype: Precision of actions, observations and rewards, "float32" or "float64".
        device: "auto", "cpu" or "cuda".
        env_id: "Pendulum-v1", the only env that is written in torch.
        **settings: Settings of the coupling.

    Raises:
        GameError: Numbers out of range, unknown names, and what `reset` and `step` raise.

    Example:
        >>> env = RobustPendulumVectorEnv(num_envs=4096, alpha=0.25)
        >>> observation, info = env.reset(seed=0, options={"perturbation": {"mass": (0.5, 2.0)}})
        >>> action = {"protagonist": torch.ones(4096, 1), "adversary": -torch.ones(4096, 1)}
        >>> observation, reward, terminated, truncated, info = env.step(action)
        >>> observation.shape, info["executed_action"][0].item()
        (torch.Size([4096, 3]), 0.5)
    """

    env_id: ClassVar[str] = "Pendulum-v1"
    usual_steps: ClassVar[int] = 200
    title: ClassVar[str] = "the batched pendulum"
    axes: ClassVar[Mapping[str, tuple[str, ...]]] = dict.fromkeys(
        NUMBERS["gymnasium.envs.classic_control.pendulum:PendulumEnv"], ()
    )
    state_words: ClassVar[tuple[str, ...]] = ("θ", "θ'")

    @property
    def elapsed(self) -> int:
        """Number of steps of the current episodes; 0 after a step that ended the last ones."""
        return self._elapsed

    def ended(self) -> list[int]:
        return [0 if self._elapsed else self.max_episode_steps] * self.num_envs

    def state_dict(self) -> dict[str, Any]:
        now = {"angle": self._angle, "speed": self._speed, "pull": self._pull, "push": self._push}
        return {**now, "elapsed": self._elapsed, "generator": self.generator.get_state(), "drawn": self.perturbation}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._angle, self._speed, self._pull, self._push = (
            state[name].to(self.device) for name in ("angle", "speed", "pull", "push")
        )
        self._elapsed, self._seeded = state["elapsed"], True
        if self.generator.fits(state["generator"]):  # else it is of a version in which all envs drew from one stream
            self.generator.set_state(state["generator"])
        self.perturbation = {axis: value.to(self.device) for axis, value in state["drawn"].items()}

    # -- the env -------------------------------------------------------------------------------------------------
    def _bounds(self) -> Sequence[float]:
        return 1.0, 1.0, MAX_SPEED

    def _begin(self) -> None:
        self._elapsed = 0
        self._angle = pi * (2 * self._uniform(torch.float64) - 1)
        self._speed = 2 * self._uniform(torch.float64) - 1
        self.perturbation = self._drawn()
        one = torch.ones((), dtype=torch.float64, device=self.device)
        mass, length, gravity = (self.perturbation.get(axis, one) for axis in ("mass", "length", "gravity"))
        self._pull = 3 * (GRAVITY * gravity) / (2 * length)
        self._push = (3.0 / (mass * length**2)).to(self.dtype)

    def _place(self, state: Tensor) -> None:
        self._angle, self._speed = state.unbind(-1)

    def _move(self, executed: Tensor) -> tuple[Tensor, Tensor]:
        torque = (MAX_TORQUE * executed).squeeze(-1)
        angle = torch.remainder(self._angle + pi, 2 * pi) - pi
        reward = -(angle**2 + 0.1 * self._speed**2 + 0.001 * torque**2)
        push = self._push * torque  # in the dtype of the action, as in Gymnasium
        speed = self._speed + (self._pull * torch.sin(self._angle) + push) * DT
        self._speed = speed.clamp(-MAX_SPEED, MAX_SPEED)
        self._angle = self._angle + self._speed * DT
        return reward, self._flags[False]

    def _observe(self) -> Tensor:
        return torch.stack([torch.cos(self._angle), torch.sin(self._angle), self._speed], -1).to(self.dtype)

    def _renew(self, terminated: Tensor) -> tuple[Tensor, Tensor, bool]:
        self._elapsed += 1
        over = self._elapsed == self.max_episode_steps
        if over:
            self._begin()
        return self._flags[over], self._flags[over], over

    def _check_range(self, perturbation: Mapping[Axis, float | Distribution]) -> None:
        """Refuse parameters so small that an acceleration overflows: infinity times a torque of 0 is not a number."""
        ends = ends_of(perturbation)
        mass, length = (ends.get(axis, (1.0, 1.0))[0] for axis in ("mass", "length"))
        gravity, largest = ends.get("gravity", (1.0, 1.0))[1], torch.finfo(self.dtype).max
        if not (mass * length**2 * largest >= 3 * MAX_TORQUE and length * LARGEST >= 1.5 * GRAVITY * gravity):
            shown = f"mass {mass:g}, length {length:g} and gravity {gravity:g}"
            raise GameError(f"{shown} accelerate the pendulum beyond {self.dtype}: take these scales nearer to 1")
