"""The policy of one player at one moment."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustgames.agents.control.normalization import RunningNorm
from robustgames.agents.control.policies import FlatNetwork
from robustgames.agents.control.row_pass import RowPass
from robustgames.errors import GameError
from robustgames.games import MLP


class Player:
    """A player of one run with its present weights, without exploration.

    Args:
        network: Network of the player.
        weights: Weights of the run, (n,).
        norm: Running scale of the observations, or None.
        run: Number of the run.
    """

    def __init__(self, network: FlatNetwork, weights: Tensor, norm: RunningNorm | None, run: int) -> None:
        self.network, self.weights, self.norm, self.run = network, weights.clone(), norm, run

    @torch.no_grad()
    def act(self, states: Tensor) -> Tensor:
        """Return the actions (B, k) in states (B, p)."""
        return self.graph(states)

    def graph(self, states: Tensor) -> Tensor:
        """Return these actions with their graph."""
        return self.network(self.weights, self.scaled(states))

    def as_module(self) -> torch.nn.Module | None:
        """Return the network as a module on the CPU, if it can be one."""
        network: Any = self.network
        return network.as_module(self.weights.cpu()) if hasattr(network, "as_module") else None

    def scaled(self, states: Tensor) -> Tensor:
        """Return states (B, p) as the networks take them."""
        return states if self.norm is None else self.norm.apply_(states.clone(), self.run)

    def predict(self, observation: Any, shape: tuple[int, ...]) -> np.ndarray:
        """Return the action (k,) for an observation of the env's `shape`, or the actions (B, k) for (B, *shape)."""
        states = torch.as_tensor(np.asarray(observation, dtype=np.float32), device=self.weights.device)
        one = tuple(states.shape) == shape
        if not one and tuple(states.shape[1:]) != shape:
            raise GameError(f"observation has shape {tuple(states.shape)}: expected {shape} or {_batch(shape)}")
        actions = self.act(states.reshape(1, -1) if one else states.reshape(len(states), -1))
        return (actions.squeeze(0) if one else actions).cpu().numpy()

    def policy(self, shape: tuple[int, ...]) -> Callable[[Any], np.ndarray]:
        """Return the function observation -> action, of the env's `shape`; NumPy alone if the network allows it."""
        if self.norm is None and isinstance(self.network, MLP) and RowPass.fits(self.network):
            return partial(_row_action, RowPass(self.network), self.weights.cpu().numpy(), shape)
        self.norm = copy.deepcopy(self.norm)  # that of the agent continues to change
        return partial(_action, self, shape)


# Functions with arguments, since a closure cannot be sent to another process.
def _row_action(row: RowPass, weights: np.ndarray, shape: tuple[int, ...], observation: Any) -> np.ndarray:
    return row(weights, np.ravel(observation)).reshape(shape).copy()


def _action(player: Player, shape: tuple[int, ...], observation: Any) -> np.ndarray:
    states = torch.from_numpy(np.ravel(observation).astype(np.float32)).unsqueeze(0)
    return player.act(states.to(player.weights.device))[0].cpu().numpy().reshape(shape)


def _batch(shape: tuple[int, ...]) -> str:
    return f"({', '.join(['B', *map(str, shape)])})"
