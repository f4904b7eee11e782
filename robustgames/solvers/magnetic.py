"""Magnetic mirror descent: an entropic step that is pulled towards a reference strategy."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from robustgames.errors import GameError
from robustgames.solvers.rules import Rate, Rule, State, check_rate, is_whole, log_weights, rate_at


@dataclass(frozen=True)
class Magnetic(Rule):
    """z⁺ ∝ (z m^(lr α) exp(lr v))^(1 / (1 + lr α)): the mirror step of lr (<v, u> - α KL(u, m)) on the simplex.

    In a matrix game with lr <= α / max|A|², the last iterate converges linearly to the regularized equilibrium u ∝
    m exp(v / α): with the uniform m, the logit quantal response equilibrium of temperature α. With `period` the magnet
    m moves to the iterate every so many applications, and the last iterate converges to a Nash equilibrium. The state
    keeps log-weights. Source: Sokota et al. 2023, "A unified approach to reinforcement learning, quantal response
    equilibria, and two-player zero-sum games", section 3.2.

    Args:
        lr: Learning rate.
        alpha: Weight α > 0 of the pull.
        period: Applications between two moves of the magnet. 0 keeps the uniform magnet.
    """

    lr: Rate
    alpha: float = 0.1
    period: int = 0
    blockwise = True

    def __post_init__(self) -> None:
        check_rate(self.lr)
        if not 0 < self.alpha < float("inf"):
            raise GameError(f"alpha is {self.alpha}: it must be a positive number, e.g. alpha=0.1")
        if not is_whole(self.period, 0):
            raise GameError(f"period is {self.period}: a whole number of at least 1, or 0 for a magnet that stays")

    def init(self, z: Tensor) -> State:
        uniform = torch.zeros_like(z).log_softmax(-1)
        return {"k": 0, "w": z.log(), "magnet": uniform}

    def step(self, z: Tensor, v: Tensor, state: State, generator: Generator) -> tuple[Tensor, State]:
        k, rate = state["k"] + 1, rate_at(self.lr, state["k"] + 1)
        pull = rate * self.alpha
        w = torch.log_softmax((log_weights(z, state["w"]) + pull * state["magnet"] + rate * v) / (1 + pull), -1)
        magnet = w if self.period and k % self.period == 0 else state["magnet"]
        return w.exp(), {"k": k, "w": w, "magnet": magnet}

    def rewind(self, state: State, before: State) -> State:
        return {**state, "w": before["w"], "magnet": before["magnet"]}
