"""The parameters of CartPole-v1 and Acrobot-v1 as functions of the scales of a perturbation, for one env or a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym

from robustgames.envs.control.physics import Physics, Scales
from robustgames.envs.control.uncertainty_sets import Axis
from robustgames.errors import GameError, unknown

Scale = Callable[..., Any]
"""(axis, part or None) -> factor, a number or a tensor (N,)."""
Ends = Mapping[Axis, tuple[float, float]]
"""{axis or (axis, part): (least, largest) factor}."""
LEAST, LARGEST = 1e-3, 1e3  # of a scale
FASTEST = 100.0  # times the nominal accelerations of the acrobot


@dataclass(frozen=True)
class Parameters:
    """The parameters of one env.

    Args:
        axes: Names of the parts of every relative axis that has an effect; an axis without names has ().
        base: Attributes of Gymnasium's env that the axes scale, nominal.
        nominal: Nominal values, {axis or (axis, part): attributes whose sum it is, or a number}.
        scaled: Function of (base, scale) that returns the attributes of a perturbed env.
        stiff: Function that returns the reason why an env with these scales cannot be integrated, or None.
    """

    axes: Mapping[str, tuple[str, ...]]
    base: Mapping[str, Any]
    nominal: Mapping[Axis, tuple[str, ...] | float]
    scaled: Callable[[Mapping[str, Any], Scale], dict[str, Any]]
    stiff: Callable[[Ends], str | None]

    def check(self, ends: Ends) -> None:
        """Check that an env with all scales between these ends has finite states.

        Raises:
            GameError: It does not.
        """
        for axis, (low, high) in ends.items():
            name = axis if isinstance(axis, str) else ":".join(axis)
            if not LEAST <= low <= high <= LARGEST:
                raise GameError(f"{name} is {low if low < LEAST else high:g}: take scales in [{LEAST:g}, {LARGEST:g}]")
        if reason := self.stiff(ends):
            raise GameError(f"{reason}: take these scales nearer to 1")


def _cartpole(base: Mapping[str, Any], scale: Scale) -> dict[str, Any]:
    cart, pole = base["masscart"] * scale("mass", "cart"), base["masspole"] * scale("mass", "pole")
    half = base["length"] * scale("length")
    masses = {"masscart": cart, "masspole": pole, "total_mass": pole + cart, "polemass_length": pole * half}
    forces = {"gravity": base["gravity"] * scale("gravity"), "force_mag": base["force_mag"] * scale("gain")}
    return {**masses, "length": half, **forces}


def _acrobot(base: Mapping[str, Any], scale: Scale) -> dict[str, Any]:
    """Return the attributes of an acrobot of rods, whose moments of inertia are as mass times length squared.

    Gravity is a number within Gymnasium's equations. Theirs are those of s times as much gravity if the lengths are
    divided by s and the masses multiplied by s squared at equal moments of inertia.
    """
    mass, length, gravity, torque = (scale(axis) for axis in ("mass", "length", "gravity", "gain"))
    long, heavy = length / gravity, mass * gravity**2
    factors = {"LINK_LENGTH": long, "LINK_COM_POS": long, "LINK_MASS": heavy}
    links = {f"{name}_{i}": base[f"{name}_{i}"] * factor for name, factor in factors.items() for i in (1, 2)}
    inertia = {"LINK_MOI": base["LINK_MOI"] * (mass * length**2)}
    return {**links, **inertia, "AVAIL_TORQUE": [value * torque for value in base["AVAIL_TORQUE"]]}


def _stiff_acrobot(ends: Ends) -> str | None:
    (mass, _), (length, _) = (ends.get(axis, (1.0, 1.0)) for axis in ("mass", "length"))
    (_, gravity), (_, gain) = (ends.get(axis, (1.0, 1.0)) for axis in ("gravity", "gain"))
    if max(gain / (mass * length**2), gravity / length) <= FASTEST:
        return None
    shown = f"mass {mass:g}, length {length:g}, gravity {gravity:g} and gain {gain:g}"
    return f"{shown} make an acrobot more than {FASTEST:g} times as fast, which steps of 0.2 s cannot follow"


CARTPOLE = Parameters(
    {"mass": ("cart", "pole"), "length": (), "gravity": (), "gain": ()},
    {"masscart": 1.0, "masspole": 0.1, "length": 0.5, "gravity": 9.8, "force_mag": 10.0},
    {
        "mass": ("masscart", "masspole"),
        ("mass", "cart"): ("masscart",),
        ("mass", "pole"): ("masspole",),
        "length": ("length",),
        "gravity": ("gravity",),
        "gain": ("force_mag",),
    },
    _cartpole,
    lambda ends: None,
)
ACROBOT = Parameters(
    {"mass": (), "length": (), "gravity": (), "gain": ()},
    {
        **{"LINK_LENGTH_1": 1.0, "LINK_LENGTH_2": 1.0, "LINK_COM_POS_1": 0.5, "LINK_COM_POS_2": 0.5},
        **{"LINK_MASS_1": 1.0, "LINK_MASS_2": 1.0, "LINK_MOI": 1.0, "AVAIL_TORQUE": [-1.0, 0.0, 1.0]},
    },
    {"mass": ("LINK_MASS_1", "LINK_MASS_2"), "length": ("LINK_LENGTH_1",), "gravity": 9.8, "gain": 1.0},
    _acrobot,
    _stiff_acrobot,
)
PARAMETERS = {
    "gymnasium.envs.classic_control.cartpole:CartPoleEnv": CARTPOLE,
    "gymnasium.envs.classic_control.acrobot:AcrobotEnv": ACROBOT,
}
"""Parameters of Gymnasium's classes."""


