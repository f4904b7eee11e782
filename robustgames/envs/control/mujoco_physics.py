"""Consistent scaling of a MuJoCo model, and scales without an effect. Imported with the first MuJoCo env."""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping
from typing import Any

import mujoco as untyped
import numpy as np

from robustgames.envs.control.physics import Physics, Scales
from robustgames.errors import unknown

mujoco: Any = untyped  # its compiled parts have no stubs
FIELDS: dict[str, tuple[str, ...]] = {
    "mass": ("body_mass", "body_inertia"),
    "friction": ("geom_friction", "pair_friction"),
    "damping": ("dof_damping", "dof_dampingpoly", "dof_frictionloss"),
    "gain": ("actuator_gainprm", "actuator_biasprm"),
    "mass_alone": ("body_mass",),
}
"""Arrays of an `MjModel` that an axis scales; gravity, a vector of its options, is an axis also."""

PARTS = {"mass": "body", "friction": "body", "damping": "joint", "gain": "actuator", "mass_alone": "body"}
"""The kind of part that the names of an axis denote."""


def simulation_of(env: Any) -> tuple[Any, Any] | None:
    """Return (`MjModel`, `MjData`) that an unwrapped env simulates now, or None if it has none to scale.

    Envs of dm_control's suite keep theirs in `physics`, and Shimmy's wrapper keeps the env of dm_control. A composer
    env of dm_control compiles a model in every episode, so its parameters are not scaled.
    """
    if isinstance(getattr(env, "model", None), mujoco.MjModel):
        return env.model, getattr(env, "data", None)
    suite = sys.modules.get("dm_control.rl.control")
    inside: Any = getattr(env, "_env", None)
    if suite is not None and isinstance(inside, suite.Environment):
        return inside.physics.model.ptr, inside.physics.data.ptr
    return None


class MujocoModel(Physics):
    """Physics in the arrays of a MuJoCo model.

    Mass scales the inertia with it, and `mj_setConst` follows, so the model equals one compiled with that mass.
    Friction scales all geoms. A contact takes the larger coefficient of its two geoms, so scaling the floor alone often
    has no effect (on Hopper-v5 and Walker2d-v5 up to 2.0 and 1.9, the coefficients of the feet).

    `mass_alone` repeats what published code does: masses change, and nothing that follows from them (inertias, and the
    constants of the solver) is updated.

    Args:
        env: Unwrapped MuJoCo env, see `simulation_of`.

    Attributes:
        data: State of the simulation.
    """

    data: Any

    def __init__(self, env: Any) -> None:
        self.bind(env)
        fields = [field for fields in FIELDS.values() for field in fields if field in dir(self._model)]
        self._nominal = {field: getattr(self._model, field).copy() for field in fields}
        self._gravity = self._model.opt.gravity.copy()
        self._scaled: set[str] = set()

    def bind(self, env: Any) -> None:
        simulation = simulation_of(env)
        assert simulation is not None
        self._model, self.data = simulation
        # mj_setConst overwrites the state in the data it is given, so it never gets the env's
        self._scratch = mujoco.MjData(self._model)
        self._parts = {axis: _part_names(self._model, axis) for axis in PARTS}

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in ("_model", "_scratch", "data")}

    def names(self, axis: str) -> list[str]:
        return [name for name in self._parts.get(axis, ()) if name]

    def nominal(self, axis: str, name: str | None = None) -> float:
        if axis == "gravity":
            return float(np.linalg.norm(self._gravity))
        if axis == "friction":
            if name is None:
                return float(np.max(contact_frictions(self._copy({})), initial=0.0))
            geoms = self._model.geom_bodyid == self._part("friction", name)
            return float(np.max(self._nominal["geom_friction"][geoms, 0], initial=0.0))
        if axis not in ("mass", "mass_alone"):
            raise unknown("axis", axis, ["mass", "friction", "gravity", "mass_alone"])
        return float(self._nominal["body_mass"][slice(None) if name is None else self._part(axis, name)].sum())

    def set(self, *scales: Scales) -> None:
        wanted = {axis for some in scales for axis in some if axis in FIELDS or axis == "gravity"}
        self._write(self._model, self._scratch, wanted | self._scaled, scales)
        self._scaled = wanted

    def idle(self, axis: str, scale: Any) -> str | None:
        if axis not in FIELDS and axis != "gravity":
            return f"a MuJoCo model has no {axis}"
        before, after = self._copy({}), self._copy({axis: scale})
        if axis == "friction":
            used, now = contact_frictions(before), contact_frictions(after)
            if not used.size:
                return "no two geoms of the model touch with friction"
            same = np.array_equal(used, now)
            return "a contact takes the larger friction of its two geoms, here the other one's" if same else None
        same = np.allclose(_responses(before), _responses(after), rtol=1e-9, atol=1e-12)
        return "it changes no acceleration of the model" if same else None

    def _copy(self, scales: Scales) -> Any:
        model = copy.deepcopy(self._model)
        self._write(model, mujoco.MjData(model), {*FIELDS, "gravity"}, (scales,))
        return model

    def _write(self, model: Any, scratch: Any, axes: set[str], scales: tuple[Scales, ...]) -> None:
        for axis in axes - {"mass_alone"}:
            factors = [some[axis] for some in scales if axis in some]
            if axis == "gravity":
                model.opt.gravity[:] = self._gravity * np.prod(factors)
                continue
            for field in FIELDS[axis]:
                if field in self._nominal:
                    nominal = self._nominal[field]
                    rows = self._rows(model, axis, field, factors)
                    getattr(model, field)[:] = nominal * rows.reshape(-1, *[1] * (nominal.ndim - 1))
        if "mass" in axes:
            mujoco.mj_setConst(model, scratch)
            model.stat.meaninertia = model.dof_M0.mean()  # scales the solver's tolerance; mj_setConst leaves it stale
        if "mass_alone" in axes:  # after mj_setConst, which updates what follows from the masses
            factors = [some[axis] for some in scales for axis in ("mass", "mass_alone") if axis in some]
            model.body_mass[:] = self._nominal["body_mass"] * self._rows(model, "mass_alone", "body_mass", factors)

    def _rows(self, model: Any, axis: str, field: str, factors: list[Any]) -> np.ndarray:
        """Return the factor of every row of a field."""
        owner = _owner(model, field)
        rows = np.ones(len(owner))
        for factor in factors:
            if isinstance(factor, Mapping):
                for name, value in factor.items():
                    rows[owner == self._part(axis, name)] *= value
            else:
                rows *= factor
        return np.where(_linear_actuators(model), rows, 1.0) if axis == "gain" else rows

    def _part(self, axis: str, name: str) -> int:
        if name not in self._parts[axis]:
            raise unknown(PARTS[axis], name, self.names(axis))
        return self._parts[axis].index(name)


