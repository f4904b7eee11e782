"""A batch of tensors as a vector env of NumPy arrays, for the vector wrappers of Gymnasium."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from torch import Tensor

from robustgames.errors import GameError


class NumpyBatch(gym.vector.VectorWrapper):
    """`GameVectorEnv` or a batch of control envs in NumPy: the innermost wrapper below those of Gymnasium.

    Gymnasium's vector wrappers compute with arrays, and most expect that an env that is over is reset by the *next*
    step (`AutoresetMode.NEXT_STEP`). So the last observation of an episode is returned by the step that ends it. The
    step after it ignores its actions, has reward 0 and returns the first observation of the next episode.

    Args:
        env: Batch whose observations, rewards and flags are tensors.

    Raises:
        GameError: The env is not such a batch.

    Example:
        >>> batch = gym.make_vec("robustgames/RobustPendulum-v0", num_envs=8)
        >>> counted = gym.wrappers.vector.RecordEpisodeStatistics(NumpyBatch(batch))
        >>> type(counted.reset(seed=0)[0]), counted.step(counted.action_space.sample())[1].shape
        (<class 'numpy.ndarray'>, (8,))
    """

    def __init__(self, env: gym.vector.VectorEnv) -> None:
        if not env.metadata.get("torch"):
            raise GameError(f"{env} is not a batch of tensors: Gymnasium's wrappers take it as it is")
        super().__init__(env)
        mode = env.metadata["autoreset_mode"]
        mode = AutoresetMode.NEXT_STEP if mode == AutoresetMode.SAME_STEP else mode
        self.metadata = {**env.metadata, "autoreset_mode": mode, "torch": False}
        self._first: np.ndarray | None = None

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self._first = None
        observation, info = self.env.reset(seed=seed, options=options)
        return _arrays(observation), _arrays(info)

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        if self._first is not None:
            first, self._first = self._first, None
            never = np.zeros(self.num_envs, bool)
            info = {"perturbation": _arrays(dict(self.env.unwrapped.perturbation))}  # type: ignore[attr-defined]
            return first, np.zeros(self.num_envs, self._kind), never, never.copy(), info
        observation, reward, terminated, truncated, info = (_arrays(part) for part in self.env.step(actions))
        self._kind = reward.dtype
        final, _ = info.pop("final_obs", None), info.pop("_final_obs", None)
        over = terminated | truncated
        if over.any():
            if not over.all():
                raise GameError(f"{self.env} ends its episodes one by one: make it with vectorization_mode='sync'")
            observation, self._first = final, observation
        return observation, reward, terminated, truncated, info


def _arrays(value: Any) -> Any:
    """Return tensors, nested ones included, as arrays of their own."""
    if isinstance(value, Tensor):
        return value.detach().cpu().numpy().copy()
    if isinstance(value, Mapping):
        return {name: _arrays(one) for name, one in value.items()}
    return value
