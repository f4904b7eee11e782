"""The one-player env inside of an `ActionRobustEnv`, made from its id, and its physics."""

from __future__ import annotations

import copy
import importlib
import inspect
import pickle
import re
import sys
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from math import isfinite
from threading import Lock
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import load_env_creator

from robustgames.envs.control.discrete_actions import Preferences
from robustgames.envs.control.flat_observations import Flattened
from robustgames.envs.control.parameters import PARAMETERS, Formulas
from robustgames.envs.control.perturbations import AXES, NOISES
from robustgames.envs.control.physics import Numbers, Physics
from robustgames.errors import GameError, shorten, unknown

NUMBERS: dict[str, dict[str, str]] = {
    "gymnasium.envs.classic_control.pendulum:PendulumEnv": {"mass": "m", "length": "l", "gravity": "g"},
}
"""Attributes that an axis scales, for envs written in Python; your own env states them in `perturbable`."""


def make_inner(env_id: str, render_mode: str | None, settings: Mapping[str, Any]) -> gym.Env:
    """Return the env of an id without its time limit and checkers, which belong around the game.

    One with finitely many actions gets a box of preferences, see `Preferences`. Observations that are a Dict or a Tuple
    of spaces, nested ones included, are flattened to one vector, see `Flattened`.

    Raises:
        GameError: An unknown id or setting, or actions that are neither finitely many nor a bounded Box.
    """
    if not isinstance(env_id, str):
        raise GameError(f"env_id is {env_id!r}: pass the id of a registered env, e.g. 'Pendulum-v1'")
    given = {**settings} if render_mode is None else {**settings, "render_mode": render_mode}
    try:
        with _quiet(env_id):
            made = gym.make(env_id, max_episode_steps=-1, disable_env_checker=True, **given)
    except gym.error.UnregisteredEnv as error:
        raise unknown("env_id", env_id, gym.registry) from error
    except (gym.error.Error, ImportError, TypeError) as error:
        reason = " ".join(str(error).split())
        if unexpected := re.search(r"unexpected keyword argument '(\w+)'", reason):
            known = inspect.signature(load_env_creator(gym.spec(env_id).entry_point)).parameters  # type: ignore[arg-type]
            raise unknown(
                f"setting of {env_id}", unexpected[1], ["alpha", "coupling", "perturbation", *known]
            ) from error
        raise GameError(f"gym.make({env_id!r}) failed: {reason[:300]}") from error
    # an env that is registered with wrappers, or whose entry point returns one, keeps them
    inner = made.env if type(made) is gym.wrappers.OrderEnforcing else made
    observed = inner.observation_space
    if isinstance(observed, (gym.spaces.Dict, gym.spaces.Tuple)) and observed.is_np_flattenable:
        inner = Flattened(inner)
    if isinstance(inner.action_space, gym.spaces.Discrete):
        inner = Preferences(inner)
    space = inner.action_space
    if not is_real_box(space):
        raise GameError(f"{env_id} has actions {space}: pass an env with a Box of real numbers, or a Discrete space")
    assert isinstance(space, gym.spaces.Box)
    if not space.is_bounded():
        box = f"gymnasium.spaces.Box(-1.0, 1.0, {space.shape})"
        wrapped = f"lambda **k: gymnasium.wrappers.TransformAction(gymnasium.make({env_id!r}, **k), lambda a: a, {box})"
        raise GameError(f"{env_id} has unbounded actions {space}: register it with bounds, entry_point={wrapped}")
    return inner


def physics_of(env: gym.Env) -> Physics:
    """Return the physics of an unwrapped env, which a perturbation scales.

    A MuJoCo env has its model, and so has one of dm_control's suite in Shimmy's wrapper. Pendulum-v1 has m, l and g;
    CartPole-v1 and Acrobot-v1 have `PARAMETERS`. Any other env has the attributes that its `perturbable` names, e.g.
    `perturbable = {"mass": "m"}`, or none.

    Raises:
        GameError: `perturbable` names an unknown axis, or an attribute that is not a number.
    """
    if "mujoco" in sys.modules:  # a MuJoCo env has imported it; other envs do not need it
        from robustgames.envs.control.mujoco_physics import MujocoModel, simulation_of

        if simulation_of(env) is not None:
            return MujocoModel(env)
    for path in (*NUMBERS, *PARAMETERS):
        module, name = path.split(":")
        if isinstance(env, getattr(importlib.import_module(module), name)):
            return Numbers(env, NUMBERS[path]) if path in NUMBERS else Formulas(env, path)
    attributes = getattr(env, "perturbable", {})
    for axis, attribute in attributes.items():
        if axis not in (scales := [axis for axis in AXES if axis not in NOISES]):
            raise unknown("axis of `perturbable`", axis, scales)
        if not isinstance(getattr(env, attribute, None), (int, float)):
            raise GameError(f"perturbable names {attribute!r} for {axis}: {type(env).__name__} has no such number")
    return Numbers(env, attributes)


