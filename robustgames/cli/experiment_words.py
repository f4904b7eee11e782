"""The experiment of the words AGENT ENV [flags], for `robustgames train` and `robustgames sweep`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym

from robustgames.cli import flags
from robustgames.cli.train_options import ControlOptions, PolicySolverOptions, RunOptions
from robustgames.cli.words import pairs
from robustgames.envs.defaults import STEPS, agent_of, defaults_of
from robustgames.envs.registration import BUILT_IN
from robustgames.errors import GameError, unknown
from robustgames.solvers import RECIPES
from robustgames.solvers.recipes import POWERS

if TYPE_CHECKING:
    from robustgames.experiment import ControlExperiment, Experiment, GameExperiment

STABLE_BASELINES = ("A2C", "DDPG", "DQN", "HER", "PPO", "SAC", "TD3")


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
        env_settings=_with_data(_env_settings(run.set), run.data),
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
    from robustgames.experiment.control import SHARE_OF_STEPS

    agent = CONTROL_AGENTS[name]
    settings = flags.group(name, flags.of_dataclass(agent.preset))
    groups = {"agent": settings, "solver": PolicySolverOptions, "run": ControlOptions, **more}
    parsed = flags.parse(groups, f"robustgames {command} {name}", flags.summary(agent), words)
    run: ControlOptions = parsed.run
    by_steps = {SHARE_OF_STEPS} - flags.given(words) if getattr(agent.preset, SHARE_OF_STEPS, 0) else set()
    experiment = ControlExperiment(
        agent=name,
        env=run.env,
        settings={key: value for key, value in asdict(parsed.agent).items() if key not in by_steps},
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


def _with_data(settings: dict[str, Any], data: str | None) -> dict[str, Any]:
    """Return the settings with the path of --data as it is typed: "photos #1" is not a word and a comment."""
    if data is not None and "data" in settings:
        raise GameError("--set has data, and so has --data: give it once")
    return settings if data is None else {**settings, "data": data}


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
