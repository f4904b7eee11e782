"""The axes of a grid of perturbations in results: their names, their nominal values, and those without an effect."""

from __future__ import annotations

import gymnasium as gym
import numpy as np

from robustgames.envs.control.perturbations import NOISES
from robustgames.envs.control.uncertainty_sets import Axis, UncertaintySet
from robustgames.evaluation.rollouts import action_robust


def distances(name: str, values: tuple[float, ...]) -> np.ndarray:
    """Return how far values of an axis are from the nominal one, scales by their ratio."""
    return np.abs(values) if name in NOISES else np.abs(np.log(values))


def axis_name(axis: Axis) -> str:
    """Return the name of an axis in a result: "axis", or "axis of body"."""
    return axis if isinstance(axis, str) else f"{axis[0]} of {axis[1]}"


def idle_axes(grid: UncertaintySet, env: gym.Env) -> dict[str, str]:
    """Return {axis: reason} of the axes of which no value except the nominal one has an effect on the env."""
    idle: dict[str, str] = {}
    for axis, values in grid.relative(env).items():
        reasons = []
        for value in values:
            if distances(axis_name(axis), (value,))[0] < 1e-12:
                continue
            name, scale = (axis, value) if isinstance(axis, str) else (axis[0], {axis[1]: value})
            reasons.append(action_robust(env).why_idle(name, scale))
            if reasons[-1] is None:
                break
        if reasons and reasons[-1] is not None:
            idle[axis_name(axis)] = reasons[0]
    return idle
