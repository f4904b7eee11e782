"""A sweep on disk: its plan, its trials, and what they found."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from robustgames.disk import remove_unfinished
from robustgames.errors import GameError, check_writable, unknown
from robustgames.executors import Executor, here
from robustgames.experiment import Experiment, complete
from robustgames.experiment.driver import read
from robustgames.experiment.folder import create_folder, locked, read_config, write_config
from robustgames.sweeps.plan import Plan, Trial
from robustgames.sweeps.search import Search, Study, Watch
from robustgames.sweeps.table import Ranking, Row, rows_of
from robustgames.sweeps.together import FOLDER, outcomes, together
from robustgames.sweeps.trial import Outcome, read_outcome, run

FILE = "sweep.yaml"
"""Plan of a sweep, in its folder."""
Progress = Callable[[int, int, Outcome | None], None]
"""Called with (trials that have ended, all trials, the outcome of the last one)."""


@dataclass(frozen=True)
class Sweep:
    """What `robustgames sweep` is asked for.

    Attributes:
        plan: Axes, seeds and the experiment that they vary.
        search: Search over the axes; None runs every combination.
        ranking: Metric by which the table is sorted, see `Ranking`.
    """

    plan: Plan
    search: Search | None = None
    ranking: Ranking = field(default_factory=Ranking)

    def __len__(self) -> int:
        return len(self.plan) if self.search is None else self.search.trials * len(self.plan.seeds)

    def check(self) -> None:
        """Make every agent once, and look for the metric, before anything runs.

        Raises:
            GameError: A value that cannot be used, or a metric that no trial has.
        """
        experiment, agent = self.plan.check()
        if self.ranking.metric and self.ranking.metric not in (known := list(experiment.measure(agent))):
            raise unknown("metric", self.ranking.metric, known)

    def state_dict(self) -> dict[str, Any]:
        """Return the content of sweep.yaml."""
        search = None if self.search is None else self.search.state_dict()
        own = {**self.plan.state_dict(), "search": search, "ranking": self.ranking.state_dict()}
        return {**asdict(self.plan.base), "sweep": own}


def begin(sweep: Sweep, out: Path) -> Path:
    """Make and return the folder of a sweep, out/<env>/<agent>/<time>-sweep, with its plan in it.

    Raises:
        GameError: The folder cannot be written.
    """
    check_writable(out)
    folder = create_folder(out, sweep.plan.base.env, sweep.plan.base.agent, "sweep")
    write_config(folder, sweep.state_dict(), FILE)
    return folder


def load(folder: Path, trust: bool = False) -> Sweep:
    """Return the sweep of a folder.

    Args:
        folder: Folder of the sweep.
        trust: See `robustgames.experiment.read`.

    Raises:
        GameError: The folder is not that of a sweep, or its plan is damaged.
    """
    base = read(folder, trust, FILE)
    content = read_config(folder, FILE).get("sweep")
    try:
        if not isinstance(content, dict):
            raise GameError("it has no entry sweep")
        plan = Plan.load(content, base)
        search = None if content.get("search") is None else Search(**content["search"])
        return Sweep(plan, search, Ranking(**content.get("ranking", {})))
    except (GameError, TypeError) as error:
        raise GameError(f"{folder / FILE}: {error}; restore it, or begin a new sweep") from error


def perform(
    sweep: Sweep, folder: Path, executor: Executor = here, progress: Progress | None = None
) -> tuple[Ranking, list[Row]]:
    """Run what is left of a sweep in its folder; return the ranking and the rows of its table, the best first.

    Args:
        sweep: The sweep whose plan is in the folder.
        folder: Its folder, held by a lock: a second driver is refused.
        executor: Who runs the trials, see `executors`.
        progress: Called at the start and after every trial.

    Raises:
        GameError: Another process runs this sweep.
    """
    tell = progress or (lambda done, total, outcome: None)
    with locked(folder):
        remove_unfinished(folder)
        joint = together(sweep.plan) if sweep.search is None else None
        tell(0, len(sweep), None)
        if joint is not None and len(sweep) > 1:
            found = outcomes(sweep.plan, folder, complete(joint, folder / FOLDER))
            tell(len(sweep), len(sweep), None)
        else:
            study = None if sweep.search is None else Study(sweep.search, sweep.plan, folder)
            ended = {}
            for (*_, trial), outcome in executor(_run, _jobs(sweep, folder, study)):
                ended[trial.folder] = outcome
                if study is not None:
                    study.tell(trial, outcome)
                tell(len(ended), len(sweep), outcome)
            trials = sweep.plan.trials() if study is None else study.drawn()
            every = ((trial, ended.get(trial.folder) or read_outcome(folder / trial.folder)) for trial in trials)
            found = [(trial.settings, trial.experiment.seed, end) for trial, end in every if end is not None]
    return rows_of(found, sweep.ranking)


Job = tuple[Experiment, Path, Watch | None, Trial]


def _jobs(sweep: Sweep, folder: Path, study: Study | None) -> Iterable[Job]:
    for trial in sweep.plan.trials() if study is None else study.trials():
        watch = None
        if study is not None and study.search.prune:
            watch = Watch(study.journal.absolute(), study.number(trial), study.search.metric)
        yield trial.experiment, (folder / trial.folder).absolute(), watch, trial


def _run(job: Job) -> Outcome:
    experiment, folder, watch, _ = job
    return run(experiment, folder, watch)
