"""The behavior of both players while they learn: their policies, with exploration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from robustgames.agents.control.exploration import (
    BLOCK,
    ActionNoise,
    AdaptiveParameterNoise,
    GaussianNoise,
    OrnsteinUhlenbeck,
)
from robustgames.agents.control.policies import Policies
from robustgames.agents.control.row_pass import RowPass
from robustgames.agents.control.settings import Settings
from robustgames.checkpoints import CHECKPOINT, check_like
from robustgames.errors import GameError
from robustgames.solvers.rules import State


class Behavior:
    """The protagonist explores by noise on its actions, or both players by noise on their weights.

    Source: Tessler, Efroni and Mannor 2019 (code): Ornstein-Uhlenbeck noise on the actor alone, parameter noise on
    both.

    Args:
        policies: Policies of the players.
        settings: Settings with `exploration` and `noise`.
        z: First weights, (S, n + m).
        generator: Generator of the run.
    """

    def __init__(self, policies: Policies, settings: Settings, z: Tensor, generator: Generator) -> None:
        self.policies, self.generator, self.runs, self._dtype = policies, generator, len(z), z.dtype
        self.noise: ActionNoise | None = None
        self.weights: AdaptiveParameterNoise | None = None
        self.state: State = {}
        nets = [net for net in (policies.actor, policies.adversary) if net is not None]
        alone = len(z) == 1 and z.device.type == "cpu" and all(RowPass.fits(net) for net in nets)
        self._rows = [RowPass(net) for net in nets] if alone else []  # type: ignore[arg-type]
        if settings.exploration == "parameter":
            self.weights = AdaptiveParameterNoise(settings.noise, settings.noise)
            self.state = self.weights.init(z, generator)
        elif settings.noise:
            kind = GaussianNoise if settings.exploration == "gaussian" else OrnsteinUhlenbeck
            self.noise = kind(settings.noise)
            self.state = self.noise.init(z.new_zeros(len(z), policies.action_size))

    def act(self, z: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        """Return the actions of both players, (S, k) each, in states (S, 1, p)."""
        drawn = self.policies.draw(states.shape[:-1], self.generator, states.dtype)
        mu, nu = self.policies.act(self.acting(z), states, drawn)
        own = mu.squeeze(-2)
        if self.noise is not None:
            noise, self.state = self.noise.step(self.state, own, self.generator)
            own = (own + noise).clamp_(-1, 1)
        return own, torch.zeros_like(own) if nu is None else nu.squeeze(-2)

    def act_alone(self, z: Tensor, state: np.ndarray) -> np.ndarray:
        """Return the actions of both players of a single run, (2, k), in one state (p,): `act` in NumPy.

        Only if `row_by_row`.
        """
        weights, actions = self.acting(z)[0].numpy(), np.zeros((2, self.policies.action_size), np.float32)
        n = self.policies.sizes[0]
        for player, (rows, own) in enumerate(zip(self._rows, (weights[:n], weights[n:]), strict=False)):
            actions[player] = rows(own, state)
        if len(self._rows) == 1 and (drawn := self.policies.draw((1, 1), self.generator, z.dtype)) is not None:
            actions[1] = drawn[0, 0].numpy()
        if self.noise is not None:
            noise, self.state = self.noise.step(self.state, z.new_empty(1, actions.shape[1]), self.generator)
            actions[0] += noise[0].numpy()
            np.minimum(np.maximum(actions[0], -1, out=actions[0]), 1, out=actions[0])
        return actions

    @property
    def row_by_row(self) -> bool:
        """Whether `act_alone` applies: one run on a CPU, with networks that fit `RowPass`."""
        return bool(self._rows)

    def acting(self, z: Tensor) -> Tensor:
        """Return the weights to act with, (S, n + m)."""
        return z if self.weights is None else self.state["weights"]

    def restart(self, z: Tensor, ended: list[bool]) -> None:
        """Begin a new episode in the runs whose episode has ended."""
        over = torch.tensor(ended, device=z.device)
        if self.noise is not None:
            self.state = self.noise.restart(self.state, over)
        elif self.weights is not None:
            self.state = self.weights.restart(self.state, z, over, self.generator)

    def adapt(self, z: Tensor, states: Tensor | Callable[[], Tensor]) -> None:
        """Count an update, and adapt parameter noise in states (S, B, p), or those of a function, if it is due."""
        if self.weights is not None:
            self.state = self.weights.adapt(self.state, self._both, z, states, self.generator)

    def _both(self, z: Tensor, states: Tensor) -> Tensor:
        mu, nu = self.policies.actions(*self.policies.split(z), states)
        return mu if nu is None else torch.cat([mu, nu], -1)

    def measures(self) -> dict[str, float]:
        """Return the numbers to log."""
        return {} if self.weights is None else {"parameter_noise": float(self.state["std"].mean())}

    def state_dict(self) -> dict[str, Any]:
        """Return everything that changes."""
        return self.state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        fresh, saved = self.state, dict(state)
        if isinstance(self.noise, GaussianNoise) and saved:
            block = torch.empty(self.runs, BLOCK, self.policies.action_size, dtype=self._dtype, device="meta")
            if saved["block"].shape == block.transpose(0, 1).shape != block.shape:
                saved = {}  # of a version whose blocks had this layout: new noise is drawn
            else:
                fresh = {"block": block, "left": 0}
        if self.weights is not None:
            saved.setdefault("episode", torch.zeros_like(self.state["episode"]))
        check_like(saved, fresh, CHECKPOINT, ("behavior",))
        if saved.get("left", 0) >= BLOCK:
            raise GameError(f"behavior/left in the checkpoint is {saved['left']}: it must be below {BLOCK}")
        self.state = saved
