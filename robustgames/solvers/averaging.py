"""Averages that weigh later iterates more."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustgames.errors import GameError
from robustgames.games.oracle import Oracle
from robustgames.solvers.rules import State
from robustgames.solvers.schemes import Averaged


@dataclass(frozen=True)
class PolynomialAverage(Averaged):
    """A scheme that also keeps the average of its iterates z_1 … z_k with the weights 1, 2^p … k^p.

    p = 1 is the linear averaging of CFR+, p = 0 the uniform one. On a treeplex it averages realization weights, as it
    must. Source: Tammelin 2014, "Solving large imperfect information games using CFR+"; Farina, Kroer and Sandholm
    2021 (p = 2).

    Args:
        scheme: Solver to average.
        power: Power p >= 0 of the weights.
    """

    power: float = 1.0

    def __post_init__(self) -> None:
        if self.decay is not None or self.lookahead or not 0 <= self.power < float("inf"):
            raise GameError(f"power is {self.power}: a number >= 0, without decay and lookahead, e.g. power=1.0")

    def init(self, oracle: Oracle, z: Tensor) -> State:
        return {**super().init(oracle, z), "sum": 0.0}

    def step(self, oracle: Oracle, z: Tensor, state: State) -> tuple[Tensor, State]:
        z, inner = self.scheme.step(oracle, z, state["scheme"])
        k = state["k"] + 1
        whole = state["sum"] + k**self.power
        mean = torch.lerp(state["mean"], z, k**self.power / whole)
        return z, {"scheme": inner, "mean": mean, "k": k, "sum": whole}
