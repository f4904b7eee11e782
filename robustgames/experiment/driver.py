"""An experiment on disk: trained into a run folder, resumed, evaluated."""

from __future__ import annotations

import json
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict, fields
from importlib.metadata import version
from pathlib import Path

from stable_baselines3.common.logger import Logger

from robustgames.agents.agent import Agent
from robustgames.agents.budget import SHARE
from robustgames.agents.callbacks import AtTimesteps
from robustgames.agents.learning import Checkpoint, ProgressBar, Stateful
from robustgames.checkpoints import CURRENT, PREVIOUS, restoring
from robustgames.disk import remove_unfinished, typed
from robustgames.errors import DivergedError, GameError, check_writable, one_line, writing
from robustgames.evaluation import summarize
from robustgames.experiment.base import A, Examination, Experiment, Progress, silent
from robustgames.experiment.control import CONTROL_AGENTS, ControlExperiment
from robustgames.experiment.folder import (
    CONFIG,
    Content,
    check_files,
    create_folder,
    locked,
    read_config,
    read_result,
    write_config,
    write_result,
)
from robustgames.experiment.game import GameExperiment
from robustgames.experiment.kept_files import keep_files, with_kept_files
from robustgames.experiment.logs import Page, RunLogger, SilentLogger, open_logger
from robustgames.experiment.naming import command, hparams, label
from robustgames.experiment.result import Result
from robustgames.experiment.stopwatch import Stopwatch
from robustgames.experiment.trust import check_code
from robustgames.processes import Processes, current

EXPERIMENTS: dict[str, type[Experiment]] = dict.fromkeys(CONTROL_AGENTS, ControlExperiment)
"""{name of an agent: class of its experiment}. Every other name is that of a solver, see `GameExperiment`."""
ENDING = 20.0
"""Seconds in which a process that is ending releases the lock of its run."""
OF_A_RUN = "copy the run to a folder of yours"
TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("agent", "env", "solver", "device"), (str,)),
    **dict.fromkeys(("settings", "solver_settings", "env_settings"), (dict,)),
    "seeds": (list, tuple),
    **dict.fromkeys(("anneal", "average_lookaheads", "compile", "shard_optimizer"), (bool,)),
    "average": (str, int, float, type(None)),
    "evaluations": (int, type(None)),
}
"""{entry of a config: its types}. Every other entry is a whole number."""


def train(experiment: Experiment[A], out: str | Path = "runs", progress_bar: bool = True) -> tuple[Path, Result]:
    """Train into a new folder out/<env>/<agent>/<time>-<settings>-seed<k>; return both it and its result."""
    team = current()
    check_writable(Path(out))  # first what takes no time
    experiment.check_processes(team.world)
    agent = experiment.make_agent()  # before the folder exists: bad input leaves nothing behind
    start = summarize(experiment.measure(agent))
    folder = team.share(
        lambda: create_folder(out, experiment.env, experiment.agent, label(experiment), f"seed{experiment.seed}")
    )
    with _named(folder, team), _held(folder, team):
        if team.is_first:
            _write_config(folder, experiment)
        return folder, _learn(experiment, start, agent, folder, progress_bar)


def complete(experiment: Experiment[A], folder: str | Path, watch: Callable[[Logger], None] | None = None) -> Result:
    """Do what is left of a run in its folder: train, continue after the newest checkpoint, or read the result.

    Whoever has to repeat a job that may have been killed, calls this again. The lock of a process that is ending is
    awaited for some seconds. No figures are drawn, which take longer than many a run: `evaluate` draws them.

    Args:
        experiment: Experiment of the run.
        folder: Folder of the run, which need not exist yet.
        watch: Function that is called with the logger before every log is written; an exception of it ends the run.

    Raises:
        GameError: The folder has a run of another experiment.
    """
    folder = Path(folder)
    check_writable(folder)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, ENDING):
        remove_unfinished(folder)
        if (folder / CONFIG).exists():
            _check_same(experiment, folder)
            if (finished := read_result(folder)) is not None:
                return Result(finished)
        agent = with_kept_files(experiment, folder).make_agent()
        start = summarize(experiment.measure(agent))
        if any((folder / name).exists() for name in (CURRENT, PREVIOUS)):
            with restoring(folder):
                agent = experiment.load_agent(folder, agent)
        elif not (folder / CONFIG).exists():
            _write_config(folder, experiment)
        with _named(folder, current()):
            return _learn(experiment, start, agent, folder, progress_bar=False, figures=False, watch=watch)


