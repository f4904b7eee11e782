"""The box of the parameters that an agent is uncertain of, in coordinates from -1 to 1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from robustgames.envs.control.batch import RobustVectorEnv
from robustgames.envs.control.grid_words import parse_box
from robustgames.envs.control.perturbations import NOISES, checked
from robustgames.envs.control.uncertainty_sets import Axis, UncertaintySet, uncertainty_set
from robustgames.errors import GameError
from robustgames.evaluation.axes import axis_name
from robustgames.evaluation.rollouts import action_robust


class UncertaintyBox:
    """Ω = [low, high], d parameters of an env; coordinate c in [-1, 1] denotes low + (high - low) (c + 1) / 2.

    An axis whose bounds are equal has that value in every episode, and no coordinate.

    Args:
        text: Axes and bounds, such as "mass=0.5:2,length=0.5:2", or the name of an uncertainty set.
        env: Env of control, or a batch of pendulums, on which every axis must have an effect.

    Raises:
        GameError: An unknown name, axis or body, bounds that are not allowed, or an axis without an effect.

    Example:
        >>> box = UncertaintyBox("mass=0.5:2,length=1:1", gym.make("robustgames/ActionRobustPendulum-v0"))
        >>> box.names, box.perturbation(np.array([1.0])), box.nominal.round(3).tolist()
        (['mass'], {'length': 1.0, 'mass': 2.0}, [-0.333])
    """

    def __init__(self, text: str, env: gym.Env | RobustVectorEnv) -> None:
        bounds = _bounds(text, env)
        _check(bounds, env)
        self._fixed = {axis: low for axis, (low, high) in bounds.items() if low == high}
        free = {axis: ends for axis, ends in bounds.items() if axis not in self._fixed}
        self.axes, self.names, self.size = list(free), [axis_name(axis) for axis in free], len(free)
        """Axes with a coordinate, their names, and their number d."""
        self.low, self.high = np.array(list(free.values()), np.float64).reshape(-1, 2).T

    def values(self, coordinates: np.ndarray) -> np.ndarray:
        """Return the parameters of coordinates (..., d), exactly on the bounds at -1 and 1."""
        inside = self.low + (self.high - self.low) * (np.asarray(coordinates, np.float64) + 1) / 2
        return np.clip(inside, self.low, self.high)

    @property
    def nominal(self) -> np.ndarray:
        """The coordinates (d,) of the point of the box that is nearest to the nominal env."""
        usual = np.array([0.0 if name in NOISES else 1.0 for name in self.names])
        return 2 * (np.clip(usual, self.low, self.high) - self.low) / (self.high - self.low) - 1

    def perturbation(self, coordinates: np.ndarray) -> dict[str, Any]:
        """Return the perturbation of coordinates (d,), or of one row for each env, (N, d), as lists of numbers."""
        values = self.values(coordinates)
        columns = [values[..., i].tolist() for i in range(self.size)]
        chosen: dict[Axis, Any] = {**self._fixed, **dict(zip(self.axes, columns, strict=True))}
        [found] = UncertaintySet({axis: (value,) for axis, value in chosen.items()}, "").points()
        return found


def _bounds(text: str, env: gym.Env | RobustVectorEnv) -> Mapping[Axis, tuple[float, float]]:
    if not isinstance(text, str):
        raise GameError(f"uncertainty is {text!r}: a text such as 'mass=0.5:2,length=0.5:2', or the name of a set")
    parsed = parse_box(text)
    if not isinstance(parsed, str):
        return parsed
    grid, batch = uncertainty_set(parsed), isinstance(env, RobustVectorEnv)
    return {axis: (min(v), max(v)) for axis, v in grid.relative(None if batch else env).items()}  # type: ignore[arg-type]


def _check(bounds: Mapping[Axis, tuple[float, float]], env: gym.Env | RobustVectorEnv) -> None:
    """Check that the bounds are perturbations of the env, and that one of each axis acts on it."""
    ends = [UncertaintySet({axis: (v[k],) for axis, v in bounds.items()}, "").points()[0] for k in range(2)]
    if isinstance(env, RobustVectorEnv):
        for end in ends:
            env._checked(end)
        return
    core = action_robust(env)
    for end in ends:
        checked(end, core.physics)
    for axis, values in bounds.items():
        if values[0] == values[1]:
            continue
        each = [(axis, v) if isinstance(axis, str) else (axis[0], {axis[1]: v}) for v in values]
        reasons = [core.why_idle(name, value) for name, value in each]
        if all(reasons):
            raise GameError(f"{axis_name(axis)} has no effect on {core.env_id}: {reasons[0]}; leave it out")
