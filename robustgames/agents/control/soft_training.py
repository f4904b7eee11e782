"""Training's source of ζ for soft actor-critic: minibatches, critics, noise and temperatures."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from robustgames.agents.control.critic_training import CriticTraining
from robustgames.agents.control.soft_critics import SoftTemporalDifference
from robustgames.agents.control.soft_game import SoftSample


class SoftTraining(CriticTraining):
    """`CriticTraining` for a `SoftPolicyGame`, whose solver's first draw is the minibatch of the last `learn`.

    The target policies are the present ones. An iteration is `learn`, a step of any solver, then `follow`, which also
    moves the temperatures: by the draws that moved the players first, as they were before that step. So critic,
    players and temperatures move from one and the same point, as in Stable-Baselines3.
    """

    learning: SoftTemporalDifference
    noise = torch.empty(0)
    """Noise of both players in the states of the last `learn`, (*S, B, 2k)."""

    def learn(self, generator: Generator) -> None:
        """Take one step of the critics on a new minibatch, and hold that for the players, with noise for them."""
        super().learn(generator)
        self.noise = self._noise(self.states, generator)

    def draw_soft(self, shape: tuple[int, ...], generator: Generator, dtype: torch.dtype) -> SoftSample:
        """Return the held minibatch with its noise once, then new ones."""
        if self.held is None and self.every_draw and self.replay.size:
            self.learn(generator)
        held = self.held is not None
        states, _ = self.draw(shape, generator, dtype)
        noise = self.noise if held else self._noise(states, generator)
        temperatures = self.learning.temperatures(self.state)
        return SoftSample(states, self.state["w"].expand(*shape, -1), noise, temperatures.expand(*shape, 2))

    def follow(self, z: Tensor) -> None:
        """Move the temperatures, the target policies to z, and the target critics by tau towards the critics."""
        self.learning.tune_(self.target, self.states, self.noise, self.state)
        self.target.copy_(z)
        self.learning.follow_(self.state)

    def _noise(self, states: Tensor, generator: Generator) -> Tensor:
        return self.learning.policies.draw(states.shape[:-1], generator, states.dtype)
