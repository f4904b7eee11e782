"""Pendulum-v1 with an adversary, thousands side by side in torch: `ActionRobustEnv("Pendulum-v1")` as one batch."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from math import pi
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from torch import Generator, Tensor

from robustgames.envs.game_env import DTYPES
from robustgames.errors import GameError, unknown
from robustgames.tensors import choose_device

MAX_SPEED, MAX_TORQUE, DT, GRAVITY = 8.0, 2.0, 0.05, 10.0
AXES = ("mass", "length", "gravity", "action_noise")
COUPLINGS = ("noisy", "probabilistic")


class RobustPendulumVectorEnv(gym.vector.VectorEnv[Tensor, dict[str, Tensor], Tensor]):
    """`num_envs` pendulums on the device; a protagonist swings up and holds, an adversary disturbs its torque.

    Action: {"protagonist": a, "adversary": ā}, each (N, 1) in [-1, 1]; what is executed times 2 is the torque in N m.
    noisy: (1-α) a + α ā is executed; probabilistic: ā with probability α, else a. Observation: (cos θ, sin θ, θ'),
    (N, 3). Reward of the protagonist, (N,): -(θ² + 0.1 θ'² + 0.001 torque²); the adversary's is its negative. It is
    Gymnasium's Pendulum-v1, whose state is float64 whatever the actions and observations are, and so it is here.

    Nothing terminates. All envs are truncated together, after `max_episode_steps`, and start anew in the same step
    (Gymnasium's SAME_STEP): the observation returned is then the first of the next episode, and `info["final_obs"]`
    holds, in every step, the one that the action led to. No step waits for the device.

    `info` also holds `executed_action`, `adversary_acted`, `reward_adversary` and `perturbation`.

    Args:
        num_envs: N.
        alpha: α in [0, 1], a number, or a list with one per env.
        coupling: "noisy" or "probabilistic".
        perturbation: as in `reset`.
        max_episode_steps: after which an episode is truncated.
        dtype: of actions, observations and rewards, "float32" or "float64".
        device: "auto", "cpu" or "cuda".
        env_id: "Pendulum-v1", the only one that is written in torch.

    Raises:
        GameError: numbers out of range, unknown names, and what `reset` and `step` raise.

    Example:
        >>> env = RobustPendulumVectorEnv(num_envs=4096, alpha=0.25)
        >>> observation, info = env.reset(seed=0, options={"perturbation": {"mass": (0.5, 2.0)}})
        >>> action = {"protagonist": torch.ones(4096, 1), "adversary": -torch.ones(4096, 1)}
        >>> observation, reward, terminated, truncated, info = env.step(action)
        >>> observation.shape, info["executed_action"][0].item()
        (torch.Size([4096, 3]), 0.5)
    """

    metadata: ClassVar[dict[str, Any]] = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": [], "torch": True}
    players: ClassVar[tuple[str, str]] = ("protagonist", "adversary")

    def __init__(
        self,
        num_envs: int = 1,
        alpha: float | list[float] = 0.1,
        coupling: str = "noisy",
        perturbation: Mapping[str, Any] | None = None,
        max_episode_steps: int = 200,
        dtype: str = "float32",
        device: str = "cpu",
        env_id: str = "Pendulum-v1",
    ) -> None:
        if num_envs < 1 or max_episode_steps < 1:
            raise GameError(f"num_envs is {num_envs} and max_episode_steps {max_episode_steps}: both are at least 1")
        for what, name, known in (("dtype", dtype, DTYPES), ("coupling", coupling, COUPLINGS)):
            if name not in known:
                raise unknown(what, name, known)
        if env_id != "Pendulum-v1":
            raise GameError(f"env_id is {env_id!r}: only Pendulum-v1 is batched, make the others with gym.make")
        self.num_envs, self.max_episode_steps, self.coupling = num_envs, max_episode_steps, coupling
        self.dtype, self.device = DTYPES[dtype], choose_device(device)
        self.generator = Generator(self.device)
        share = self._per_env("alpha", alpha).unsqueeze(-1)
        self.alpha, self._rest = share.to(self.dtype), (1 - share).to(self.dtype)  # 1 - α rounded once, as numpy does
        kind: Any = np.dtype(dtype).type
        own, other = (gym.spaces.Box(-1.0, 1.0, (1,), kind) for _ in self.players)
        self.single_action_space = gym.spaces.Dict(protagonist=own, adversary=other)  # type: ignore[assignment]
        high = np.array([1.0, 1.0, MAX_SPEED], kind)
        self.single_observation_space = gym.spaces.Box(-high, high, dtype=kind)  # type: ignore[assignment]
        self._flags = [torch.full((num_envs,), on, device=self.device) for on in (False, True)]
        self._source = self._checked(perturbation)
        self._elapsed, self._seeded = -1, False

    @cached_property
    def action_space(self) -> gym.Space:  # type: ignore[override]
        """The batch of `single_action_space`."""
        return batch_space(self.single_action_space, self.num_envs)

    @cached_property
    def observation_space(self) -> gym.Space:  # type: ignore[override]
        """The batch of `single_observation_space`."""
        return batch_space(self.single_observation_space, self.num_envs)

    # -- protocol ------------------------------------------------------------------------------------------
    def reset(  # type: ignore[override]
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Start an episode in every env.

        Args:
            seed: of the generator, which draws starts, coins, noise and perturbations.
            options: {"perturbation": {axis: value}} from this episode on until another is given, None for the nominal
                pendulum. Axes: mass, length, gravity (relative, 1.0 is nominal) and action_noise (the probability that
                a uniform action replaces the executed one); a value is a number, a tensor (N,) with one per env, or
                (low, high) to be drawn anew by every env in every episode. {"state": (θ, θ')} is where to start, (2,)
                or (N, 2), in this episode.

        Raises:
            GameError: unknown options or axes, values that are not allowed.
        """
        options = dict(options or {})
        for name in options:
            if name not in ("perturbation", "state"):
                raise unknown("option of reset", name, ("perturbation", "state"))
        if "perturbation" in options:
            self._source = self._checked(options["perturbation"])
        super().reset(seed=seed)
        if seed is not None or not self._seeded:
            self.generator.manual_seed(int(self.np_random.integers(2**31)))
            self._seeded = True
        self._begin()
        if "state" in options:
            given = torch.as_tensor(options["state"], dtype=torch.float64, device=self.device)
            if given.shape not in ((2,), (self.num_envs, 2)):
                raise GameError(f"state has shape {tuple(given.shape)}: expected (2,) or {(self.num_envs, 2)}")
            self._angle, self._speed = given.expand(self.num_envs, 2).clone().unbind(-1)
        return self._observe(), {"perturbation": dict(self.perturbation)}

    def step(self, actions: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]:
        """Play both actions in every env.

        Raises:
            GameError: an action that misses a player or has the wrong shape; a step before the first reset.
        """
        if self._elapsed < 0:
            raise GameError("step before reset: call env.reset(seed=0) first")
        executed, acted = self._couple(*(self._action(actions, player) for player in self.players))
        reward = self._swing((MAX_TORQUE * executed).squeeze(-1)).to(self.dtype)
        self._elapsed += 1
        final = self._observe()
        over = self._elapsed == self.max_episode_steps
        info = {
            "executed_action": executed,
            "adversary_acted": acted,
            "reward_adversary": -reward,
            "perturbation": dict(self.perturbation),
            "final_obs": final,
            "_final_obs": self._flags[over],
        }
        if over:
            self._begin()
        return self._observe() if over else final, reward, self._flags[False], self._flags[over], info

    @property
    def elapsed(self) -> int:
        """Steps of the present episodes; 0 after a step that ended the last ones."""
        return self._elapsed

    def state_dict(self) -> dict[str, Any]:
        """Return what changes, as tensors and integers: a loaded env goes on bit for bit on a CPU."""
        now = {"angle": self._angle, "speed": self._speed, "pull": self._pull, "push": self._push}
        return {**now, "elapsed": self._elapsed, "generator": self.generator.get_state(), "drawn": self.perturbation}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken, with the same arguments."""
        self._angle, self._speed, self._pull, self._push = (
            state[name].to(self.device) for name in ("angle", "speed", "pull", "push")
        )
        self._elapsed, self._seeded = state["elapsed"], True
        self.generator.set_state(state["generator"])
        self.perturbation = {axis: value.to(self.device) for axis, value in state["drawn"].items()}

    # -- one step ------------------------------------------------------------------------------------------
    def _couple(self, own: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """Return (what is executed, (N, 1); whether the adversary had a part in it, (N,))."""
        if self.coupling == "noisy":
            executed, acted = self._rest * own + self.alpha * other, self.alpha > 0
        else:
            acted = self._uniform(self.dtype).unsqueeze(-1) < self.alpha
            executed = torch.where(acted, other, own)
        if "action_noise" in self.perturbation:
            drawn = 2 * self._uniform(self.dtype).unsqueeze(-1) - 1
            replaced = self._uniform(torch.float64) < self.perturbation["action_noise"]
            executed = torch.where(replaced.unsqueeze(-1), drawn, executed)
        return executed, acted.squeeze(-1)

    def _swing(self, torque: Tensor) -> Tensor:
        """Move every pendulum by dt under its torque (N,), and return the rewards."""
        angle = torch.remainder(self._angle + pi, 2 * pi) - pi
        reward = -(angle**2 + 0.1 * self._speed**2 + 0.001 * torque**2)
        push = self._push * torque  # in the dtype of the action, as in Gymnasium
        speed = self._speed + (self._pull * torch.sin(self._angle) + push) * DT
        self._speed = speed.clamp(-MAX_SPEED, MAX_SPEED)
        self._angle = self._angle + self._speed * DT
        return reward

    def _observe(self) -> Tensor:
        return torch.stack([torch.cos(self._angle), torch.sin(self._angle), self._speed], -1).to(self.dtype)

    def _begin(self) -> None:
        """Draw starts and perturbations of a new episode."""
        self._elapsed = 0
        self._angle = pi * (2 * self._uniform(torch.float64) - 1)
        self._speed = 2 * self._uniform(torch.float64) - 1
        self.perturbation = {axis: self._drawn(value) for axis, value in self._source.items()}
        one = torch.ones((), dtype=torch.float64, device=self.device)
        mass, length, gravity = (self.perturbation.get(axis, one) for axis in AXES[:3])
        self._pull = 3 * (GRAVITY * gravity) / (2 * length)
        self._push = (3.0 / (mass * length**2)).to(self.dtype)

    def _uniform(self, dtype: torch.dtype) -> Tensor:
        return torch.rand(self.num_envs, generator=self.generator, device=self.device, dtype=dtype)

    def _drawn(self, value: Tensor | tuple[float, float]) -> Tensor:
        if isinstance(value, Tensor):
            return value
        low, high = value
        return low + (high - low) * self._uniform(torch.float64)

    # -- input ---------------------------------------------------------------------------------------------
    def _action(self, actions: dict[str, Tensor], player: str) -> Tensor:
        if not (isinstance(actions, Mapping) and player in actions):
            raise GameError("pass the actions of both, {'protagonist': a, 'adversary': b}, each (num_envs, 1)")
        action = torch.as_tensor(actions[player], dtype=self.dtype, device=self.device)
        if action.shape != (self.num_envs, 1):
            raise GameError(f"the {player}'s action has shape {tuple(action.shape)}: expected {(self.num_envs, 1)}")
        return action.clamp(-1, 1)

    def _checked(self, perturbation: Mapping[str, Any] | None) -> dict[str, Tensor | tuple[float, float]]:
        found: dict[str, Tensor | tuple[float, float]] = {}
        for axis, value in (perturbation or {}).items():
            if axis not in AXES:
                raise unknown("axis of a perturbation", axis, AXES)
            if isinstance(value, tuple) and len(value) == 2:
                low, high = (float(self._per_env(axis, end)[0]) for end in value)
                if low > high:
                    raise GameError(f"{axis} is {value}: (low, high), the lower first, e.g. (0.5, 2.0)")
                found[axis] = (low, high)
            else:
                found[axis] = self._per_env(axis, value)
        return found

    def _per_env(self, name: str, value: Any) -> Tensor:
        """Return one number per env, (N,), in float64."""
        each = torch.as_tensor(value, dtype=torch.float64)
        if each.shape not in ((), (self.num_envs,)):
            raise GameError(
                f"{name} has shape {tuple(each.shape)}: pass one number, or one for each of {self.num_envs}"
            )
        share = name in ("alpha", "action_noise")
        if not bool(((each >= 0) & (each <= 1) if share else (each > 0) & (each < float("inf"))).all()):
            allowed = "in [0, 1], e.g. 0.1" if share else "positive and finite, 1.0 is nominal"
            raise GameError(f"{name} is {value}: it must be {allowed}")
        return each.expand(self.num_envs).to(self.device)
