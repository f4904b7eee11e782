"""Episodes of a control policy in a two-player env: alone, or against an adversary, nominal or perturbed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from robustgames.envs.control.action_robust import ActionRobustEnv
from robustgames.envs.control.coupling import ControlEnv, Coupling, Play
from robustgames.envs.control.perturbations import Perturbation
from robustgames.envs.registration import control_ids
from robustgames.errors import GameError, unknown

Policy = Callable[[Any], np.ndarray]
"""observation -> action in [-1, 1]^n; e.g. `lambda o: agent.predict(o)[0]`. Deterministic: nothing seeds it."""

Adversary = Policy | np.ndarray | list[float] | str | None
"""None: the protagonist is alone; else a policy, a fixed action, or "random", uniform on the adversary's box."""


class Episodes(NamedTuple):
    """What was played, each of shape (episodes,)."""

    returns: np.ndarray
    """Undiscounted sums of the protagonist's rewards."""
    lengths: np.ndarray
    """Steps until the end."""


@dataclass(frozen=True)
class NoAdversary(Coupling):
    """The protagonist's action is executed as it is, whatever the adversary plays."""

    def apply(self, env: ControlEnv, action: np.ndarray, adversary: np.ndarray) -> Play:
        return Play(action, acted=False)


def control_env(env: gym.Env | str, settings: Mapping[str, Any] | None = None) -> gym.Env:
    """Return the env of an id and its settings, without Gymnasium's checkers; or the env that is given.

    Raises:
        GameError: an unknown id, settings for an env that is made already, an env that is no `ActionRobustEnv`.
    """
    if isinstance(env, str):
        if env.rpartition(":")[2] not in gym.registry and ":" not in env:
            raise unknown("env", env, control_ids())
        made = gym.make(env, disable_env_checker=True, **(settings or {}))
    elif settings:
        raise GameError(f"env_settings {dict(settings)} come too late for {env}: pass its id, or set them in gym.make")
    else:
        made = env
    if not isinstance(made.unwrapped, ActionRobustEnv):
        raise GameError(f"{env} has no adversary: pass one of {', '.join(control_ids())}")
    return made


def play(
    env: gym.Env | str,
    policy: Policy,
    episodes: int = 10,
    seed: int = 0,
    perturbation: Perturbation | None = None,
    adversary: Adversary = None,
    env_settings: Mapping[str, Any] | None = None,
) -> Episodes:
    """Play episodes of a policy and return their returns and lengths.

    Episode k starts from the seed `seed + k`, so that whatever is compared, policies or perturbations, meets the same
    initial states and the same noise.

    Args:
        env: an `ActionRobustEnv`, or its id.
        policy: of the protagonist.
        episodes: how many, >= 1.
        seed: of the first one.
        perturbation: of the env, see `ActionRobustEnv.reset`; None is the nominal env. An env that is given has its own
            again afterwards; its episode is over.
        adversary: None executes exactly the protagonist's action, whatever the env's coupling and its share.
        env_settings: of an id.

    Raises:
        GameError: no episodes, an env of another kind, and what the env raises.

    Example:
        >>> still = lambda observation: np.zeros(1)
        >>> play("robustgames/ActionRobustPendulum-v0", still, episodes=2, perturbation={"mass": 2.0}).lengths
        array([200, 200])
    """
    if not episodes >= 1:
        raise GameError(f"episodes is {episodes}: a whole number of at least 1 is needed")
    made = control_env(env, env_settings)
    core: Any = made.unwrapped
    before = core._source
    try:
        with alone(core) if adversary is None else nullcontext():
            seeds = range(seed, seed + episodes)
            played = [_episode(made, policy, _opponent(core, adversary, s), perturbation, s) for s in seeds]
    finally:
        core.set_perturbation(before)
        if made is not env:
            made.close()
    returns, lengths = zip(*played, strict=True)
    return Episodes(np.array(returns), np.array(lengths))


@contextmanager
def alone(core: ActionRobustEnv) -> Iterator[None]:
    """Let the protagonist's action be executed as it is inside the block."""
    coupling = core.coupling
    coupling.clear(core)
    core.coupling = NoAdversary()
    try:
        yield
    finally:
        core.coupling = coupling


def _opponent(core: ActionRobustEnv, adversary: Adversary, seed: int) -> Policy | np.ndarray:
    """Return the adversary's policy, or the action that it always plays."""
    space: Any = core.action_space["adversary"]  # type: ignore[index]
    if adversary is None:
        return np.zeros(space.shape, np.float32)
    if isinstance(adversary, str):
        if adversary != "random":
            raise unknown("adversary", adversary, ["random"])
        rng = np.random.default_rng((seed, 1))  # the env has the stream of `seed` itself
        return lambda observation: rng.uniform(-1, 1, space.shape).astype(np.float32)
    return adversary if callable(adversary) else np.asarray(adversary, np.float32)


def _episode(
    env: gym.Env, policy: Policy, opponent: Policy | np.ndarray, perturbation: Perturbation | None, seed: int
) -> tuple[float, int]:
    observation, info = env.reset(seed=seed, options={"perturbation": perturbation})
    joint: dict[str, Any] = {"adversary": opponent}
    step, reacts = env.step, callable(opponent)
    total, length, done = 0.0, 0, False
    while not done:
        if reacts:
            joint["adversary"] = opponent(info["observations"]["adversary"] if "observations" in info else observation)  # type: ignore[operator]
        joint["protagonist"] = policy(observation)
        observation, reward, terminated, truncated, info = step(joint)
        total += float(reward)
        length += 1
        done = terminated or truncated
    return total, length
