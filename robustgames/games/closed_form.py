"""Zero-sum games whose gradients are written out."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from robustgames.games.game import Sample, ZeroSumGame, join


class ClosedForm(ZeroSumGame):
    """A zero-sum game with its gradients in closed form: the field builds no graph.

    `payoff` remains the definition, with which `check_game` compares the gradients.
    """

    @abstractmethod
    def gradient(self, x: Tensor, y: Tensor, player: int) -> Tensor:
        """Return ∇x Φ(x, y), (*S, n), for player 0 and ∇y Φ(x, y), (*S, m), for player 1."""

    def field(self, z: Tensor, sample: Sample = None, player: int | None = None) -> Tensor:
        x, y = self.split(z)
        if player is not None:
            return self.gradient(x, y, 1) if player else -self.gradient(x, y, 0)
        return join([-self.gradient(x, y, 0), self.gradient(x, y, 1)], z)

    def evaluate(self, z: Tensor, sample: Sample = None) -> tuple[tuple[Tensor, Tensor], Tensor]:
        value = self.payoff(*self.split(z), sample)
        return (-value, value), self.field(z)
