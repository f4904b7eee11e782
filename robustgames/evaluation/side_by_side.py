"""Episodes of one policy played side by side, so what is computed for their states is computed in one batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Self

import gymnasium as gym
import numpy as np

from robustgames.envs.control.inner import checked_flag, is_real_box
from robustgames.errors import GameError
from robustgames.evaluation.rollouts import action_robust, adversary_shape, alone, control_env


@dataclass(frozen=True, eq=False)
class Episodes:
    """Episodes, of T_k steps each.

    Attributes:
        states: Observations of every episode with the last one, T_k + 1 rows.
        actions: Actions, T_k rows.
        rewards: Rewards, (T_k,).
        terminated: Whether each episode terminated, else it was truncated.
    """

    states: list[np.ndarray]
    actions: list[np.ndarray]
    rewards: list[np.ndarray]
    terminated: list[bool]

    @property
    def returns(self) -> np.ndarray:
        """Undiscounted returns, (episodes,), summed as `play` sums them."""
        return np.array([sum(map(float, rewards), 0.0) for rewards in self.rewards])


class SideBySide:
    """Copies of an env whose protagonist is alone and nominal, as in `play` without an adversary.

    Args:
        env: Id of an `ActionRobustEnv`.
        env_settings: Settings of the id.
        count: Largest number of episodes at once.

    Raises:
        GameError: The env does not observe a vector of real numbers; see also `control_env`.
    """

    def __init__(self, env: str, env_settings: Mapping[str, Any] | None, count: int) -> None:
        self.count = count
        self._envs: list[gym.Env] = [control_env(env, env_settings) for _ in range(count)]
        space = action_robust(self._envs[0]).inner.observation_space
        if not is_real_box(space) or len(space.shape or ()) != 1:
            raise GameError(f"{env} observes {space}: attacks on observations need a vector of real numbers")
        self._idle = np.zeros(adversary_shape(self._envs[0]), np.float32)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        for env in self._envs:
            self._stack.enter_context(alone(action_robust(env)))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()
        for env in self._envs:
            env.close()

    def play(
        self,
        policy: Callable[[Any], np.ndarray],
        episodes: int,
        seed: int,
        sight: Callable[[np.ndarray], np.ndarray] | None = None,
        noise: float = 0.0,
    ) -> Episodes:
        """Play episodes from the seeds `seed`, `seed + 1`, ….

        Args:
            policy: Policy without memory, observation -> action.
            episodes: Number of episodes.
            seed: Seed of the first one.
            sight: Function from states (B, p) to the states that the policy sees. If None, it sees the true ones.
            noise: Standard deviation of Gaussian noise on the actions.
        """
        envs, rng = self._envs[:episodes], np.random.default_rng((seed, 2))
        nominal = {"perturbation": None}
        states = [[env.reset(seed=seed + k, options=nominal)[0]] for k, env in enumerate(envs)]
        actions: list[list[np.ndarray]] = [[] for _ in envs]
        rewards: list[list[float]] = [[] for _ in envs]
        ended, alive = [False] * episodes, list(range(episodes))
        while alive:
            now = np.stack([states[k][-1] for k in alive])
            seen = now if sight is None else sight(now).astype(now.dtype)
            left = []
            for k, observation in zip(alive, seen, strict=True):
                action = policy(observation)
                if noise:
                    action = np.clip(action + noise * rng.standard_normal(action.shape), -1, 1)
                after, reward, terminated, truncated, _ = envs[k].step({"protagonist": action, "adversary": self._idle})
                states[k].append(after)
                actions[k].append(np.asarray(action))
                rewards[k].append(float(reward))
                ended[k] = checked_flag("terminated", terminated, envs[k])
                if not ended[k] and not checked_flag("truncated", truncated, envs[k]):
                    left.append(k)
            alive = left
        arrays = [[np.stack(rows) for rows in each] for each in (states, actions)]
        return Episodes(arrays[0], arrays[1], [np.array(row) for row in rewards], ended)