def dropped_numbers(env: Any) -> dict[str, Any]:
    """Return the arrays and numbers among the attributes of an unwrapped env that its copies and pickles lose.

    An `EzPickle` is rebuilt from the arguments of its class, so the goal of an episode, for one, would be lost. Views
    of other arrays, such as those of a simulation, are left out.
    """
    if not isinstance(env, gym.utils.EzPickle):
        return {}
    kinds, arrays = (int, float, np.number), {k: v for k, v in vars(env).items() if isinstance(v, np.ndarray)}
    owned = {k: v for k, v in arrays.items() if v.flags.owndata and v.dtype.kind in "fiub"}
    return {k: v for k, v in vars(env).items() if isinstance(v, kinds)} | owned


class Copied:
    """A placeholder for an inner env in the state of a copy or a pickle; restoring it gives the env.

    MuJoCo envs are restored by loading their XML again, which needs the same filter of warnings.
    """

    def __init__(self, env_id: str, env: gym.Env) -> None:
        self._env_id, self.env = env_id, env

    def __deepcopy__(self, memo: dict[int, Any]) -> gym.Env:
        with _quiet(self._env_id):
            return copy.deepcopy(self.env, memo)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self._env_id, pickle.dumps(self.env))


def _restored(env_id: str, pickled: bytes) -> gym.Env:
    with _quiet(env_id):
        return pickle.loads(pickled)


class _WarningFilter:
    """Drops a warning of MuJoCo's while at least one thread is inside of its `with` block.

    MuJoCo has one handler of warnings per process. The first block to begin installs the filter, and the last to end
    restores the handler that it found, so blocks may be nested or overlap in several threads. A handler that was
    installed in between stays. Other warnings reach the handler before, or Python's `warnings` without one.
    """

    def __init__(self, text: str) -> None:
        self._text, self._lock, self._inside = text, Lock(), 0
        self._before: Callable[[str], None] | None = None

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                mujoco: Any = importlib.import_module("mujoco")
                self._before = mujoco.get_mju_user_warning()
                mujoco.set_mju_user_warning(self._handle)

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                mujoco: Any = importlib.import_module("mujoco")
                if mujoco.get_mju_user_warning() == self._handle:
                    mujoco.set_mju_user_warning(self._before)

    def _handle(self, message: str) -> None:
        if self._text not in message:
            (self._before or warnings.warn)(message)


_SETTOTALMASS = _WarningFilter("settotalmass")  # a deprecated attribute in the XML of some of Gymnasium's models


def _quiet(env_id: str) -> AbstractContextManager[None]:
    """Return a context in which MuJoCo does not print and log to a file that a model of Gymnasium's is deprecated."""
    spec = gym.registry.get(env_id.rpartition(":")[2])
    return _SETTOTALMASS if str(getattr(spec, "entry_point", "")).startswith("gymnasium.envs.mujoco") else nullcontext()


def is_real_box(space: gym.Space) -> bool:
    """Return whether a space is a Box of floating-point numbers."""
    return isinstance(space, gym.spaces.Box) and space.dtype is not None and space.dtype.kind == "f"


def checked_flag(name: str, value: Any, env: gym.Env) -> bool:
    """Return `terminated` or `truncated` of a step as a bool.

    Raises:
        GameError: It is neither True nor False, e.g. the word "no", which Python takes for True.
    """
    if value is True or value is False:  # at once, in every step
        return value
    if not isinstance(value, np.bool_) and str(getattr(value, "dtype", "")) not in ("bool", "torch.bool"):
        kind, shown = type(value).__name__, shorten(" ".join(str(value).split()))
        raise GameError(f"{env.unwrapped} returned {name} {shown!r}, a {kind}: return True or False, bool(...)")
    return bool(value)


def is_finite(value: Any) -> bool:
    """Return whether an observation, nested ones included, holds finite numbers only."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind != "f":
            return True
        return isfinite(np.vdot(value, value)) or bool(np.isfinite(value).all())  # large numbers overflow in a product
    if isinstance(value, Mapping):
        return all(is_finite(one) for one in value.values())
    if isinstance(value, tuple):
        return all(is_finite(one) for one in value)
    return not isinstance(value, float) or isfinite(value)
