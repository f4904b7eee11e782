"""Does our DDPG learn like Stable-Baselines3's? Learning curves of both packages with the same hyper-parameters.

    python scripts/baselines.py [--envs Pendulum-v1] [--methods ddpg td3] [--seeds 8] [--workers 2] [--out baselines]

`RobustDDPG` and `RobustTD3` with alpha = 0 against SB3's DDPG and TD3. Every 1,000 steps a policy plays, without
exploration, episodes that start from the same seeds in all runs. OUT holds results.jsonl, one line a training run,
table.md and curves.png; the same command trains only what is missing, so more seeds or another env can follow.

The same: networks (ReLU), minibatch, tau, discount, Adam's rates, Gaussian noise on actions, replay, 1,000 steps of
uniform actions, one update per step, truncated episodes that go on in the target, first weights uniform in
±1/sqrt(inputs), those of our last layers too (`final=0`); for TD3 the smaller of two critics, smoothing 0.2 clipped at
0.5, a delay of 2.

What differs: every episode of ours is reset with a seed of its own; the generators, so that no two runs are the same
one.
"""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import torch
import tyro
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from stable_baselines3 import DDPG, TD3
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.noise import NormalActionNoise

import robustgames as rg
from robustgames.agents.robust_ddpg import RobustDDPG, RobustTD3
from robustgames.evaluation.reliability import Interval, bootstrap
from robustgames.figures.style import INK, PALETTE, quiet, save

STEPS = {"Pendulum-v1": 8_000, "InvertedPendulum-v5": 20_000}  # of the env, where none are asked for
OURS: dict[str, type[RobustDDPG]] = {"ddpg": RobustDDPG, "td3": RobustTD3}
PEERS: dict[str, type[TD3]] = {"ddpg": DDPG, "td3": TD3}
PACKAGES = ("robustgames", "sb3")
HIDDEN, BATCH, TAU, LR, NOISE, BUFFER, STARTS = (64, 64), 128, 0.005, 1e-3, 0.1, 100_000, 1_000
NEVER = 10**15
FIRST_EPISODE = 10_000  # the seed of the first evaluation episode

Key = tuple[str, str, str, int]
"""(env, method, package, seed)."""
Act = Callable[[np.ndarray], np.ndarray]
"""From an observation to an action of the env itself."""


# -- training ------------------------------------------------------------------------------------------------------
def train(key: Key, steps: int, every: int, episodes: int) -> dict[str, Any]:
    """Train one run, play after every so many steps, and return its line of results.jsonl."""
    torch.set_num_threads(1)
    env_id, method, package, seed = key
    agent = ours(env_id, method, seed) if package == "robustgames" else peer(env_id, method, seed)
    env, marks, returns, seconds = gym.make(env_id), checkpoints(steps, every), [], 0.0
    act = (
        scaled(agent, env) if isinstance(agent, RobustDDPG) else (lambda seen: agent.predict(seen, None, None, True)[0])
    )
    for mark in marks:
        began = time.process_time()
        agent.learn(mark - agent.num_timesteps, log_interval=NEVER, reset_num_timesteps=False)
        seconds += time.process_time() - began
        returns.append(round(play(env, act, episodes), 3))
    names = dict(zip(("env", "method", "package", "seed"), key, strict=True))
    return {**names, "steps": marks, "episodes": episodes, "returns": returns, "cpu_seconds": round(seconds, 1)}


def checkpoints(steps: int, every: int) -> list[int]:
    """Return after how many steps a policy is judged."""
    return [*range(every, steps, every), steps]


def ours(env_id: str, method: str, seed: int) -> RobustDDPG:
    """Return our agent without an adversary."""
    return OURS[method](
        "robustgames/ActionRobust-v0", rg.make_solver("adam", lr=LR), seed,
        env_settings={"env_id": env_id, "alpha": 0.0}, hidden=HIDDEN, batch_size=BATCH, tau=TAU, critic_lr=LR,
        noise=NOISE, buffer_size=BUFFER, learning_starts=STARTS, final=0.0,
    )  # fmt: skip


def peer(env_id: str, method: str, seed: int) -> TD3:
    """Return the agent of Stable-Baselines3."""
    model = PEERS[method](
        "MlpPolicy", env_id, learning_rate=LR, buffer_size=BUFFER, learning_starts=STARTS, batch_size=BATCH, tau=TAU,
        train_freq=1, gradient_steps=1, policy_kwargs={"net_arch": list(HIDDEN)}, seed=seed, device="cpu",
    )  # fmt: skip
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


