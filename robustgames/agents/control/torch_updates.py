"""The updates of critic, players and target networks, by PyTorch: what they are for every solver and device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator, Tensor

from robustgames.agents.control.behavior import Behavior
from robustgames.agents.control.training import Training
from robustgames.games import Oracle
from robustgames.solvers import Scheme
from robustgames.solvers.rules import State


class TorchUpdates:
    """One iteration of DDPG: a step of the critic, and one of the players and the target networks if it is due.

    Args:
        practice: Critic, if there is one, target networks and replay.
        solver: Solver of the players.
        oracle: Their game.
        behavior: Exploration, which may adapt to an update.
        generator: Streams of the runs.
    """

    name = "torch"

    def __init__(
        self, practice: Training, solver: Scheme, oracle: Oracle, behavior: Behavior, generator: Generator
    ) -> None:
        self.practice, self.solver, self.oracle = practice, solver, oracle
        self.behavior, self.generator = behavior, generator

    def step(self, z: Tensor, state: State, due: bool) -> tuple[Tensor, State]:
        """Return the players and the state of their solver after an update; critic and targets change in place."""
        self.practice.learn(self.generator)
        self.behavior.adapt(z, self.practice.states)
        if due:
            self.practice.followed = False
            z, state = self.solver.step(self.oracle, z, state)
            if not self.practice.followed:  # else the targets followed each step of a chain
                self.practice.follow(z)
        return z, state

    def mark(self) -> Any:
        """Return the place to `go_back` to: copies of what changes in place."""
        return self.practice.weights(), self.generator.mark()  # type: ignore[attr-defined]

    def go_back(self, mark: Any) -> None:
        """Undo the updates since `mark`."""
        self.practice.go_back(mark[0])
        self.generator.go_back(mark[1])  # type: ignore[attr-defined]

    def mode(self) -> torch.inference_mode:
        """Return the mode of a step: a tenth less time than without gradients only."""
        return torch.inference_mode()
