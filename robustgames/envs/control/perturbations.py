"""Perturbations of a control env, as data: the axes, and the distributions that values are drawn from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, log
from numbers import Real
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from robustgames.envs.control.uncertainty_sets import axis_name, by_axis
from robustgames.errors import GameError, unknown

AXES = {
    "mass": "masses and inertias",
    "friction": "friction of all geoms",
    "gravity": "gravity",
    "damping": "damping and dry friction of the joints",
    "gain": "force of the actuators",
    "length": "length (Pendulum-v1, CartPole-v1, Acrobot-v1)",
    "mass_alone": "masses without their inertias, as published code sets them (MuJoCo)",
    "action_noise": "probability that an action is replaced by a uniformly random one",
    "observation_noise": "standard deviation of Gaussian noise on the observation",
}
"""The axes of a perturbation. All but the two noises are relative: 1.0 is the nominal env."""

NOISES = ("action_noise", "observation_noise")

Perturbation = Mapping[str, Any]
"""{axis: value}; a value is a number, a `Distribution`, (low, high) for a uniform one, or {body: value}.

{"axis:body": value} means {axis: {body: value}}, see `flat`."""


class Distribution(ABC):
    """A distribution of values, drawn from at every reset with the env's generator."""

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> float:
        """Return one value."""

    @abstractmethod
    def extremes(self) -> Sequence[float]:
        """Return values such that all others are allowed if these are."""

    def quantile(self, u: Tensor) -> Tensor:
        """Return the values below which a share u of the draws lies: a draw per env from uniform u in [0, 1).

        Raises:
            GameError: The distribution does not define it.
        """
        raise GameError(f"{self} defines no quantile: a batched env cannot draw from it, use Uniform(0.5, 2.0)")


@dataclass(frozen=True)
class Uniform(Distribution):
    """Uniform on [low, high]; `(low, high)` in a perturbation means the same."""

    low: float
    high: float

    def __post_init__(self) -> None:
        _ordered(self.low, self.high)

    def draw(self, rng: np.random.Generator) -> float:
        return float(rng.uniform(self.low, self.high))

    def extremes(self) -> Sequence[float]:
        return self.low, self.high

    def quantile(self, u: Tensor) -> Tensor:
        return self.low + (self.high - self.low) * u


@dataclass(frozen=True)
class LogUniform(Distribution):
    """Uniform on a logarithmic scale between low > 0 and high: halving is as likely as doubling."""

    low: float
    high: float

    def __post_init__(self) -> None:
        _ordered(self.low, self.high)
        if not self.low > 0:
            raise GameError(f"LogUniform from {self.low}: the lower end must be positive, e.g. LogUniform(0.5, 2.0)")

    def draw(self, rng: np.random.Generator) -> float:
        return float(np.exp(rng.uniform(log(self.low), log(self.high))))

    def extremes(self) -> Sequence[float]:
        return self.low, self.high

    def quantile(self, u: Tensor) -> Tensor:
        return self.low * (self.high / self.low) ** u


@dataclass(frozen=True)
class Choice(Distribution):
    """One of several values, all equally likely."""

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise GameError("Choice of no values: give some, e.g. Choice((0.5, 1.0, 2.0))")

    def draw(self, rng: np.random.Generator) -> float:
        return float(self.values[rng.integers(len(self.values))])

    def extremes(self) -> Sequence[float]:
        return self.values

    def quantile(self, u: Tensor) -> Tensor:
        return torch.tensor(self.values, dtype=u.dtype, device=u.device)[(u * len(self.values)).long()]


def _ordered(low: float, high: float) -> None:
    if not (isfinite(low) and isfinite(high) and low <= high):
        raise GameError(f"bounds {low} and {high}: give finite ones, the lower first, e.g. (0.5, 2.0)")


class Named(Protocol):
    """What names the parts of an axis: a `Physics`, or the axes of a batch."""

    def names(self, axis: str) -> list[str]:
        """Return the names for a dict of this axis."""
        ...