def _check_same(experiment: Experiment, folder: Path) -> None:
    """Raise if the folder has a run of another experiment."""
    there, here = read_config(folder), json.loads(json.dumps(asdict(experiment)))  # tuples as lists
    for name, value in here.items():
        if there.get(name, value) != value:
            raise GameError(
                f"{folder} has a run with {name} {one_line(there[name])}, this one has {one_line(value)}: choose "
                "another folder"
            )


def resume(
    folder: str | Path, progress_bar: bool = True, steps: int | None = None, trust: bool = False
) -> tuple[Path, Result]:
    """Continue an interrupted run to its number of steps; bit-exact with the uninterrupted run on a CPU.

    Args:
        folder: Folder of the run.
        progress_bar: If True, progress, rate and time left are shown.
        steps: Larger number of steps, to which the run is extended; by default its own.
        trust: See `read`.

    Raises:
        GameError: The folder is not that of a run, or the run cannot be extended.
    """
    folder, experiment = Path(folder), read(Path(folder), trust)
    check_files(folder)
    check_writable(folder, OF_A_RUN)
    extended = experiment if steps is None else experiment.extended(steps)
    with restoring(folder / "config.yaml"):
        first = with_kept_files(extended, folder).make_agent()
    team = current()
    extended.check_processes(team.world)
    with _held(folder, team):
        if team.is_first:
            remove_unfinished(folder)
        finished, unused = read_result(folder), not any((folder / name).exists() for name in (CURRENT, PREVIOUS))
        with restoring(folder):
            agent = first if unused and not finished else extended.load_agent(folder, first)
        if finished and extended.is_over(agent.num_timesteps):
            return folder, Result({"settings": experiment.env_settings, **finished})  # 0.1.0 wrote no settings
        start = summarize(extended.measure(first))  # after which all processes have read the folder
        team.wait()
        with _named(folder, team):
            if extended != experiment and team.is_first:
                _write_config(folder, extended)
            return folder, _learn(extended, start, agent, folder, progress_bar)


def load(folder: str | Path, trust: bool = False) -> tuple[Experiment, Agent]:
    """Return the experiment of a run folder, and its agent at the newest checkpoint; for `trust` see `read`."""
    experiment = read(Path(folder), trust)
    return experiment, _load_agent(experiment, Path(folder))


def _load_agent(experiment: Experiment[A], folder: Path) -> A:
    with restoring(folder / "config.yaml"):
        first = with_kept_files(experiment, folder).make_agent()
    with restoring(folder):
        return experiment.load_agent(folder, first)


def evaluate(
    folder: str | Path, what: Examination | None = None, progress: Progress = silent, trust: bool = False
) -> Result:
    """Recompute the metrics of a saved run, write evaluation.json, and return its content.

    Args:
        folder: Folder of the run.
        what: What to measure in addition to the metrics; by default `Examination()`.
        progress: See `Experiment.examine`.
        trust: See `read`.
    """
    folder, experiment = Path(folder), read(Path(folder), trust)
    check_files(folder)
    check_writable(folder, OF_A_RUN)
    remove_unfinished(folder)
    what = what or Examination()
    with restoring(folder / "config.yaml"):
        experiment.check(what)  # before a replay is loaded
    agent = _load_agent(experiment, folder)
    found = experiment.examine(agent, folder, what, progress)
    result = Result(_result(experiment, agent, {}, {}) | found)
    write_result(folder, "evaluation.json", result)
    return result


def read(folder: Path, trust: bool = False, name: str = CONFIG) -> Experiment:
    """Return the experiment of a run folder.

    Args:
        folder: Folder of the run.
        trust: Whether code that the config names may be imported, see `check_code`.
        name: Name of the file that holds it.

    Raises:
        GameError: The folder is not that of a run, its config is damaged, or it names code that may not be imported.
    """
    config = read_config(folder, name)
    check_code(config, folder, trust)
    kind = EXPERIMENTS.get(str(config["agent"]), GameExperiment)
    known = {f.name: config[f.name] for f in fields(kind) if f.name in config}
    for entry, value in known.items():
        if not has_type(entry, value):
            raise GameError(f"{entry} in {folder / name} is {str(value)[:50]!r}: restore the file, or repeat the run")
    return kind(**known)


def has_type(entry: str, value: object) -> bool:
    """Return whether a value is of the type of an entry of a config."""
    types = TYPES.get(entry, (int,))  # all others are counts
    return isinstance(value, types) and (bool in types or not isinstance(value, bool))


