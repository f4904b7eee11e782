"""Callbacks of Stable-Baselines3's kind that every agent uses."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, ConvertCallback
from torch import Tensor
from tqdm import tqdm

from robustgames.errors import GameError
from robustgames.evaluation import accuracies
from robustgames.games import HeldOut

if TYPE_CHECKING:
    from robustgames.agents.game_agent import GameAgent


@contextmanager
def deferred_interrupt() -> Iterator[list[int]]:
    """Collect a Ctrl-C in the list instead of raising it, so that a step can end; a second one takes effect at once."""
    pressed: list[int] = []

    def note(number: int, frame: object) -> None:
        pressed.append(number)
        signal.signal(signal.SIGINT, before)

    try:
        before = signal.signal(signal.SIGINT, note)
    except ValueError:  # not the main thread, which alone receives signals
        yield pressed
        return
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


def callback_list(agent: Any, given: Any, bar: ProgressBar | None) -> CallbackList:
    """Return what was given to `learn`, one or several callbacks or functions, and a bar, ready for this agent."""
    several = given if isinstance(given, list) else [] if given is None else [given]
    every = [c if isinstance(c, BaseCallback) else ConvertCallback(c) for c in several]
    callbacks = CallbackList(every if bar is None else [*every, bar])
    callbacks.init_callback(agent)
    return callbacks


class ProgressBar(BaseCallback):
    """Progress in timesteps of one run with rate and time left.

    Args:
        unit: what a timestep is: an oracle "call", or an env "step".
    """

    def __init__(self, unit: str = "call") -> None:
        super().__init__()
        self.unit = unit

    def _on_training_start(self) -> None:
        done, total = self.model.num_timesteps, self.locals["total_timesteps"]
        self.bar = tqdm(total=total, initial=done, unit=self.unit, unit_scale=True, dynamic_ncols=True, mininterval=0.2)

    def _on_step(self) -> bool:
        self.bar.update(self.num_timesteps - self.bar.n)
        return True

    def _on_training_end(self) -> None:
        self.bar.close()


class Checkpoint(BaseCallback):
    """Saves the agent at the start, every `interval` timesteps and at the end, as long as a run is finite.

    Args:
        folder: where the checkpoint goes.
        interval: timesteps between two checkpoints, >= 1.
    """

    def __init__(self, folder: Path, interval: int) -> None:
        super().__init__()
        self.folder, self.interval = folder, interval
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
        agent = cast("GameAgent", self.model)
        timesteps, z = self._saved  # writing it again would push out the previous one for nothing
        written = agent.num_timesteps == timesteps and agent.z is z
        if not written and bool(torch.isfinite(agent.z).all(-1).any()):
            agent.save(self.folder)
            self._saved = agent.num_timesteps, agent.z


class EarlyStopping(BaseCallback):
    """Keeps each run's classifier of highest attacked accuracy on the watched images, and stops when none rises.

    Robust overfitting is the rule: accuracy under attack on new images falls long before training ends. The watched
    images should be a validation split (`validation=500` of the game), or what is reported is selected on. At the end,
    by patience or by the number of timesteps, the agent holds the best weights; a training that was interrupted stays
    where it was, so that it can go on.

    Source: Rice, Wong and Kolter 2020.

    Args:
        interval: timesteps between two looks, >= 1.
        patience: looks in a row without a rise in any run, after which training stops.
        attack_steps: of PGD.

    Raises:
        GameError: the game has no held-out images.
    """

    def __init__(self, interval: int, patience: int = 10, attack_steps: int = 20) -> None:
        super().__init__()
        if interval < 1 or patience < 1 or attack_steps < 1:
            raise GameError(f"interval, patience and attack_steps are {interval}, {patience}, {attack_steps}: all >= 1")
        self.interval, self.patience, self.attack_steps = interval, patience, attack_steps

    def _on_training_start(self) -> None:
        agent = cast("GameAgent", self.model)
        if not isinstance(agent.game, HeldOut):
            raise GameError(f"{agent.game!r} has no held-out images to stop early by: use e.g. DigitsAdversarial")
        self._due, self._waited = self.num_timesteps, 0
        self.best, self.accuracy = agent.best(), torch.full(agent.oracle.shape, -1.0, device=agent.z.device)

    def _on_step(self) -> bool:
        if self.num_timesteps < self._due:
            return True
        self._due = self.num_timesteps + self.interval
        agent = cast("GameAgent", self.model)
        point = agent.best()
        shares = accuracies(cast("HeldOut", agent.game).watched, point, self.attack_steps)
        accuracy = shares[f"pgd{self.attack_steps}_accuracy"].to(self.accuracy)
        better = accuracy > self.accuracy
        self._waited = 0 if bool(better.any()) else self._waited + 1
        self.best = torch.where(better.unsqueeze(-1), point, self.best)
        self.accuracy = torch.where(better, accuracy, self.accuracy)
        self.logger.record("eval/best_attacked_accuracy", float(self.accuracy.mean()))
        return self._waited < self.patience

    def _on_training_end(self) -> None:
        agent, looked = cast("GameAgent", self.model), self.accuracy >= 0
        over = self._waited >= self.patience or agent.num_timesteps >= self.locals["total_timesteps"]
        if over and bool(looked.any()):
            agent.adopt(torch.where(looked.unsqueeze(-1), self.best, agent.best()))


class Snapshots(BaseCallback):
    """Keeps the evaluated point of the first runs at chosen timesteps, and shows it.

    Args:
        timesteps: when; what lies before the start is left out.
        show: called with (timesteps, point) at each.
        runs: how many runs to keep.
    """

    def __init__(self, timesteps: list[int], show: Callable[[int, Tensor], None], runs: int = 3) -> None:
        super().__init__()
        self.timesteps, self.show, self.runs = timesteps, show, runs
        self.points: dict[int, Tensor] = {}

    def _on_training_start(self) -> None:
        self._left = [t for t in self.timesteps if t > self.num_timesteps]

    def _on_step(self) -> bool:
        if self._left and self.num_timesteps >= self._left[0]:
            self._left = [t for t in self._left if t > self.num_timesteps]
            agent = cast("GameAgent", self.model)
            point = agent.best().reshape(-1, agent.z.shape[-1])[: self.runs]
            self.points[agent.num_timesteps] = point.cpu()
            self.show(agent.num_timesteps, point.cpu())
        return True


class Recorder(BaseCallback):
    """Keeps the trajectory of the first runs of a small game, for phase portraits.

    Args:
        runs: how many runs to keep.
        most: how many points; every second one is dropped whenever there are more.
    """

    def __init__(self, runs: int = 8, most: int = 20_000) -> None:
        super().__init__()
        self.runs, self.most, self.stride = runs, most, 1
        self.points: list[Tensor] = []

    def _on_training_start(self) -> None:
        self._keep()

    def _on_step(self) -> bool:
        if self.n_calls % self.stride == 0:
            self._keep()
        if len(self.points) > self.most:
            self.points, self.stride = self.points[::2], self.stride * 2
        return True

    def _keep(self) -> None:
        z = cast("GameAgent", self.model).z
        self.points.append(z.reshape(-1, z.shape[-1])[: self.runs])

    @property
    def trajectory(self) -> Tensor:
        """The points, (T, runs, n + m), one per `stride` steps of the solver."""
        return torch.stack(self.points)
