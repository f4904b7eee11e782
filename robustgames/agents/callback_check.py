"""The callbacks of Stable-Baselines3 that an agent cannot serve, and what to use instead."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.callbacks import (
    BaseCallback,
    EvalCallback,
    ProgressBarCallback,
    StopTrainingOnMaxEpisodes,
    StopTrainingOnNoModelImprovement,
    StopTrainingOnRewardThreshold,
)

from robustgames.errors import GameError

NO_EPISODES: dict[type[BaseCallback], str] = {
    EvalCallback: "the agent evaluates itself at every log, e.g. learn(1000, log_interval=100)",
    StopTrainingOnMaxEpisodes: "total_timesteps or a function (locals, globals) -> bool ends the training",
}
"""What to use instead, of the callbacks that need episodes."""

READERS: dict[type[BaseCallback], str] = {
    StopTrainingOnRewardThreshold: "callback_on_new_best",
    StopTrainingOnNoModelImprovement: "callback_after_eval",
}
"""Argument of an `EvalCallback`, of the callbacks that read its results."""


def check_callback(agent: Any, callback: BaseCallback) -> None:
    """Refuse a callback that would count, evaluate or stop wrongly on an agent.

    Raises:
        GameError: It needs episodes and the agent plays none, its evaluation env has other spaces than the policy, or
            it reads an `EvalCallback` that it is not part of.
    """
    for one, parent in _with_children(callback, callback.parent):
        name = type(one).__name__
        if isinstance(one, ProgressBarCallback):
            raise GameError(f"{name} does not count {agent.timestep}s of one run: pass learn(…, progress_bar=True)")
        if not agent._episodic:
            for needs_episodes, instead in NO_EPISODES.items():
                if isinstance(one, needs_episodes):
                    raise GameError(f"{name} needs episodes, which {type(agent).__name__} does not play: {instead}")
        for reader, slot in READERS.items():
            if isinstance(one, reader) and not isinstance(parent, EvalCallback):
                raise GameError(
                    f"{name} reads the results of an EvalCallback: pass EvalCallback(env, {slot}={name}(…))"
                )
        if isinstance(one, EvalCallback):
            _check_evaluation(agent, one)


def _with_children(callback: BaseCallback, parent: BaseCallback | None) -> Iterator[tuple[BaseCallback, Any]]:
    """Yield (callback, parent) of a callback and all inside of it; a list passes its parent on."""
    yield callback, parent
    inside = [(child, parent) for child in getattr(callback, "callbacks", ())]
    inside += [(getattr(callback, name, None), callback) for name in ("callback", "callback_on_new_best")]
    for child, above in inside:
        if isinstance(child, BaseCallback):
            yield from _with_children(child, above)


def _check_evaluation(agent: Any, callback: EvalCallback) -> None:
    """Check that the policy plays in the evaluation env what it plays in training."""
    training, env, name = agent.get_env(), callback.eval_env, type(callback).__name__
    player = agent.game.players[0]
    played, acted = training.action_space[player], env.action_space
    if not (isinstance(acted, gym.spaces.Box) and _same(acted.low, played.low) and _same(acted.high, played.high)):
        raise GameError(
            f"{name} evaluates in an env with actions {acted!r}, but the policy plays {played!r}: "
            f"pass robustgames.PlayerView(env, {player!r}, opponent)"
        )
    observed = training.observation_space.shape
    if env.observation_space.shape != observed:
        raise GameError(
            f"{name} observes {env.observation_space}, but the policy observes an array of shape {observed}"
        )
    if training.num_envs > 1:
        warnings.warn(f"{name} evaluates run 0 of {training.num_envs}", stacklevel=5)


def _same(first: np.ndarray, second: np.ndarray) -> bool:
    return first.shape == second.shape and bool(np.all(first == second))
