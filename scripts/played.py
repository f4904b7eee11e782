"""Learning curves of control agents: when their policies are evaluated, and the episodes that all of them play."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

FIRST_EPISODE = 10_000  # the seed of the first evaluation episode

Act = Callable[[np.ndarray], Any]
"""From an observation to an action of the env itself."""


def checkpoints(steps: int, every: int) -> list[int]:
    """Return the steps after which a policy is evaluated."""
    return [*range(every, steps, every), steps]


def play(env: gym.Env, act: Act, episodes: int) -> float:
    """Return the mean return of a policy over the evaluation episodes."""
    total = 0.0
    for i in range(episodes):
        seen, _ = env.reset(seed=FIRST_EPISODE + i)
        over = False
        while not over:
            seen, reward, terminated, truncated, _ = env.step(act(seen))
            total, over = total + float(reward), terminated or truncated
    return total / episodes
