"""A control env with an adversary, thousands side by side in torch: `ActionRobustEnv` as one batch."""

from __future__ import annotations

import secrets
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from functools import cached_property
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from torch import Tensor

from robustgames.envs.control.action_couplings import ActionCoupling, Share
from robustgames.envs.control.batched_axes import BatchedAxes
from robustgames.envs.control.couplings import check_actions_coupled, make_coupling
from robustgames.envs.control.perturbations import Distribution, Perturbation
from robustgames.envs.control.uncertainty_sets import Axis, nested
from robustgames.envs.game_env import DTYPES
from robustgames.errors import GameError, unknown
from robustgames.streams import Streams, uniform
from robustgames.tensors import choose_device


class RobustVectorEnv(gym.vector.VectorEnv[Tensor, dict[str, Tensor], Tensor]):
    """`num_envs` copies of one env on the device, each with a protagonist and an adversary.

    A subclass states the env: its start, its step and its observation. Whether episodes end together or one by one is
    up to it as well. `RobustPendulumVectorEnv` and `SeparateEnds` document the protocol.

    Args:
        num_envs: N.
        alpha: The adversary's share α in [0, 1], a number, or a list with one per env; 0.1 by default.
        coupling: Name of an `ActionCoupling` ("noisy", "probabilistic"), or such an object.
        perturbation: Perturbation of the first episode, as in `reset`.
        max_episode_steps: Number of steps after which an episode is truncated; by default as in Gymnasium.
        dtype: Precision of actions, observations and rewards, "float32" or "float64".
        device: "auto", "cpu" or "cuda".
        env_id: The only env that the subclass is.
        **settings: Settings of the coupling.

    Raises:
        GameError: Numbers out of range, unknown names, and what `reset` and `step` raise.
    """

    metadata: ClassVar[dict[str, Any]] = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": [], "torch": True}
    players: ClassVar[tuple[str, str]] = ("protagonist", "adversary")
    env_id: ClassVar[str]
    usual_steps: ClassVar[int]
    """Number of steps after which Gymnasium truncates an episode."""
    title: ClassVar[str]
    """The batch in words."""
    axes: ClassVar[Mapping[str, tuple[str, ...]]]
    """The axes of a perturbation that have an effect here, with the names of their parts."""
    finite: ClassVar[gym.spaces.Discrete | None] = None
    """The actions of the env, if they are finitely many; those of the players are then preferences, (n,)."""
    state_words: ClassVar[tuple[str, ...]]
    """Names of the numbers of a state."""

    def __init__(
        self,
        num_envs: int = 1,
        alpha: float | list[float] | None = None,
        coupling: str | ActionCoupling = "noisy",
        perturbation: Perturbation | None = None,
        max_episode_steps: int | None = None,
        dtype: str = "float32",
        device: str = "cpu",
        env_id: str | None = None,
        **settings: Any,
    ) -> None:
        max_episode_steps = self.usual_steps if max_episode_steps is None else max_episode_steps
        if num_envs < 1 or max_episode_steps < 1:
            raise GameError(f"num_envs is {num_envs} and max_episode_steps {max_episode_steps}: both are at least 1")
        if dtype not in DTYPES:
            raise unknown("dtype", dtype, DTYPES)
        if env_id not in (None, self.env_id):
            raise GameError(f"env_id is {env_id!r}: only {self.env_id} is batched here, make others with gym.make")
        self.num_envs, self.max_episode_steps = num_envs, max_episode_steps
        self.dtype, self.device = DTYPES[dtype], choose_device(device)
        self._axes = BatchedAxes(self.title, self.axes, num_envs, self.device)
        self.generator = Streams(range(num_envs), self.device)
        self.moves = 0
        """Number of resets and steps so far, by which an agent notices those of others."""
        self.coupling, alphas = self._coupled(coupling, alpha, settings)
        self.alpha = alphas.to(self.dtype)
        self._share = Share(self.alpha, (1 - alphas).to(self.dtype))  # 1 - α rounded once, as NumPy does
        kind: Any = np.dtype(dtype).type
        self.action_size = 1 if self.finite is None else int(self.finite.n)
        own, other = (gym.spaces.Box(-1.0, 1.0, (self.action_size,), kind) for _ in self.players)
        self.single_action_space = gym.spaces.Dict(protagonist=own, adversary=other)  # type: ignore[assignment]
        high = np.array(self._bounds(), kind)
        self.single_observation_space = gym.spaces.Box(-high, high, dtype=kind)  # type: ignore[assignment]
        self._flags = [torch.full((num_envs,), on, device=self.device) for on in (False, True)]
        self._source = self._checked(perturbation)
        self._seeded = False
        self.perturbation: dict[str, Any] = {}
        """The perturbation of the present episodes, {axis: (N,)} or {axis: {part: (N,)}}."""

    @cached_property
    def action_space(self) -> gym.Space:  # type: ignore[override]
        """The batch of `single_action_space`."""
        return batch_space(self.single_action_space, self.num_envs)

    @cached_property
    def observation_space(self) -> gym.Space:  # type: ignore[override]
        """The batch of `single_observation_space`."""
        return batch_space(self.single_observation_space, self.num_envs)

    # -- the env, which a subclass states ------------------------------------------------------------------------
    @abstractmethod
    def _bounds(self) -> Sequence[float]:
        """Return the largest observation; the least is its negative."""

    @abstractmethod
    def _begin(self) -> None:
        """Draw starts and perturbations of a new episode in every env."""

    @abstractmethod
    def _place(self, state: Tensor) -> None:
        """Put the envs in these states, (N, d) in float64."""

    @abstractmethod
    def _move(self, executed: Tensor) -> tuple[Tensor, Tensor]:
        """Move every env by the executed action (N, k), and return (rewards, whether it terminated), (N,) each."""

    @abstractmethod
    def _observe(self) -> Tensor:
        """Return the observations, (N, p)."""

    @abstractmethod
    def _renew(self, terminated: Tensor) -> tuple[Tensor, Tensor, bool]:
        """Count a step, and begin new episodes where they are over.

        Returns:
            (whether each is truncated, whether each is over, whether one may have begun).
        """

    @abstractmethod
    def ended(self) -> list[int]:
        """Return the length of every episode that the last step ended, and 0 where it did not."""

    @abstractmethod
    def _check_range(self, perturbation: Mapping[Axis, float | Distribution]) -> None:
        """Refuse parameters with which a state overflows."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return everything that changes, as tensors and integers: a loaded env continues bit for bit on a CPU."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken, with the same arguments."""

    # -- protocol ------------------------------------------------------------------------------------------------
    def reset(  # type: ignore[override]
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Start an episode in every env.

        Args:
            seed: Seed of the streams that draw starts, coins, noise and perturbations, one for each env, which does not
                depend on the others: a list with one per env, or s for s, s + 1, ….
            options: Perturbation {"perturbation": {axis: value}} of this episode and the next ones; None restores the
                nominal env. Axes are those of `axes` (relative, 1.0 is nominal) and action_noise (the probability that
                a uniform action replaces the executed one). A value is a number, a tensor or list with one per env, or
                a `Distribution` or (low, high), from which every env draws in every episode, or {part: value}.
                {"state": s} is the start of this episode, (d,) or (N, d).

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
            d, given = len(self.state_words), torch.as_tensor(options["state"], dtype=torch.float64, device=self.device)
            if given.shape not in ((d,), (self.num_envs, d)):
                raise GameError(f"state has shape {tuple(given.shape)}: expected {(d,)} or {(self.num_envs, d)}")
            self._place(given.expand(self.num_envs, d).clone())
        return self._observe(), {"perturbation": dict(self.perturbation)}

    def step(self, actions: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]:
        """Play both actions in every env.

        Raises:
            GameError: An action that misses a player or has the wrong shape; a step before the first reset.
        """
        if not self._seeded:
            raise GameError("step before reset: call env.reset(seed=0) first")
        self.moves += 1
        coupled, executed, acted = self._execute(*(self._action(actions, player) for player in self.players))
        reward, terminated = self._move(executed)
        reward, final, perturbation = reward.to(self.dtype), self._observe(), dict(self.perturbation)
        truncated, over, begun = self._renew(terminated)
        info = {
            "executed_action": executed,
            "adversary_acted": acted,
            "reward_adversary": -reward,
            "perturbation": perturbation,
            "final_obs": final,
            "_final_obs": over,
        }
        if "action_noise" in perturbation:
            info["coupled_action"] = coupled
        return self._observe() if begun else final, reward, terminated, truncated, info

    def _execute(self, own: Tensor, other: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return (the action before noise, the executed one, (N, k) each; whether the adversary had a part, (N,))."""
        coupled, acted = self.coupling.execute(own, other, self._share, self._coins)
        executed = coupled
        if "action_noise" in self.perturbation:
            drawn = 2 * self._uniform(self.dtype, self.action_size) - 1
            replaced = self._uniform(torch.float64) < self.perturbation["action_noise"]
            executed = torch.where(replaced.unsqueeze(-1), drawn, coupled)
        return coupled, executed, acted.squeeze(-1)

    def _uniform(self, dtype: torch.dtype, *further: int) -> Tensor:
        return uniform((self.num_envs, *further), self.generator, dtype)

    def _coins(self) -> Tensor:
        return self._uniform(torch.float64).unsqueeze(-1)

    def _drawn(self) -> dict[str, Any]:
        """Return a perturbation of every env."""
        return nested(
            (axis, value if isinstance(value, Tensor) else value.quantile(self._uniform(torch.float64)))
            for axis, value in self._source.items()
        )

    # -- input ---------------------------------------------------------------------------------------------------
    def _action(self, actions: dict[str, Tensor], player: str) -> Tensor:
        shape = (self.num_envs, self.action_size)
        if not (isinstance(actions, Mapping) and player in actions):
            raise GameError(f"pass the actions of both, {{'protagonist': a, 'adversary': b}}, each {shape}")
        action = torch.as_tensor(actions[player], dtype=self.dtype, device=self.device)
        if action.shape != shape:
            raise GameError(f"the {player}'s action has shape {tuple(action.shape)}: expected {shape}")
        return action.clamp(-1, 1)

    def _coupled(
        self, coupling: str | ActionCoupling, alpha: float | list[float] | None, settings: dict[str, Any]
    ) -> tuple[ActionCoupling, Tensor]:
        """Return (the coupling, α of every env in float64, (N, 1))."""
        each = None if alpha is None else self._axes.per_env("alpha", alpha)
        found, others = make_coupling(coupling, None if each is None else float(each.max()), settings)
        law = check_actions_coupled(found)
        if others:
            raise unknown("setting", next(iter(others)), [f.name for f in fields(law)])
        if each is None:
            return law, self._axes.per_env("alpha", law.alpha).unsqueeze(-1)
        replace(law, alpha=float(each.min()))  # checks the smallest share also
        return law, each.unsqueeze(-1)

    def _checked(self, perturbation: Perturbation | None) -> dict[Axis, Tensor | Distribution]:
        return self._axes.read(perturbation, self._check_range)

    def _seeds(self, seed: int | Sequence[int | None] | None) -> list[int]:
        """Return one seed per env; unpredictable ones for None."""
        n = self.num_envs
        each = [seed] * n if seed is None else range(seed, seed + n) if isinstance(seed, int | np.integer) else seed
        if len(each) != n or not all(s is None or (isinstance(s, int | np.integer) and 0 <= s < 2**63) for s in each):
            raise GameError(f"seed is {seed}: pass a whole number >= 0, or a list with one for each of {n}")
        return [secrets.randbits(63) if s is None else int(s) for s in each]
