"""ε-greedy behavior for finitely many actions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator, Tensor

from robustgames.agents.control.behavior import Behavior
from robustgames.agents.control.q_learning import GreedyPolicies, preferences
from robustgames.checkpoints import CHECKPOINT, check_like
from robustgames.streams import uniform


class EpsilonGreedy(Behavior):
    """The protagonist takes a uniform action with probability ε, the adversary its own; ε falls linearly from 1.

    Source: Mnih et al. 2015.

    Args:
        policies: Greedy policies.
        steps: Steps in which ε falls.
        final: ε after them.
        generator: Generator of the runs.
        runs: Number of runs.
    """

    def __init__(self, policies: GreedyPolicies, steps: int, final: float, generator: Generator, runs: int) -> None:
        self.policies, self.steps, self.final, self.generator, self.runs = policies, steps, final, generator, runs
        self.noise = self.weights = None
        self._rows = []
        self.state = {"k": 0}

    @property
    def epsilon(self) -> float:
        """ε of the next step."""
        return max(self.final, 1 + (self.final - 1) * self.state["k"] / self.steps)

    def act(self, z: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        n = self.policies.action_size
        drawn = self.policies.draw(states.shape[:-1], self.generator, states.dtype)
        mu, nu = self.policies.act(z, states, drawn)
        own, coins = mu.squeeze(-2), uniform((len(z), 1 + n), self.generator, states.dtype)
        anything = preferences(coins[:, 1:].argmax(-1), n, states.dtype)
        own = torch.where(coins[:, :1] < self.epsilon, anything, own)
        self.state = {"k": self.state["k"] + 1}
        return own, torch.zeros_like(own) if nu is None else nu.squeeze(-2)

    def measures(self) -> dict[str, float]:
        return {"epsilon": self.epsilon}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        check_like(state, {"k": 0}, CHECKPOINT, ("behavior",))
        self.state = dict(state)
