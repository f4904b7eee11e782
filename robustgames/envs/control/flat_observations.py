"""Envs whose observation is a Dict or a Tuple as envs that observe one vector."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np


class Flattened(gym.ObservationWrapper):
    """An env whose observation is `gymnasium.spaces.flatten(space, observation)`, the parts in the order of the space.

    Gymnasium's `FlattenObservation` does the same and cannot be pickled, so its runs could not be saved.
    `gymnasium.spaces.unflatten(wrapper.env.observation_space, vector)` inverts it.

    Args:
        env: Env with observations that Gymnasium flattens to an array.

    Example:
        >>> class Reach(gym.Env):
        ...     observation_space = gym.spaces.Dict(arm=gym.spaces.Box(-2, 2, (2,)), goal=gym.spaces.Box(-1, 1))
        >>> flat = Flattened(Reach())
        >>> flat.observation_space.shape, flat.observation({"goal": np.ones(1), "arm": np.zeros(2)}).tolist()
        ((3,), [0.0, 0.0, 1.0])
    """

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self.observation_space = gym.spaces.flatten_space(env.observation_space)  # type: ignore[assignment]

    def observation(self, observation: Any) -> np.ndarray:
        """Return the vector of an observation."""
        return gym.spaces.flatten(self.env.observation_space, observation)  # type: ignore[return-value]
