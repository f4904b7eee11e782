"""Episodes of S runs, from an id or an env."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from robustgames.agents.control.batched_episodes import BatchedEnvs
from robustgames.agents.control.episodes import Episodes
from robustgames.agents.control.separate_episodes import SeparateEnvs
from robustgames.envs import control_ids
from robustgames.envs.control.batch import RobustVectorEnv
from robustgames.envs.registration import is_batched
from robustgames.errors import GameError, unknown
from robustgames.tensors import choose_device

PENDULUM = "robustgames/ActionRobustPendulum-v0"


def make_episodes(
    env: gym.Env | gym.vector.VectorEnv | Episodes | str,
    runs: int,
    settings: dict[str, Any],
    device: str,
    seed: int,
) -> Episodes:
    """Return the episodes of `runs` runs, in envs made from an id and its settings, or in an env that already exists.

    If the id names a batched env, the batch is made on the device. `alpha` may be a list with one share per run. The
    episodes of a run depend on `seed` and on the number of the run, not on the other runs.

    Raises:
        GameError: An env without an adversary, an adversary that is not a second policy, or no runs.
    """
    if runs < 1:
        raise GameError(f"runs is {runs}: at least one run")
    if isinstance(env, Episodes):
        return env
    if isinstance(env, str) and is_batched(env):
        env = gym.make_vec(env, num_envs=runs, device=str(choose_device(device)), **settings)
        settings = {}
    elif isinstance(env, str):
        return SeparateEnvs(_make_each(env, runs, settings), seed)
    if settings:
        raise GameError(f"{settings} cannot be changed on an env that already exists: pass its id, or set them there")
    if isinstance(env.unwrapped, RobustVectorEnv):
        if env is not env.unwrapped:
            raise GameError(f"{type(env).__name__} wraps a batch in torch: agents step it without wrappers")
        return BatchedEnvs(env, seed)  # type: ignore[arg-type]
    if isinstance(env, gym.vector.VectorEnv):
        raise GameError(f"{env} is a batch of separate envs: pass its id and runs={env.num_envs}")
    if runs > 1:
        raise GameError("an env that already exists serves one run: pass its id for several")
    return SeparateEnvs([env], seed)


def make_separate(env: gym.Env | str, runs: int, settings: dict[str, Any]) -> list[gym.Env]:
    """Return one env per run, made from an id and its settings, or an env that already exists.

    Raises:
        GameError: A batch of envs, an env that already exists with settings or for several runs, or no runs.
    """
    if runs < 1:
        raise GameError(f"runs is {runs}: at least one run")
    id = env if isinstance(env, str) else env.spec.id if env.spec else ""
    if isinstance(env, gym.vector.VectorEnv) or is_batched(id):
        raise GameError(f"{env} is a batch: players that take turns need an env per run, e.g. {PENDULUM}")
    if isinstance(env, str):
        return _make_each(env, runs, settings)
    if settings:
        raise GameError(f"{settings} cannot be changed on an env that already exists: pass its id, or set them there")
    if runs > 1:
        raise GameError("an env that already exists serves one run: pass its id for several")
    return [env]


def _make_each(id: str, runs: int, settings: dict[str, Any]) -> list[gym.Env]:
    alphas = settings.get("alpha")
    if not isinstance(alphas, list | tuple):
        return [_make(id, settings) for _ in range(runs)]
    if len(alphas) != runs:
        raise GameError(f"alpha has {len(alphas)} values for {runs} runs: pass one number, or one for each run")
    return [_make(id, {**settings, "alpha": alpha}) for alpha in alphas]


def _make(id: str, settings: dict[str, Any]) -> gym.Env:
    try:
        return gym.make(id, disable_env_checker=True, **settings)
    except gym.error.UnregisteredEnv as error:
        raise unknown("env", id, control_ids()) from error