def read_experiment(folder: Path, trust: bool = False) -> GameExperiment:
    """Return the experiment of the folder of a run with a game; for `trust` see `read`.

    Raises:
        GameError: The folder is not that of a run with a game.
    """
    experiment = read(folder, trust)
    if not isinstance(experiment, GameExperiment):
        raise GameError(f"{folder} is a run of {experiment.agent}, which is control: give a run of a solver on a game")
    return experiment


def _learn(
    experiment: Experiment[A],
    start: Content,
    agent: A,
    folder: Path,
    progress_bar: bool,
    figures: bool = True,
    watch: Callable[[Logger], None] | None = None,
) -> Result:
    team = current()
    if team.is_first:
        keep_files(experiment, folder)
    logger = _open_logger(experiment, agent, folder) if team.is_first else SilentLogger()
    agent.set_logger(logger)
    watchers = [w for w in experiment.watchers(agent, logger) if figures or not isinstance(w, AtTimesteps)]
    if watch is not None:
        logger.before_dump.append(lambda: watch(logger))
    stateful = {type(watcher).__name__: watcher for watcher in watchers if isinstance(watcher, Stateful)}
    with restoring(folder):
        for name, watcher in stateful.items():
            if name in agent.callback_states:
                watcher.load_state_dict(agent.callback_states[name])
    progress_bar = progress_bar and team.is_first
    bar = [ProgressBar(experiment.timestep.split()[-1])] if progress_bar else []
    stopwatch = Stopwatch(folder, agent.is_begun, team.is_first)

    def before_checkpoint() -> None:
        logger.flush()
        stopwatch.save_now_and_then()

    try:
        with stopwatch:
            agent.learn(
                experiment.remaining(agent, watchers),
                callback=[*watchers, Checkpoint(folder, experiment.checkpoint, stateful, before_checkpoint), *bar],
                log_interval=experiment.log_interval,
                reset_num_timesteps=False,
                evaluation_share=SHARE if experiment.evaluations is None else None,
            )
            seconds = stopwatch.spent()
        if progress_bar:
            print("evaluating, drawing figures …", file=sys.stderr)
        result = _result(experiment, agent, start, seconds)
        if team.is_first:
            if figures:
                experiment.draw(agent, watchers, folder, logger)
            logger.close()
            write_result(folder, "result.json", result)  # last: with a result, everything is there
    finally:
        with suppress(GameError):  # of a full disk, which ended the run
            logger.close()
    return result


def _open_logger(experiment: Experiment[A], agent: A, folder: Path) -> RunLogger:
    page = Page(f"`{command(experiment)}`\n\n{_indented(folder / 'config.yaml')}", hparams(experiment))
    return open_logger(folder, agent.num_timesteps, agent.num_timesteps if agent.is_begun else -1, page)


def _held(folder: Path, team: Processes) -> AbstractContextManager[None]:
    """Hold the folder for the first process, which alone writes to it."""
    return locked(folder) if team.is_first else nullcontext()


@contextmanager
def _named(folder: Path, team: Processes) -> Iterator[None]:
    """Name the folder in what stops a run, or remove it if there is nothing to continue."""
    try:
        yield
    except BaseException as stop:
        begun, hint = (folder / "config.yaml").exists(), f"to continue: robustgames train --resume {typed(folder)}"
        if not begun and team.is_first:
            shutil.rmtree(folder, ignore_errors=True)
        elif isinstance(stop, KeyboardInterrupt):
            raise KeyboardInterrupt(typed(folder)) from None
        elif isinstance(stop, GameError) and not isinstance(stop, DivergedError):  # which would diverge again
            raise GameError(f"{stop}; {hint}") from stop
        elif not isinstance(stop, GameError):
            stop.add_note(hint)
        raise


def _indented(path: Path) -> str:
    """Return a file as a block of code in Markdown."""
    return "".join(f"    {line}\n" for line in path.read_text(encoding="utf-8").splitlines())


def _write_config(folder: Path, experiment: Experiment) -> None:
    write_config(folder, {**asdict(experiment), "versions": versions()})


def _result(experiment: Experiment[A], agent: A, start: Content, seconds: dict[str, float]) -> Result:
    values = experiment.measure(agent)
    content = {
        "agent": experiment.agent,
        "env": experiment.env,
        "timesteps": agent.num_timesteps,
        "timestep": experiment.timestep,
        **{name: round(value, 2) for name, value in seconds.items()},
        "runs": experiment.runs,
        **experiment.details(agent, values),
        "start": start,
        "metrics": summarize(values),
    }
    return Result(content)


def versions() -> dict[str, str]:
    """Return the versions of Python, of this package and of those that its numbers depend on."""
    names = ("robustgames", "torch", "gymnasium", "stable-baselines3")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
