"""The contract of all agents: `learn`, `predict`, `save` and `load`, as in Stable-Baselines3."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from fractions import Fraction
from math import ceil, inf
from pathlib import Path
from typing import Any, ClassVar, Self

from stable_baselines3.common.callbacks import CallbackList
from stable_baselines3.common.logger import Logger
from torch import Tensor, isfinite, no_grad

from robustgames.agents.budget import SHARE, Budget
from robustgames.agents.learning import (
    Callbacks,
    ProgressBar,
    Stopped,
    are_own,
    callback_list,
    make_logger,
)
from robustgames.agents.training_envs import TrainingEnvs
from robustgames.errors import DivergedError, GameError
from robustgames.interrupts import deferred_interrupt
from robustgames.notebook import html_table
from robustgames.processes import Processes, alone
from robustgames.solvers import Scheme
from robustgames.solvers.rules import State


class Agent(ABC):
    """A training that can be stopped and resumed between any two of its steps; S runs side by side.

    `learn` is written here once. An agent defines its step, its log and its checkpoint.

    Attributes:
        timestep: Name of a timestep: "oracle call" or "env step".
        env: Env that the agent trains in; the first of several, or a batch.
        solver: Solver of both players.
        z: Joint strategies, (*S, n + m).
        state: State of the solver.
        seed: Seed of everything random.
        num_timesteps: Timesteps so far, of one run.
        processes: Processes that train together.
        callback_states: States of callbacks, by name, that the checkpoint holds, see `learning.Stateful`.
        tensorboard_log: Folder of event files, or None.
        verbose: If 1, every log is printed.
    """

    timestep: ClassVar[str]
    _episodic: ClassVar[bool] = False
    env: Any
    solver: Scheme
    z: Tensor
    state: State
    seed: int
    num_timesteps: int
    tensorboard_log: str | None
    verbose: int
    processes: Processes = alone()
    callback_states: dict[str, Any] = {}  # noqa: RUF012 (never changed in place)
    _recorded: dict[str, tuple[float, bool]] = {}  # noqa: RUF012 (never changed in place)
    _logger: Logger | None = None
    _began: tuple[float, int] = 0.0, 0  # time and timesteps at the start of the last `learn`
    _logged = -1  # timesteps at the last log
    _target = 0  # timesteps at the end of the last `learn`
    _budget = Budget(inf)  # of the logs
    _is_undisturbed = True  # no callback of a user, which might change the game, comes between two steps
    _busy = False  # True while a step changes what cannot be restored: a second Ctrl-C waits for its end then

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self._description().values())})"

    def _repr_html_(self) -> str:
        return html_table(self._description().items(), (type(self).__name__, ""))

    def _description(self) -> dict[str, str]:
        """Return what a notebook shows of this agent."""
        runs = 1 if self.z.dim() == 1 else len(self.z)
        return {
            "env": self._subject(),
            "solver": repr(self.solver),
            "runs": "1 run" if runs == 1 else f"{runs} runs",
            "seed": f"seed {self.seed}",
            "device": str(self.z.device),
            "timesteps": f"{self.num_timesteps:,} {self.timestep}s",
        }

    def _subject(self) -> str:
        """Return the name of what the agent is trained in."""
        return str(self.env)

    # -- training ------------------------------------------------------------------------------------------
    def learn(
        self,
        total_timesteps: int,
        callback: Callbacks = None,
        log_interval: int | Fraction | None = None,
        tb_log_name: str = "run",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
        evaluation_share: float | None = None,
    ) -> Self:
        """Train for a number of timesteps; the last step may exceed it by less than its own timesteps.

        Ctrl-C takes effect between two steps; a second one stops a step that lasts. If a step is stopped or fails, the
        agent goes back to a point between two steps, so training can continue from it and from its checkpoint.

        Logs change nothing in a training. Nothing is measured for a logger without outputs.

        Args:
            total_timesteps: Timesteps of each run, >= 0.
            callback: Stable-Baselines3 callbacks, or functions (locals, globals) -> bool; False stops the training.
                Callbacks that need episodes are refused by an agent that plays none.
            log_interval: Timesteps between two logs; by default a hundredth of the total.
            tb_log_name: Name of the run in TensorBoard.
            reset_num_timesteps: If False, the count of an earlier `learn` continues.
            progress_bar: If True, progress, rate and time left are shown.
            evaluation_share: Largest share of the time, in (0, 1], that logs may take. The metrics that take long,
                attacks and distances between samples, get what the others leave: as many logs have them as fit,
                always the first and the last; which ones depends on the time. By default 0.05 without a `log_interval`;
                with one, every log has them.

        Raises:
            DivergedError: All runs diverged (non-finite values).
            GameError: An argument is out of range, or the env fails.
        """
        if not (total_timesteps >= 0 and total_timesteps in (inf, total_timesteps // 1)):
            raise GameError(f"total_timesteps is {total_timesteps}: it must be a whole number of {self.timestep}s >= 0")
        if log_interval is not None and log_interval < 1:
            raise GameError(f"log_interval is {log_interval}: it must be at least 1 {self.timestep}")
        if evaluation_share is not None and not 0 < evaluation_share <= 1:
            raise GameError(f"evaluation_share is {evaluation_share}: it must lie in (0, 1], e.g. 0.05")
        if reset_num_timesteps:
            self._reset_timesteps()
        target = total_timesteps + (0 if reset_num_timesteps else self.num_timesteps)
        if self._logger is None:
            self.set_logger(make_logger(self.verbose, self.tensorboard_log, tb_log_name, reset_num_timesteps))
        callbacks = callback_list(self, callback, ProgressBar(self.timestep.split()[-1]) if progress_bar else None)
        given = {"log_interval": log_interval, "tb_log_name": tb_log_name, "reset_num_timesteps": reset_num_timesteps}
        callbacks.on_training_start({"total_timesteps": target, "self": self, **given}, globals())
        self._budget = Budget(evaluation_share or (SHARE if log_interval is None else inf))
        self._is_undisturbed = are_own(callbacks)
        self._began, self._logged, self._target = (time.perf_counter(), self.num_timesteps), -1, target
        try:
            self._begin()
            with deferred_interrupt(lambda: self._busy or self.processes.world > 1) as pressed:
                self._loop(target, log_interval or max(1, total_timesteps // 100), callbacks, pressed)
        except BaseException as stop:
            self._recall()
            if not isinstance(stop, DivergedError | Stopped):  # which all processes raise together
                self.processes.part()
            raise
        finally:
            callbacks.on_training_end()
            self._end()
        return self

    def _loop(self, target: int, interval: int | Fraction, callbacks: CallbackList, pressed: list[int]) -> None:
        first, watched, stopped = self.num_timesteps, bool(callbacks.callbacks), False
        # logs come at multiples of the interval, so a resumed run has the same ones as an uninterrupted run
        due = min((first // interval + 1) * interval, target)
        while self.num_timesteps < target and not (stopped := self._stops(pressed)):
            if watched:
                callbacks.on_rollout_start()
            self._advance(0 if watched else ceil(due - self.num_timesteps))
            if self.num_timesteps >= due:
                due = min((self.num_timesteps // interval + 1) * interval, target)
                self._check_finite()
                self.dump_logs()
            if watched and not self._called(callbacks):
                break
        self._check_finite()
        if stopped or self._stops(pressed):
            raise Stopped

    def _called(self, callbacks: CallbackList) -> bool:
        """Call the callbacks after a step, which is a rollout of its own, and return whether training continues."""
        callbacks.update_locals(self._locals())
        if not callbacks.on_step():
            return False
        callbacks.on_rollout_end()
        return True

    def _locals(self) -> dict[str, Any]:
        """Return what callbacks read of the last step: {"dones": (S,)} of an agent that plays episodes."""
        return {}

    @property
    @abstractmethod
    def is_begun(self) -> bool:
        """Whether a step has been taken."""

    @abstractmethod
    def _reset_timesteps(self) -> None:
        """Count timesteps from 0 again."""

    @abstractmethod
    def _advance(self, room: int = 0) -> None:
        """Take one step, or several that fit into `room` timesteps, at whose ends nothing is logged or called."""

    @abstractmethod
    def _log(self, rate: float) -> None:
        """Write the metrics of this point; `rate` is in timesteps per second."""

    @abstractmethod
    def _check_finite(self) -> None:
        """Raise a `DivergedError` if no run is finite."""

    @abstractmethod
    def _recall(self) -> None:
        """Put the agent between two steps after an exception, which may have stopped it inside of one."""

    def is_finite(self) -> bool:
        """Return whether a run of any process is finite; False in a process that has left the others."""
        return not self.processes.parted and self.processes.any(bool(self.finite_runs().any()))

    def finite_runs(self) -> Tensor:
        """Return which runs of this process are finite, (*S,)."""
        return isfinite(self.z).all(-1)

    def _stops(self, pressed: list[int]) -> bool:
        """Return whether Ctrl-C, in any process, ends the training before the next step."""
        return self.processes.any(bool(pressed))

    def _begin(self) -> None:  # noqa: B027
        """Prepare for the first step of a `learn`."""

    def _end(self) -> None:  # noqa: B027
        """Clean up after the last step of a `learn` and after its callbacks."""

    # -- what callbacks expect -----------------------------------------------------------------------------
    @property
    def logger(self) -> Logger:
        """Stable-Baselines3's logger."""
        if self._logger is None:
            self._logger = make_logger(self.verbose, self.tensorboard_log, "run")
        return self._logger

    def set_logger(self, logger: Logger) -> None:
        """Log to this logger from now on."""
        self._logger = logger

    @no_grad()
    def dump_logs(self) -> None:
        """Log the metrics of this moment now, unless they have been logged at this timestep."""
        if self._logged != self.num_timesteps and self._is_read():
            self._logged, (began, first) = self.num_timesteps, self._began
            self._log((self.num_timesteps - first) / max(time.perf_counter() - began, 1e-9))

    def _is_read(self) -> bool:
        """Return whether anything reads the logs."""
        return type(self.logger) is not Logger or bool(self.logger.output_formats)

    def _evaluation_is_due(self) -> bool:
        """Return whether the present log has the metrics that take long; the clock of the first process says so."""
        first = self._began[1]
        progress = (self.num_timesteps - first) / max(1, self._target - first)
        return progress >= 1 or self.processes.share(lambda: self._budget.is_due(progress))

    def _record_varying(self, name: str, value: float) -> None:
        """Record a number that is constant in most trainings; TensorBoard gets it once it has changed."""
        first, varies = self._recorded.get(name, (value, False))
        varies = varies or value != first
        self._recorded = {**self._recorded, name: (first, varies)}
        self.logger.record(name, value, exclude=None if varies else "tensorboard")

    def get_env(self) -> TrainingEnvs:
        """Return the envs of all runs, to be read and not stepped; `env` is the env itself."""
        return TrainingEnvs(self._envs(), 1 if self.z.dim() == 1 else len(self.z))

    def _envs(self) -> list[Any]:
        """Return one env per run, or one env of all runs."""
        return [self.env]

    def get_vec_normalize_env(self) -> None:
        """Return None: observations are not normalized by a `VecNormalize`."""
        return None

    # -- playing and storing -------------------------------------------------------------------------------
    @abstractmethod
    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[Any, None]:
        """Return (the action to play, None).

        Args:
            observation: Observation of the env.
            state: Unused, as in Stable-Baselines3.
            episode_start: Unused.
            deterministic: Unused: strategies and policies are deterministic.
        """

    @abstractmethod
    def save(self, path: str | Path) -> None:
        """Write a checkpoint to the folder `path` atomically; the one before is kept."""

    @classmethod
    @abstractmethod
    def load(cls, path: str | Path, env: Any) -> Self:
        """Return the agent of a checkpoint, in an env like the one it was trained in."""
