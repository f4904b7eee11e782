"""The contract of an experiment: all that the driver, which trains, resumes and evaluates run folders, relies on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import ClassVar, Generic, Self, TypeVar

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from torch import Tensor

from robustgames.agents.agent import Agent
from robustgames.envs.control.grid_words import parse_bounds, parse_grid
from robustgames.errors import GameError, check_whole_numbers, shorten, unknown
from robustgames.evaluation.adversaries import ALGORITHMS
from robustgames.evaluation.observation_attacks import ATTACKS
from robustgames.experiment.folder import Content

UNEXPLAINED = (TypeError, RuntimeError, ValueError, AssertionError, ArithmeticError, LookupError, AttributeError)

LOGS = 50
"""Logs of a run by default, at equal distances."""
CERTIFIED = ("actions", "returns")
"""Certificates of policies."""

A = TypeVar("A", bound=Agent)
"""Agent of an experiment."""

Progress = Callable[[str, int, int], None]
"""Called with (name of a measurement, parts of it that are done, all its parts)."""


def silent(name: str, done: int, total: int) -> None:
    """Show no progress."""


@dataclass(frozen=True)
class Examination:
    """What `robustgames evaluate` measures in addition to the metrics of a result.

    An experiment of control uses all of it. An experiment with a game has nothing to choose: it takes the default and
    refuses any other.

    Attributes:
        grid: Name of an uncertainty set, or words axis=value,value …, see `parse_grid`.
        episodes: Episodes of every run in every cell of the grid.
        best_response: Env steps for which an adversary is trained against the first run; 0 trains none.
        algorithm: Name in Stable-Baselines3 of the algorithm of that adversary.
        worst_case: Set in which the worst point of each run is searched for, see `parse_bounds`; none if empty.
        budget: Points that this search evaluates for each run.
        observation_attack: Names of attacks on the observations of every run, some of `observation_attacks.ATTACKS`, or
            "all"; none if empty.
        eps: Radius of these attacks in standard deviations of each component of the observation. If None, it is the
            published one of the model.
        certify: Certificates of every run, some of `CERTIFIED` or "all": bounds of its actions on boxes of radius eps,
            and of the returns of the smoothed policy.
        smoothing: Standard deviation of the noise of the smoothed policy, in those of the components.
        certify_episodes: Episodes of the smoothed policy, of each run.
        workers: Processes among which the cells of the sweep and of the search are divided.

    Raises:
        GameError: An unknown grid, axis or algorithm, or a number out of range.
    """

    grid: tuple[str, ...] = ("tessler-mass-noise",)
    episodes: int = 10
    best_response: int = 0
    algorithm: str = "TD3"
    worst_case: tuple[str, ...] = ()
    budget: int = 200
    observation_attack: tuple[str, ...] = ()
    eps: float | None = None
    certify: tuple[str, ...] = ()
    smoothing: float = 0.1
    certify_episodes: int = 1000
    workers: int = 1

    def __post_init__(self) -> None:
        if self.algorithm not in ALGORITHMS:
            raise unknown("algorithm", self.algorithm, ALGORITHMS)
        for name, least in (
            ("episodes", 1),
            ("best_response", 0),
            ("budget", 1),
            ("certify_episodes", 1),
            ("workers", 1),
        ):
            if getattr(self, name) < least:
                raise GameError(f"{name} is {getattr(self, name)}: a whole number of at least {least} is needed")
        parse_grid(self.grid)
        if self.worst_case:
            parse_bounds(self.worst_case)
        for name in self.observation_attack:
            if name not in (*ATTACKS, "all"):
                raise unknown("observation attack", name, (*ATTACKS, "all"))
        for name in self.certify:
            if name not in (*CERTIFIED, "all"):
                raise unknown("certificate of policies", name, (*CERTIFIED, "all"))
        if not 0 < self.smoothing < float("inf"):
            raise GameError(f"smoothing is {self.smoothing}: a smoothed policy has noise > 0, e.g. --smoothing 0.1")
        if self.eps is not None and not 0 <= self.eps < float("inf"):
            raise GameError(f"eps is {self.eps}: the radius of an attack is finite and not negative, e.g. 0.075")


@dataclass(frozen=True)
class Experiment(ABC, Generic[A]):
    """Everything needed to repeat a run: the fields are the content of config.yaml.

    Attributes:
        agent: Name of the agent.
        env: Id of the env; "module:namespace/Name-v0" imports a user's module first.
        settings: Settings of the agent.
        env_settings: Settings of the env.
        steps: Timesteps of one run.
        runs: Number of independent runs, side by side in one tensor.
        seed: Seed of everything random.
        device: "auto", "cpu" or "cuda".
        checkpoint: Timesteps between two checkpoints.
        evaluations: Number of logs, at equal distances, all of which have all metrics. If None, there are 50, and the
            metrics that take long are in as many of them as a twentieth of the time allows.
        timestep: Name of the unit of a timestep, e.g. "oracle call"; its last word labels the progress bar.
    """

    timestep: ClassVar[str]
    agent: str
    env: str
    _: KW_ONLY
    settings: Content = field(default_factory=dict)
    env_settings: Content = field(default_factory=dict)
    steps: int = 10_000
    runs: int = 5
    seed: int = 0
    device: str = "auto"
    checkpoint: int = 1_000
    evaluations: int | None = None

    def _check_counts(self, **least: int) -> None:
        """Check the whole numbers of a config, see `check_whole_numbers`."""
        optional = {} if self.evaluations is None else {"evaluations": 1}
        check_whole_numbers(self, steps=0, runs=1, seed=0, checkpoint=1, **optional, **least)

    @property
    def log_interval(self) -> int | Fraction:
        """Timesteps between two logs."""
        if self.evaluations is None:
            return max(1, self.steps // LOGS)
        return max(1, Fraction(self.steps, self.evaluations))

    def chosen(self) -> Content:
        """Return the settings of the agent that are not its defaults, the learning rate always and first."""
        return differing(self.settings, {})

    @abstractmethod
    def make_agent(self) -> A:
        """Return the agent at its start.

        Raises:
            GameError: Unknown names, or unusable settings.
        """

    def check_processes(self, world: int) -> None:
        """Check that W processes can train this together; by default one can.

        Raises:
            GameError: They have no equal shares of the work.
        """
        if world > 1:
            raise GameError(
                f"{world} processes: {self.agent} is trained by one; start robustgames alone, once per seed: --seed 0, "
                "--seed 1 ..."
            )

    @abstractmethod
    def load_agent(self, folder: Path, first: A) -> A:
        """Return the agent of the newest checkpoint in a run folder.

        Args:
            folder: Folder of the run.
            first: Result of `make_agent`, whose env may be used.

        Raises:
            GameError: No undamaged checkpoint, or one of another agent or env.
        """

    def extended(self, steps: int) -> Self:
        """Return the experiment with more steps, to which a saved run can be continued.

        Raises:
            GameError: Fewer steps, or a run that would have been another one with more steps.
        """
        if not self.steps <= steps < 2**63:
            wanted = f"the run has {self.steps:,} and can only be extended; give more, or start a new run"
            raise GameError(f"steps is {shorten(str(steps))}: {wanted}")
        return replace(self, steps=steps)

    def remaining(self, agent: A, watchers: list[BaseCallback]) -> int:
        """Return the timesteps that are left to train."""
        return max(0, self.steps - agent.num_timesteps)

    @abstractmethod
    def is_over(self, timesteps: int) -> bool:
        """Return whether a run that has a result is trained to its end after so many timesteps."""

    @abstractmethod
    def watchers(self, agent: A, logger: Logger) -> list[BaseCallback]:
        """Return the callbacks of a training; `draw` receives them again when it has ended."""

    @abstractmethod
    def measure(self, agent: A) -> dict[str, Tensor]:
        """Return the metrics of a result, each of shape (runs,), without changing the agent."""

    @abstractmethod
    def details(self, agent: A, values: dict[str, Tensor]) -> Content:
        """Return the other entries of a result, ready for JSON.

        Among them are "settings", the settings of the env that a table shows, and "diverged", the number of runs that
        diverged.

        Args:
            agent: The trained agent.
            values: Result of `measure`.
        """

    @abstractmethod
    def check(self, what: Examination) -> None:
        """Check an examination before an agent is loaded for it.

        Raises:
            GameError: An examination that does not apply to the env.
        """

    @abstractmethod
    def examine(self, agent: A, folder: Path, what: Examination, progress: Progress = silent) -> Content:
        """Return the entries that `robustgames evaluate` adds to a result, ready for JSON; draw their figures.

        Args:
            agent: The trained agent.
            folder: Folder of the run, where the figures are saved.
            what: What to measure.
            progress: Called after every part of a measurement.

        Raises:
            GameError: An examination that does not apply, or no finite run to examine.
        """

    @abstractmethod
    def draw(self, agent: A, watchers: list[BaseCallback], folder: Path, logger: Logger) -> None:
        """Draw the figures of a result: as PNG in the run folder, and for TensorBoard."""


def differing(settings: Content, defaults: Content) -> Content:
    """Return the settings that are not the defaults, the learning rate always and first; tuples for lists."""
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}
    first = {name: given[name] for name in ("lr",) if name in given}
    return first | {name: value for name, value in given.items() if name not in defaults or value != defaults[name]}


@contextmanager
def explained(subject: str, settings: Mapping[str, object]) -> Iterator[None]:
    """Turn an error of settings that nothing has checked into a `GameError`: the subject cannot be made with them."""
    try:
        yield
    except GameError:
        raise
    except UNEXPLAINED as error:
        given = shorten(", ".join(f"{key}={value!r}" for key, value in settings.items())) or "its defaults"
        reason = shorten(str(error).partition("\n")[0].partition(" was raised from the environment creator")[0], 160)
        raise GameError(f"{subject} cannot be made with {given}: {reason or type(error).__name__}") from error