def checked(perturbation: Perturbation | None, physics: Named | None = None) -> dict[str, Any]:
    """Return a perturbation as a dict of plain numbers and distributions; None is {}.

    Args:
        perturbation: {axis: value}.
        physics: Physics whose bodies, joints and actuators the values may name; None of an env without named parts.

    Raises:
        GameError: Unknown axes or bodies, scales that are not positive, or probabilities outside [0, 1].

    Example:
        >>> from robustgames.envs.control.inner import physics_of
        >>> physics = physics_of(gym.make("Pendulum-v1").unwrapped)
        >>> checked({"mass": 1.5, "length": (0.5, 2)}, physics)
        {'mass': 1.5, 'length': Uniform(low=0.5, high=2.0)}
    """
    if perturbation is None:
        return {}
    if not isinstance(perturbation, Mapping):
        raise GameError(f"perturbation is {perturbation!r}: pass a dict of axes, e.g. {{'mass': 1.5}}")
    nested = _nested(perturbation)
    for axis in nested:
        if axis not in AXES:
            raise unknown("axis of a perturbation", str(axis), AXES)
    return {axis: _checked_axis(axis, value, physics) for axis, value in nested.items()}


def flat(perturbation: Perturbation) -> dict[str, Any]:
    """Return a perturbation with keys "axis:name" for the parts of an axis.

    `checked` reads this form as well. A Gymnasium vector env joins it over sub-envs of which one perturbs an axis as a
    whole and another one a part of it.

    Example:
        >>> flat({"mass": {"pole": 0.5, "cart": 2.0}, "gravity": 1.5})
        {'mass:pole': 0.5, 'mass:cart': 2.0, 'gravity': 1.5}
    """
    return {axis_name(axis): value for axis, value in by_axis(perturbation).items()}


def _nested(perturbation: Perturbation) -> dict[str, Any]:
    """Return a perturbation with {axis: {name: value}} for keys "axis:name"."""
    found: dict[str, Any] = {}
    for key, value in perturbation.items():
        axis, colon, name = str(key).partition(":")
        one = {name: value} if colon else value
        if axis in found and not (isinstance(one, Mapping) and isinstance(found[axis], Mapping)):
            raise GameError(
                f"perturbation is {dict(perturbation)}: {axis} is given as a whole and for a part, name all parts"
            )
        found[axis] = {**found[axis], **one} if axis in found else one
    return found


def _checked_axis(axis: str, value: Any, physics: Named | None) -> Any:
    if not isinstance(value, Mapping):
        return _checked_value(axis, axis, value)
    known = [] if physics is None else physics.names(axis)
    if not known:
        raise GameError(f"{axis} is {value!r}: this env names no parts of it, pass one number, e.g. {axis}=0.5")
    for name in value:
        if name not in known:
            raise unknown(f"name in {axis}", str(name), known)
    return {name: _checked_value(axis, f"{axis} of {name}", one) for name, one in value.items()}


def _checked_value(axis: str, what: str, value: Any) -> float | Distribution:
    if isinstance(value, (list, tuple)) and len(value) == 2 and all(_is_number(end) for end in value):
        value = Uniform(float(value[0]), float(value[1]))
    if isinstance(value, Distribution):
        for end in value.extremes():
            _checked_value(axis, what, end)
        return value
    if isinstance(value, (list, tuple)) or not _is_number(value):
        raise GameError(f"{what} is {value!r}: pass a number, (low, high) or a distribution such as Choice((0.5, 2.0))")
    number = float(value)
    if axis == "action_noise" and not 0 <= number <= 1:
        raise GameError(f"{what} is {number}: a probability lies in [0, 1], e.g. action_noise=0.1")
    if axis == "observation_noise" and not (isfinite(number) and number >= 0):
        raise GameError(f"{what} is {number}: a standard deviation is finite and not negative, e.g. 0.05")
    if axis not in NOISES and not (isfinite(number) and number > 0):
        raise GameError(f"{what} is {number}: a relative scale is positive and finite, 1.0 is nominal")
    return number


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def draw(perturbation: Perturbation, rng: np.random.Generator) -> dict[str, Any]:
    """Return {axis: number} or {axis: {name: number}}: every distribution replaced by a value from it."""
    return {axis: _drawn(value, rng) for axis, value in perturbation.items()}


def _drawn(value: Any, rng: np.random.Generator) -> Any:
    if isinstance(value, Mapping):
        return {name: _drawn(one, rng) for name, one in value.items()}
    return value.draw(rng) if isinstance(value, Distribution) else value
