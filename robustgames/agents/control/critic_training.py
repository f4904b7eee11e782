"""Training's source of ζ: minibatches of a replay, and the critic that learns from them."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from robustgames.agents.control.critics import TemporalDifference
from robustgames.agents.control.normalization import RunningNorm
from robustgames.agents.control.replay import Replay
from robustgames.agents.control.training import Training


class CriticTraining(Training):
    """Training's source of ζ for a `PolicyGame`: minibatches of a replay, and the critic that learns from each.

    After `begin`, one iteration of DDPG is `learn`, then one step of any solver, then `follow`; TD3 with delay d calls
    `learn` d times before. The solver's first draw is the minibatch of the last `learn`. Further draws (of
    extragradient, of Langevin chains) are new ones. With `every_draw` the critic takes a step on these also, as in
    Kamalaruban et al. 2020.

    Args:
        replay: Replay of the runs.
        learning: Step of the critic.
        batch_size: B.
        generator: Generator of the first critics.
        every_draw: Whether the critic takes a step with every draw, not only in `learn`.
        norm: Scaling of the sampled observations.
    """

    def __init__(
        self,
        replay: Replay,
        learning: TemporalDifference,
        batch_size: int,
        generator: Generator,
        every_draw: bool = False,
        norm: RunningNorm | None = None,
    ) -> None:
        super().__init__(replay, batch_size, norm)
        self.learning, self.every_draw = learning, every_draw
        self.state = learning.init(replay.shape, generator, replay.dtype)

    def learn(self, generator: Generator) -> None:
        """Take one step of the critic on a new minibatch, and hold that for the players."""
        super().learn(generator)
        assert self.held is not None
        self.error = self.learning.step_(self.held, self.target, self.state, generator)

    def draw(self, shape: tuple[int, ...], generator: Generator, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return (states, critic weights): of the held minibatch once, then of new ones."""
        if self.replay.size == 0:  # before the first step: an oracle needs shapes
            nowhere = (*shape, self.batch_size, self.replay.state_size)
            states = torch.zeros(nowhere, device=generator.device, dtype=dtype)
            return states, self.learning.first(self.state).expand(*shape, -1)
        if self.held is None and self.every_draw:
            self.learn(generator)
        batch = self.held or self._sample(generator)
        self.held = None
        return batch.states, self.learning.first(self.state)

    def follow(self, z: Tensor) -> None:
        """Move the target policies and the target critic by tau towards z and the critic."""
        self.followed = True
        self.target.lerp_(z, self.learning.tau)
        self.learning.follow_(self.state)
