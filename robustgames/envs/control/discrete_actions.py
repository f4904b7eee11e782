"""Envs with finitely many actions as envs with a box of preferences: the largest one is executed."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from robustgames.errors import GameError


class Preferences(gym.ActionWrapper):
    """An env with n actions, whose action is a vector in [-1, 1]^n: that of its largest component, the first of equals.

    The couplings of actions then apply. "probabilistic" executes the action of one player or the other, exactly as for
    probabilities over actions. "noisy" mixes preferences. A uniform vector is a uniform action.

    Args:
        env: Env with a `Discrete` action space.

    Example:
        >>> env = Preferences(gym.make("CartPole-v1"))
        >>> env.action_space.shape, int(env.action(np.array([-1.0, 1.0])))
        ((2,), 1)
    """

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        assert isinstance(env.action_space, gym.spaces.Discrete)
        self._first = env.action_space.start
        self.action_space = gym.spaces.Box(-1.0, 1.0, (int(env.action_space.n),), np.float32)

    def action(self, action: np.ndarray) -> Any:
        """Return the action of the env for a vector of preferences (n,)."""
        return self._first + np.argmax(action)


def finite_actions(core: Any) -> gym.spaces.Discrete | None:
    """Return the actions of an `ActionRobustEnv` or of a batch of envs, or None if they are continuous."""
    inner = getattr(core, "inner", None)
    space: Any = inner.env.action_space if isinstance(inner, Preferences) else getattr(core, "finite", None)
    return space


def check_continuous(core: Any) -> None:
    """Check that the actions of an `ActionRobustEnv` or of a batch of envs are continuous.

    Raises:
        GameError: They are finitely many.
    """
    if (space := finite_actions(core)) is not None:
        train = f"--set env_id={core.env_id} coupling=probabilistic"
        raise GameError(
            f"{core.env_id} has actions {space}, and this agent needs a Box: robustgames train "
            f"robust_dqn robustgames/ActionRobust-v0 {train}"
        )
