"""What an agent takes from an env with all its wrappers, and the wrappers with which it cannot learn."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import wrappers

from robustgames.envs import ActionRobustEnv
from robustgames.envs.control.action_couplings import ActionCoupling
from robustgames.envs.control.couplings import check_actions_coupled
from robustgames.errors import GameError

LARGEST = float(np.finfo(np.float32).max)
INSIDE = "register the inner env with it, and pass that id as env_id"
REFUSED: dict[type[gym.Wrapper], str] = {
    gym.ActionWrapper: f"changes the actions, but the critic learns from those of the actuators: {INSIDE}",
    wrappers.NormalizeObservation: "changes its scale while the replay keeps old observations: use normalize=True",
    wrappers.NormalizeReward: "changes its scale while the replay keeps old rewards: use TransformReward with a factor",
    wrappers.MaxAndSkipObservation: f"plays several steps in one, of which only the last action is known: {INSIDE}",
}


def core_of(env: gym.Env) -> ActionRobustEnv:
    """Return the `ActionRobustEnv` inside an env's wrappers.

    Raises:
        GameError: The env has no adversary.
    """
    if not isinstance(env.unwrapped, ActionRobustEnv):
        wanted = "robustgames/ActionRobust-v0 with env_settings={'env_id': 'Pendulum-v1'}"
        raise GameError(f"{env} has no adversary: pass an id such as {wanted}")
    return env.unwrapped


def law_of(env: gym.Env) -> ActionCoupling:
    """Return the coupling of an env whose adversary is a second policy on the same actions.

    Raises:
        GameError: The adversary acts through something else.
    """
    return check_actions_coupled(core_of(env).coupling)


def check_env(env: gym.Env) -> gym.Env:
    """Return the env if a policy can observe it through its wrappers and act against its adversary.

    Raises:
        GameError: It has no adversary, or it observes or acts in a space that agents do not learn in; the message names
            the wrapper.
    """
    law_of(env)
    return check_wrappers(env)


def check_wrappers(env: gym.Env) -> gym.Env:
    """Return the env if a policy can observe it through its wrappers, whatever the coupling of its adversary.

    Raises:
        GameError: As `check_env`.
    """
    core = core_of(env)
    for layer in layers_of(env):
        for kind, why in REFUSED.items():
            if isinstance(layer, kind):
                raise GameError(f"{type(layer).__name__} {why}")
        if layer.action_space != core.action_space:
            name, space = type(layer).__name__, layer.action_space
            raise GameError(f"{name} changes the action space to {space}: agents play {core.action_space}; {INSIDE}")
    space = env.observation_space
    if not isinstance(space, gym.spaces.Box):
        raise GameError(f"{env} observes {space}: it must be a Box, wrap it in FlattenObservation")
    if space.dtype == np.uint8:
        how = "FlattenObservation(RescaleObservation(DtypeObservation(env, np.float32), np.float32(0), np.float32(1)))"
        raise GameError(f"{env} observes images in 0 … 255, on which the networks do not train: pass {how}")
    if 0 in space.shape:
        raise GameError(f"{env} observes {space}: it must have at least one number")
    return env


def layers_of(env: gym.Env) -> list[gym.Wrapper]:
    """Return the wrappers of an env, the outermost first."""
    found = []
    while isinstance(env, gym.Wrapper):
        found.append(env)
        env = env.env
    return found


def names_of(env: gym.Env) -> str:
    """Return the names of an env's wrappers, for a message."""
    return ", ".join(type(layer).__name__ for layer in layers_of(env)) or "no wrapper"


def stored(name: str, value: Any, out: np.ndarray, shape: tuple[int, ...]) -> None:
    """Write an observation to the row `out` (p,), in the type in which a replay stores it.

    Raises:
        GameError: It has another shape, or is not finite in that type.
    """
    array = np.asarray(value)
    if array.shape != shape or array.dtype.kind not in "fiub":
        raise GameError(f"{name} has shape {array.shape} and type {array.dtype}: expected numbers of shape {shape}")
    flat = array.ravel()
    if array.dtype.kind == "f" and float(np.vdot(flat, flat)) < LARGEST:  # faster; large numbers overflow the product
        out[:] = flat
        return
    with np.errstate(over="ignore"):
        out[:] = flat
    if not np.isfinite(out).all():
        raise _too_large(name, value)


def stored_reward(reward: Any) -> float:
    """Return a reward as a number that is finite in float32.

    Raises:
        GameError: It is not.
    """
    number = float(reward)
    if not -LARGEST <= number <= LARGEST:
        raise _too_large("the reward", reward)
    return number


def executed_action(info: dict[str, Any], env: gym.Env, noisy: bool) -> np.ndarray:
    """Return the action of the actuators, flat; if noise may replace it (`noisy`), the one before the noise.

    Raises:
        GameError: A wrapper drops it.
    """
    name = "coupled_action" if noisy else "executed_action"
    if name not in info:
        raise GameError(f"info has no {name}: one of {names_of(env)} drops it; pass info through unchanged")
    return info[name].ravel()


def _too_large(name: str, value: Any) -> GameError:
    shown = " ".join(str(value).split())[:120]
    return GameError(f"{name} is {shown}, which is not finite in float32: scale it, e.g. by a wrapper")


def check_executed(law: ActionCoupling, own: np.ndarray, other: np.ndarray, executed: np.ndarray, env: gym.Env) -> None:
    """Check that the executed action is one that the coupling makes of the actions of both players.

    Raises:
        GameError: It is not: a wrapper changes the actions.
    """
    possible: tuple[Any, ...] = law.candidates(own, other, law.share)  # type: ignore[arg-type]
    if not any(np.allclose(executed, action, rtol=0, atol=1e-5) for action in possible):
        played = f"the action {executed.tolist()} was executed for {own.tolist()} and {other.tolist()}"
        raise GameError(f"{played}, which {law!r} does not explain: one of {names_of(env)} changes it; {INSIDE}")