class Formulas(Physics):
    """Physics of an env whose attributes are functions of the scales.

    Args:
        env: Unwrapped env.
        path: Key of its class in `PARAMETERS`.
    """

    def __init__(self, env: gym.Env, path: str) -> None:
        self._path = path
        self._base = {name: getattr(env, name) for name in PARAMETERS[path].base}  # an env may have others of its own
        self.bind(env)

    @property
    def parameters(self) -> Parameters:
        """The parameters of this env."""
        return PARAMETERS[self._path]

    def bind(self, env: gym.Env) -> None:
        self._env = env

    def __getstate__(self) -> dict[str, Any]:
        return {"_path": self._path, "_base": self._base}

    def names(self, axis: str) -> list[str]:
        return list(self.parameters.axes.get(axis, ()))

    def nominal(self, axis: str, name: str | None = None) -> float:
        if axis not in (known := self.parameters.axes):
            raise unknown("axis", axis, known)
        if name is not None and name not in known[axis]:
            raise GameError(f"this env names no part {name!r} of its {axis}: it has {', '.join(known[axis]) or 'none'}")
        found = self.parameters.nominal[axis if name is None else (axis, name)]
        return sum(self._base[attribute] for attribute in found) if isinstance(found, tuple) else found

    def set(self, *scales: Scales) -> None:
        def scale(axis: str, part: str | None = None) -> float:
            product = 1.0
            for some in scales:
                value = some.get(axis, 1.0)
                product *= value.get(part, 1.0) if isinstance(value, Mapping) else value
            return product

        values: dict[Axis, float] = {}
        for axis, parts in self.parameters.axes.items():
            values.update({(axis, part): scale(axis, part) for part in parts} if parts else {axis: scale(axis)})
        self.parameters.check({axis: (value, value) for axis, value in values.items()})
        for attribute, value in self.parameters.scaled(self._base, scale).items():
            setattr(self._env, attribute, value)

    def idle(self, axis: str, scale: Any) -> str | None:
        return None if axis in self.parameters.axes else f"the env has no {axis}"
