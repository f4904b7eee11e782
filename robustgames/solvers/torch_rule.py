"""Optimizers of `torch.optim` as rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Generator, Tensor

from robustgames.errors import GameError
from robustgames.solvers.rules import Rule, State


@dataclass(frozen=True)
class TorchRule(Rule):
    """Any `torch.optim` optimizer as a rule: one `step()` on a copy of z with gradient -v.

    Coordinate-wise optimizers (SGD, Adam, Adagrad, NAdam …) keep batched runs independent. One that couples the
    coordinates of a parameter (Adafactor, Muon) also couples the runs of a batch: use it for one run.

    Args:
        optimizer: Class of the optimizer.
        settings: Keyword arguments of the optimizer.

    Example:
        >>> rule = TorchRule(torch.optim.Adagrad, {"lr": 0.5})
        >>> rule.step(torch.zeros(2), torch.tensor([1.0, -2.0]), rule.init(torch.zeros(2)), torch.Generator())[0]
        tensor([ 0.5000, -0.5000])
    """

    optimizer: type[torch.optim.Optimizer]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if issubclass(self.optimizer, torch.optim.LBFGS):
            raise GameError(
                "LBFGS evaluates the loss itself, a rule gets one value of the field: use a first-order optimizer"
            )

    def init(self, z: Tensor) -> State:
        return {"k": 0}

    def step(self, z: Tensor, v: Tensor, state: State, generator: Generator) -> tuple[Tensor, State]:
        point = torch.nn.Parameter(z.clone())
        point.grad = -v
        optimizer = self.optimizer([point], **self.settings)
        # a torch optimizer updates its state in place: pass copies, so that the old state stays as it was
        memory = {
            name: value.clone() if isinstance(value, Tensor) else value for name, value in state.items() if name != "k"
        }
        if memory:
            optimizer.state[point] = memory
        with torch.no_grad():
            optimizer.step()
        kept = {name: value for name, value in optimizer.state[point].items() if value is not None}
        return point.detach(), {"k": state["k"] + 1, **kept}
