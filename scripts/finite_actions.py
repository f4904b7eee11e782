"""Learning curves of robust_dqn and of Stable-Baselines3's DQN on CartPole-v1 and Acrobot-v1, without an adversary.

    python scripts/finite_actions.py [--envs CartPole-v1] [--methods sb3 ours_zoo ours] [--out finite_actions]

`sb3` is Stable-Baselines3's DQN with the settings of RL Zoo for the env, `ours_zoo` is robust_dqn with those settings,
and `ours` has the defaults of robust_dqn. At every checkpoint the greedy policy plays 20 episodes from the same starts
in all runs.

Writes results.jsonl, one line per job, and table.md to OUT. A job is one seed: one run of Stable-Baselines3's, or
RUNS runs of ours side by side. The same command trains only the jobs that are missing.

The same in `sb3` and `ours_zoo`: networks, Huber errors, minibatch, discount, rate, targets, rounds of updates, longest
gradient, replay. What differs: ours has the random steps before ε begins to fall, and bootstraps at truncated episodes,
as Stable-Baselines3 does, from the true next observation. The streams of random numbers differ.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import torch
import tyro
from played import Act, checkpoints, play
from results import Line, Log, Table
from stable_baselines3 import DQN
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger

import robustgames as rg
from robustgames.agents import RobustDQN

Method = Literal["sb3", "ours_zoo", "ours"]
STEPS = {"CartPole-v1": 50_000, "Acrobot-v1": 100_000}
BATCHES = {"CartPole-v1": "robustgames/RobustCartPole-v0", "Acrobot-v1": "robustgames/RobustAcrobot-v0"}
ZOO: dict[str, dict[str, Any]] = {
    "CartPole-v1": {
        "learning_rate": 2.3e-3,
        "batch_size": 64,
        "buffer_size": 100_000,
        "learning_starts": 1_000,
        "target_update_interval": 10,
        "train_freq": 256,
        "gradient_steps": 128,
        "exploration_fraction": 0.16,
        "exploration_final_eps": 0.04,
    },
    "Acrobot-v1": {
        "learning_rate": 6.3e-4,
        "batch_size": 128,
        "buffer_size": 50_000,
        "learning_starts": 0,
        "target_update_interval": 250,
        "train_freq": 4,
        "gradient_steps": 4,
        "exploration_fraction": 0.12,
        "exploration_final_eps": 0.1,
    },
}
"""Settings of RL Zoo (hyperparams/dqn.yml, commit 22e3ff2); all have gamma 0.99 and networks of 256, 256."""


@dataclass(frozen=True)
class Options:
    """Train the runs that results.jsonl lacks, and write the table.

    Attributes:
        envs: CartPole-v1 or Acrobot-v1.
        methods: Methods to train.
        seeds: Seeds.
        runs: Runs of ours that are trained side by side for one seed.
        steps: Env steps of a run, by default those of RL Zoo, 50,000 and 100,000.
        every: Env steps between two evaluations.
        episodes: Episodes of an evaluation, from the same starts in all runs.
        out: Folder of results.jsonl and table.md.
    """

    envs: tuple[Literal["CartPole-v1", "Acrobot-v1"], ...] = ("CartPole-v1",)
    methods: tuple[Method, ...] = ("sb3", "ours_zoo", "ours")
    seeds: tuple[int, ...] = (10,)
    runs: int = 5
    steps: int | None = None
    every: int = 10_000
    episodes: int = 20
    out: Path = Path("finite_actions")

    @property
    def jobs(self) -> list[Line]:
        """The settings of all jobs, in the order of the table."""
        return [
            {
                "env": env_id,
                "method": method,
                "seed": seed,
                "runs": 1 if method == "sb3" else self.runs,
                "steps": checkpoints(self.steps or STEPS[env_id], self.every),
                "episodes": self.episodes,
            }
            for env_id in self.envs
            for method in self.methods
            for seed in (range(self.runs) if method == "sb3" else self.seeds)
        ]


# -- training ------------------------------------------------------------------------------------------------------
def train(env: str, method: Method, seed: int, runs: int, steps: Sequence[int], episodes: int) -> Line:
    """Train the runs of one job, play after each of these steps, and return {"returns": one list per step, …}."""
    torch.set_num_threads(1)
    watch = Watch(gym.make(env), steps, episodes)
    began = time.process_time()
    if method == "sb3":
        peer(env, seed).learn(steps[-1], watch)
    else:
        agent = ours(env, method, seed, runs, steps[-1])
        for mark in steps:
            agent.learn(mark - agent.num_timesteps, log_interval=10**9, reset_num_timesteps=False)
            watch.note([largest(agent.policy(run)) for run in range(runs)])
    return {"returns": watch.returns, "cpu_seconds": round(time.process_time() - began - watch.seconds, 1)}


def largest(policy: Act) -> Act:
    """Return the action of largest preference."""
    return lambda seen: policy(seen).argmax()


class Watch(BaseCallback):
    """Plays the greedy policies of an agent after certain steps; a callback, since `learn` sets ε by its own budget."""

    def __init__(self, env: gym.Env, steps: Sequence[int], episodes: int) -> None:
        super().__init__()
        self.played, self.steps, self.episodes = env, steps, episodes
        self.returns: list[list[float]] = []
        self.seconds = 0.0

    def note(self, policies: list[Act]) -> None:
        """Play with the policy of every run."""
        began = time.process_time()
        self.returns.append([round(play(self.played, act, self.episodes), 2) for act in policies])
        self.seconds += time.process_time() - began

    def _on_step(self) -> bool:
        if self.num_timesteps in self.steps:
            self.note([lambda seen: self.model.predict(seen, deterministic=True)[0]])
        return True


def ours(env_id: str, method: Method, seed: int, runs: int, steps: int) -> RobustDQN:
    """Return our agent without an adversary, with its defaults or with the settings of RL Zoo for so many steps."""
    env, env_settings = BATCHES[env_id], {"alpha": 0.0}
    if method == "ours":
        return RobustDQN(env, None, seed, runs, env_settings)
    zoo = dict(ZOO[env_id])
    solver = rg.make_solver("adam", lr=zoo.pop("learning_rate"))
    zoo["exploration_steps"] = int(zoo.pop("exploration_fraction") * steps)
    zoo["epsilon"] = zoo.pop("exploration_final_eps")
    return RobustDQN(env, solver, seed, runs, env_settings, hidden=(256, 256), double=False, huber=True, **zoo)


def peer(env_id: str, seed: int) -> DQN:
    """Return the agent of Stable-Baselines3."""
    net = {"net_arch": [256, 256]}
    model = DQN("MlpPolicy", env_id, **ZOO[env_id], gamma=0.99, policy_kwargs=net, seed=seed, device="cpu")
    model.set_logger(Logger(None, []))
    return model


# -- results -------------------------------------------------------------------------------------------------------
def table(results: list[Line]) -> Table:
    """Return the return of every run at every checkpoint."""
    rows = []
    for line in results:
        name = f"{line['env']}, {line['method']}, seed {line['seed']}"
        rows.append((name, *(" ".join(f"{value:.0f}" for value in each) for each in line["returns"])))
    heads = [f"{steps:,}" for steps in (results[0]["steps"] if results else [])]
    return Table(("job", *heads), rows)


def main(options: Options) -> None:
    log, jobs = Log(options.out), options.jobs
    for line in log.complete(train, jobs):
        names = (line[key] for key in ("env", "method", "seed"))
        print(*names, line["returns"][-1], f"{line['cpu_seconds']} CPU s", flush=True)
    table([line for job in jobs if (line := log.find(job))]).show(options.out / "table.md")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