def play(env: gym.Env, act: Act, episodes: int) -> float:
    """Return the mean return of a policy over the evaluation episodes."""
    total = 0.0
    for i in range(episodes):
        seen, _ = env.reset(seed=FIRST_EPISODE + i)
        over = False
        while not over:
            seen, reward, terminated, truncated, _ = env.step(act(seen))
            total, over = total + float(reward), terminated or truncated
    return total / episodes


# -- results -------------------------------------------------------------------------------------------------------
def curve(results: dict[Key, dict[str, Any]], env_id: str, method: str, package: str) -> dict[int, Interval]:
    """Return the mean over the seeds of one package with its 95 % bootstrap interval, by steps."""
    lines = [line for key, line in results.items() if key[:3] == (env_id, method, package)]
    if not lines:
        return {}
    found = bootstrap(np.array([line["returns"] for line in lines]))
    return dict(zip(lines[0]["steps"], found, strict=True))


def pairs(results: dict[Key, dict[str, Any]]) -> dict[tuple[str, str], tuple[dict[int, Interval], dict[int, Interval]]]:
    """Return the curves of both packages for every env and method that both have."""
    tasks = dict.fromkeys(key[:2] for key in results)
    both = {task: tuple(curve(results, *task, package) for package in PACKAGES) for task in tasks}
    return {task: (own, other) for task, (own, other) in both.items() if own and other}


def table(results: dict[Key, dict[str, Any]]) -> tuple[Table, str]:
    """Return both packages at every checkpoint: for the terminal, and in Markdown."""
    heads = ("env, method", "steps", "robustgames", "Stable-Baselines3", "intervals overlap")
    shown, lines = Table(*heads), ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for (env_id, method), (own, other) in pairs(results).items():
        for steps in own:
            overlap = own[steps].low <= other[steps].high and other[steps].low <= own[steps].high
            cells = (
                f"{env_id}, {method}",
                f"{steps:,}",
                written(own[steps]),
                written(other[steps]),
                ["no", "yes"][overlap],
            )
            shown.add_row(*cells)
            lines.append("| " + " | ".join(cells) + " |")
    return shown, "\n".join(lines)


def written(found: Interval) -> str:
    """Return an interval as a cell."""
    return f"{found.estimate:.0f} ({found.low:.0f} to {found.high:.0f})"


def figure(results: dict[Key, dict[str, Any]]) -> Figure:
    """Draw the mean and its interval of both packages, a panel for every env and method."""
    panels = pairs(results)
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


def read(log: Path, wanted: list[Key], marks: dict[str, list[int]], episodes: int) -> dict[Key, dict[str, Any]]:
    """Return the finished runs of this table, with the same checkpoints and evaluation episodes."""
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    found = {
        (line["env"], line["method"], line["package"], line["seed"]): line
        for line in lines
        if line["steps"] == marks.get(line["env"]) and line["episodes"] == episodes
    }
    return {key: found[key] for key in wanted if key in found}


def main(
    envs: tuple[str, ...] = tuple(STEPS),
    methods: tuple[Literal["ddpg", "td3"], ...] = ("ddpg", "td3"),
    seeds: int = 8,
    steps: int | None = None,
    every: int = 1_000,
    episodes: int = 10,
    workers: int = 2,
    out: Path = Path("baselines"),
) -> None:
    """Train what is missing, and write the table and the figure.

    Args:
        envs: Gymnasium ids with continuous actions.
        methods: of both packages.
        seeds: runs of a method in a package.
        steps: of the env in a run; by default 8,000 in Pendulum-v1 and 20,000 elsewhere.
        every: steps between two evaluations.
        episodes: of an evaluation, from the same starts in all runs.
        workers: runs at a time, one core each.
        out: folder of results.jsonl, table.md and curves.png.
    """
    out.mkdir(parents=True, exist_ok=True)
    asked = {env_id: steps or STEPS.get(env_id, 20_000) for env_id in envs}
    marks = {env_id: checkpoints(count, every) for env_id, count in asked.items()}
    wanted = [(e, m, p, seed) for e in envs for m in methods for seed in range(seeds) for p in PACKAGES]
    log = out / "results.jsonl"
    results = read(log, wanted, marks, episodes)
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        left = [key for key in wanted if key not in results]
        jobs = {pool.submit(train, key, asked[key[0]], every, episodes): key for key in left}
        for job in as_completed(jobs):
            result = job.result()
            results[jobs[job]] = result
            with log.open("a") as file:
                file.write(json.dumps(result) + "\n")
            print(*jobs[job], f"{result['returns'][-1]:.0f} in {result['cpu_seconds']} CPU s", flush=True)
    results = {key: results[key] for key in wanted}  # in the order of the table, whoever finished first
    shown, text = table(results)
    Console(width=140).print(shown)
    (out / "table.md").write_text(text + "\n")
    save(figure(results), out / "curves.png")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
