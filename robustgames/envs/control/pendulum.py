"""Pendulum-v1 with an adversary, thousands side by side in torch: `ActionRobustEnv("Pendulum-v1")` as one batch."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from functools import cached_property
from math import pi
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from torch import Tensor

from robustgames.envs.control.action_couplings import ActionCoupling, Share
from robustgames.envs.control.couplings import check_actions_coupled, make_coupling
from robustgames.envs.control.inner import NUMBERS
from robustgames.envs.control.perturbations import Distribution, Perturbation, Uniform, checked
from robustgames.envs.game_env import DTYPES
from robustgames.errors import GameError, unknown
from robustgames.streams import Streams, uniform
from robustgames.tensors import choose_device

MAX_SPEED, MAX_TORQUE, DT, GRAVITY = 8.0, 2.0, 0.05, 10.0
LARGEST = torch.finfo(torch.float64).max
ACTIVE = (*NUMBERS["gymnasium.envs.classic_control.pendulum:PendulumEnv"], "action_noise")
"""The axes of a perturbation that have an effect here."""


class RobustPendulumVectorEnv(gym.vector.VectorEnv[Tensor, dict[str, Tensor], Tensor]):
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
        max_episode_steps: Number of steps after which an episode is truncated.
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

    metadata: ClassVar[dict[str, Any]] = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": [], "torch": True}
    players: ClassVar[tuple[str, str]] = ("protagonist", "adversary")

    def __init__(
        self,
        num_envs: int = 1,
        alpha: float | list[float] | None = None,
        coupling: str | ActionCoupling = "noisy",
        perturbation: Perturbation | None = None,
        max_episode_steps: int = 200,
        dtype: str = "float32",
        device: str = "cpu",
        env_id: str = "Pendulum-v1",
        **settings: Any,
    ) -> None:
        if num_envs < 1 or max_episode_steps < 1:
            raise GameError(f"num_envs is {num_envs} and max_episode_steps {max_episode_steps}: both are at least 1")
        if dtype not in DTYPES:
            raise unknown("dtype", dtype, DTYPES)
        if env_id != "Pendulum-v1":
            raise GameError(f"env_id is {env_id!r}: only Pendulum-v1 is batched, make the others with gym.make")
        self.num_envs, self.max_episode_steps = num_envs, max_episode_steps
        self.dtype, self.device = DTYPES[dtype], choose_device(device)
        self.generator = Streams(range(num_envs), self.device)
        self.moves = 0
        """Number of resets and steps so far, by which an agent notices those of others."""
        self.coupling, alphas = self._coupled(coupling, alpha, settings)
        self.alpha = alphas.to(self.dtype)
        self._share = Share(self.alpha, (1 - alphas).to(self.dtype))  # 1 - α rounded once, as NumPy does
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
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Start an episode in every env.

        Args:
            seed: Seed of the streams that draw starts, coins, noise and perturbations, one for each env, which does not
                depend on the others: a list with one per env, or s for s, s + 1, ….
            options: Perturbation {"perturbation": {axis: value}} of this episode and the next ones; None restores the
                nominal pendulum. Axes are mass, length, gravity (relative, 1.0 is nominal) and action_noise (the
                probability that a uniform action replaces the executed one). A value is a number, a tensor or list
                with one per env, or a `Distribution` or (low, high), from which every env draws in every episode.
                {"state": (θ, θ')} is the start of this episode, (2,) or (N, 2).

        Raises:
            GameError: Unknown options or axes, or values that are not allowed.
        """
        options = dict(options or {})
        for name in options:
            if name not in ("perturbation", "state"):
                raise unknown("option of reset", name, ("perturbation", "state"))
        if "perturbation" in options:
            self._source = self._checked(options["perturbation"])
        if seed is not None or not self._seeded:
            self.generator, self._seeded = Streams(self._seeds(seed), self.device), True
        self.moves += 1
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
            GameError: An action that misses a player or has the wrong shape; a step before the first reset.
        """
        if self._elapsed < 0:
            raise GameError("step before reset: call env.reset(seed=0) first")
        self.moves += 1
        executed, acted = self._execute(*(self._action(actions, player) for player in self.players))
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
        """Number of steps of the current episodes; 0 after a step that ended the last ones."""
        return self._elapsed

    def state_dict(self) -> dict[str, Any]:
        """Return everything that changes, as tensors and integers: a loaded env continues bit for bit on a CPU."""
        now = {"angle": self._angle, "speed": self._speed, "pull": self._pull, "push": self._push}
        return {**now, "elapsed": self._elapsed, "generator": self.generator.get_state(), "drawn": self.perturbation}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken, with the same arguments."""
        self._angle, self._speed, self._pull, self._push = (
            state[name].to(self.device) for name in ("angle", "speed", "pull", "push")
        )
        self._elapsed, self._seeded = state["elapsed"], True
        if self.generator.fits(state["generator"]):  # else it is of a version in which all envs drew from one stream
            self.generator.set_state(state["generator"])
        self.perturbation = {axis: value.to(self.device) for axis, value in state["drawn"].items()}

    # -- one step ------------------------------------------------------------------------------------------
    def _execute(self, own: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """Return (the executed action, (N, 1); whether the adversary had a part in it, (N,))."""
        executed, acted = self.coupling.execute(own, other, self._share, self._coins)
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
        mass, length, gravity = (self.perturbation.get(axis, one) for axis in ("mass", "length", "gravity"))
        self._pull = 3 * (GRAVITY * gravity) / (2 * length)
        self._push = (3.0 / (mass * length**2)).to(self.dtype)

    def _uniform(self, dtype: torch.dtype) -> Tensor:
        return uniform((self.num_envs,), self.generator, dtype)

    def _coins(self) -> Tensor:
        return self._uniform(torch.float64).unsqueeze(-1)

    def _drawn(self, value: Tensor | Distribution) -> Tensor:
        return value if isinstance(value, Tensor) else value.quantile(self._uniform(torch.float64))

    # -- input ---------------------------------------------------------------------------------------------
    def _action(self, actions: dict[str, Tensor], player: str) -> Tensor:
        if not (isinstance(actions, Mapping) and player in actions):
            raise GameError("pass the actions of both, {'protagonist': a, 'adversary': b}, each (num_envs, 1)")
        action = torch.as_tensor(actions[player], dtype=self.dtype, device=self.device)
        if action.shape != (self.num_envs, 1):
            raise GameError(f"the {player}'s action has shape {tuple(action.shape)}: expected {(self.num_envs, 1)}")
        return action.clamp(-1, 1)

    def _coupled(
        self, coupling: str | ActionCoupling, alpha: float | list[float] | None, settings: dict[str, Any]
    ) -> tuple[ActionCoupling, Tensor]:
        """Return (the coupling, α of every env in float64, (N, 1))."""
        each = None if alpha is None else self._per_env("alpha", alpha)
        found, others = make_coupling(coupling, None if each is None else float(each.max()), settings)
        law = check_actions_coupled(found)
        if others:
            raise unknown("setting", next(iter(others)), [f.name for f in fields(law)])
        if each is None:
            return law, self._per_env("alpha", law.alpha).unsqueeze(-1)
        replace(law, alpha=float(each.min()))  # checks the smallest share also
        return law, each.unsqueeze(-1)

    def _checked(self, perturbation: Perturbation | None) -> dict[str, Tensor | Distribution]:
        """Return {axis: one number per env, (N,), or a distribution}."""
        given = dict(perturbation) if isinstance(perturbation, Mapping) else {}
        lists = {axis: self._per_env(axis, v) for axis, v in given.items() if isinstance(v, list | np.ndarray | Tensor)}
        bounds = {axis: (float(each.min()), float(each.max())) for axis, each in lists.items()}
        found = checked({**given, **bounds} if given else perturbation)
        for axis in found:
            if axis not in ACTIVE:
                raise GameError(f"{axis} has no effect on the batched pendulum: it has {', '.join(ACTIVE)}")
        self._check_range({**found, **{axis: Uniform(*ends) for axis, ends in bounds.items()}})
        found.update(lists)
        return {axis: v if isinstance(v, Distribution) else self._per_env(axis, v) for axis, v in found.items()}

    def _check_range(self, perturbation: Mapping[str, float | Distribution]) -> None:
        """Refuse parameters so small that an acceleration overflows: infinity times a torque of 0 is not a number."""
        ends = {axis: v.extremes() if isinstance(v, Distribution) else (v,) for axis, v in perturbation.items()}
        mass, length = (min(ends.get(axis, (1.0,))) for axis in ("mass", "length"))
        gravity, largest = max(ends.get("gravity", (1.0,))), torch.finfo(self.dtype).max
        if not (mass * length**2 * largest >= 3 * MAX_TORQUE and length * LARGEST >= 1.5 * GRAVITY * gravity):
            shown = f"mass {mass:g}, length {length:g} and gravity {gravity:g}"
            raise GameError(f"{shown} accelerate the pendulum beyond {self.dtype}: take these scales nearer to 1")

    def _seeds(self, seed: int | Sequence[int | None] | None) -> list[int]:
        """Return one seed per env; unpredictable ones for None."""
        n = self.num_envs
        each = [seed] * n if seed is None else range(seed, seed + n) if isinstance(seed, int | np.integer) else seed
        if len(each) != n or not all(s is None or (isinstance(s, int | np.integer) and 0 <= s < 2**63) for s in each):
            raise GameError(f"seed is {seed}: pass a whole number >= 0, or a list with one for each of {n}")
        return [secrets.randbits(63) if s is None else int(s) for s in each]

    def _per_env(self, name: str, value: Any) -> Tensor:
        """Return one number per env, (N,), in float64."""
        each = torch.as_tensor(value, dtype=torch.float64)
        if each.shape not in ((), (self.num_envs,)):
            given, n = tuple(each.shape), self.num_envs
            raise GameError(f"{name} has shape {given}: pass one number, or one for each of {n}")
        return each.expand(self.num_envs).to(self.device)
