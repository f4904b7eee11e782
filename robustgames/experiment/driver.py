"""An experiment on disk: trained into a run folder, resumed, evaluated."""

from __future__ import annotations

import platform
import sys
import time
from dataclasses import asdict, fields
from importlib.metadata import version
from pathlib import Path

from stable_baselines3.common.logger import Logger, make_output_format

from robustgames.agents.agent import Agent
from robustgames.agents.learning import Checkpoint, ProgressBar
from robustgames.checkpoints import restoring
from robustgames.errors import DivergedError, GameError, writing
from robustgames.evaluation import summarize
from robustgames.experiment.base import A, Examination, Experiment, Progress, silent
from robustgames.experiment.control import CONTROL_AGENTS, ControlExperiment
from robustgames.experiment.folder import (
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
from robustgames.experiment.trust import check_code

EXPERIMENTS: dict[str, type[Experiment]] = dict.fromkeys(CONTROL_AGENTS, ControlExperiment)
"""{name of an agent: class of its experiment}. Every other name is that of a solver, see `GameExperiment`."""
TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("agent", "env", "solver", "device"), (str,)),
    **dict.fromkeys(("settings", "solver_settings", "env_settings"), (dict,)),
    **dict.fromkeys(("anneal", "compile"), (bool,)),
    "average": (str, int, float, type(None)),
}
"""{entry of a config: its types}. Every other entry is a whole number."""


def train(experiment: Experiment[A], out: str | Path = "runs", progress_bar: bool = True) -> tuple[Path, Content]:
    """Train into a new folder out/<env>/<agent>/<time>-seed<k>; return it and the content of its result.json."""
    agent = experiment.make_agent()  # before the folder exists: bad input leaves nothing behind
    start = summarize(experiment.measure(agent))
    folder = create_folder(out, experiment.env, experiment.agent, experiment.seed)
    with locked(folder):
        write_config(folder, {**asdict(experiment), "versions": _versions()})
        return folder, _learn(experiment, start, agent, folder, progress_bar)


def resume(folder: str | Path, progress_bar: bool = True, trust: bool = False) -> tuple[Path, Content]:
    """Continue an interrupted run to its number of steps; bit-exact with the uninterrupted run on a CPU.

    Args:
        folder: Folder of the run.
        progress_bar: If True, progress, rate and time left are shown.
        trust: See `read`.
    """
    folder, experiment = Path(folder), read(Path(folder), trust)
    with restoring(folder / "config.yaml"):
        first = experiment.make_agent()
    with locked(folder):
        with restoring(folder):
            agent = experiment.load_agent(folder, first)
        finished = read_result(folder)
        if finished and experiment.is_over(agent.num_timesteps):
            return folder, {"settings": experiment.env_settings, **finished}  # 0.1.0 wrote no settings
        return folder, _learn(experiment, summarize(experiment.measure(first)), agent, folder, progress_bar)


def load(folder: str | Path, trust: bool = False) -> tuple[Experiment, Agent]:
    """Return the experiment of a run folder, and its agent at the newest checkpoint; for `trust` see `read`."""
    folder, experiment = Path(folder), read(Path(folder), trust)
    with restoring(folder / "config.yaml"):
        first = experiment.make_agent()
    with restoring(folder):
        return experiment, experiment.load_agent(folder, first)


def evaluate(
    folder: str | Path, what: Examination | None = None, progress: Progress = silent, trust: bool = False
) -> Content:
    """Recompute the metrics of a saved run, write evaluation.json, and return its content.

    Args:
        folder: Folder of the run.
        what: What to measure in addition to the metrics; by default `Examination()`.
        progress: See `Experiment.examine`.
        trust: See `read`.
    """
    folder, (experiment, agent) = Path(folder), load(folder, trust)
    check_files(folder)
    found = experiment.examine(agent, folder, what or Examination(), progress)
    result = _result(experiment, agent, {}, {}) | found
    write_result(folder, "evaluation.json", result)
    return result


def read(folder: Path, trust: bool = False) -> Experiment:
    """Return the experiment of a run folder.

    Args:
        folder: Folder of the run.
        trust: Whether code that the config names may be imported, see `check_code`.

    Raises:
        GameError: The folder is not that of a run, its config is damaged, or it names code that may not be imported.
    """
    config = read_config(folder)
    check_code(config, folder, trust)
    kind = EXPERIMENTS.get(str(config["agent"]), GameExperiment)
    known = {f.name: config[f.name] for f in fields(kind) if f.name in config}
    for name, value in known.items():
        wanted = TYPES.get(name, int)  # all others are counts
        if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in TYPES.get(name, ())):
            raise GameError(
                f"{name} in {folder / 'config.yaml'} is {str(value)[:50]!r}: restore the file, or repeat the run"
            )
    return kind(**known)


def read_experiment(folder: Path, trust: bool = False) -> GameExperiment:
    """Return the experiment of the folder of a run with a game; for `trust` see `read`.

    Raises:
        GameError: The folder is not that of a run with a game.
    """
    experiment = read(folder, trust)
    if not isinstance(experiment, GameExperiment):
        raise GameError(f"{folder} is a run of {experiment.agent}, which is control: give a run of a solver on a game")
    return experiment


def _learn(experiment: Experiment[A], start: Content, agent: A, folder: Path, progress_bar: bool) -> Content:
    logger = _logger(folder, agent.num_timesteps)
    agent.set_logger(logger)
    watchers = experiment.watchers(agent, logger)
    bar = [ProgressBar(experiment.timestep.split()[-1])] if progress_bar else []
    began, busy = time.perf_counter(), time.process_time()
    try:
        agent.learn(
            max(0, experiment.steps - agent.num_timesteps),
            callback=[*watchers, Checkpoint(folder, experiment.checkpoint), *bar],
            log_interval=max(1, experiment.steps // 50),
            reset_num_timesteps=False,
        )
        seconds = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - busy}
        if progress_bar:
            print("evaluating, drawing figures …", file=sys.stderr)
        result = _result(experiment, agent, start, seconds)
        write_result(folder, "result.json", result)
        experiment.draw(agent, watchers, folder, logger)
    except KeyboardInterrupt:  # the checkpoint is written by now: name its folder
        raise KeyboardInterrupt(str(folder)) from None
    except DivergedError:  # would diverge again
        raise
    except GameError as error:
        raise GameError(f"{error}; to continue: robustgames train --resume {folder}") from error
    finally:
        logger.close()
    return result


def _logger(folder: Path, timesteps: int) -> Logger:
    # a resumed run writes its curve next to the first part, which Stable-Baselines3 would overwrite
    suffix = f"-{timesteps}" if (folder / "progress.csv").exists() else ""
    with writing(folder):
        (folder / f"progress{suffix}.csv").unlink(missing_ok=True)  # Stable-Baselines3 would write through a hard link
        return Logger(str(folder), [make_output_format(kind, str(folder), suffix) for kind in ("csv", "tensorboard")])


def _result(experiment: Experiment[A], agent: A, start: Content, seconds: dict[str, float]) -> Content:
    values = experiment.measure(agent)
    return {
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


def _versions() -> dict[str, str]:
    names = ("robustgames", "torch", "gymnasium", "stable-baselines3")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
