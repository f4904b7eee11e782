"""Control with an adversary: two players act in one Gymnasium env, with continuous or finitely many actions."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping
from math import isfinite
from typing import Any, ClassVar, cast

import gymnasium as gym
import numpy as np
import torch

from robustgames.envs.control.coupling import Coupling, Play
from robustgames.envs.control.couplings import make_coupling
from robustgames.envs.control.inner import (
    Copied,
    checked_flag,
    dropped_numbers,
    is_finite,
    is_real_box,
    make_inner,
    physics_of,
)
from robustgames.envs.control.perturbations import AXES, NOISES, Distribution, Perturbation, checked, draw, flat
from robustgames.envs.joint_actions import JointActions
from robustgames.errors import GameError, shorten, unknown

FEW = 32


class ActionRobustEnv(gym.Env[Any, dict[str, np.ndarray]]):
    """A protagonist controls an env, and an adversary disturbs it.

    Action: {"protagonist": a, "adversary": ā}, float32 in [-1, 1], stretched over the action box of the inner env.
    Observation: the inner env's, a Dict or Tuple as one vector (see `Flattened`).
    Reward: the protagonist's; the adversary's is its negative. `info` holds

    * `executed_action`: the action of the actuators, in [-1, 1]^n (which a critic should learn from),
    * `coupled_action`, with the perturbation "action_noise": what the coupling made of both actions before noise
      replaced it. A critic should then learn from this one, since the noise is a part of the env,
    * `adversary_acted`, `reward_adversary`,
    * `perturbation`: the perturbation of this episode, as drawn, with a key "axis:body" for the scale of a body,
    * `observations`: those of both players if they differ (observation noise, coupling "delayed_observation"). The
      adversary observes the true one,
    * `adversary_scales`: the scales that the adversary set, with coupling "dynamics",
    * what the inner env has there, its `observations` and `rewards` as `inner_observations` and `inner_rewards`: these
      two names are those of what each player gets.

    Args:
        env_id: Gymnasium id with a bounded Box of actions, or with finitely many: an action is then a vector of
            preferences, of which the largest is executed, see `Preferences`.
        alpha: The adversary's share in couplings of actions, 0.1 by default; 0 is the inner env, bit for bit.
        coupling: "noisy" (NR-MDP), "probabilistic" (PR-MDP), "force" (RARL), "dynamics", "observation" (SA-MDP),
            "delayed_observation", or a `Coupling`. In "observation" the adversary acts first, see `perceived`.
        perturbation: Perturbation of the first episode, as in `reset`.
        render_mode: Render mode of the inner env.
        **settings: Settings of the coupling (`bodies`, `plane`, `bound`; `scales`; `eps`); the others are those of the
            inner env.

    With observation noise, which has no bounds, the observation space is unbounded: nothing is clipped, so the noise
    has mean 0 and the given deviation.

    The sub-envs of a Gymnasium vector env may have perturbations of their own; masks in its `info`, such as
    `info["perturbation"]["_mass"]`, mark who has which. If some have observation noise, their observation spaces
    differ, and Gymnasium needs `observation_mode="different"`.

    Raises:
        GameError: An unknown id or setting, actions that are neither finitely many nor a bounded Box, alpha outside
            [0, 1], and what `reset` and `step` raise.

    Example:
        >>> env = gym.make("robustgames/ActionRobustPendulum-v0", alpha=0.25)
        >>> observation, info = env.reset(seed=0, options={"perturbation": {"mass": 1.5}})
        >>> *_, info = env.step({"protagonist": [1.0], "adversary": [-1.0]})
        >>> info["executed_action"].tolist(), info["perturbation"]
        ([0.5], {'mass': 1.5})
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["human", "rgb_array", "depth_array"]}
    players: ClassVar[tuple[str, str]] = ("protagonist", "adversary")

    def __init__(
        self,
        env_id: str = "Pendulum-v1",
        alpha: float | None = None,
        coupling: str | Coupling = "noisy",
        perturbation: Perturbation | None = None,
        render_mode: str | None = None,
        **settings: Any,
    ) -> None:
        self.env_id = env_id
        self.coupling, rest = make_coupling(coupling, alpha, settings)
        self.inner = make_inner(env_id, render_mode, rest)
        self.render_mode = render_mode
        self.metadata = {**self.inner.metadata}  # type: ignore[misc]
        box = self.inner.action_space
        assert isinstance(box, gym.spaces.Box)
        self._center, self._half = (box.high + box.low.astype(float)) / 2, (box.high - box.low.astype(float)) / 2
        self.physics = physics_of(self.inner.unwrapped)
        self.perturbation: dict[str, Any] = {}
        self._source = checked(perturbation, self.physics)
        self._warned: set[str] = set()
        self._steps = self.moves = 0  # moves: resets and steps so far, by which an agent notices those of others
        self._low, self._high = box.low, box.high
        self._unit = bool((box.low == -1).all() and (box.high == 1).all())
        self._shapes = {"protagonist": box.shape, "adversary": self.coupling.shape(self)}
        self._kind: Any = box.dtype
        own, other = (gym.spaces.Box(-1.0, 1.0, shape, np.float32) for shape in self._shapes.values())
        self.action_space = JointActions(protagonist=own, adversary=other)  # type: ignore[assignment]
        self._clean_space = self._noisy_space = self.coupling.observed(self.inner.observation_space)
        if is_real_box(space := self._clean_space):
            self._noisy_space = gym.spaces.Box(-np.inf, np.inf, space.shape, space.dtype.type)  # type: ignore[union-attr]
        self._take(self._source)
        self._shown: Any = None  # the observation of the protagonist without the adversary
        self._perceived: np.ndarray | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode.

        Args:
            seed: Seed of the inner env, and of a separate stream for coins, noise and drawn perturbations.
            options: Perturbation {"perturbation": {axis: value}} of this episode and the next ones; None restores the
                nominal env. A value is a scale (1.0 is nominal), {body: scale}, or a distribution that is drawn from at
                every reset, e.g. {"mass": (0.5, 2.0), "friction": 0.5, "action_noise": 0.1}. Other options are passed
                to the inner env.

        Raises:
            GameError: Unknown axes or bodies, values that are not allowed, or an observation that is not finite.
        """
        options = dict(options or {})
        if "perturbation" in options:
            self._take(checked(options.pop("perturbation"), self.physics))
        self.moves += 1
        super().reset(seed=seed)
        if seed is not None:
            # the inner env starts from the same seed: a child stream, or coins would repeat its initial state
            self._np_random = self.np_random.spawn(1)[0]
        self._steps = 0
        self.coupling.clear(self)
        self._perturb()
        observation, info = self.inner.reset(seed=seed, options=options or None)
        seen, more = self._seen(observation, None)
        self._check_kept()
        return seen, {**_renamed(info), **more, "perturbation": flat(self.perturbation)}

    def set_perturbation(self, perturbation: Perturbation | None) -> None:
        """Perturb from the next step on, and in later episodes; None restores the nominal env."""
        self._take(checked(perturbation, self.physics))
        self._perturb()

    def perceived(self, adversary: Any) -> Any:
        """Return what the protagonist observes now if the adversary plays this action, which `step` gets as well.

        In the coupling "observation" it is the shifted observation. In all others it is the one that the env returned.

        Raises:
            GameError: The action has the wrong shape or is not finite.

        Example:
            >>> env = gym.make("robustgames/ActionRobustPendulum-v0", coupling="observation", eps=0.5).unwrapped
            >>> observation, _ = env.reset(seed=0)
            >>> (env.perceived([1.0, 0.0, -1.0]) - observation).round(3).tolist()
            [0.5, 0.0, -0.5]
        """
        self._perceived = self._checked_action({"adversary": adversary}, "adversary")
        if not self.coupling.adversary_first:
            return self._shown
        return self._typed(self.coupling.perceive(self, self._shown, self._perceived), self._shown)

    def _take(self, perturbation: dict[str, Any]) -> None:
        """Draw from this perturbation in later episodes, and observe in the space that its noise needs."""
        self._source, noise = perturbation, perturbation.get("observation_noise", 0.0)
        noisy = any(noise.extremes()) if isinstance(noise, Distribution) else noise > 0
        self.observation_space = self._noisy_space if noisy else self._clean_space

    def acts(self, axis: str, value: Any = 0.5) -> bool:
        """Return whether this value of a perturbation's axis can change a trajectory of this env.

        Example:
            >>> pendulum = gym.make("robustgames/ActionRobustInvertedPendulum-v0").unwrapped
            >>> pendulum.acts("mass"), pendulum.acts("friction"), pendulum.why_idle("friction")
            (True, False, 'no two geoms of the model touch with friction')
        """
        return self.why_idle(axis, value) is None

    def why_idle(self, axis: str, value: Any = 0.5) -> str | None:
        """Return the reason why a value of an axis changes no trajectory of this env, or None."""
        if axis not in AXES:
            raise unknown("axis of a perturbation", axis, AXES)
        if axis == "observation_noise":
            return None if is_real_box(self.inner.observation_space) else "the observation is not a Box of real numbers"
        return None if axis in NOISES else self.physics.idle(axis, value)

    def step(self, action: dict[str, np.ndarray]) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Play both actions.

        Raises:
            GameError: An action that misses a player, has the wrong shape or is not finite; a reward or observation
                of the inner env that is not finite.
        """
        own, adversary = (self._checked_action(action, player) for player in self.players)
        play = self.coupling.apply(self, own, adversary)
        if self.coupling.adversary_first:
            self._check_perceived(adversary)
        executed = self._replaced(play.action)
        if play.scales:
            self.physics.set(self.perturbation, play.scales)
        self._steps += 1
        self.moves += 1
        applied = executed.astype(self._kind)
        if play.acted or not self._unit:  # else it is an action of the box already
            applied = (self._center + self._half * executed).astype(self._kind)
            applied = np.minimum(np.maximum(applied, self._low), self._high)  # rounding may leave the box by a digit
        observation, reward, terminated, truncated, info = self.inner.step(applied)
        terminated = checked_flag("terminated", terminated, self.inner)
        truncated = checked_flag("truncated", truncated, self.inner)
        reward = float(reward)
        if not isfinite(reward):
            raise self._broken("reward", reward, executed)
        seen, more = self._seen(observation, play, executed)
        own_info = {
            "executed_action": executed,
            "adversary_acted": play.acted,
            "reward_adversary": -reward,
            "perturbation": flat(self.perturbation),
        }
        if "action_noise" in self.perturbation:
            own_info["coupled_action"] = play.action.astype(np.float32)
        return seen, reward, terminated, truncated, {**_renamed(info), **more, **own_info}

    def render(self) -> Any:
        return self.inner.render()

    def close(self) -> None:
        """Restore the nominal parameters and close the inner env."""
        self.coupling.clear(self)
        self.physics.set()
        self.inner.close()

    def _perturb(self) -> None:
        self.perturbation = draw(self._source, self.np_random)
        self.physics.set(self.perturbation)
        for axis, value in self.perturbation.items():
            changes = any(v != 1.0 for v in (value.values() if isinstance(value, dict) else [value]))
            if changes and axis not in self._warned:
                self._warned.add(axis)
                if reason := self.why_idle(axis, value):
                    warnings.warn(f"{axis} has no effect on {self.env_id}: {reason}", stacklevel=4)

    def _check_kept(self) -> None:
        """Warn of scales that the reset of the inner env has overwritten."""
        for axis, reason in self.physics.lost().items():
            if f"{axis} lost" not in self._warned:
                self._warned.add(f"{axis} lost")
                why = f"reset() of {self.env_id} {reason}; set it in __init__ alone"
                warnings.warn(f"the perturbation of {axis} is lost: {why}", stacklevel=3)

    def _check_perceived(self, adversary: np.ndarray) -> None:
        if adversary.any() and not np.array_equal(adversary, self._perceived) and "perceived" not in self._warned:  # type: ignore[arg-type]
            self._warned.add("perceived")
            why = "the adversary acts first, call env.unwrapped.perceived(ā) before the protagonist acts"
            warnings.warn(f"the protagonist did not see the shift of its observation: {why}", stacklevel=3)
        self._perceived = None

    def _checked_action(self, action: Any, player: str) -> np.ndarray:
        shape = self._shapes[player]
        if not ((type(action) is dict or isinstance(action, Mapping)) and player in action):
            raise GameError(f"action is {action!r}: pass both, {{'protagonist': a, 'adversary': b}} of [-1, 1]^n")
        value = _array(action[player], player, shape)
        if value.shape != shape:
            raise GameError(f"the {player}'s action has shape {value.shape}: expected {shape}")
        if value.size <= FEW:  # a loop over numbers costs less than a call of NumPy
            for number in value.ravel().tolist():
                if not -1 <= number <= 1:
                    break
            else:
                return value
        if not np.isfinite(value).all():
            raise GameError(f"the {player}'s action is {value}: expected numbers in [-1, 1]")
        return np.minimum(np.maximum(value, -1), 1)

    def _replaced(self, action: np.ndarray) -> np.ndarray:
        probability = self.perturbation.get("action_noise", 0.0)
        if probability and self.np_random.random() < probability:
            return self.np_random.uniform(-1, 1, action.shape).astype(np.float32)
        return action.astype(np.float32)

    def _seen(
        self, observation: Any, play: Play | None, executed: np.ndarray | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Return (the observation of the protagonist, the part of info that belongs to it)."""
        if not is_finite(observation):
            raise self._broken("observation", observation, executed)
        if isinstance(observation, np.ndarray):  # an env may return its state, or one array that it fills in each step
            observation = observation.copy()
        self._shown = observation
        more = {"adversary_scales": dict(play.scales)} if play and play.scales else {}
        std = self.perturbation.get("observation_noise", 0.0)
        shift = play.shift if play else None
        if (shift is None and not std) or not is_real_box(self.inner.observation_space):
            return observation, more
        noisy = observation + (0.0 if shift is None else shift)
        if std:
            noisy = noisy + std * self.np_random.standard_normal(observation.shape)
        self._shown = seen = self._typed(noisy, observation)
        return seen, {**more, "observations": {"protagonist": seen, "adversary": observation}}

    def _typed(self, seen: np.ndarray, observation: np.ndarray) -> np.ndarray:
        """Return what is seen instead of an observation, in the type of the space and without an end rounded up.

        An observation that is not in the space of its env is shifted like any other.
        """
        own, space = cast(gym.spaces.Box, self.inner.observation_space), cast(gym.spaces.Box, self.observation_space)
        if (observation >= own.low).all() and (observation <= own.high).all():
            seen = np.clip(seen, space.low, space.high)
        return seen.astype(space.dtype)

    def _broken(self, what: str, value: Any, executed: np.ndarray | None) -> GameError:
        shown = " ".join(str(value).split())[:120]
        after = "at reset" if executed is None else f"at step {self._steps} after action {executed.tolist()}"
        return GameError(
            f"{self.env_id} returned {what} {shown} {after}, perturbation {self.perturbation}, which is not finite: "
            "call reset() to start a new episode, weaker perturbations may help"
        )

    # A copied or unpickled Gymnasium env is rebuilt from its arguments, without its state, its generator and the
    # changes to its model. They are kept here.
    def __getstate__(self) -> dict[str, Any]:
        core = self.inner.unwrapped
        kept = core._np_random, getattr(core, "data", None), dropped_numbers(core)
        return {**self.__dict__, "inner": Copied(self.env_id, self.inner), "_kept": kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        generator, data, numbers = state["_kept"]
        self.__dict__.update({key: value for key, value in state.items() if key != "_kept"})
        if isinstance(self.inner, Copied):  # copy.copy shares the inner env
            self.inner = self.inner.env
        core: Any = self.inner.unwrapped
        core._np_random = generator
        vars(core).update(numbers)
        self.physics.bind(core)
        self.physics.set(self.perturbation)
        if type(data).__name__ == "MjData" and data is not core.data:
            mujoco: Any = importlib.import_module("mujoco")
            mujoco.mj_copyData(core.data, core.model, data)


def _array(action: Any, player: str, shape: tuple[int, ...]) -> np.ndarray:
    if isinstance(action, torch.Tensor):  # on a GPU, or with the graph of its policy
        action = action.detach().cpu()
    try:
        return np.asarray(action, dtype=np.float32)
    except (TypeError, ValueError) as error:
        shown = shorten(" ".join(str(action).split()))
        raise GameError(f"the {player}'s action is {shown}: expected an array of numbers of shape {shape}") from error


def _renamed(info: dict[str, Any]) -> dict[str, Any]:
    """Return the info of an inner env without names that mean what each player gets."""
    if "observations" not in info and "rewards" not in info:
        return info
    return {f"inner_{name}" if name in ("observations", "rewards") else name: value for name, value in info.items()}


def keep_time_limit(env: gym.Env) -> gym.Env:
    """Return the env with the time limit of its inner env, unless it already has one.

    `robustgames/ActionRobust-v0` has no `env_id` when it is registered, so its limit is set here.
    `gym.make(..., max_episode_steps=N)` replaces it; -1 does not remove it.
    """
    spec, inner = env.spec, gym.spec(env.unwrapped.env_id.rpartition(":")[2])  # type: ignore[attr-defined]
    if inner.max_episode_steps is None or (spec is not None and spec.max_episode_steps is not None):
        return env
    return gym.wrappers.TimeLimit(env, inner.max_episode_steps)
