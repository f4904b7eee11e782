"""Episodes of a control policy in a two-player env: alone, or against an adversary, nominal or perturbed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple
from zlib import crc32

import gymnasium as gym
import numpy as np

from robustgames.envs.control.action_robust import ActionRobustEnv
from robustgames.envs.control.coupling import ControlEnv, Coupling, Play
from robustgames.envs.control.inner import checked_flag
from robustgames.envs.control.perturbations import Perturbation
from robustgames.envs.opponents import ModelPolicy, Policy, Predictor, policy_of
from robustgames.envs.registration import control_ids
from robustgames.envs.views import adversary_first
from robustgames.errors import GameError, unknown

Opponent = Policy | Predictor | np.ndarray | list[float] | str | None
"""A policy or model as in `play`, an action, or "random", uniform on its box. If None, the protagonist is alone."""
LONG = 100_000
"""Steps after which an episode without an end is told."""


class Rollouts(NamedTuple):
    """Results of episodes, each of shape (episodes,)."""

    returns: np.ndarray
    """Undiscounted sums of the protagonist's rewards."""
    lengths: np.ndarray
    """Steps until the end."""


@dataclass(frozen=True)
class NoAdversary(Coupling):
    """Coupling that executes the protagonist's action as it is, whatever the adversary plays."""

    def apply(self, env: ControlEnv, action: np.ndarray, adversary: np.ndarray) -> Play:
        return Play(action, acted=False)


def control_env(env: gym.Env | str, settings: Mapping[str, Any] | None = None) -> gym.Env:
    """Return the env of an id and its settings, without Gymnasium's checkers, or the given env.

    Raises:
        GameError: The id is unknown, settings are given for an existing env, or the env is not an `ActionRobustEnv`.
    """
    if isinstance(env, str):
        if env.rpartition(":")[2] not in gym.registry and ":" not in env:
            raise unknown("env", env, control_ids())
        made = gym.make(env, disable_env_checker=True, **(settings or {}))
    elif settings:
        raise GameError(
            f"env_settings {dict(settings)} cannot be changed on {env}, which already exists: "
            "pass its id, or set them in gym.make"
        )
    else:
        made = env
    action_robust(made)
    return made


def action_robust(env: gym.Env) -> ActionRobustEnv:
    """Return the `ActionRobustEnv` below the wrappers of an env.

    Raises:
        GameError: The env is not an `ActionRobustEnv`.
    """
    core = env.unwrapped
    if not isinstance(core, ActionRobustEnv):
        raise GameError(f"{env} has no adversary: pass one of {', '.join(control_ids())}")
    return core


def adversary_shape(env: gym.Env) -> tuple[int, ...]:
    """Return the shape (m,) of the adversary's actions."""
    return env.action_space["adversary"].shape  # type: ignore[index]


def check_episodes(episodes: int) -> None:
    """Refuse a number of episodes below 1."""
    if not episodes >= 1:
        raise GameError(f"episodes is {episodes}: a whole number of at least 1 is needed, e.g. episodes=10")


def play(
    env: gym.Env | str,
    policy: Policy | Predictor,
    episodes: int = 10,
    seed: int = 0,
    perturbation: Perturbation | None = None,
    adversary: Opponent = None,
    env_settings: Mapping[str, Any] | None = None,
) -> Rollouts:
    """Play episodes of a policy and return their returns and lengths.

    Episode k starts from the seed `seed + k`. Policies or perturbations that are compared therefore have the same
    initial states and the same noise.

    Args:
        env: An `ActionRobustEnv`, or its id.
        policy: Policy of the protagonist, observation -> action in [-1, 1]^n, or anything with `predict`: an agent
            (its run 0; that of another run is `agent.policy(run)`), or a model of Stable-Baselines3. Or a torch module,
            (1, p) -> (1, n). A function must be deterministic, since nothing seeds it.
        episodes: Number of episodes, >= 1.
        seed: Seed of the first episode.
        perturbation: Perturbation of the env, see `ActionRobustEnv.reset`; None is the nominal env. A given env gets
            its own perturbation back afterwards, and its episode is over.
        adversary: The adversary. If None, exactly the protagonist's action is executed, whatever the env's coupling
            and share.
        env_settings: Settings of an id.

    Raises:
        GameError: episodes is below 1, or the env is of another kind; see also the env.

    Example:
        >>> still = lambda observation: np.zeros(1)
        >>> play("robustgames/ActionRobustPendulum-v0", still, episodes=2, perturbation={"mass": 2.0}).lengths
        array([200, 200])
    """
    return trace(env, policy, episodes, seed, perturbation, adversary, env_settings)[0]


