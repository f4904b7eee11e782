"""What every training with a replay has: minibatches, target weights, and both of them on disk."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from robustgames.agents.control.normalization import RunningNorm
from robustgames.agents.control.replay import Replay, Transitions
from robustgames.checkpoints import CHECKPOINT, check_like
from robustgames.errors import GameError
from robustgames.solvers.rules import State
from robustgames.tensors import map_tensors


class Training(ABC):
    """A game's source of ζ: minibatches of a replay, and target weights z⁻ that follow z.

    After `begin`, one iteration is `learn`, then one step of any solver, then `follow`. The solver's first draw is the
    minibatch of the last `learn`; further draws are new ones.

    Args:
        replay: Replay of the runs.
        batch_size: B.
        norm: Scaling of the sampled observations.
    """

    state: State
    """What a critic has, its weights and its rule's moments; empty without one."""

    def __init__(self, replay: Replay, batch_size: int, norm: RunningNorm | None = None) -> None:
        if batch_size < 1:
            raise GameError(f"batch_size is {batch_size}: at least 1 transition, e.g. 128")
        self.replay, self.batch_size, self.norm, self.state = replay, batch_size, norm, {}
        self.target = self.error = self.states = torch.empty(0)
        self.followed = False
        self.held: Transitions | None = None
        self._copied: list[Tensor] = []
        self._copies: list[Tensor] = []
        self._arrays: list[tuple[np.ndarray, np.ndarray]] = []

    def begin(self, z: Tensor) -> None:
        """Set the target weights to the first joint strategy, (*S, n + m)."""
        self.target = z.clone()

    def learn(self, generator: Generator) -> None:
        """Draw a new minibatch, and hold it for the players."""
        self.held = self._sample(generator)
        self.states = self.held.states

    @abstractmethod
    def follow(self, z: Tensor) -> None:
        """Move the targets after a step of the solver that led to z."""

    def states_at(self, u: np.ndarray) -> Tensor:
        """Return the states of the minibatch that numbers u in [0, 1), (S, B), choose as those of a `Streams` do."""
        return self._scaled(self.replay.at(torch.from_numpy((u * self.replay.size).astype(np.int64)))).states

    def _sample(self, generator: Generator) -> Transitions:
        return self._scaled(self.replay.sample(self.batch_size, generator))

    def _scaled(self, batch: Transitions) -> Transitions:
        if self.norm is not None:
            self.norm.apply_(batch.states)  # [s | a] holds these states also
            self.norm.apply_(batch.next_states)
        return batch

    def weights(self) -> dict[str, Any]:
        """Return the weights of critic and targets, and copy them, for `go_back` until the next call.

        They change in place. The copies are in memory that is kept, because this precedes every update.
        """
        rule = self.state.get("rule", {})
        if any(isinstance(value, dict | list | tuple) for value in rule.values()):
            self._copied, self._copies, self._arrays = [], [], []  # a rule with a nested state
            return {"state": map_tensors(self.state, torch.clone), "target": self.target.clone()}
        state = {**self.state, "rule": {**rule}} if self.state else {}
        tensors = [t for t in (self.target, *state.values(), *rule.values()) if isinstance(t, Tensor)]
        if len(tensors) != len(self._copied) or any(a is not b for a, b in zip(tensors, self._copied, strict=True)):
            with torch.inference_mode(False):  # memory that serves in and out of inference mode
                self._copied, self._copies = tensors, [torch.empty_like(t) for t in tensors]
            on_cpu = all(t.device.type == "cpu" for t in tensors)
            self._arrays = [(a.numpy(), b.numpy()) for a, b in self._pairs()] if on_cpu else []
        for copy, present in self._arrays:  # in a third of the time of PyTorch's calls
            copy[...] = present
        if not self._arrays:
            for copy, tensor in self._pairs():
                copy.copy_(tensor)
        return {"state": state, "target": self.target}

    def go_back(self, weights: dict[str, Any]) -> None:
        """Undo the steps since `weights`."""
        for copy, tensor in self._pairs():
            tensor.copy_(copy)
        self.state, self.target, self.held = weights["state"], weights["target"], None

    def _pairs(self) -> list[tuple[Tensor, Tensor]]:
        return list(zip(self._copies, self._copied, strict=True))

    def state_dict(self) -> dict[str, Any]:
        """Return everything that changes, the replay included, as tensors and integers."""
        return {
            "critic": map_tensors(self.state, torch.clone),
            "target": self.target.clone(),
            "replay": self.replay.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken, between two iterations."""
        check_like(state, {"critic": self.state, "target": self.target, "replay": {}}, CHECKPOINT, ("practice",))
        self.state, self.target, self.held = map_tensors(state["critic"], torch.clone), state["target"].clone(), None
        self.replay.load_state_dict(state["replay"])
