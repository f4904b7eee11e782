"""Episodes of a smoothed policy, with an adversary that has a budget, and their certificate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from math import pi
from typing import Any

import gymnasium as gym
import numpy as np

from robustgames.envs.control.action_robust import ActionRobustEnv
from robustgames.envs.control.inner import checked_flag, is_real_box
from robustgames.envs.opponents import ModelPolicy, Policy, Predictor, policy_of
from robustgames.envs.registration import control_ids
from robustgames.errors import GameError, one_line, unknown
from robustgames.evaluation.policy_smoothing import CertifiedReturns
from robustgames.evaluation.rollouts import adversary_shape, alone, check_episodes

LEAST_REWARDS = {
    "Acrobot": -1.0,
    "CartPole": 0.0,
    "InvertedPendulum": 0.0,
    "MountainCar": -1.0,
    "MountainCarContinuous": -0.1,
    "Pendulum": -(pi**2 + 0.1 * 8**2 + 0.001 * 2**2),
}
"""Least reward of a step, by model; other models, with velocities in their reward, have none."""
EPISODES = 1000
"""Episodes of a certificate by default."""

Attack = Callable[[np.ndarray, int], np.ndarray]
"""Function (observation (p,), step) -> shift (p,), in units of `scale`."""


def least_return(env_id: str, steps: int | None) -> float | None:
    """Return a number that no return of a model is below; None if it is not known.

    Args:
        env_id: Id of the model, e.g. "Pendulum-v1".
        steps: Largest number of steps of an episode.

    Example:
        >>> round(least_return("Pendulum-v1", 200), 2), least_return("CartPole-v1", None), least_return("Ant-v5", 1000)
        (-3254.72, 0.0, None)
    """
    reward = LEAST_REWARDS.get(env_id.rpartition("/")[2].rpartition("-v")[0])
    if reward is None or (reward < 0 and steps is None):
        return None
    return reward * (steps or 0)


def play_smoothed(
    policy: Policy | Predictor,
    env: gym.Env | str,
    noise: float,
    episodes: int = EPISODES,
    seed: int = 0,
    scale: np.ndarray | None = None,
    attack: Attack | None = None,
    budget: float = 0.0,
    env_settings: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> np.ndarray:
    """Return the undiscounted returns of episodes of a smoothed policy, (episodes,).

    Episode k starts from the seed `seed + k`; its noise is a stream of its own, the same under every attack.

    Args:
        policy: Policy without noise, observation -> action.
        env: Env or its id, which observes a vector of real numbers. In an `ActionRobustEnv` the protagonist is alone.
        noise: Standard deviation σ of the noise, in units of `scale`.
        episodes: Number of episodes.
        seed: Seed of the first one.
        scale: Units of the components, (p,) or one number for all; 1 by default. A component of unit 0 has no noise and
            cannot be attacked.
        attack: Shifts of the observations before the noise. If None, there is none.
        budget: Bound B of the norm of all shifts of an episode, in units of `scale`: the last shift that exceeds it is
            shortened, and those after it are 0.
        env_settings: Settings of an id.
        progress: Function that is called with (episodes done, all episodes).

    Raises:
        GameError: An env with other observations, an unknown id, no episode, or a noise, budget or unit below 0.
    """
    check_episodes(episodes)
    if not 0 <= noise < float("inf"):
        raise GameError(f"noise is {noise}: a standard deviation is finite and not negative, e.g. noise=0.2")
    if not budget >= 0:
        raise GameError(f"budget is {budget}: the norm of all shifts of an episode is not negative, e.g. budget=0.1")
    made = _made(env, env_settings)
    core, space = made.unwrapped, made.observation_space
    if not is_real_box(space) or len(space.shape or ()) != 1:
        raise GameError(f"{env} observes {space}: noise on observations needs a vector of real numbers")
    robust, actions = isinstance(core, ActionRobustEnv), made.action_space
    acting = policy_of(policy, "protagonist", actions["protagonist"] if robust else actions)  # type: ignore[index]
    if acting is None:
        raise GameError(f"policy is {policy!r}: pass a function observation -> action, or an agent")
    idle = {"adversary": np.zeros(adversary_shape(made), np.float32)} if robust else {}
    found: list[float] = []
    try:
        units = _units(scale, space.shape[0])  # type: ignore[index]
        with alone(core) if isinstance(core, ActionRobustEnv) else nullcontext():
            for k in range(episodes):
                if isinstance(acting, ModelPolicy):
                    acting.begin()
                observation, _ = made.reset(seed=seed + k, **({"options": {"perturbation": None}} if robust else {}))
                rng, total, left, step = np.random.default_rng((seed + k, 4)), 0.0, budget**2, 0
                done = False
                while not done:
                    shift = noise * rng.standard_normal(units.shape)
                    if attack is not None and left > 0:
                        delta, left = _paid(np.asarray(attack(observation, step), np.float64), left)
                        shift = shift + delta
                    action = acting((observation + units * shift).astype(observation.dtype))
                    joint = {"protagonist": action, **idle} if robust else action
                    observation, reward, terminated, truncated, _ = made.step(joint)
                    total += float(reward)
                    step += 1
                    done = checked_flag("terminated", terminated, made) or checked_flag("truncated", truncated, made)
                found.append(total)
                if progress is not None:
                    progress(k + 1, episodes)
    finally:
        if made is not env:
            made.close()
    return np.array(found)


def certify_returns(
    policy: Policy | Predictor,
    env: gym.Env | str,
    noise: float,
    episodes: int = EPISODES,
    seed: int = 0,
    alpha: float = 0.001,
    scale: np.ndarray | None = None,
    least: float | None = None,
    env_settings: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> CertifiedReturns:
    """Return certified returns of a smoothed policy, see `robustgames.evaluation.policy_smoothing`.

    They are about the policy *with* the noise, over starts as the env draws them.

    Args:
        policy: Policy without noise, observation -> action.
        env: Env or its id, see `play_smoothed`.
        noise: Standard deviation σ of the noise, in units of `scale`, > 0.
        episodes: Number of episodes.
        seed: Seed of the first one.
        alpha: Probability that the certificate is wrong.
        scale: Units of the components, (p,) or one number for all; 1 by default.
        least: Number that no return is below. By default that of `least_return` if `env` is an id and it is known; an
            env that is given may have wrappers that change its rewards.
        env_settings: Settings of an id.
        progress: Function that is called with (episodes done, all episodes).

    Raises:
        GameError: See `play_smoothed` and `CertifiedReturns`.

    Example:
        >>> right = lambda observation: int(observation[2] + observation[3] > 0)
        >>> found = certify_returns(right, "CartPole-v1", noise=0.05, episodes=20)
        >>> found.least, bool(found.mean(0.05) <= found.mean(0.0) <= found.returns.mean())
        (0.0, True)
    """
    if not 0 < noise < float("inf"):
        raise GameError(f"noise is {noise}: a smoothed policy has noise > 0 on its observations, e.g. noise=0.2")
    returns = play_smoothed(policy, env, noise, episodes, seed, scale, None, 0.0, env_settings, progress)
    if least is None and isinstance(env, str):
        least = _least_return(_made(env, env_settings))
    return CertifiedReturns(returns, noise, alpha, least)


def _made(env: gym.Env | str, settings: Mapping[str, Any] | None) -> gym.Env:
    if not isinstance(env, str):
        if settings:
            raise GameError(f"env_settings {dict(settings)} cannot be changed on {env}, which already exists")
        return env
    if env.rpartition(":")[2] not in gym.registry and ":" not in env:
        raise unknown("env", env, control_ids())
    return gym.make(env, disable_env_checker=True, **(settings or {}))


def _least_return(made: gym.Env) -> float | None:
    """Return a number that no return of an env of Gymnasium with its usual settings is below; None if none is known."""
    core, spec = made.unwrapped, made.spec
    made.close()
    model = core.env_id.rpartition(":")[2] if isinstance(core, ActionRobustEnv) else getattr(spec, "id", None)
    inner = core.inner.unwrapped.spec if isinstance(core, ActionRobustEnv) else spec
    if spec is None or model is None or inner is None:
        return None
    usual = gym.spec(model)
    if not str(usual.entry_point).startswith("gymnasium."):
        return None  # another env of the same name
    if any(repr(usual.kwargs.get(key)) != repr(value) for key, value in inner.kwargs.items() if key != "render_mode"):
        return None  # such as sutton_barto_reward of CartPole, which is another reward
    return least_return(model, spec.max_episode_steps)


def _units(scale: Any, count: int) -> np.ndarray:
    """Return the unit of every component, (p,): each one has noise of its own."""
    units = np.asarray(1.0 if scale is None else scale, np.float64)
    if units.shape not in ((), (count,)) or not (np.isfinite(units) & (units >= 0)).all():
        raise GameError(
            f"scale is {one_line(units)}: finite units >= 0 of {count} components are needed, e.g. np.ones({count})"
        )
    return np.broadcast_to(units, (count,))


def _paid(delta: np.ndarray, left: float) -> tuple[np.ndarray, float]:
    """Return a shift of which the rest of the budget pays for all or a part, and what is left."""
    square = float(delta @ delta)
    if square <= left:
        return delta, left - square
    return delta * (left / square) ** 0.5, 0.0
