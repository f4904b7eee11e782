"""The command `robustgames train`: the main job, a solver on a game, an agent of control, or an interrupted run."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import gymnasium as gym
import tyro
from rich.console import Console

from robustgames.cli import flags
from robustgames.cli.memory import check_memory
from robustgames.cli.result_table import count, report
from robustgames.cli.screen import plain
from robustgames.cli.words import pairs
from robustgames.envs.defaults import STEPS, agent_of, defaults_of, defaults_used, in_words
from robustgames.envs.registration import BUILT_IN
from robustgames.errors import GameError, shorten, unknown
from robustgames.solvers import RECIPES
from robustgames.solvers.recipes import POWERS

if TYPE_CHECKING:
    from robustgames.experiment import ControlExperiment, Experiment, GameExperiment

STABLE_BASELINES = ("A2C", "DDPG", "DQN", "HER", "PPO", "SAC", "TD3")
MAIN_ENV = "robustgames/DigitsAdversarial-v0"
SHARED = "train extra_adam robustgames/DigitsGAN-v0 --shards 4"
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
    """Data of the game, as --set data=: a folder of images or of MNIST's IDX files, or openml."""
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


def train(words: list[str]) -> None:
    """Train an agent, or run the main job if no agent is given."""
    if any(word.partition("=")[0] == "--resume" for word in words) and not {"-h", "--help"} & set(words):
        return _resume(words)
    if not words or words[0].startswith("-"):
        return _main_job(flags.read(MainOptions, "robustgames train", words))
    experiment, out, _ = parse(words)
    return _run(experiment, out, flags.given(words))


def parse(words: list[str], command: str = "train", more: type | None = None) -> tuple[Experiment, Path, Any]:
    """Return the experiment of the words AGENT ENV [flags], the folder of its runs, and the flags of `more`.

    Args:
        words: Words of the command line.
        command: Command that takes them.
        more: Dataclass with the other flags of the command; None has none.

    Raises:
        GameError: An unknown agent or flag, or a value that cannot be used.
    """
    from robustgames.experiment import CONTROL_AGENTS
    from robustgames.experiment.user_solvers import is_user_solver

    name, groups = words[0], {} if more is None else {"more": more}
    if name in RECIPES or (is_user_solver(name) and name.rpartition(":")[2] not in gym.registry):
        return _game(name, words[1:], command, groups)
    if name in CONTROL_AGENTS:
        return _control(name, words[1:], command, groups)
    raise _no_agent(words, [*RECIPES, *CONTROL_AGENTS], command)


def _no_agent(words: list[str], known: list[str], command: str) -> GameError:
    """Return the error for words that do not begin with the name of an agent."""
    name, following = words[0], words[1:2]
    if "/" in name or name.rpartition(":")[2] in gym.registry:
        agent = following[0] if following and following[0] in known else agent_of(name)
        return GameError(f"{name} is an env, and the agent comes first: robustgames {command} {agent} {name}")
    if name.upper() in STABLE_BASELINES:
        view = 'rg.PlayerView("robustgames/Quadratic-v0", "x", opponent=[0.5], bound=2.0)'
        robust = f"robust_{name.lower()}" if f"robust_{name.lower()}" in known else "robust_sac"
        control = f"; `robustgames train {robust}` trains control with an adversary"
        train = f'{name.upper()}("MlpPolicy", {view}).learn(10_000)'
        return GameError(f"{name} is an algorithm of Stable-Baselines3, for one player; in Python: {train}{control}")
    return unknown("agent", name, known, "robustgames list")


def _game(name: str, words: list[str], command: str, more: dict[str, Any]) -> tuple[GameExperiment, Path, Any]:
    """Return the experiment of a solver on a game, the folder of its runs, and the other flags."""
    from robustgames.experiment import GameExperiment
    from robustgames.experiment.user_solvers import recipe_of

    recipe, usual = recipe_of(name), defaults_of(name, _env_in(words))
    start = {key: value for key, value in usual.items() if value != STEPS}
    solver = flags.group(name.rpartition(":")[2], flags.replaced(flags.of_function(recipe), start))
    of_run: dict[str, Any] = {key: value for key, value in start.items() if key in RunOptions.__dataclass_fields__}
    if "average" in of_run:
        of_run["average"] = str(of_run["average"])  # a word, as the flag is
    groups = {"solver": solver, "run": RunOptions(**of_run) if of_run else RunOptions, **more}
    parsed = flags.parse(groups, f"robustgames {command} {name}", flags.summary(recipe), words)
    run: RunOptions = parsed.run
    if any(word.partition("=")[0] == "shards" for word in run.set):
        raise GameError("--set cannot change shards: it is not a setting of the game; see --shards")
    settings = {key: value for key, value in asdict(parsed.solver).items() if value is not None}
    settings |= {key: run.steps for key in usual.keys() - start.keys() - flags.given(words)}
    experiment = GameExperiment(
        agent=name,
        env=run.env,
        settings=settings,
        env_settings=_env_settings(run.set if run.data is None else (*run.set, f"data={run.data}")),
        steps=run.steps,
        runs=run.runs,
        seed=run.seed,
        device=run.device,
        average=_average(run.average),
        average_lookaheads=run.average_lookaheads,
        anneal=run.anneal,
        compile=run.compile,
        checkpoint=run.checkpoint,
        evaluations=run.evaluations,
        patience=run.patience,
        shards=run.shards,
        shard_optimizer=run.shard_optimizer,
    )
    return experiment, run.out, getattr(parsed, "more", None)


