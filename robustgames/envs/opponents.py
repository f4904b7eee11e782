"""Policies from whatever plays: a function, a torch module, or a model with `predict`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import torch
from torch import nn

from robustgames.errors import GameError

Policy = Callable[[Any], np.ndarray]


class Predictor(Protocol):
    """An agent, or a model or policy of Stable-Baselines3."""

    @property
    def predict(self) -> Callable[..., Any]:
        """Function of an observation that returns an action, or (action, state)."""
        ...


class ModelPolicy:
    """The deterministic actions of a model with `predict`, such as an agent or a model of Stable-Baselines3.

    If the model has a bounded `action_space` of its own, its actions are stretched from there over the player's box.
    Observations are normalized as in training if the model has a `VecNormalize`. An agent of both players plays the
    part of this player.

    Args:
        model: Model with `predict(observation, …)`, which returns an action or (action, state).
        player: Name of the player that it acts for.
        box: Box of the player's actions.

    Raises:
        GameError: The actions of the model do not fit the box.
    """

    def __init__(self, model: Any, player: str, box: gym.spaces.Box) -> None:
        self.model, self.player, self.box = model, player, box
        self._own = self._checked(getattr(model, "action_space", None))
        self._known = set(inspect.signature(model.predict).parameters)
        normalized = getattr(model, "get_vec_normalize_env", None)
        self._norm: Any = normalized() if callable(normalized) else None
        self.begin()

    def _checked(self, own: Any) -> gym.spaces.Box | None:
        """Return the box to stretch from, or None if both boxes are the same or the model has none."""
        if own is None or own == self.box:
            return None
        advice = f"pass a function observation -> action of {self.player!r}, which plays {self.box}"
        if not isinstance(own, gym.spaces.Box) or own.shape != self.box.shape:
            raise GameError(f"the model acts in {own!r}: {advice}")
        if np.array_equal(own.low, self.box.low) and np.array_equal(own.high, self.box.high):
            return None
        if not (own.is_bounded() and self.box.is_bounded()):
            raise GameError(f"the actions of the model cannot be stretched from {own!r}, which is unbounded: {advice}")
        return own

    def begin(self) -> None:
        """Start an episode: a recurrent model forgets the last one."""
        self._state, self._start = None, True

    def __call__(self, observation: Any) -> np.ndarray:
        if self._norm is not None:
            observation = self._norm.normalize_obs(observation)
        given = {
            "state": self._state,
            "episode_start": np.array([self._start]),
            "deterministic": True,
            "player": self.player,
        }
        answer = self.model.predict(observation, **{name: given[name] for name in given if name in self._known})
        action, self._state = answer if isinstance(answer, tuple) else (answer, None)
        self._start = False
        return self._stretched(self._shaped(action[self.player] if isinstance(action, Mapping) else action))

    def _shaped(self, action: Any) -> np.ndarray:
        value = np.asarray(action.detach().cpu() if hasattr(action, "detach") else action)
        if value.size != np.prod(self.box.shape):
            raise GameError(
                f"the model played an array of shape {value.shape}: {self.player!r} plays one of {self.box.shape}; "
                "of several runs, pass the strategy of one"
            )
        return value.reshape(self.box.shape)

    def _stretched(self, action: np.ndarray) -> np.ndarray:
        if self._own is None:
            return action.astype(self.box.dtype)
        low, high = self._own.low.astype(np.float64), self._own.high.astype(np.float64)
        share = np.clip((action - low) / (high - low), 0.0, 1.0)
        wide = self.box.low + share * (self.box.high.astype(np.float64) - self.box.low)
        return wide.astype(self.box.dtype)


class ModulePolicy:
    """The actions of a torch module in evaluation mode, (1, p) -> (1, k), of a batch with one observation.

    Args:
        module: Module. Observations come in the type and on the device of its first floating-point parameter.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        first = next((weight for weight in module.parameters() if weight.is_floating_point()), torch.zeros(0))
        self._place = {"dtype": first.dtype, "device": first.device}

    @torch.no_grad()
    def __call__(self, observation: Any) -> np.ndarray:
        modes = [(part, part.training) for part in self.module.modules()]
        self.module.eval()
        try:
            return self.module(torch.as_tensor(observation, **self._place)[None])[0].cpu().numpy()
        finally:
            for part, mode in modes:
                part.training = mode


def policy_of(given: Any, player: str, box: gym.spaces.Box) -> Policy | None:
    """Return the policy of a model with `predict` or of a torch module, or a function itself; None of anything else."""
    if hasattr(given, "predict"):
        return ModelPolicy(given, player, box)
    if isinstance(given, nn.Module):
        return ModulePolicy(given)
    return given if callable(given) else None  # type: ignore[return-value]