def trace(
    env: gym.Env | str,
    policy: Policy | Predictor,
    episodes: int,
    seed: int,
    perturbation: Perturbation | None = None,
    adversary: Opponent = None,
    env_settings: Mapping[str, Any] | None = None,
) -> tuple[Rollouts, tuple[int, ...]]:
    """Return (the result of `play`, checksums of the observations of every episode)."""
    check_episodes(episodes)
    made = control_env(env, env_settings)
    core = action_robust(made)
    acting, before = policy_of(policy, "protagonist", core.action_space["protagonist"]), core._source  # type: ignore[index]
    if acting is None:
        raise GameError(f"policy is {policy!r}: pass a function observation -> action, or an agent")
    try:
        with alone(core) if adversary is None else nullcontext():
            seeds = range(seed, seed + episodes)
            played = [_episode(made, acting, _opponent(core, adversary, s), perturbation, s) for s in seeds]
    finally:
        core.set_perturbation(before)
        if made is not env:
            made.close()
    returns, lengths, stamps = zip(*played, strict=True)
    return Rollouts(np.array(returns), np.array(lengths)), stamps


@contextmanager
def alone(core: ActionRobustEnv) -> Iterator[None]:
    """Execute the protagonist's action as it is inside the block."""
    coupling = core.coupling
    coupling.clear(core)
    core.coupling = NoAdversary()
    try:
        yield
    finally:
        core.coupling = coupling


def _opponent(core: ActionRobustEnv, adversary: Opponent, seed: int) -> Policy | np.ndarray:
    """Return the adversary's policy, or the action that it always plays."""
    shape = adversary_shape(core)
    if adversary is None:
        return np.zeros(shape, np.float32)
    if isinstance(adversary, str):
        if adversary != "random":
            raise unknown("adversary", adversary, ["random"])
        rng = np.random.default_rng((seed, 1))  # the env has the stream of `seed` itself
        return lambda observation: rng.uniform(-1, 1, shape).astype(np.float32)
    found = policy_of(adversary, "adversary", core.action_space["adversary"])  # type: ignore[index]
    return np.asarray(adversary, np.float32) if found is None else found


def _bytes(observation: Any) -> bytes:
    return observation.tobytes() if isinstance(observation, np.ndarray) else repr(observation).encode()


def _episode(
    env: gym.Env, policy: Policy, opponent: Policy | np.ndarray, perturbation: Perturbation | None, seed: int
) -> tuple[float, int, int]:
    for player in (policy, opponent):
        if isinstance(player, ModelPolicy):
            player.begin()
    observation, info = env.reset(seed=seed, options={"perturbation": perturbation})
    joint: dict[str, Any] = {"adversary": opponent}
    step, leader = env.step, adversary_first(env)
    total, length, done, stamp = 0.0, 0, False, 0
    while not done:
        if callable(opponent):
            joint["adversary"] = opponent(info["observations"]["adversary"] if "observations" in info else observation)
        joint["protagonist"] = policy(observation if leader is None else leader.perceived(joint["adversary"]))
        observation, reward, terminated, truncated, info = step(joint)
        stamp = crc32(_bytes(observation), stamp)
        total += float(reward)
        length += 1
        if length == LONG:
            advice = "if it has no end, gym.register(..., max_episode_steps=1000) sets one"
            warnings.warn(f"an episode has {LONG:,} steps and has not ended: {advice}", stacklevel=4)
        done = checked_flag("terminated", terminated, env) or checked_flag("truncated", truncated, env)
    return total, length, stamp