def _env_in(words: list[str]) -> str:
    """Return the id of a game of this package among words; "" if there is none."""
    return next((word for word in words if word in BUILT_IN), "")


def _control(name: str, words: list[str], command: str, more: dict[str, type]) -> tuple[ControlExperiment, Path, Any]:
    """Return the experiment of an agent of control, the folder of its runs, and the other flags."""
    from robustgames.experiment import CONTROL_AGENTS, ControlExperiment

    agent = CONTROL_AGENTS[name]
    settings = flags.group(name, flags.of_dataclass(agent.preset))
    groups = {"agent": settings, "solver": PolicySolverOptions, "run": ControlOptions, **more}
    parsed = flags.parse(groups, f"robustgames {command} {name}", flags.summary(agent), words)
    run: ControlOptions = parsed.run
    experiment = ControlExperiment(
        agent=name,
        env=run.env,
        settings=asdict(parsed.agent),
        solver=parsed.solver.solver,
        solver_settings=_solver_settings(parsed.solver),
        env_settings=_env_settings(run.set),
        steps=run.steps,
        runs=run.runs,
        seed=run.seed,
        device=run.device,
        checkpoint=run.checkpoint,
        evaluations=run.evaluations,
    )
    return experiment, run.out, getattr(parsed, "more", None)


def _solver_settings(options: PolicySolverOptions) -> dict[str, Any]:
    settings = pairs(options.solver_set, "--solver-set", "lr_y=3e-4")
    if "lr" in settings:
        raise GameError(f"--solver-set cannot change lr: it has a flag, --lr {settings['lr']}")
    return settings if options.lr is None else {"lr": options.lr, **settings}


def _env_settings(words: tuple[str, ...]) -> dict[str, Any]:
    settings = pairs(words)
    check_env_settings(settings)
    return settings


def check_env_settings(settings: Collection[str]) -> None:
    """Refuse names that are not settings of an env, though its constructor takes them.

    Raises:
        GameError: One of them.
    """
    for key in ("game", "num_envs", "runs", "device"):
        if key in settings:
            raise GameError(f"--set cannot change {key}: it is not a setting of the game; see --runs and --device")


def _average(word: str | None) -> Any:
    try:
        return None if word in (None, "none", "None") else word if word in POWERS else float(word)
    except ValueError:
        raise GameError(f"--average is {word!r}: {', '.join(POWERS)}, or a decay such as 0.999") from None


def _run(experiment: Experiment, out: Path, given: set[str]) -> None:
    from robustgames.experiment import train

    check_memory(experiment)
    say_defaults(experiment, given)
    folder, result = train(experiment, out)
    report([result], [folder])


def say_defaults(experiment: Experiment, given: set[str]) -> None:
    """Print the settings of the table of defaults that are in use, see `robustgames.envs.defaults`."""
    from robustgames.experiment.naming import short_env

    used = defaults_used(experiment.agent, experiment.env, given)
    if used:
        shown = in_words({name: experiment.steps if value == STEPS else value for name, value in used.items()})
        env = plain(short_env(experiment.env))
        Console(highlight=False).print(f"defaults of {experiment.agent} on {env}: {shown}", soft_wrap=True)


def _resume(words: list[str]) -> None:
    from robustgames.experiment import resume

    for word in words:
        flag = word.partition("=")[0]
        if flag.startswith("--") and flag not in ("--resume", "--steps", "--trust", "--no-trust"):
            raise GameError(f"{flag} cannot change in a run that has begun: leave it out, or start a new run")
    if not words[0].startswith("-"):
        raise GameError(f"--resume needs no {shorten(words[0])}: robustgames train --resume RUN, with a run folder")
    options = flags.read(ResumeOptions, "robustgames train", words)
    folder, result = resume(options.resume, steps=options.steps, trust=options.trust)
    report([result], [folder])


def _main_job(options: MainOptions) -> None:
    from robustgames.experiment import GameExperiment, train
    from robustgames.processes import current

    if (world := current().world) > 1:
        raise GameError(f"{world} processes train one game: name an agent and an env, e.g. {SHARED}")
    common = {name: getattr(options, name) for name in ("runs", "seed", "device", "evaluations")}
    jobs = [
        GameExperiment("standard_training", MAIN_ENV, steps=max(1, options.steps // 4), **common),
        GameExperiment("adversarial_training", MAIN_ENV, steps=options.steps, **common),
    ]
    check_memory(jobs[0])
    console, finished = Console(highlight=False), []
    for job in jobs:
        console.print(f"[bold]{job.agent}[/] on {job.env}, {count(job.runs)} side by side")
        try:
            finished.append(train(job, options.out))
        except KeyboardInterrupt as stop:
            later = jobs[len(finished) + 1 :]
            then = [f"; then: robustgames train {j.agent} {j.env} --steps {j.steps} --runs {j.runs}" for j in later]
            raise KeyboardInterrupt(f"{stop}{''.join(then)}") from None
    report([result for _, result in finished], [folder for folder, _ in finished])
    _compare([folder for folder, _ in finished], options)


def _compare(folders: list[Path], options: MainOptions) -> None:
    """Write the comparison of several runs next to their folders, see `robustgames compare`, and print its path."""
    from robustgames.cli.compare import write
    from robustgames.sweeps import comparison

    methods, out = comparison.methods_in(folders), folders[0].parent.parent / f"comparison-seed{options.seed}"
    write(methods, comparison.common_metrics(methods), out, "steps")
    Console(highlight=False).print(f"comparison   {out}", soft_wrap=True)
