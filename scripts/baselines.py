"""Learning curves of our DDPG and TD3 and of those of Stable-Baselines3, with the same hyper-parameters.

    python scripts/baselines.py [--envs Pendulum-v1] [--methods ddpg td3] [--seeds 8] [--workers 2] [--out baselines]

Measures the return of `RobustDDPG` and `RobustTD3` with alpha = 0 and of SB3's DDPG and TD3 every 1,000 steps. A policy
then plays, without exploration, episodes that start from the same seeds in all runs.

Writes results.jsonl, one line per training run, table.md and curves.png to OUT. The same command trains only the runs
that are missing, so more seeds or another env can follow. Takes about three quarters of an hour of CPU.

The same: networks (ReLU), minibatch, tau, discount, Adam's rates, Gaussian noise on actions, replay, 1,000 steps of
uniform actions, one update per step, bootstrapping at truncated episodes, first weights uniform in ±1/sqrt(inputs),
including those of our last layers (`final=0`); for TD3 the smaller of two critics, smoothing 0.2 clipped at 0.5, and
a delay of 2.

What differs: every episode of ours is reset with a seed of its own, and the generators, so no two runs are the same.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Literal

import gymnasium as gym
import numpy as np
import torch
import tyro
from matplotlib.figure import Figure
from played import Act, checkpoints, play
from results import Line, Log, Table
from stable_baselines3 import DDPG, TD3
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.noise import NormalActionNoise

import robustgames as rg
from robustgames.agents.robust_ddpg import RobustDDPG, RobustTD3
from robustgames.evaluation.reliability import Interval, bootstrap
from robustgames.figures.style import INK, PALETTE, quiet, save

STEPS = {"Pendulum-v1": 8_000, "InvertedPendulum-v5": 20_000}  # default numbers of env steps
OURS: dict[str, type[RobustDDPG]] = {"ddpg": RobustDDPG, "td3": RobustTD3}
PEERS: dict[str, type[TD3]] = {"ddpg": DDPG, "td3": TD3}
PACKAGES = ("robustgames", "sb3")
HIDDEN, BATCH, TAU, LR, NOISE, BUFFER, STARTS = (64, 64), 128, 0.005, 1e-3, 0.1, 100_000, 1_000
NEVER = 10**15


@dataclass(frozen=True)
class Options:
    """Train the runs that results.jsonl lacks, and write the table and the figure.

    Attributes:
        envs: Gymnasium ids with continuous actions.
        methods: Methods of both packages.
        seeds: Runs of a method in a package.
        steps: Env steps of a run, by default 8,000 in Pendulum-v1 and 20,000 elsewhere.
        every: Env steps between two evaluations.
        episodes: Episodes of an evaluation, from the same starts in all runs.
        workers: Runs that are trained at a time, one core each.
        out: Folder of results.jsonl, table.md and curves.png.
    """

    envs: tuple[str, ...] = tuple(STEPS)
    methods: tuple[Literal["ddpg", "td3"], ...] = ("ddpg", "td3")
    seeds: int = 8
    steps: int | None = None
    every: int = 1_000
    episodes: int = 10
    workers: int = 2
    out: Path = Path("baselines")

    @property
    def jobs(self) -> list[Line]:
        """The settings of all runs, in the order of the table."""
        return [
            {
                "env": env_id,
                "method": method,
                "package": package,
                "seed": seed,
                "steps": checkpoints(self.steps or STEPS.get(env_id, 20_000), self.every),
                "episodes": self.episodes,
            }
            for env_id in self.envs
            for method in self.methods
            for seed in range(self.seeds)
            for package in PACKAGES
        ]


# -- training ------------------------------------------------------------------------------------------------------
def train(env: str, method: str, package: str, seed: int, steps: Sequence[int], episodes: int) -> Line:
    """Train one run, play after each of these steps, and return its results."""
    torch.set_num_threads(1)
    agent = ours(env, method, seed) if package == "robustgames" else peer(env, method, seed)
    played, returns, seconds = gym.make(env), [], 0.0
    act = scaled(agent, played) if isinstance(agent, RobustDDPG) else deterministic(agent)
    for mark in steps:
        began = time.process_time()
        agent.learn(mark - agent.num_timesteps, log_interval=NEVER, reset_num_timesteps=False)
        seconds += time.process_time() - began
        returns.append(round(play(played, act, episodes), 3))
    return {"returns": returns, "cpu_seconds": round(seconds, 1)}


def ours(env_id: str, method: str, seed: int) -> RobustDDPG:
    """Return our agent without an adversary."""
    return OURS[method](
        "robustgames/ActionRobust-v0",
        rg.make_solver("adam", lr=LR),
        seed,
        env_settings={"env_id": env_id, "alpha": 0.0},
        hidden=HIDDEN,
        batch_size=BATCH,
        tau=TAU,
        critic_lr=LR,
        noise=NOISE,
        buffer_size=BUFFER,
        learning_starts=STARTS,
        final=0.0,
    )


def peer(env_id: str, method: str, seed: int) -> TD3:
    """Return the agent of Stable-Baselines3."""
    model = PEERS[method](
        "MlpPolicy",
        env_id,
        learning_rate=LR,
        buffer_size=BUFFER,
        learning_starts=STARTS,
        batch_size=BATCH,
        tau=TAU,
        train_freq=1,
        gradient_steps=1,
        policy_kwargs={"net_arch": list(HIDDEN)},
        seed=seed,
        device="cpu",
    )
    size = gym.spaces.flatdim(model.action_space)
    model.action_noise = NormalActionNoise(np.zeros(size), np.full(size, NOISE))
    model.set_logger(Logger(None, []))
    return model


def scaled(agent: RobustDDPG, env: gym.Env) -> Act:
    """Return our policy with its actions, in [-1, 1], stretched over the actions of the env."""
    box = env.action_space
    assert isinstance(box, gym.spaces.Box)
    center, half = (box.high + box.low) / 2, (box.high - box.low) / 2
    return lambda seen: center + half * agent.predict(seen)[0]


def deterministic(model: TD3) -> Act:
    """Return the policy of a peer without exploration."""
    return lambda seen: model.predict(seen, None, None, True)[0]


# -- results -------------------------------------------------------------------------------------------------------
Curve = dict[int, Interval]
"""The mean over the seeds with its 95 % interval, which fewer than 5 seeds do not have, by steps."""


def curve(results: list[Line], env_id: str, method: str, package: str) -> Curve:
    """Return the curve of one package."""
    wanted = (env_id, method, package)
    lines = [line for line in results if (line["env"], line["method"], line["package"]) == wanted]
    if not lines:
        return {}
    found = bootstrap(np.array([line["returns"] for line in lines]))
    return dict(zip(lines[0]["steps"], found, strict=True))


def paired_curves(results: list[Line]) -> dict[tuple[str, str], tuple[Curve, Curve]]:
    """Return the curves of both packages for every env and method that both have."""
    tasks = dict.fromkeys((line["env"], line["method"]) for line in results)
    both = {task: tuple(curve(results, *task, package) for package in PACKAGES) for task in tasks}
    return {task: (own, other) for task, (own, other) in both.items() if own and other}


def table(results: list[Line]) -> Table:
    """Return the returns of both packages at every checkpoint."""
    rows = []
    for (env_id, method), (own, other) in paired_curves(results).items():
        for steps in own:
            overlap = own[steps].low <= other[steps].high and other[steps].low <= own[steps].high
            verdict = "" if isnan(own[steps].low + other[steps].low) else "yes" if overlap else "no"
            cells = (written(own[steps]), written(other[steps]), verdict)
            rows.append((f"{env_id}, {method}", f"{steps:,}", *cells))
    return Table(("env, method", "steps", "robustgames", "Stable-Baselines3", "intervals overlap"), rows)


def written(found: Interval) -> str:
    """Return an interval as a cell."""
    if isnan(found.low):
        return f"{found.estimate:.0f}"
    return f"{found.estimate:.0f} ({found.low:.0f} to {found.high:.0f})"


def figure(results: list[Line]) -> Figure:
    """Draw the mean and its interval of both packages, a panel for every env and method."""
    panels = paired_curves(results)
    drawn = Figure(figsize=(4.2 * max(1, len(panels)), 3.1), layout="constrained")
    grid = drawn.subplots(1, max(1, len(panels)), squeeze=False)[0]
    for axes, ((env_id, method), curves) in zip(grid, panels.items(), strict=False):
        for package, found, color in zip(PACKAGES, curves, PALETTE, strict=False):
            estimate, low, high = np.array(list(found.values())).T
            axes.plot(list(found), estimate, color=color, lw=1.5, label=package)
            axes.fill_between(list(found), low, high, color=color, alpha=0.18, lw=0)
        axes.set_title(f"{env_id}, {method}", fontsize=10, color=INK, loc="left")
        axes.set_xlabel("env steps", fontsize=9)
        axes.set_ylabel("return", fontsize=9)
        axes.legend(frameon=False, fontsize=9)
        quiet(axes)
    return drawn


def main(options: Options) -> None:
    log, jobs = Log(options.out), options.jobs
    for line in log.complete(train, jobs, options.workers):
        names = (line[key] for key in ("env", "method", "package", "seed"))
        print(*names, f"{line['returns'][-1]:.0f} in {line['cpu_seconds']} CPU s", flush=True)
    results = [line for job in jobs if (line := log.find(job))]
    table(results).show(options.out / "table.md")
    save(figure(results), options.out / "curves.png")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
