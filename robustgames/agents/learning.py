"""The parts of `Agent.learn`: a list of callbacks, the progress bar and checkpoints."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

from stable_baselines3.common.callbacks import BaseCallback, CallbackList, ConvertCallback
from stable_baselines3.common.logger import HumanOutputFormat, Logger
from stable_baselines3.common.utils import configure_logger
from torch import Tensor
from tqdm import TqdmWarning

from robustgames.agents.callback_check import check_callback
from robustgames.errors import GameError
from robustgames.evaluation.statistics import spread

with warnings.catch_warnings():  # in a notebook without ipywidgets the bar is text
    warnings.simplefilter("ignore", TqdmWarning)
    from tqdm.auto import tqdm

Callback = BaseCallback | Callable[[dict[str, Any], dict[str, Any]], bool]
Callbacks = Callback | Sequence[Callback] | None


class Learner(Protocol):
    """The part of an `Agent` that `Checkpoint` uses."""

    z: Tensor
    callback_states: dict[str, Any]

    @property
    def num_timesteps(self) -> int:
        """Timesteps so far."""
        ...

    def is_finite(self) -> bool:
        """Return whether a run is finite."""
        ...

    def save(self, path: str | Path) -> None:
        """Write a checkpoint."""
        ...


@runtime_checkable
class Stateful(Protocol):
    """A callback whose state belongs to the checkpoint."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything that changes between two steps, as tensors, numbers and lists."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what `state_dict` returned, before `learn`."""
        ...


class Stopped(KeyboardInterrupt):
    """A Ctrl-C that has taken effect between two steps."""


def callback_list(agent: Any, given: Callbacks, bar: ProgressBar | None) -> CallbackList:
    """Return the callbacks or functions given to `learn`, and a progress bar, initialized with the agent.

    Raises:
        GameError: A callback that this agent cannot serve.
    """
    several = [] if given is None else given if isinstance(given, Sequence) else [given]
    every = [_converted(callback) for callback in several]
    for callback in every:
        check_callback(agent, callback)
    callbacks = CallbackList(every if bar is None else [*every, bar])
    with warnings.catch_warnings():  # EvalCallback compares types of envs; `check_callback` compares their spaces
        warnings.filterwarnings("ignore", message="Training and eval env are not of the same type")
        callbacks.init_callback(agent)
    return callbacks


def are_own(callbacks: CallbackList) -> bool:
    """Return whether all callbacks are of this package: they change neither the game nor the strategies."""
    return all(type(callback).__module__.startswith("robustgames.") for callback in callbacks.callbacks)


def _converted(callback: Callback) -> BaseCallback:
    if isinstance(callback, BaseCallback):
        return callback
    if not callable(callback):
        raise GameError(f"callback is {callback!r}: pass a callback, a function (locals, globals) -> bool, or a list")

    def call(local: dict[str, Any], other: dict[str, Any]) -> bool:
        answer = callback(local, other)
        return answer is None or bool(answer)  # a function that returns nothing does not stop the training

    return ConvertCallback(call)


def make_logger(verbose: int, folder: str | None, name: str, new: bool = True) -> Logger:
    """Return a logger that prints if `verbose` is 1, and writes to TensorBoard if there is a folder.

    `configure_logger` of Stable-Baselines3, which is called for the latter only, makes a folder for temporary files
    that it leaves behind if there is nothing to write.

    Args:
        verbose: If 1, every log is printed.
        folder: Folder of event files, or None.
        name: Name of the run.
        new: Whether it is another run than the last one in the folder.
    """
    if folder is not None:
        return configure_logger(verbose, folder, name, new)
    return Logger(None, [HumanOutputFormat(sys.stdout)] if verbose else [])


SCREENS = ("stdout", "log", "json", "csv")  # outputs of a logger other than TensorBoard


def record_runs(logger: Logger, values: Mapping[str, Tensor], several: bool) -> None:
    """Record metrics, one element per run: their means; of several runs also what shows their spread.

    A file gets the standard deviation, game_std/x of game/x. TensorBoard gets the least and the largest value,
    spread/game/x/min and spread/game/x/max.
    """
    for name, found in spread(dict(values)).items():
        logger.record(name, found.mean)
        if several:
            logger.record(name.replace("/", "_std/"), found.std, exclude="tensorboard")
            logger.record(f"spread/{name}/min", found.low, exclude=SCREENS)
            logger.record(f"spread/{name}/max", found.high, exclude=SCREENS)


class ProgressBar(BaseCallback):
    """Timesteps of one run, with their rate and the time left.

    Args:
        unit: Name of a timestep: "call" of the oracle, or "step" of the env.
    """

    def __init__(self, unit: str = "call") -> None:
        super().__init__()
        self.unit = unit

    def _on_training_start(self) -> None:
        done, total = self.model.num_timesteps, self.locals["total_timesteps"]
        often = 0.2 if sys.stderr.isatty() else 10.0  # a log file keeps every line of the bar
        self.bar = tqdm(
            total=total, initial=done, unit=self.unit, unit_scale=True, dynamic_ncols=True, mininterval=often
        )

    def _on_step(self) -> bool:
        self.bar.update(self.num_timesteps - self.bar.n)
        return True

    def _on_training_end(self) -> None:
        self.bar.close()


class Checkpoint(BaseCallback):
    """Saves the agent at the start, every `interval` timesteps and at the end, as long as some run is finite.

    Args:
        folder: Folder of the checkpoint.
        interval: Timesteps between two checkpoints, >= 1.
        stateful: Callbacks, by name, whose states the checkpoints hold.
        before: Function that is called before a checkpoint is written.
    """

    def __init__(
        self,
        folder: Path,
        interval: int,
        stateful: Mapping[str, Stateful] | None = None,
        before: Callable[[], None] | None = None,
    ) -> None:
        super().__init__()
        self.folder, self.interval, self.stateful, self.before = folder, interval, stateful or {}, before
        self._saved: tuple[int, Tensor | None] = -1, None

    def _on_training_start(self) -> None:
        self._due = self.num_timesteps + self.interval
        self._save()

    def _on_step(self) -> bool:
        if self.num_timesteps >= self._due:
            self._due = self.num_timesteps + self.interval
            self._save()
        return True

    def _on_training_end(self) -> None:
        self._save()

    def _save(self) -> None:
        agent = cast(Learner, self.model)
        timesteps, z = self._saved  # writing the same point again would push out the previous checkpoint for nothing
        written = agent.num_timesteps == timesteps and agent.z is z
        if not written and agent.is_finite():
            agent.callback_states = {name: callback.state_dict() for name, callback in self.stateful.items()}
            if self.before is not None:
                self.before()
            agent.save(self.folder)
            self._saved = agent.num_timesteps, agent.z
