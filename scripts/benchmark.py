"""Speed of robustgames against plain NumPy, plain torch and the two-call ExtraAdam in circulation.

    python scripts/benchmark.py games [--rounds 9] [--device cpu] [--out results.json] [--strict]

All contestants of a row run in one process and one thread, in turn: a round gives every contestant a few blocks of steps and
keeps the median block; the table shows the median over rounds. Time is CPU time of the process (on a GPU: wall clock between two
synchronizations). Compilation, warm-up and the agent's logs at the start are outside; `learn` includes its last log.

(a) Many runs of Forsaken by extragradient, in run-steps per second: `agent.learn` and its compiled step, against
    NumPy (float64, as one writes it, and in Horner form) and two calls of a compiled hand-written field, which do no update.
(b) One run in eager mode, in microseconds per step, against the same steps as a bare loop around `torch.autograd.grad`.
(c) A generator and a critic of 3 x 128 hidden units by ExtraAdam, in milliseconds per step, against one simultaneous step of two
    fused torch Adams (half as many field evaluations) and against ExtraAdam as `extrapolation()` and `step()` with a loop over
    parameters (Gidel et al. 2019), which must first agree with ours to 1e-5.
"""

from __future__ import annotations

import json
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import gymnasium as gym
import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table
from torch import Generator, Tensor, nn

import robustgames as rg
from robustgames.envs import GameEnv, GameVectorEnv

OFFSET, LR = 0.45, 0.01
NEVER = 10**15
Steps = Callable[[int], None]
"""Runs a number of steps."""


class Contestant(NamedTuple):
    """Something that is timed: `run(n)` takes n steps, a block has `steps` of them."""

    run: Steps
    steps: int


@dataclass(frozen=True)
class Row:
    """One line of the table; `ratio` is ours / peer, to be `at_least` or `at_most` the target (neither: no target)."""

    name: str
    unit: str
    ours: float
    peer: float
    at_least: float | None = None
    at_most: float | None = None

    @property
    def ratio(self) -> float:
        return self.ours / self.peer

    @property
    def passed(self) -> bool:
        return (self.at_least is None or self.ratio >= self.at_least) and (
            self.at_most is None or self.ratio <= self.at_most
        )


def seconds_per_step(contestants: dict[str, Contestant], rounds: int, device: str, blocks: int = 3) -> dict[str, float]:
    """Time all contestants in turn; returns the median over rounds of each round's median block."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for contestant in contestants.values():
        contestant.run(max(5, contestant.steps // 10))
    for _ in range(rounds):
        for name, contestant in contestants.items():
            times[name].append(statistics.median(_block(contestant, device) for _ in range(blocks)))
    return {name: statistics.median(values) for name, values in times.items()}


def _block(contestant: Contestant, device: str) -> float:
    clock = time.process_time if device == "cpu" else time.perf_counter
    _synchronize(device)
    began = clock()
    contestant.run(contestant.steps)
    _synchronize(device)
    return (clock() - began) / contestant.steps


def _synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def repeat(function: Callable[[], object], grad: bool = True) -> Steps:
    """Return `steps` that calls the function so many times."""

    def run(steps: int) -> None:
        with torch.set_grad_enabled(grad):
            for _ in range(steps):
                function()

    return run


def learning(agent: rg.GameAgent, calls: int) -> Steps:
    """Return `agent.learn` as steps of so many oracle calls each."""
    return lambda steps: agent.learn(calls * steps, log_interval=NEVER) and None


def advancing(agent: rg.GameAgent) -> Steps:
    """Return the agent's compiled step alone."""
    at = [agent.z, agent.state]

    def step() -> None:
        at[:] = agent._advance(agent.oracle, *at)

    return repeat(step, grad=False)


# -- (a) many runs -------------------------------------------------------------------------------------------
def many_runs(rounds: int, device: str, runs: int) -> Iterator[Row]:
    torch._dynamo.reset()  # else a second number of runs is compiled for any number of runs
    z0 = (2 * torch.rand(runs, 2, generator=Generator().manual_seed(0)) - 1) * 1.4
    env = gym.make_vec("robustgames/Forsaken-v0", num_envs=runs, device=device)
    agent = rg.GameAgent(env, rg.make_solver("extragradient", lr=LR), compile=True, z0=z0)
    n = 1500 if device == "cpu" else 5000
    contestants = {
        "learn": Contestant(learning(agent, 2), n),
        "step": Contestant(advancing(agent), n // 5),
        "numpy": Contestant(numpy_runs(z0, lambda u: u / 2 - 2 * u**3 + u**5), 2),
        "horner": Contestant(numpy_runs(z0, _slope), 50),
        "field": Contestant(compiled_field(z0, device), n),
    }
    t = {name: runs_over / seconds for runs_over, (name, seconds) in _with(runs, seconds_per_step(contestants, rounds, device))}
    name, unit = f"{runs:,} Forsaken runs: ", "run-steps/s"
    yield Row(f"{name}learn / NumPy", unit, t["learn"], t["numpy"], at_least=400)
    yield Row(f"{name}compiled step / NumPy", unit, t["step"], t["numpy"], at_least=400)
    yield Row(f"{name}learn / NumPy in Horner form", unit, t["learn"], t["horner"])
    yield Row(f"{name}learn / two compiled bare fields", unit, t["learn"], t["field"] / 2, at_least=0.5)
    yield Row(f"{name}compiled step / two compiled bare fields", unit, t["step"], t["field"] / 2, at_least=0.5)
