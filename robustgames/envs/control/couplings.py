"""How the adversary reaches into a control env: through the action, a force, the dynamics or the observation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, NamedTuple

import gymnasium as gym
import numpy as np

from robustgames.envs.control.perturbations import AXES, NOISES, checked
from robustgames.envs.control.uncertainty_sets import RARL_FORCES
from robustgames.errors import GameError, unknown

if TYPE_CHECKING:
    from robustgames.envs.control.action_robust import ActionRobustEnv


class Play(NamedTuple):
    """What one joint action comes to."""

    action: np.ndarray
    """What the actuators get, in [-1, 1]^n."""
    acted: bool = True
    """Whether the adversary had a part in it."""
    scales: Mapping[str, Any] = {}
    """Relative scales of the dynamics in this step."""
    shift: np.ndarray | None = None
    """What is added to the observation that the protagonist sees next."""


class Coupling(ABC):
    """Frozen settings and one method. Subclass it for an adversary of your own and pass an object as `coupling=`."""

    @abstractmethod
    def apply(self, env: ActionRobustEnv, action: np.ndarray, adversary: np.ndarray) -> Play:
        """Return what is played.

        Args:
            env: the env, with `env.inner` and the generator `env.np_random`.
            action: of the protagonist, in [-1, 1]^n.
            adversary: the adversary's action, in [-1, 1]^m.
        """

    def shape(self, env: ActionRobustEnv) -> tuple[int, ...]:
        """Return the shape of the adversary's action; that of the protagonist's unless overridden.

        Raises:
            GameError: the coupling does not fit this env.
        """
        return env.inner.action_space.shape or ()

    def observed(self, space: gym.Space) -> gym.Space:
        """Return the space of what the protagonist observes, `space` unless overridden."""
        return space

    def clear(self, env: ActionRobustEnv) -> None:  # noqa: B027, most have nothing to clear
        """Take back what the last step left in the env; called at every reset."""


def _check_alpha(alpha: float) -> None:
    if not 0 <= alpha <= 1:
        raise GameError(f"alpha is {alpha}: the adversary's share lies in [0, 1], e.g. alpha=0.1")


@dataclass(frozen=True)
class NoisyAction(Coupling):
    """NR-MDP: the mixture (1 - α) a + α ā is executed.

    Source: Tessler, Efroni, Mannor 2019, Action Robust Reinforcement Learning (noisy action robust MDP).
    """

    alpha: float = 0.1

    def __post_init__(self) -> None:
        _check_alpha(self.alpha)

    def apply(self, env: ActionRobustEnv, action: np.ndarray, adversary: np.ndarray) -> Play:
        if self.alpha == 0:
            return Play(action, False)
        return Play((1 - self.alpha) * action + self.alpha * adversary)


@dataclass(frozen=True)
class ProbabilisticAction(Coupling):
    """PR-MDP: with probability α the adversary's action is executed instead of the protagonist's.

    Source: Tessler, Efroni, Mannor 2019, Action Robust Reinforcement Learning (probabilistic action robust MDP).
    """

    alpha: float = 0.1

    def __post_init__(self) -> None:
        _check_alpha(self.alpha)

    def apply(self, env: ActionRobustEnv, action: np.ndarray, adversary: np.ndarray) -> Play:
        acted = bool(env.np_random.random() < self.alpha)
        return Play(adversary if acted else action, acted)


@dataclass(frozen=True)
class BodyForce(Coupling):
    """RARL: the adversary pushes bodies of a MuJoCo env; the force acts at the center of mass, for one step.

    Args:
        bodies: their names; those of the published code for this model by default.
        plane: world axes of the force, e.g. "xz" for the planar walkers, "xyz".
        bound: largest force along an axis, in newtons.

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

    def shape(self, env: ActionRobustEnv) -> tuple[int, ...]:
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

    def apply(self, env: ActionRobustEnv, action: np.ndarray, adversary: np.ndarray) -> Play:
        bodies, plane, bound = self._settings(env)
        inner: Any = env.inner.unwrapped
        axes = ["xyz".index(axis) for axis in plane]
        for body, force in zip(bodies, adversary.reshape(len(bodies), -1), strict=True):
            inner.data.body(body).xfrc_applied[axes] = bound * force
        return Play(action)

    def clear(self, env: ActionRobustEnv) -> None:
        inner: Any = env.inner.unwrapped
        inner.data.xfrc_applied[:] = 0

    def _settings(self, env: ActionRobustEnv) -> tuple[tuple[str, ...], str, float]:
        published = RARL_FORCES.get(env.env_id.rpartition("-v")[0].rpartition("/")[2].rpartition(":")[2], {})
        bound = published.get("bound", 5.0) if self.bound is None else self.bound
        return self.bodies or published.get("bodies", ()), self.plane or published.get("plane", "xyz"), bound


