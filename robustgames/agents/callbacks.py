"""Callbacks of a `GameAgent`: early stopping, snapshots, and a recorder of trajectories."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from stable_baselines3.common.callbacks import BaseCallback
from torch import Tensor

from robustgames.agents.game_agent import GameAgent
from robustgames.checkpoints import CHECKPOINT, Several, check_counts, check_like
from robustgames.errors import GameError
from robustgames.evaluation import accuracies
from robustgames.games import HeldOut


class EarlyStopping(BaseCallback):
    """Keeps each run's classifier of highest attacked accuracy on the watched images, and stops when none rises.

    Robust overfitting is the rule: accuracy under attack on new images drops long before training ends. The watched
    images should be a validation split (`validation=500` of the game), or the reported accuracy is selected on. If
    training ends by patience or by the number of timesteps, the agent holds the best weights. If it is interrupted,
    the agent keeps the weights of the moment, so it can be resumed.

    Source: Rice, Wong and Kolter 2020.

    Args:
        interval: Timesteps between two evaluations, >= 1.
        patience: Evaluations in a row without a rise in any run, after which training stops.
        attack_steps: Number of steps of PGD.

    Raises:
        GameError: The game has no held-out images.
    """

    def __init__(self, interval: int, patience: int = 10, attack_steps: int = 20) -> None:
        super().__init__()
        if interval < 1 or patience < 1 or attack_steps < 1:
            raise GameError(
                f"interval, patience and attack_steps are {interval}, {patience}, {attack_steps}: they must be >= 1"
            )
        self.interval, self.patience, self.attack_steps = interval, patience, attack_steps
        self._loaded: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return the best weights and accuracies so far, and when to look next."""
        return {"best": self.best, "accuracy": self.accuracy, "waited": self._waited, "due": self._due}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from this state in the next training."""
        check_counts(state, CHECKPOINT, "waited", "due")
        self._loaded = state

    @property
    def is_over(self) -> bool:
        """Whether patience has ended the training whose state is loaded."""
        return self._loaded is not None and self._loaded["waited"] >= self.patience

    def _on_training_start(self) -> None:
        agent = cast(GameAgent, self.model)
        if not isinstance(agent.game, HeldOut):
            raise GameError(f"{agent.game!r} has no held-out images to stop early by: use e.g. DigitsAdversarial")
        if (state := self._loaded) is None:
            self._due, self._waited, self.best = self.num_timesteps, 0, agent.best()
            self.accuracy = torch.full(agent.oracle.shape, -1.0, device=agent.z.device)
        else:
            accuracy = torch.empty(agent.oracle.shape)
            check_like(
                state, {"due": 0, "waited": 0, "best": agent.z, "accuracy": accuracy}, CHECKPOINT, ("callbacks",)
            )
            self._due, self._waited = state["due"], state["waited"]
            self.best, self.accuracy = state["best"].to(agent.z), state["accuracy"].to(agent.z.device)
        self._loaded = None

    def _on_step(self) -> bool:
        if self.num_timesteps < self._due:
            return True
        self._due = self.num_timesteps + self.interval
        agent = cast(GameAgent, self.model)
        point = agent.best()
        watched, team = cast(HeldOut, agent.game).watched, agent.oracle.processes
        shares = accuracies(watched, point, self.attack_steps, team)
        accuracy = shares[f"pgd{self.attack_steps}_accuracy"].to(self.accuracy)
        better = accuracy > self.accuracy
        self._waited = 0 if bool(better.any()) else self._waited + 1
        self.best = torch.where(better.unsqueeze(-1), point, self.best)
        self.accuracy = torch.where(better, accuracy, self.accuracy)
        self.logger.record("eval/best_attacked_accuracy", float(self.accuracy.mean()))
        return self._waited < self.patience

    def _on_training_end(self) -> None:
        agent, evaluated = cast(GameAgent, self.model), self.accuracy >= 0
        over = self._waited >= self.patience or agent.num_timesteps >= self.locals["total_timesteps"]
        if over and bool(evaluated.any()):
            agent.adopt(torch.where(evaluated.unsqueeze(-1), self.best, agent.best()))


class AtTimesteps(BaseCallback):
    """Looks at the agent at chosen timesteps; those before the start of a training are left out."""

    def __init__(self, timesteps: list[int]) -> None:
        super().__init__()
        self.timesteps = timesteps

    def _on_training_start(self) -> None:
        self._left = [t for t in self.timesteps if t > self.num_timesteps]

    def _on_step(self) -> bool:
        if self._left and self.num_timesteps >= self._left[0]:
            self._left = [t for t in self._left if t > self.num_timesteps]
            self._look()
        return True

    def _look(self) -> None:
        raise NotImplementedError

    def _points(self, runs: int) -> Tensor:
        """Return the evaluated points of the first runs, (runs, n + m)."""
        agent = cast(GameAgent, self.model)
        return agent.best().reshape(-1, agent.z.shape[-1])[:runs]


class Snapshots(AtTimesteps):
    """Shows the evaluated point of the first runs at chosen timesteps, and keeps it.

    Args:
        timesteps: Timesteps of the snapshots; those before the start are left out.
        show: Function of (timesteps, point) that is called at each.
        runs: Number of runs to show.
        keep: Whether `points`, and with it a checkpoint, holds the snapshots.
    """

    def __init__(
        self, timesteps: list[int], show: Callable[[int, Tensor], None], runs: int = 3, keep: bool = True
    ) -> None:
        super().__init__(timesteps)
        self.show, self.runs, self.keep = show, runs, keep
        self.points: dict[int, Tensor] = {}

    def state_dict(self) -> dict[str, Any]:
        """Return the snapshots so far."""
        return {"timesteps": list(self.points), "points": list(self.points.values())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue after these snapshots in the next training."""
        self.points = dict(zip(state["timesteps"], state["points"], strict=True))

    def _look(self) -> None:
        point, now = self._points(self.runs).cpu(), cast(GameAgent, self.model).num_timesteps
        if self.keep:
            self.points[now] = point
        self.show(now, point)


