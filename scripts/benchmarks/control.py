"""Control: steps of the env per CPU second, acting and learning, with the same settings as the peers.

The peers are Stable-Baselines3, and DDPG written tightly in PyTorch (`torch_loop.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from benchmarks.harness import Contestant, Row, Steps, seconds_per_step
from benchmarks.torch_loop import TorchLoop
from stable_baselines3 import DDPG, SAC, TD3
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.noise import NormalActionNoise

import robustgames as rg
from robustgames.agents.robust_ddpg import RobustDDPG, RobustTD3
from robustgames.agents.robust_sac import RobustSAC

NEVER = 10**15
STARTS = 1_000  # steps of random actions, all taken before the clock starts
TAU, LR, NOISE, BUFFER = 0.005, 1e-3, 0.1, 100_000
SEEDS = 8
RATE, COST = "steps/CPU s", "us/step"


@dataclass(frozen=True)
class Task:
    """An env with networks and a minibatch, and what its rows must reach: DDPG against SB3 and the loop, and TD3."""

    env_id: str = "Pendulum-v1"
    hidden: tuple[int, ...] = (64, 64)
    batch: int = 128
    at_least: float | None = None
    loop_at_least: float | None = None
    td3_at_least: float | None = None

    def __str__(self) -> str:
        return f"{self.env_id} {list(self.hidden)} batch {self.batch}"

    def blocks(self, share: float = 1.0) -> tuple[int, int]:
        """Return the numbers of steps of ours and of the peer that last some tenths of a second."""
        ours, peer = (800, 100) if self.batch == 128 else (60, 40)
        return max(10, round(ours * share)), max(5, round(peer * share))


TASKS = (
    Task("Pendulum-v1", at_least=12.0, loop_at_least=6.0, td3_at_least=9.0),
    Task("Hopper-v5", at_least=8.0, loop_at_least=4.0, td3_at_least=6.0),
    Task("Pendulum-v1", (256, 256), 256, at_least=2.2, loop_at_least=1.6),
    Task("Hopper-v5", (256, 256), 256, at_least=2.2, loop_at_least=1.6),
)


def control(rounds: int, device: str, quick: bool) -> Iterator[Row]:
    """Yield all rows of the control suite."""
    if device != "cpu":
        raise SystemExit("the suite control runs on the CPU, as its envs do: leave out --device")
    rounds, share = (1, 0.2) if quick else (rounds, 1.0)
    for task in TASKS:
        yield from ddpg(task, rounds, share)
    for task in TASKS[:2]:
        yield from td3(task, rounds, share)
    yield from sac(TASKS[0], rounds, share)
    yield from robustness(TASKS[0], rounds, share)
    yield from engines(TASKS[0], rounds, share)
    yield from many_seeds(TASKS[0], rounds, share)
    yield from solvers(TASKS[0], rounds, share)


# -- the rows ------------------------------------------------------------------------------------------------------
def ddpg(task: Task, rounds: int, share: float) -> Iterator[Row]:
    """Time plain DDPG end to end, and its update alone."""
    own, other = ours(task), peer(DDPG, task)
    blocks = task.blocks(share)
    contestants = {
        "ours": Contestant(learning(own), blocks[0]),
        "peer": Contestant(learning(other), blocks[1]),
        "loop": Contestant(loop(task).learn, blocks[1]),
        "our update": Contestant(updating(own), blocks[0]),
        "peer's update": Contestant(training(other), blocks[1]),
    }
    rate = rates(contestants, rounds)
    yield Row(f"DDPG, {task} : SB3", RATE, rate["ours"], rate["peer"], task.at_least)
    yield Row(f"DDPG, {task} : a tight loop in PyTorch", RATE, rate["ours"], rate["loop"], task.loop_at_least)
    yield Row("  the update alone : SB3", "updates/CPU s", rate["our update"], rate["peer's update"])


def td3(task: Task, rounds: int, share: float) -> Iterator[Row]:
    """Time TD3 end to end."""
    blocks = task.blocks(share)
    contestants = {
        "ours": Contestant(learning(ours(task, RobustTD3)), blocks[0]),
        "peer": Contestant(learning(peer(TD3, task)), blocks[1]),
    }
    rate = rates(contestants, rounds)
    yield Row(f"TD3, {task} : SB3", RATE, rate["ours"], rate["peer"], task.td3_at_least)


def sac(task: Task, rounds: int, share: float) -> Iterator[Row]:
    """Time SAC end to end, and what it costs next to TD3 by the same engine."""
    blocks = task.blocks(share)
    contestants = {
        "ours": Contestant(learning(ours(task, RobustSAC)), blocks[0] // 2),
        "with an adversary": Contestant(learning(ours(task, RobustSAC, env_settings={"alpha": 0.1})), blocks[0] // 2),
        "td3": Contestant(learning(ours(task, RobustTD3, engine="torch")), blocks[0] // 2),
        "peer": Contestant(learning(peer(SAC, task)), blocks[1]),
    }
    rate = rates(contestants, rounds)
    yield Row(f"SAC, {task} : SB3", RATE, rate["ours"], rate["peer"])
    yield Row("  : TD3, engine torch", RATE, rate["ours"], rate["td3"])
    yield Row("  with a noisy adversary : without", RATE, rate["with an adversary"], rate["ours"])


def robustness(task: Task, rounds: int, share: float) -> Iterator[Row]:
    """Time the cost of an adversary, in both couplings."""
    settings: dict[str, dict[str, Any]] = {
        "plain": {},
        "noisy": {"alpha": 0.1},
        "probabilistic": {"alpha": 0.1, "coupling": "probabilistic"},
    }
    block = task.blocks(share)[0]
    contestants = {name: Contestant(learning(ours(task, env_settings=own)), block) for name, own in settings.items()}
    rate = rates(contestants, rounds)
    for name in ("noisy", "probabilistic"):
        yield Row(f"DDPG, {task}, {name} alpha 0.1 : alpha 0", COST, 1e6 / rate[name], 1e6 / rate["plain"], at_most=1.3)


def engines(task: Task, rounds: int, share: float) -> Iterator[Row]:
    """Time the compiled engine against that of PyTorch, end to end."""
    block = task.blocks(share)[0]
    contestants = {name: Contestant(learning(ours(task, engine=name)), block) for name in ("native", "torch")}
    rate = rates(contestants, rounds)
    yield Row(f"DDPG, {task}, engine native : torch", RATE, rate["native"], rate["torch"])


def many_seeds(task: Task, rounds: int, share: float) -> Iterator[Row]:
    """Time several seeds as one batch, per seed, against one run."""
    block = task.blocks(share)[0]
    contestants = {
        "batch": Contestant(learning(ours(task, runs=SEEDS)), max(5, block // SEEDS)),
        "one": Contestant(learning(ours(task)), block),
    }
    rate = rates(contestants, rounds)  # of one thread, as all rates of this suite
    title = f"DDPG, {task}, {SEEDS} seeds as one batch : one run"
    yield Row(title, "seed-steps/CPU s", SEEDS * rate["batch"], rate["one"], at_least=1.0)


def solvers(task: Task, rounds: int, share: float) -> Iterator[Row]:
    """Time the update with two fields of the players in a step against that with one."""
    block, robust = task.blocks(share)[0], {"alpha": 0.1}
    contestants = {
        name: Contestant(
            updating(ours(task, solver=rg.make_solver(name, lr=LR), env_settings=robust, engine="torch")), block
        )
        for name in ("extra_adam", "adam")
    }
    rate = rates(contestants, rounds)
    title = f"DDPG, {task}, alpha 0.1, update by extra_adam : adam"
    yield Row(title, "us/update", 1e6 / rate["extra_adam"], 1e6 / rate["adam"])


# -- the contestants -----------------------------------------------------------------------------------------------
def ours(task: Task, kind: type[RobustDDPG] = RobustDDPG, **options: Any) -> RobustDDPG:
    """Return an agent of ours whose replay is past its random steps; alpha is 0 unless it is given."""
    options["env_settings"] = {"env_id": task.env_id, "alpha": 0.0} | options.get("env_settings", {})
    agent = kind(
        "robustgames/ActionRobust-v0",
        solver=options.pop("solver", rg.make_solver("adam", lr=LR)),
        hidden=task.hidden,
        batch_size=task.batch,
        tau=TAU,
        critic_lr=LR,
        noise=NOISE,
        buffer_size=BUFFER,
        learning_starts=STARTS,
        **options,
    )
    return agent.learn(STARTS + 10, log_interval=NEVER)


def peer(kind: type[TD3 | SAC], task: Task) -> TD3 | SAC:
    """Return the agent of Stable-Baselines3 with those settings, at the same place."""
    model = kind(
        "MlpPolicy",
        task.env_id,
        learning_rate=LR,
        buffer_size=BUFFER,
        learning_starts=STARTS,
        batch_size=task.batch,
        tau=TAU,
        train_freq=1,
        gradient_steps=1,
        policy_kwargs={"net_arch": list(task.hidden)},
        seed=0,
        device="cpu",
    )
    assert model.action_space.shape is not None
    size = model.action_space.shape[0]
    model.action_noise = NormalActionNoise(np.zeros(size), np.full(size, NOISE))
    model.set_logger(Logger(None, []))  # or every `learn` would make a new one
    return model.learn(STARTS + 10, log_interval=NEVER)


def loop(task: Task) -> TorchLoop:
    """Return the loop in PyTorch with those settings, at the same place."""
    return TorchLoop(task.env_id, task.hidden, task.batch, STARTS, BUFFER, LR, TAU, NOISE).learn(STARTS + 10)


def learning(agent: RobustDDPG | TD3 | SAC) -> Steps:
    """Return `learn` as steps of the env, each with an update and without logs in between."""
    return lambda steps: agent.learn(steps, log_interval=NEVER, reset_num_timesteps=False)


def updating(agent: RobustDDPG) -> Steps:
    """Return updates of critic, players and target networks, without steps of the env."""

    def run(steps: int) -> None:
        with agent.engine.mode():
            for _ in range(steps):
                agent.z, agent.state = agent.engine.step(agent.z, agent.state, due=True)

    return run


def training(model: TD3 | SAC) -> Steps:
    """Return updates of Stable-Baselines3, one by one as `learn` makes them after every step."""
    train: Callable[..., None] = model.train

    def run(steps: int) -> None:
        for _ in range(steps):
            train(gradient_steps=1, batch_size=model.batch_size)

    return run


def rates(contestants: dict[str, Contestant], rounds: int) -> dict[str, float]:
    """Return the steps per CPU second of every contestant."""
    return {name: 1 / seconds for name, seconds in seconds_per_step(contestants, rounds, "cpu").items()}