@dataclass(frozen=True)
class DynamicsShift(Coupling):
    """The adversary sets relative scales of the dynamics anew in every step.

    Args:
        scales: {axis: (low, high)} or {axis: {body: (low, high)}}; ā = -1 is low and ā = 1 high, linearly. They
            multiply the perturbation of the episode. `UncertaintySet.bounds` gives those of the literature.

    Source: the setting of Zouitine et al. 2024, RRLS (there in absolute units).
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

    def shape(self, env: ActionRobustEnv) -> tuple[int, ...]:
        checked(self.scales, env.physics)
        for axis, value in self.scales.items():
            reason = env.why_idle(axis, _mapped(value, lambda bounds: bounds[0]))
            if reason:
                raise GameError(f"the adversary cannot act through {axis} on {env.env_id}: {reason}")
        return (sum(1 for _ in _leaves(self.scales)),)

    def apply(self, env: ActionRobustEnv, action: np.ndarray, adversary: np.ndarray) -> Play:
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


def _mapped(value: Any, function: Any) -> Any:
    return {k: function(v) for k, v in value.items()} if isinstance(value, Mapping) else function(value)


@dataclass(frozen=True)
class ObservationShift(Coupling):
    """The protagonist sees the observation plus eps ā. Both act at once, so ā shifts the observation that comes next.

    The adversary sees the true one (`info["observations"]`). Nothing adds up over steps.

    Args:
        eps: largest shift of a component, in the units of the observation; one number or one a component.

    Source: Zhang et al. 2020, Robust Deep RL against Adversarial Perturbations on State Observations (SA-MDP).
    """

    eps: float | tuple[float, ...] = 0.05

    def __post_init__(self) -> None:
        eps = np.asarray(self.eps, dtype=np.float64)
        if eps.ndim > 1 or not (np.isfinite(eps).all() and (eps >= 0).all()):
            raise GameError(f"eps is {self.eps}: the largest shift is finite and not negative, e.g. eps=0.05")

    def shape(self, env: ActionRobustEnv) -> tuple[int, ...]:
        space = env.inner.observation_space
        if not (isinstance(space, gym.spaces.Box) and space.dtype is not None and space.dtype.kind == "f"):
            raise GameError(f"{env.env_id} observes {space}: coupling='observation' shifts a Box of real numbers")
        size = np.size(self.eps)
        if size not in (1, space.shape[-1]):
            raise GameError(f"eps has {size} components: observations of {env.env_id} have shape {space.shape}")
        return space.shape

    def observed(self, space: gym.Space) -> gym.Space:
        assert isinstance(space, gym.spaces.Box)
        eps = np.asarray(self.eps)
        kind: Any = space.dtype
        return gym.spaces.Box((space.low - eps).astype(kind), (space.high + eps).astype(kind), dtype=kind)

    def apply(self, env: ActionRobustEnv, action: np.ndarray, adversary: np.ndarray) -> Play:
        return Play(action, shift=np.asarray(self.eps) * adversary)


COUPLINGS: dict[str, type[Coupling]] = {
    "noisy": NoisyAction,
    "probabilistic": ProbabilisticAction,
    "force": BodyForce,
    "dynamics": DynamicsShift,
    "observation": ObservationShift,
}


def make_coupling(
    coupling: str | Coupling, alpha: float | None, settings: Mapping[str, Any]
) -> tuple[Coupling, dict[str, Any]]:
    """Return the coupling and the settings that are not its own.

    Raises:
        GameError: no such name, `alpha` for a coupling without one, values it does not allow.
    """
    if isinstance(coupling, Coupling):
        if alpha is not None:
            raise GameError(f"alpha={alpha} comes too late for {coupling!r}: set it there, or pass coupling by name")
        return coupling, dict(settings)
    if coupling not in COUPLINGS:
        raise unknown("coupling", str(coupling), COUPLINGS)
    cls = COUPLINGS[coupling]
    known = [f.name for f in fields(cls)]  # type: ignore[arg-type]
    own = {name: value for name, value in settings.items() if name in known}
    if alpha is not None:
        if "alpha" not in known:
            raise GameError(f"alpha={alpha} means nothing to coupling {coupling!r}: it takes {', '.join(known)}")
        own["alpha"] = alpha
    return cls(**own), {name: value for name, value in settings.items() if name not in own}