class Frames(AtTimesteps):
    """Keeps what the first run generates at chosen timesteps, for an animation.

    Args:
        timesteps: Timesteps of the frames.
        generate: Function of (game, weights of a run) that returns what to keep, (N, p).
    """

    def __init__(self, timesteps: list[int], generate: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__(timesteps)
        self.generate = generate
        self.frames: dict[int, Tensor] = {}

    def state_dict(self) -> dict[str, Any]:
        """Return the frames so far."""
        return {"timesteps": list(self.frames), "frames": list(self.frames.values())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue after these frames in the next training."""
        self.frames = dict(zip(state["timesteps"], state["frames"], strict=True))

    def _on_training_start(self) -> None:
        super()._on_training_start()
        if self.num_timesteps == 0:
            self._look()

    def _look(self) -> None:
        agent = cast(GameAgent, self.model)
        self.frames[agent.num_timesteps] = self.generate(agent.game, self._points(1)[0]).cpu()


class Recorder(BaseCallback):
    """Keeps the trajectory of the first runs of a small game, for phase portraits.

    Args:
        runs: Number of runs to keep.
        most: Number of points to keep; whenever there are more, every second one is dropped.

    Attributes:
        stride: Steps of the solver between two points.
    """

    def __init__(self, runs: int = 10, most: int = 4_000) -> None:
        super().__init__()
        self.runs, self.most, self.stride = runs, most, 1
        self.points: list[Tensor] = []
        self.averages: list[Tensor] = []
        self._steps, self._loaded = 0, {}

    def state_dict(self) -> dict[str, Any]:
        """Return the points so far, and how many steps lie between two of them."""
        average = self.average
        return {
            "points": self.trajectory,
            "averages": self.trajectory[:0] if average is None else average,
            "stride": self.stride,
            "steps": self._steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from these points in the next training."""
        check_counts(state, CHECKPOINT, "stride", "steps")
        points, averages = state["points"], state["averages"]
        if points.dim() != 3 or averages.shape not in (points.shape, points[:0].shape) or state["stride"] < 1:
            found = f"shape {tuple(points.shape)} and stride {state['stride']}"
            raise GameError(f"the path in the checkpoint has {found}: repeat the run")
        self.points, self.averages = list(points), list(averages)
        self.stride, self._steps, self._loaded = state["stride"], state["steps"], state

    def _on_training_start(self) -> None:
        if self._loaded:
            rows = Several(self._first(cast(GameAgent, self.model).z), self.most)
            check_like(self._loaded, {"points": rows, "averages": rows}, CHECKPOINT, ("callbacks",))
            self._loaded = {}
        if not self.points:
            self._keep()

    def _on_step(self) -> bool:
        self._steps += 1
        if self._steps % self.stride == 0:
            self._keep()
        if len(self.points) > self.most:
            self.points, self.averages, self.stride = self.points[::2], self.averages[::2], self.stride * 2
        return True

    def _keep(self) -> None:
        agent = cast(GameAgent, self.model)
        average = agent.solver.output(agent.z, agent.state)
        self.points.append(self._first(agent.z))
        if average is not agent.z:
            self.averages.append(self._first(average))

    def _first(self, z: Tensor) -> Tensor:
        """Return a copy of the first runs: a view would hold all runs."""
        return z.reshape(-1, z.shape[-1])[: self.runs].clone()

    @property
    def trajectory(self) -> Tensor:
        """The points, (T, runs, n + m), one per `stride` steps of the solver."""
        return torch.stack(self.points)

    @property
    def average(self) -> Tensor | None:
        """The averages at these points, (T, runs, n + m); None if the solver keeps none."""
        return torch.stack(self.averages) if self.averages else None
