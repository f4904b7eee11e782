"""A search for the best settings by Optuna, whose study is a file in the folder of the sweep."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from stable_baselines3.common.logger import Logger

from robustgames.errors import GameError, unknown
from robustgames.sweeps.plan import Axis, Plan, Range, Settings, Trial, label
from robustgames.sweeps.trial import Outcome, PrunedTrial

if TYPE_CHECKING:
    import optuna

Sampler = Literal["tpe", "random"]
GROUPS = ("eval", "game")
"""Groups of a log in which a metric of a result may be."""
STUDY, JOURNAL = "sweep", "optuna.log"
"""Name of the study, and its file: `optuna-dashboard SWEEP/optuna.log` opens it."""


@dataclass(frozen=True)
class Search:
    """Settings are drawn by a sampler that has seen the results so far.

    The value of a combination is the mean of a metric over its seeds and runs. One that diverged counts as pruned,
    which is worse than every value.

    Attributes:
        sampler: "tpe", tree-structured Parzen estimators, or "random".
        trials: Combinations to try.
        metric: Metric of a result.
        maximize: Whether large values are better.
        prune: Whether a combination is given up if at some log it is worse than the median of the others there.

    Raises:
        GameError: An unknown sampler, or no trials.

    Source: Bergstra et al. 2011 (TPE); Akiba et al. 2019 (Optuna); Golovin et al. 2017 (the median rule).
    """

    sampler: Sampler = "tpe"
    trials: int = 50
    metric: str = ""
    maximize: bool = True
    prune: bool = False

    def __post_init__(self) -> None:
        if self.sampler not in get_args(Sampler):
            raise unknown("search", str(self.sampler), get_args(Sampler))
        if self.trials < 1:
            raise GameError(f"trials is {self.trials}: a whole number of at least 1 is needed, e.g. --trials 50")

    def state_dict(self) -> dict[str, Any]:
        """Return the content of a file from which this search is made again."""
        return asdict(self)


@dataclass(frozen=True)
class Watch:
    """Reports a metric to the study at every log that has it, and gives the trial up if the study says so."""

    journal: Path
    number: int
    metric: str

    def __call__(self, logger: Logger) -> None:
        logged = logger.name_to_value
        value = next((logged[f"{group}/{self.metric}"] for group in GROUPS if f"{group}/{self.metric}" in logged), None)
        if value is None or not math.isfinite(value):
            return
        import optuna

        study = open_study(self.journal)
        trial = optuna.Trial(study, study.trials[self.number]._trial_id)
        trial.report(float(value), int(logged["time/timesteps"]))
        if trial.should_prune():
            raise PrunedTrial(
                f"{self.metric} {value:.4g} at {logged['time/timesteps']:,} timesteps: worse than the median"
            )


class Study:
    """The study of a sweep: hands out trials, and is told what became of them.

    A combination that is drawn again is not run again: it counts as another one with the same value.
    """

    def __init__(self, search: Search, plan: Plan, folder: Path) -> None:
        self.search, self.plan, self.journal = search, plan, folder / JOURNAL
        self._optuna = import_optuna()
        self._optuna.logging.set_verbosity(self._optuna.logging.ERROR)
        self._study = open_study(self.journal, search.maximize)
        self._drawn: dict[str, _Combination] = {}

    def trials(self) -> Iterator[Trial]:
        """Yield the trials that are left, those first that an earlier driver had handed out."""
        for frozen in self._study.get_trials(deepcopy=False):
            if frozen.state == self._optuna.trial.TrialState.RUNNING:
                yield from self._handed_out(frozen.number, self._settings(frozen.params))
        while (seen := len(self._study.get_trials(deepcopy=False))) < self.search.trials:
            self._study.sampler = self._sampler(seen)
            asked = self._study.ask({name: self._distribution(axis) for name, axis in self.plan.axes.items()})
            yield from self._handed_out(asked.number, self._settings(asked.params))

    def _handed_out(self, number: int, settings: Settings) -> Iterator[Trial]:
        trials, name = list(self.plan.of(settings)), label(settings)
        if name not in self._drawn:
            self._drawn[name] = _Combination([number], len(trials))
            yield from trials
            return
        self._drawn[name].numbers.append(number)
        self._tell(self._drawn[name])

    def number(self, trial: Trial) -> int:
        """Return the number of the combination of a trial in the study."""
        return self._drawn[label(trial.settings)].numbers[0]

    def tell(self, trial: Trial, outcome: Outcome) -> None:
        """Tell the study what became of a trial; it learns about a combination when its last seed has ended."""
        combination = self._drawn[label(trial.settings)]
        combination.outcomes.append(outcome)
        self._tell(combination)

    def _tell(self, combination: _Combination) -> None:
        if len(combination.outcomes) < combination.seeds:
            return
        states = self._optuna.trial.TrialState
        ends = {outcome.status for outcome in combination.outcomes}
        values = [value for outcome in combination.outcomes for value in outcome.values(self.search.metric)]
        value = sum(values) / len(values) if values else math.nan
        for number in combination.numbers:
            if ends == {"done"} and math.isfinite(value):
                self._study.tell(number, value)
            else:
                self._study.tell(number, state=states.FAIL if "failed" in ends else states.PRUNED)
        combination.numbers.clear()

    def drawn(self) -> Iterator[Trial]:
        """Yield the trials of every combination that the study has drawn, each once."""
        every = [self._settings(frozen.params) for frozen in self._study.get_trials(deepcopy=False)]
        for settings in {label(settings): settings for settings in every}.values():
            yield from self.plan.of(settings)

    def _distribution(self, axis: Axis) -> optuna.distributions.BaseDistribution:
        of = self._optuna.distributions
        if not isinstance(axis, Range):
            return of.CategoricalDistribution([i if isinstance(v, tuple | list) else v for i, v in enumerate(axis)])
        kind = of.IntDistribution if axis.whole else of.FloatDistribution
        return kind(axis.low, axis.high, log=axis.log)  # type: ignore[arg-type]

    def _settings(self, params: dict[str, Any]) -> Settings:
        """Return the values of what the study has drawn, in which a list stands by its place."""
        found = {}
        for name, axis in self.plan.axes.items():
            value = params[name]
            lists = isinstance(axis, tuple) and isinstance(value, int) and value < len(axis)
            found[name] = axis[value] if lists and isinstance(axis[value], tuple | list) else value  # type: ignore[index]
        return found

    def _sampler(self, seen: int) -> optuna.samplers.BaseSampler:
        """Return a sampler seeded by the number of trials so far, so that a resumed study draws alike."""
        seed = self.plan.base.seed * 1_000_003 + seen
        if self.search.sampler == "random":
            return self._optuna.samplers.RandomSampler(seed=seed)
        return self._optuna.samplers.TPESampler(seed=seed, constant_liar=True)


@dataclass
class _Combination:
    """Settings whose seeds are being run, and the numbers under which the study has drawn them."""

    numbers: list[int]
    seeds: int
    outcomes: list[Outcome] = field(default_factory=list)


def open_study(journal: Path, maximize: bool | None = None) -> optuna.Study:
    """Return the study in a file; it is made if the direction is given and there is none."""
    optuna = import_optuna()
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    storage = optuna.storages.JournalStorage(JournalFileBackend(str(journal), JournalFileOpenLock(str(journal))))
    pruner = optuna.pruners.MedianPruner(n_startup_trials=5)
    if maximize is None:
        return optuna.load_study(study_name=STUDY, storage=storage, pruner=pruner)
    direction = "maximize" if maximize else "minimize"
    return optuna.create_study(
        study_name=STUDY, storage=storage, pruner=pruner, direction=direction, load_if_exists=True
    )


def import_optuna() -> Any:
    """Return the module optuna.

    Raises:
        GameError: It is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise GameError("--search needs Optuna: pip install 'robustgames[search]'") from error
    return optuna
