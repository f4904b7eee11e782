"""From an id or an env to the episodes of S runs."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from torch import Generator

from robustgames.agents.control.batched_episodes import BatchedPendulums
from robustgames.agents.control.episodes import Episodes
from robustgames.agents.control.separate_episodes import SeparateEnvs, core_of
from robustgames.envs import NoisyAction, ProbabilisticAction, control_ids
from robustgames.envs.control.pendulum import RobustPendulumVectorEnv
from robustgames.envs.registration import PENDULUM_BATCH, entry_name
from robustgames.errors import GameError, unknown
from robustgames.tensors import choose_device


def make_episodes(
    env: gym.Env | gym.vector.VectorEnv | str,
    runs: int,
    settings: dict[str, Any],
    device: str,
    generator: Generator,
) -> Episodes:
    """Return the episodes of so many runs: of an id with these settings, or of an env that is made.

    A batch that an id names is made on the device. The share `alpha` may be a list with one per run.

    Raises:
        GameError: no env with an adversary, a coupling whose adversary is no second policy, no runs.
    """
    if runs < 1:
        raise GameError(f"runs is {runs}: at least one run is needed")
    spec = gym.registry.get(env) if isinstance(env, str) else None
    if isinstance(env, str) and spec is not None and entry_name(spec.vector_entry_point) == PENDULUM_BATCH:
        env = gym.make_vec(env, num_envs=runs, device=str(choose_device(device)), **settings)
        settings = {}
    elif isinstance(env, str):
        return SeparateEnvs(_separate(env, runs, settings), generator)
    if settings:
        raise GameError(f"{settings} come too late for an env that is made: pass its id, or set them there")
    if isinstance(env.unwrapped, RobustPendulumVectorEnv):
        return BatchedPendulums(env.unwrapped, generator)
    if runs > 1:
        raise GameError("an env that is made serves one run: pass its id for several")
    return SeparateEnvs([_fitting(env)], generator)  # type: ignore[arg-type]


def _separate(id: str, runs: int, settings: dict[str, Any]) -> list[gym.Env]:
    alphas = settings.get("alpha")
    if not isinstance(alphas, list | tuple):
        return [_fitting(_made(id, settings)) for _ in range(runs)]
    if len(alphas) != runs:
        raise GameError(f"alpha has {len(alphas)} values for {runs} runs: pass one number, or one for each run")
    return [_fitting(_made(id, {**settings, "alpha": alpha})) for alpha in alphas]


def _made(id: str, settings: dict[str, Any]) -> gym.Env:
    try:
        return gym.make(id, disable_env_checker=True, **settings)
    except gym.error.UnregisteredEnv as error:
        raise unknown("env", id, control_ids()) from error


def _fitting(env: gym.Env) -> gym.Env:
    if not isinstance(env.observation_space, gym.spaces.Box):
        raise GameError(f"{env} observes {env.observation_space}: a Box is needed; wrap it in FlattenObservation")
    if isinstance(env, gym.Env) and isinstance(core_of(env).coupling, NoisyAction | ProbabilisticAction):
        return env
    name = type(core_of(env).coupling).__name__
    raise GameError(f"the coupling is {name}: noisy or probabilistic actions are needed; train a view for others")
