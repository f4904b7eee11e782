"""The contract of a coupling: what the adversary's action does to a control env in one step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Protocol

import gymnasium as gym
import numpy as np

from robustgames.envs.control.physics import Physics


class Play(NamedTuple):
    """The effect of one joint action."""

    action: np.ndarray
    """Action of the actuators, in [-1, 1]^n."""
    acted: bool = True
    """Whether the adversary had a part in it."""
    scales: Mapping[str, Any] = {}
    """Relative scales of the dynamics in this step."""
    shift: np.ndarray | None = None
    """Shift of the next observation of the protagonist."""


class ControlEnv(Protocol):
    """The parts of an `ActionRobustEnv` that a coupling may use."""

    env_id: str
    inner: gym.Env
    physics: Physics

    @property
    def np_random(self) -> np.random.Generator:
        """The generator of coins, noise and perturbations."""
        ...

    def why_idle(self, axis: str, value: Any = 0.5) -> str | None:
        """Return the reason why a value of an axis changes nothing in this env, or None."""
        ...


class Coupling(ABC):
    """Frozen settings and one method. Subclass it for another adversary, and pass an object as `coupling=`.

    If the adversary is a second policy on the actions of the protagonist, subclass `ActionCoupling` or `MixedAction`
    instead: then agents train with it.
    """

    adversary_first: ClassVar[bool] = False
    """Whether the adversary acts before the protagonist, which sees what `perceive` makes of the state."""

    @abstractmethod
    def apply(self, env: ControlEnv, action: np.ndarray, adversary: np.ndarray) -> Play:
        """Return the effect of a joint action.

        Args:
            env: Env, with `env.inner` and the generator `env.np_random`.
            action: Action of the protagonist, in [-1, 1]^n.
            adversary: Action of the adversary, in [-1, 1]^m.
        """

    def shape(self, env: ControlEnv) -> tuple[int, ...]:
        """Return the shape of the adversary's action; that of the protagonist's unless overridden.

        Raises:
            GameError: The coupling does not fit this env.
        """
        return env.inner.action_space.shape or ()

    def observed(self, space: gym.Space) -> gym.Space:
        """Return the space of the protagonist's observations, `space` unless overridden."""
        return space

    def perceive(self, env: ControlEnv, observation: Any, adversary: np.ndarray) -> Any:
        """Return what the protagonist observes in a state in which the adversary plays `adversary`.

        Args:
            env: Env.
            observation: Observation of the state.
            adversary: Action of the adversary, in [-1, 1]^m.
        """
        return observation

    def clear(self, env: ControlEnv) -> None:  # noqa: B027, most have nothing to clear
        """Remove what the last step left in the env; called at every reset."""
