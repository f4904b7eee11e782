"""Von Neumann's ratio game, whose payoff is neither convex nor concave and yet has a saddle."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustgames.errors import GameError
from robustgames.games.closed_form import ClosedForm
from robustgames.games.game import Sample
from robustgames.games.matrix import as_matrix, minimax
from robustgames.games.sets import Simplex


class RatioGame(ClosedForm):
    """Φ(x, y) = xᵀR y / xᵀS y on two simplices, S > 0: a stochastic game with one state, won at the rate R, ended at S.

    Φ is quasi-convex in x and quasi-concave in y. Its value v is the number at which the matrix game R - v S has the
    value 0, and an equilibrium of that matrix game is a saddle of Φ. The default is a game whose saddle does not solve
    the Minty variational inequality, so a proof that covers monotone games does not cover it. Source: von Neumann 1945,
    "A model of general economic equilibrium"; Daskalakis, Foster and Golowich 2020, "Independent policy gradient
    methods for competitive reinforcement learning".

    Args:
        rewards: Matrix R, shape (n, m); -R is what x receives.
        stops: Matrix S, shape (n, m), with positive entries.

    Example:
        >>> RatioGame([[1.0, 3.0]], [[1.0, 2.0]]).solution()
        tensor([1., 0., 1.])
    """

    _computed = ("saddle",)

    def __init__(self, rewards: Any = ((-1.0, 0.4), (-0.4, 0.0)), stops: Any = ((0.2, 0.2), (1.0, 1.0))) -> None:
        self.rewards, self.stops = as_matrix(rewards), as_matrix(stops)
        if self.rewards.shape != self.stops.shape or not bool((self.stops > 0).all()):
            raise GameError(
                f"stops has shape {tuple(self.stops.shape)} and least entry {float(self.stops.min()):g}: it must have "
                f"the shape {tuple(self.rewards.shape)} of rewards and positive entries"
            )
        self.sizes = (self.rewards.shape[0], self.rewards.shape[1])
        self.sets = (Simplex(), Simplex())
        self.saddle = self._saddle()

    def payoff(self, x: Tensor, y: Tensor, sample: Sample = None) -> Tensor:
        return self._bilinear(self.rewards, x, y) / self._bilinear(self.stops, x, y)

    @staticmethod
    def _bilinear(matrix: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return ((x @ matrix.to(x)) * y).sum(-1)

    def gradient(self, x: Tensor, y: Tensor, player: int) -> Tensor:
        value, stop = self.payoff(x, y).unsqueeze(-1), self._bilinear(self.stops, x, y).unsqueeze(-1)
        own, matrices = (x, y)[1 - player], (self.rewards.to(x), self.stops.to(x))
        reward, length = (own @ (matrix if player else matrix.mT) for matrix in matrices)
        return (reward - value * length) / stop

    def best_response(self, z: Tensor, player: int) -> Tensor:
        """Return the best pure strategy: a ratio of linear functions is extremal at a corner."""
        own = self.split(z)[1 - player]
        rewards, stops = (own @ (m if player else m.mT) for m in (self.rewards.to(z), self.stops.to(z)))
        return self.sets[player].maximize(rewards / stops * (1 if player else -1))

    def _saddle(self) -> Tensor:
        """Find v with value(R - v S) = 0, which decreases with v, and return both optimal strategies there."""
        from scipy.optimize import brentq

        rewards, stops = self.rewards.numpy(), self.stops.numpy()
        ratios = rewards / stops

        def value(v: float) -> float:
            matrix = rewards - v * stops
            return float((minimax(matrix) @ matrix).max())

        low, high = float(ratios.min()), float(ratios.max())
        # the value is >= 0 at the least ratio and <= 0 at the largest, up to rounding
        v = low if value(low) <= 0 else high if value(high) >= 0 else brentq(value, low, high, xtol=1e-14)
        matrix = rewards - v * stops
        return torch.from_numpy(np.concatenate([minimax(matrix), minimax(-matrix.T)]))

    def solution(self) -> Tensor:
        return self.saddle.to(self.device, self.dtype)
