"""The flags of `robustgames train`: those of every run, of a game, of control, of the main job, and of a resumption."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

Env = Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="ENV")]


@dataclass(frozen=True)
class CommonOptions:
    """Options of every run."""

    runs: int = 5
    """Independent runs, side by side in one tensor."""
    seed: int = 0
    """Seed of everything random."""
    device: str = "auto"
    """auto, cpu or cuda."""
    out: Path = Path("runs")
    """Folder of the run folders."""
    evaluations: int | None = None
    """Logs of a run, each with all metrics. By default 50, of which as many have the metrics that take long (attacks,
    distances of samples) as 5 % of the time allows."""


@dataclass(frozen=True)
class RunOptions(CommonOptions):
    """Options of every run."""

    env: Env = tyro.MISSING
    """Id of a game; "module:namespace/Name-v0" imports a module of yours first."""
    steps: int = 10_000
    """Oracle calls of one run; extragradient pays two a step."""
    set: tuple[str, ...] = ()
    """Settings of the game, key=value ..., e.g. --set eps=0.05 noise=0.1."""
    data: str | None = None
    """Data of the game, as --set data=: a folder of images or of MNIST's IDX files, or openml or shipped."""
    average: str | None = None
    """Also average the iterates: uniform, linear or quadratic weights, or the decay of an exponential average such as
    0.999; none averages nothing."""
    average_lookaheads: bool = False
    """Average the points of the last field evaluation of each step instead of the iterates."""
    anneal: bool = False
    """Decrease all learning rates linearly to 0 over the run."""
    compile: bool = False
    """Compile each step; it pays off for cheap games with very many runs."""
    checkpoint: int = 1_000
    """Oracle calls between two checkpoints."""
    patience: int = 0
    """Logs (50 a run, or --evaluations) without a rise of the attacked accuracy before the run stops and keeps its
    best weights; 0 disables it. See --set validation=500."""
    shards: int = 1
    """Parts of every minibatch, computed one after the other, or by as many processes of torchrun as divide them."""
    shard_optimizer: bool = False
    """Let these processes also divide the state of the solver, which saves memory."""


@dataclass(frozen=True)
class ControlOptions(CommonOptions):
    """Options of every run."""

    env: Env = tyro.MISSING
    """Id of control with an adversary; "module:namespace/Name-v0" imports a module of yours first."""
    steps: int = 10_000
    """Env steps of one run."""
    set: tuple[str, ...] = ()
    """Settings of the env, key=value ..., e.g. --set env_id=Pendulum-v1 alpha=0.1 coupling=probabilistic."""
    checkpoint: int = 5_000
    """Env steps between two checkpoints, which hold the replay."""


@dataclass(frozen=True)
class PolicySolverOptions:
    """Solver of the two policies."""

    solver: str = "adam"
    """Any solver of `robustgames list`: adam, extra_adam, optimistic_adam, langevin ..."""
    lr: float | None = None
    """Learning rate; by default the solver's own (adam: 1e-3)."""
    solver_set: tuple[str, ...] = ()
    """Other settings, key=value ..., e.g. --solver-set lr_y=3e-4; `robustgames train SOLVER --help` lists them."""


@dataclass(frozen=True)
class MainOptions(CommonOptions):
    """The main job: standard and adversarial training on digits, accuracy with and without attack."""

    steps: int = 4_000
    """Oracle calls of one adversarial run; standard training takes a quarter."""
    resume: Path | None = None
    """Continue the interrupted run in this folder instead; with --steps, extend it to as many."""


@dataclass(frozen=True)
class ResumeOptions:
    """Continue an interrupted run, or extend a finished one to more steps."""

    resume: Path
    """Folder of the run."""
    steps: int | None = None
    """Timesteps of the whole run; by default as many as it began with. More of them extend it."""
    trust: bool = False
    """Import code that the config of this run names, which can run anything."""
