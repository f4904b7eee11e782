"""The perturbations that papers evaluate on, by name, as data that needs no env.

Published code differs from these sets if it does not do what its paper states. Here mass scales the inertia also.
Friction scales every geom (scaling the floor alone has no effect below the friction of the foot). Both axes of a grid
vary, and the upper corner belongs to the grid. Sets with a name in `-published` are those of published code, to
compare numbers with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import gymnasium as gym
import numpy as np

from robustgames.errors import GameError, unknown

Axis = str | tuple[str, str]
"""An axis of a perturbation, or (axis, body)."""


@dataclass(frozen=True)
class UncertaintySet:
    """A grid of perturbations.

    Args:
        axes: Values {axis or (axis, body): values}.
        source: Paper or code that evaluates on it.
        episodes: Number of episodes at every point.
        env_id: Env whose bodies the axes name; "" for sets that fit all envs.
        absolute: Whether the values are masses in kg and coefficients of friction, to be divided by those of a model.

    Example:
        >>> grid = uncertainty_set("tessler-mass-noise")
        >>> grid.shape, grid.points()[1]
        ((11, 11), {'mass': 0.5, 'action_noise': 0.05})
    """

    axes: Mapping[Axis, tuple[float, ...]]
    source: str
    episodes: int = 10
    env_id: str = ""
    absolute: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of values of every axis."""
        return tuple(len(values) for values in self.axes.values())

    def points(self, env: gym.Env | None = None) -> list[dict[str, Any]]:
        """Return all perturbations, the last axis fastest, for `reset(options={"perturbation": ...})`.

        Args:
            env: Action-robust env, whose nominal masses and friction make an absolute set relative.

        Raises:
            GameError: An absolute set without an env, or with one of another model.
        """
        values = self.relative(env)
        return [nested(zip(values, point, strict=True)) for point in product(*values.values())]

    def bounds(self, env: gym.Env | None = None) -> dict[str, Any]:
        """Return {axis: (least, largest)}: a distribution to train on, or the `scales` of a `DynamicsShift`."""
        return nested((axis, (min(values), max(values))) for axis, values in self.relative(env).items())

    def relative(self, env: gym.Env | None) -> Mapping[Axis, tuple[float, ...]]:
        """Return the axes with relative values, see `points`."""
        if not self.absolute:
            return self.axes
        if env is None:
            raise GameError(f"this set is in kg and coefficients of {self.env_id}: pass env=, to make it relative")
        physics, relative = env.unwrapped.physics, {}  # type: ignore[attr-defined]
        own, model = env.unwrapped.env_id, self.env_id.rpartition("-v")[0]  # type: ignore[attr-defined]
        if model not in own.rpartition("-v")[0]:  # bodies of other models may have the same names
            raise GameError(
                f"this set is in kg and coefficients of {self.env_id}, and the env is {own}: name axes and their "
                "scales, e.g. mass from 0.5 to 2"
            )
        for axis, values in self.axes.items():
            nominal = physics.nominal(*((axis,) if isinstance(axis, str) else axis))
            relative[axis] = tuple(value / nominal for value in values)
        return relative


def nested(items: Any) -> dict[str, Any]:
    """Return the perturbation {axis: value} or {axis: {body: value}} of pairs of an `Axis` and a value."""
    tree: dict[str, Any] = {}
    for axis, value in items:
        if isinstance(axis, str):
            tree[axis] = value
        else:
            tree.setdefault(axis[0], {})[axis[1]] = value
    return tree


def by_axis(perturbation: Mapping[str, Any]) -> dict[Axis, Any]:
    """Return {axis or (axis, body): value} of a perturbation, from which `nested` makes it again."""
    found: dict[Axis, Any] = {}
    for axis, value in perturbation.items():
        found |= {(axis, part): one for part, one in value.items()} if isinstance(value, Mapping) else {axis: value}
    return found


def axis_name(axis: Axis) -> str:
    """Return an axis as a word of the command line, "axis" or "axis:body"."""
    return axis if isinstance(axis, str) else ":".join(axis)


def _steps(low: float, high: float, count: int) -> tuple[float, ...]:
    return tuple(round(float(value), 10) for value in np.linspace(low, high, count))


FINE = (*_steps(0.5, 1.0, 11), *_steps(1.1, 2.0, 10))
"""The 21 relative masses of Tessler et al."""
COARSE = (*_steps(0.5, 1.0, 6), *_steps(1.2, 2.0, 5))
"""The 11 relative masses of the two-dimensional grids."""
NOISE = _steps(0.0, 0.5, 11)

TESSLER = "Tessler, Efroni, Mannor 2019, Action Robust Reinforcement Learning, and its test.py"
KAMALARUBAN = "Kamalaruban et al. 2020, Robust RL via Adversarial Training with Langevin Dynamics, and its test.py"
RARL = "Pinto et al. 2017, Robust Adversarial Reinforcement Learning, and the test scripts of rllab-adv"
RRLS = "Zouitine et al. 2024, RRLS: Robust Reinforcement Learning Suite; the sets of M2TD3, Tanabe et al. 2022"
RRLS_CODE = "Zouitine et al. 2024, RRLS, as its code has it: rrls/evaluate.py and _change_params of rrls/envs"

