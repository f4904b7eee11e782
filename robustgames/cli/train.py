"""The command `robustgames train`: the main job, a solver on a game, an agent of control, or an interrupted run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console

from robustgames.cli import flags
from robustgames.cli.result_table import count, report
from robustgames.errors import GameError, unknown
from robustgames.solvers import RECIPES

MAIN_ENV = "robustgames/DigitsAdversarial-v0"
Env = Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="ENV")]


@dataclass(frozen=True)
class CommonOptions:
    """What every run takes."""

    runs: int = 5
    """Independent runs, side by side in one tensor."""
    seed: int = 0
    """Seed of everything random."""
    device: str = "auto"
    """auto, cpu or cuda."""
    out: Path = Path("runs")
    """Where the run folder goes."""


@dataclass(frozen=True)
class RunOptions(CommonOptions):
    """What every run takes."""

    env: Env = tyro.MISSING
    """Id of a game; "module:namespace/Name-v0" imports a module of yours first."""
    steps: int = 10_000
    """Oracle calls of one run: extragradient pays two a step."""
    set: tuple[str, ...] = ()
    """Settings of the game, key=value ..., e.g. --set eps=0.05 noise=0.1."""
    data: str | None = None
    """Folder of the data, where the game reads some (as --set data=): images; MNIST's IDX files, or openml."""
    average: str | None = None
    """Also average the iterates: "uniform", or the decay of an exponential average such as 0.999."""
    anneal: bool = False
    """Let all learning rates fall linearly to 0 over the run."""
    compile: bool = False
    """Compile each step; pays for cheap games with very many runs."""
    checkpoint: int = 1_000
    """Oracle calls between two checkpoints."""
    patience: int = 0
    """Stop after so many of 50 looks without a rise of the attacked accuracy; keep the best: --set validation=500."""


@dataclass(frozen=True)
class ControlOptions(CommonOptions):
    """What every run takes."""

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
    """Which solver moves the two policies."""

    solver: str = "adam"
    """Any solver of `robustgames list`: adam, extra_adam, optimistic_adam, langevin ..."""
    lr: float | None = None
    """Its learning rate; the solver's own by default (adam: 1e-3)."""
    solver_set: tuple[str, ...] = ()
    """Its other settings, key=value ..., e.g. --solver-set lr_y=3e-4; `robustgames train SOLVER --help` lists them."""


@dataclass(frozen=True)
class MainOptions:
    """The main job: standard and adversarial training on digits, accuracy with and without attack."""

    steps: int = 4_000
    """Oracle calls of one adversarial run; standard training takes a quarter."""
    runs: int = 5
    """Seeds, trained side by side in one tensor."""
    seed: int = 0
    """Seed of the generator."""
    device: str = "auto"
    """auto, cpu or cuda."""
    out: Path = Path("runs")
    """Where the run folders go."""
    resume: Path | None = None
    """Continue the interrupted run in this folder instead."""


def train(words: list[str]) -> None:
    """Train an agent, or run the main job without further words."""
    if not words or words[0].startswith("-"):
        options = tyro.cli(MainOptions, prog="robustgames train", args=words)
        return _resume(options.resume) if options.resume is not None else _main_job(options)
    from robustgames import experiment as experiments

    name = words[0]
    if name in RECIPES:
        return _run(*_game(name, words[1:]))
    if name in experiments.CONTROL_AGENTS:
        return _run(*_control(name, words[1:]))
    raise unknown("agent", name, [*RECIPES, *experiments.CONTROL_AGENTS])


def _game(name: str, words: list[str]) -> tuple[Any, Path]:
    """Return the experiment of a solver on a game, and where it goes."""
    from robustgames.experiment import GameExperiment

    groups = {"solver": flags.group(name, flags.of_function(RECIPES[name])), "run": RunOptions}
    parsed = flags.parse(groups, f"robustgames train {name}", flags.summary(RECIPES[name]), flags.gather(words))
    run: RunOptions = parsed.run
    settings = {key: value for key, value in asdict(parsed.solver).items() if value is not None}
    game = _env_settings(run.set if run.data is None else (*run.set, f"data={run.data}"))
    experiment = GameExperiment(
        agent=name,
        env=run.env,
        settings=settings,
        env_settings=game,
        steps=run.steps,
        runs=run.runs,
        seed=run.seed,
        device=run.device,
        average=_average(run.average),
        anneal=run.anneal,
        compile=run.compile,
        checkpoint=run.checkpoint,
        patience=run.patience,
    )
    return experiment, run.out


def _control(name: str, words: list[str]) -> tuple[Any, Path]:
    """Return the experiment of an agent of control, and where it goes."""
    from robustgames.experiment import CONTROL_AGENTS, ControlExperiment

    agent = CONTROL_AGENTS[name]
    settings = flags.group(name, flags.of_dataclass(agent.preset))
    groups = {"agent": settings, "solver": PolicySolverOptions, "run": ControlOptions}
    gathered = flags.gather(flags.gather(words), "--solver-set")
    parsed = flags.parse(groups, f"robustgames train {name}", flags.summary(agent), gathered)
    run, solver = parsed.run, flags.pairs(parsed.solver.solver_set, "--solver-set", "lr_y=3e-4")
    if "lr" in solver:
        raise GameError(f"--solver-set cannot change lr: it has a flag, --lr {solver['lr']}")
    rate = {} if parsed.solver.lr is None else {"lr": parsed.solver.lr}
    experiment = ControlExperiment(
        agent=name,
        env=run.env,
        settings=asdict(parsed.agent),
        solver=parsed.solver.solver,
        solver_settings={**rate, **solver},
        env_settings=_env_settings(run.set),
        steps=run.steps,
        runs=run.runs,
        seed=run.seed,
        device=run.device,
        checkpoint=run.checkpoint,
    )
    return experiment, run.out


def _env_settings(words: tuple[str, ...]) -> dict[str, Any]:
    settings = flags.pairs(words)
    for key in ("game", "num_envs", "runs", "device"):
        if key in settings:
            raise GameError(f"--set cannot change {key}: it is no setting of the game; see --runs and --device")
    return settings


def _average(word: str | None) -> float | Literal["uniform"] | None:
    try:
        return None if word is None else "uniform" if word == "uniform" else float(word)
    except ValueError:
        raise GameError(f"--average is {word!r}: uniform, or a decay such as 0.999") from None


def _run(experiment: Any, out: Path) -> None:
    from robustgames import experiment as experiments

    folder, result = experiments.train(experiment, out)
    report([result], [folder])


def _resume(folder: Path) -> None:
    from robustgames import experiment as experiments

    folder, result = experiments.resume(folder)
    report([result], [folder])


def _main_job(options: MainOptions) -> None:
    from robustgames import experiment as experiments

    common = {"runs": options.runs, "seed": options.seed, "device": options.device}
    jobs = [
        experiments.GameExperiment("standard_training", MAIN_ENV, steps=max(1, options.steps // 4), **common),
        experiments.GameExperiment("adversarial_training", MAIN_ENV, steps=options.steps, **common),
    ]
    console, finished = Console(highlight=False), []
    for job in jobs:
        console.print(f"[bold]{job.agent}[/] on {job.env}, {count(job.runs)} side by side")
        try:
            finished.append(experiments.train(job, options.out))
        except KeyboardInterrupt as stop:
            later = jobs[len(finished) + 1 :]
            then = [f"; then: robustgames train {j.agent} {j.env} --steps {j.steps} --runs {j.runs}" for j in later]
            raise KeyboardInterrupt(f"{stop}{''.join(then)}") from None
    report([result for _, result in finished], [folder for folder, _ in finished])
