"""Envs: the batches in torch against Gymnasium's envs in one process."""

from __future__ import annotations

from collections.abc import Iterator

import gymnasium as gym
import numpy as np
import torch
from benchmarks.harness import Contestant, Row, repeat, seconds_per_step
from gymnasium.vector import AutoresetMode

ENVS = {"Pendulum": "Pendulum-v1", "CartPole": "CartPole-v1", "Acrobot": "Acrobot-v1"}
NUMBERS = (5, 64, 1024)
ADVERSARY = {"alpha": 0.1, "coupling": "probabilistic"}


def envs(rounds: int, device: str, quick: bool) -> Iterator[Row]:
    """Yield all rows of the envs suite."""
    for name, env_id in ENVS.items():
        for number in NUMBERS[:1] if quick else NUMBERS:
            yield from side_by_side(name, env_id, number, 1 if quick else rounds, device)


def side_by_side(name: str, env_id: str, number: int, rounds: int, device: str) -> Iterator[Row]:
    """Time one step of all envs by random actions: with an adversary, and Gymnasium's alone."""
    settings = {"vectorization_mode": "sync", "vector_kwargs": {"autoreset_mode": AutoresetMode.SAME_STEP}}
    batch = gym.make_vec(f"robustgames/Robust{name}-v0", number, device=device, **ADVERSARY)
    robust = gym.make_vec(f"robustgames/Robust{name}-v0", number, **settings, **ADVERSARY)
    made = {"batch": batch, "robust": robust, "plain": gym.make_vec(env_id, number, **settings)}
    if name == "CartPole":
        made["vector"] = gym.make_vec(env_id, number, vectorization_mode="vector_entry_point")
    for env in made.values():
        env.reset(seed=0)
    seconds = seconds_per_step({kind: contestant(env, kind, number) for kind, env in made.items()}, rounds, device)
    rate = {kind: number / value for kind, value in seconds.items()}
    peers = {"robust": "SyncVectorEnv of the same env", "plain": "SyncVectorEnv without an adversary"}
    for kind, peer in {**peers, "vector": "Gymnasium's CartPoleVectorEnv"}.items():
        if kind in rate:
            yield Row(f"{number} of {env_id}, batch : {peer}", "env steps/s", rate["batch"], rate[kind])


def contestant(env: gym.vector.VectorEnv, kind: str, number: int) -> Contestant:
    """Return steps of an env by actions that are drawn before."""
    env.action_space.seed(0)
    actions = env.action_space.sample()
    if kind == "batch":
        device = env.unwrapped.device  # type: ignore[attr-defined]
        actions = {player: torch.from_numpy(np.array(a)).to(device) for player, a in actions.items()}
    block = min(200, 50_000 // number) if kind in ("batch", "vector") else max(3, 2000 // number)
    return Contestant(repeat(lambda: env.step(actions)), block)