# (axis, body, low, high) in the order in which the 1-, 2- and 3-dimensional sets take them
_RRLS_BOUNDS: dict[str, tuple[str, list[tuple[Axis, float, float]]]] = {
    "inverted-pendulum": ("InvertedPendulum-v5", [(("mass", "pole"), 1.0, 31.0), (("mass", "cart"), 1.0, 11.0)]),
    "hopper": (
        "Hopper-v5",
        [("friction", 0.1, 3.0), (("mass", "torso"), 0.1, 3.0), (("mass", "thigh"), 0.1, 4.0)],
    ),
    "walker2d": (
        "Walker2d-v5",
        [("friction", 0.1, 4.0), (("mass", "torso"), 0.1, 5.0), (("mass", "thigh"), 0.1, 6.0)],
    ),
    "half-cheetah": (
        "HalfCheetah-v5",
        [("friction", 0.1, 4.0), (("mass", "torso"), 0.1, 7.0), (("mass", "bthigh"), 0.1, 3.0)],
    ),
    "ant": (
        "Ant-v5",
        [
            (("mass", "torso"), 0.1, 3.0),
            (("mass", "front_left_leg"), 0.01, 3.0),
            (("mass", "front_right_leg"), 0.01, 3.0),
        ],
    ),
    "humanoid-standup": (
        "HumanoidStandup-v5",
        [(("mass", "torso"), 0.1, 16.0), (("mass", "right_foot"), 0.1, 8.0), (("mass", "left_thigh"), 0.1, 5.0)],
    ),
}


def _rrls_sets() -> dict[str, UncertaintySet]:
    sets = {}
    for name, (env_id, bounds) in _RRLS_BOUNDS.items():
        for dims in range(1, len(bounds) + 1):
            axes: dict[Axis, tuple[float, ...]] = {axis: _steps(low, high, 10) for axis, low, high in bounds[:dims]}
            if name == "half-cheetah" and dims == 1:
                axes = {"friction": _steps(0.1, 3.0, 10)}
            sets[f"rrls-{name}-{dims}d"] = UncertaintySet(axes, RRLS, env_id=env_id, absolute=True)
            published = {_as_published(name, axis): _without_the_end(values) for axis, values in axes.items()}
            sets[f"rrls-{name}-{dims}d-published"] = UncertaintySet(published, RRLS_CODE, env_id=env_id, absolute=True)
    return sets


def _as_published(name: str, axis: Axis) -> Axis:
    """Return what the code of RRLS sets: masses alone, and the friction of the floor (on HalfCheetah of all geoms)."""
    if axis == "friction":
        return axis if name == "half-cheetah" else ("friction", "world")
    return "mass_alone", axis[1]  # (mass, body)


def _without_the_end(values: tuple[float, ...]) -> tuple[float, ...]:
    """Return as many values from the least one on, equally spaced, of which the next would be the largest one."""
    low, high, count = values[0], values[-1], len(values)
    return tuple(round(low + i * (high - low) / count, 10) for i in range(count))


UNCERTAINTY_SETS: dict[str, UncertaintySet] = {
    "tessler-mass": UncertaintySet({"mass": FINE}, TESSLER, episodes=100),
    "tessler-noise": UncertaintySet({"action_noise": _steps(0.0, 0.2, 20)}, TESSLER, episodes=100),
    "tessler-mass-noise": UncertaintySet({"mass": COARSE, "action_noise": NOISE}, f"{TESSLER}; {KAMALARUBAN}"),
    "kamalaruban-friction": UncertaintySet({"friction": FINE}, KAMALARUBAN, episodes=100),
    "kamalaruban-friction-noise": UncertaintySet({"friction": COARSE, "action_noise": NOISE}, KAMALARUBAN),
    "kamalaruban-mass-friction": UncertaintySet({"mass": COARSE, "friction": COARSE}, KAMALARUBAN),
    "rarl-mass": UncertaintySet({("mass", "torso"): _steps(0.5, 1.5, 11)}, RARL, episodes=5),
    "rarl-friction": UncertaintySet({"friction": _steps(0.5, 1.5, 11)}, RARL, episodes=5),
    **_rrls_sets(),
}
"""Every named set. Names of RRLS carry the model and the dimension: `rrls-hopper-3d`. Those in
`-published` are what the code of RRLS evaluates on: masses without inertias, the friction of the floor alone (which has
no effect below that of the feet), and grids without their upper ends."""


def uncertainty_set(name: str) -> UncertaintySet:
    """Return a named set.

    Raises:
        GameError: An unknown name; close matches are shown.
    """
    if name not in UNCERTAINTY_SETS:
        raise unknown("uncertainty set", name, UNCERTAINTY_SETS)
    return UNCERTAINTY_SETS[name]


RARL_FORCES: dict[str, dict[str, Any]] = {
    "InvertedPendulum": {"bodies": ("pole",), "plane": "xz", "bound": 5.0},
    "Hopper": {"bodies": ("torso",), "plane": "xz", "bound": 5.0},
    "Walker2d": {"bodies": ("torso",), "plane": "xz", "bound": 5.0},
    "HalfCheetah": {"bodies": ("torso",), "plane": "xz", "bound": 5.0},
    "Ant": {"bodies": ("torso",), "plane": "xyz", "bound": 5.0},
    "Swimmer": {"bodies": ("torso",), "plane": "xy", "bound": 5.0},
    "Reacher": {"bodies": ("body0",), "plane": "xy", "bound": 5.0},
    "Humanoid": {"bodies": ("torso",), "plane": "xyz", "bound": 10.0},
}
"""Settings of `BodyForce` in gym-adv, the code of RARL, by model: newtons in a plane of world axes. (It has no force on
Ant, and a third, idle axis on Swimmer, which moves in a plane.)"""

RARL_HEEL_FORCES: dict[str, dict[str, Any]] = {
    "Hopper": {"bodies": ("foot",), "plane": "xz", "bound": 5.0},
    "Walker2d": {"bodies": ("foot", "foot_left"), "plane": "xz", "bound": 5.0},
    "HalfCheetah": {"bodies": ("bfoot", "ffoot"), "plane": "xz", "bound": 5.0},
}
"""The same on the feet: `BodyForce(**RARL_HEEL_FORCES["HalfCheetah"])` has four dimensions, two a foot."""
