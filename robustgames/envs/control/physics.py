"""The parameters that a perturbation scales: numbers of an env written in Python, or arrays of a MuJoCo model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import gymnasium as gym

from robustgames.errors import GameError, unknown

Scales = Mapping[str, Any]
"""{axis: factor}, or {axis: {name: factor}} for single bodies, joints or actuators."""


class Physics(ABC):
    """The nominal parameters of one env, and their scaling. Scales multiply nominal values, so they never compound."""

    @abstractmethod
    def names(self, axis: str) -> list[str]:
        """Return the names for a dict of this axis: bodies (mass, friction), joints (damping), actuators (gain)."""

    @abstractmethod
    def nominal(self, axis: str, name: str | None = None) -> float:
        """Return the unscaled value: kg of a body (or of all), coefficient of the strongest contact, m/s²."""

    @abstractmethod
    def set(self, *scales: Scales) -> None:
        """Scale the nominal parameters by the product of all `scales`; parameters without a scale are nominal."""

    @abstractmethod
    def idle(self, axis: str, scale: Any) -> str | None:
        """Return the reason why this scale changes no trajectory of this env, or None."""

    def lost(self) -> dict[str, str]:
        """Return {axis: reason} of the scales that the env itself has overwritten since `set`; none is known here."""
        return {}

    @abstractmethod
    def bind(self, env: gym.Env) -> None:
        """Attach to `env`: the env that the nominal parameters come from, or a copy of it."""


class Numbers(Physics):
    """Physics in attributes of an env, such as m, l and g of Pendulum-v1.

    Args:
        env: Unwrapped env.
        attributes: Names of its attributes, {axis: name}.
    """

    def __init__(self, env: gym.Env, attributes: Mapping[str, str]) -> None:
        self._attributes = dict(attributes)
        self._nominal = {axis: float(getattr(env, name)) for axis, name in attributes.items()}
        self._scaled = dict(self._nominal)
        self.bind(env)

    def bind(self, env: gym.Env) -> None:
        self._env = env

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_env"}

    def names(self, axis: str) -> list[str]:
        return []

    def nominal(self, axis: str, name: str | None = None) -> float:
        if axis not in self._nominal:
            raise unknown("axis", axis, self._nominal)
        if name is not None:
            raise GameError(f"this env names no parts of its {axis}, and no {name!r}")
        return self._nominal[axis]

    def set(self, *scales: Scales) -> None:
        for axis, attribute in self._attributes.items():
            value = self._nominal[axis]
            for some in scales:
                value *= some.get(axis, 1.0)
            self._scaled[axis] = value
            setattr(self._env, attribute, value)

    def lost(self) -> dict[str, str]:
        found = {}
        for axis, attribute in self._attributes.items():
            wanted, now = self._scaled[axis], getattr(self._env, attribute)
            if wanted != self._nominal[axis] and now != wanted:
                found[axis] = f"sets {attribute} to {now} where it was {wanted:g}"
        return found

    def idle(self, axis: str, scale: Any) -> str | None:
        return None if axis in self._attributes else f"the env has no {axis}"
