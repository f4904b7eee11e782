"""Couplings through a force, the dynamics or the observation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from robustgames.envs.control.coupling import ControlEnv, Coupling, Play
from robustgames.envs.control.perturbations import AXES, NOISES, checked
from robustgames.envs.control.uncertainty_sets import RARL_FORCES
from robustgames.errors import GameError, unknown


@dataclass(frozen=True)
class BodyForce(Coupling):
    """RARL: the adversary pushes bodies of a MuJoCo env; the force acts at the center of mass, for one step.

    Args:
        bodies: Names of the bodies; those of the published code for this model by default.
        plane: World axes of the force, e.g. "xz" for the planar walkers, "xyz".
        bound: Largest force along an axis, in newtons.

    Source: Pinto et al. 2017, Robust Adversarial Reinforcement Learning (bounds: gym-adv, its code).
    """

    bodies: tuple[str, ...] = ()
    plane: str | None = None
    bound: float | None = None

    def __post_init__(self) -> None:
        if isinstance(self.bodies, str):
            object.__setattr__(self, "bodies", (self.bodies,))
        if self.plane is not None and (not self.plane or set(self.plane) - set("xyz")):
            raise GameError(f"plane is {self.plane!r}: name world axes, e.g. 'xz' or 'xyz'")
        if self.bound is not None and not 0 < self.bound < float("inf"):
            raise GameError(f"bound is {self.bound}: the largest force is positive, in newtons, e.g. bound=5.0")

    def shape(self, env: ControlEnv) -> tuple[int, ...]:
        known = [body for body in env.physics.names("mass") if body != "world"]
        if not known:
            raise GameError(f"{env.env_id} has no bodies to push: coupling='force' needs a MuJoCo env, e.g. Hopper-v5")
        bodies, plane, _ = self._settings(env)
        if not bodies:
            raise GameError(f"no default body to push in {env.env_id}: pass bodies=, some of {', '.join(known)}")
        for body in bodies:
            if body not in known:
                raise unknown("body", body, known)
        return (len(bodies) * len(plane),)

    def apply(self, env: ControlEnv, action: np.ndarray, adversary: np.ndarray) -> Play:
        bodies, plane, bound = self._settings(env)
        physics: Any = env.physics
        axes = ["xyz".index(axis) for axis in plane]
        for body, force in zip(bodies, adversary.reshape(len(bodies), -1), strict=True):
            physics.data.body(body).xfrc_applied[axes] = bound * force
        return Play(action)

    def clear(self, env: ControlEnv) -> None:
        physics: Any = env.physics
        physics.data.xfrc_applied[:] = 0

    def _settings(self, env: ControlEnv) -> tuple[tuple[str, ...], str, float]:
        published = RARL_FORCES.get(env.env_id.rpartition("-v")[0].rpartition("/")[2].rpartition(":")[2], {})
        bound = published.get("bound", 5.0) if self.bound is None else self.bound
        return self.bodies or published.get("bodies", ()), self.plane or published.get("plane", "xyz"), bound


@dataclass(frozen=True)
class DynamicsShift(Coupling):
    """The adversary sets relative scales of the dynamics in every step.

    Args:
        scales: Bounds {axis: (low, high)} or {axis: {body: (low, high)}}. The scale is linear in ā: low at ā = -1 and
            high at ā = 1. It multiplies the perturbation of the episode. `UncertaintySet.bounds` returns the bounds of
            the literature.

    Source: The setting of Zouitine et al. 2024, RRLS (there in absolute units).
    """

    scales: Mapping[str, Any] = field(default_factory=lambda: {"mass": (0.5, 2.0)})

    def __post_init__(self) -> None:
        if not list(_leaves(self.scales)):
            raise GameError("scales are empty: give bounds, e.g. scales={'mass': (0.5, 2.0)}")
        for axis in self.scales:
            if axis in NOISES or axis not in AXES:
                raise unknown("axis of the dynamics", str(axis), [known for known in AXES if known not in NOISES])
        for path, bounds in _leaves(self.scales):
            if not (isinstance(bounds, (list, tuple)) and len(bounds) == 2):
                raise GameError(f"scales of {' of '.join(path)} are {bounds!r}: give (low, high), e.g. (0.5, 2.0)")

    def shape(self, env: ControlEnv) -> tuple[int, ...]:
        checked(self.scales, env.physics)
        for axis, value in self.scales.items():
            reason = env.why_idle(axis, _mapped(value, lambda bounds: bounds[0]))
            if reason:
                raise GameError(f"the adversary cannot act through {axis} on {env.env_id}: {reason}")
        return (sum(1 for _ in _leaves(self.scales)),)

    def apply(self, env: ControlEnv, action: np.ndarray, adversary: np.ndarray) -> Play:
        share = iter((adversary.astype(np.float64) + 1) / 2)

        def scale(bounds: tuple[float, float]) -> float:
            return float(bounds[0] + next(share) * (bounds[1] - bounds[0]))

        return Play(action, scales={axis: _mapped(value, scale) for axis, value in self.scales.items()})


def _leaves(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


def _mapped(value: Any, function: Callable[[Any], Any]) -> Any:
    return {k: function(v) for k, v in value.items()} if isinstance(value, Mapping) else function(value)


@dataclass(frozen=True)
class ObservationShift(Coupling):
    """SA-MDP: in every state s, the first one too, the protagonist observes s + eps ā with ā = ν(s).

    The adversary acts first: the env returns s, and `ActionRobustEnv.perceived(ā)` is what the protagonist sees before
    it acts. `PlayerView` and `robustgames.evaluation.rollouts.play` do this for both players. The transition depends on
    the protagonist's action alone, so a shift that nobody looked at has no effect; the env warns of it.

    Args:
        eps: Largest shift of a component, in the units of the observation: one number, or one per component.

    Source: Zhang et al. 2020, Robust Deep RL against Adversarial Perturbations on State Observations (SA-MDP).
    """

    adversary_first: ClassVar[bool] = True
    name: ClassVar[str] = "observation"
    eps: float | tuple[float, ...] = 0.05

    def __post_init__(self) -> None:
        eps = np.asarray(self.eps, dtype=np.float64)
        if eps.ndim > 1 or not (np.isfinite(eps).all() and (eps >= 0).all()):
            raise GameError(f"eps is {self.eps}: the largest shift is finite and not negative, e.g. eps=0.05")

    def shape(self, env: ControlEnv) -> tuple[int, ...]:
        space = env.inner.observation_space
        if not (isinstance(space, gym.spaces.Box) and space.dtype is not None and space.dtype.kind == "f"):
            raise GameError(f"{env.env_id} observes {space}: coupling={self.name!r} shifts a Box of real numbers")
        size = np.size(self.eps)
        if size not in (1, space.shape[-1]):
            raise GameError(f"eps has {size} components: observations of {env.env_id} have shape {space.shape}")
        return space.shape

    def observed(self, space: gym.Space) -> gym.Space:
        assert isinstance(space, gym.spaces.Box)
        eps = np.asarray(self.eps)
        kind: Any = space.dtype
        return gym.spaces.Box((space.low - eps).astype(kind), (space.high + eps).astype(kind), dtype=kind)

    def apply(self, env: ControlEnv, action: np.ndarray, adversary: np.ndarray) -> Play:
        return Play(action, acted=bool(adversary.any()))

    def perceive(self, env: ControlEnv, observation: Any, adversary: np.ndarray) -> Any:
        return observation + np.asarray(self.eps) * adversary


@dataclass(frozen=True)
class DelayedObservationShift(ObservationShift):
    """The protagonist observes s + eps ā with ā of the step before, for libraries in which both act at the same time.

    The adversary observes s (`info["observations"]`). Shifts do not add up over steps. The first observation of an
    episode is not shifted. This is not the SA-MDP of Zhang et al., see `ObservationShift`: here ā is chosen in s and
    shifts the observation of the state after it.

    Args:
        eps: Largest shift of a component, in the units of the observation: one number, or one per component.
    """

    adversary_first: ClassVar[bool] = False
    name: ClassVar[str] = "delayed_observation"

    def apply(self, env: ControlEnv, action: np.ndarray, adversary: np.ndarray) -> Play:
        return Play(action, shift=np.asarray(self.eps) * adversary)

    def perceive(self, env: ControlEnv, observation: Any, adversary: np.ndarray) -> Any:
        return observation