def _part_names(model: Any, axis: str) -> list[str | None]:
    """Return the names of bodies, joints or actuators by number; a nameless motor has the name of its joint."""
    kinds = mujoco.mjtObj
    if PARTS[axis] == "body":
        return [mujoco.mj_id2name(model, kinds.mjOBJ_BODY, i) for i in range(model.nbody)]
    joints = [mujoco.mj_id2name(model, kinds.mjOBJ_JOINT, i) for i in range(model.njnt)]
    if PARTS[axis] == "joint":
        return joints
    own = [mujoco.mj_id2name(model, kinds.mjOBJ_ACTUATOR, i) for i in range(model.nu)]
    driven = [joints[i] if 0 <= i < len(joints) else None for i in model.actuator_trnid[:, 0]]
    return [name or joint for name, joint in zip(own, driven, strict=True)]


def _owner(model: Any, field: str) -> np.ndarray:
    """Return the number of the body, joint or actuator that each row of a field belongs to."""
    if field == "geom_friction":
        return model.geom_bodyid
    if field == "pair_friction":
        return model.geom_bodyid[model.pair_geom1]
    return model.dof_jntid if field.startswith("dof") else np.arange(len(getattr(model, field)))


def _linear_actuators(model: Any) -> np.ndarray:
    """Return the mask of actuators with a force linear in their parameters: motors and servos, but not muscles."""
    gains = [int(mujoco.mjtGain.mjGAIN_FIXED), int(mujoco.mjtGain.mjGAIN_AFFINE)]
    biases = [int(mujoco.mjtBias.mjBIAS_NONE), int(mujoco.mjtBias.mjBIAS_AFFINE)]
    return np.isin(model.actuator_gaintype, gains) & np.isin(model.actuator_biastype, biases)


def contact_frictions(model: Any) -> np.ndarray:
    """Return the coefficients (sliding, torsional, rolling) of every contact a model can make, unused ones 0: (k, 3).

    Collision masks, exclusions, priorities, contact dimensions and explicit pairs are taken into account. Contacts
    without friction are left out.
    """
    off = mujoco.mjtDisableBit.mjDSBL_CONTACT | mujoco.mjtDisableBit.mjDSBL_CONSTRAINT
    if model.opt.disableflags & int(off):
        return np.zeros((0, 3))
    i, j = np.triu_indices(model.ngeom, 1)
    touch = _touching(model, i, j)
    i, j = i[touch], j[touch]
    ahead = (model.geom_priority[i] - model.geom_priority[j])[:, None]
    mixed = [
        np.where(ahead > 0, of[i], np.where(ahead < 0, of[j], np.maximum(of[i], of[j])))
        for of in (model.geom_friction, model.geom_condim[:, None])
    ]
    friction = np.concatenate([mixed[0], model.pair_friction[:, [0, 2, 3]]])
    active = np.concatenate([mixed[1], model.pair_dim[:, None]]) >= np.array([3, 4, 6])
    return np.where(active, friction, 0.0)[active.any(-1)]


def _touching(model: Any, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Return the mask of pairs of geoms that MuJoCo would test for a contact."""
    masks = (model.geom_contype[i] & model.geom_conaffinity[j]) | (model.geom_contype[j] & model.geom_conaffinity[i])
    bodies = model.geom_bodyid[i].astype(int), model.geom_bodyid[j].astype(int)
    first, second = (model.body_weldid[body] for body in bodies)
    above_first, above_second = (model.body_weldid[model.body_parentid[weld]] for weld in (first, second))
    related = (first != 0) & (second != 0) & ((above_first == second) | (above_second == first))
    if model.opt.disableflags & int(mujoco.mjtDisableBit.mjDSBL_FILTERPARENT):
        related[:] = False
    excluded = np.isin((np.minimum(*bodies) << 16) + np.maximum(*bodies), model.exclude_signature)
    return (masks != 0) & (first != second) & ~related & ~excluded


def _responses(model: Any, states: int = 4) -> np.ndarray:
    """Return accelerations without contacts at random states and controls, and the masses if geoms can touch."""
    data, rng, seen = mujoco.MjData(model), np.random.default_rng(0), []
    for _ in range(states):
        mujoco.mj_resetData(model, data)
        mujoco.mj_integratePos(model, data.qpos, rng.normal(size=model.nv), 0.3)
        data.qvel[:], data.act[:] = rng.normal(size=model.nv), rng.uniform(size=model.na)
        data.ctrl[:] = rng.uniform(-1, 1, model.nu)
        mujoco.mj_forward(model, data)
        seen.append(data.qacc_smooth.copy())
    if len(contact_frictions(model)):
        seen.append(model.body_mass)
    return np.concatenate(seen)
