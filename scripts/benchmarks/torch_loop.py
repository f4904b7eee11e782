"""DDPG as one would write it tightly in PyTorch: a peer of the benchmark, without an adversary and without options."""

from __future__ import annotations

from copy import deepcopy
from itertools import pairwise

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn


class TorchLoop:
    """A replay of one tensor, fused Adam, and target networks that follow by foreach calls.

    Args:
        env_id: Id of an env with a Box of actions.
        hidden: Widths of the two hidden layers.
        batch, starts, capacity: Sizes of a minibatch, of the random start and of the replay.
        lr, tau, noise: Rates of Adam and of the targets, and the noise on the actions in [-1, 1].
    """

    def __init__(
        self,
        env_id: str,
        hidden: tuple[int, ...],
        batch: int,
        starts: int,
        capacity: int,
        lr: float,
        tau: float,
        noise: float,
    ) -> None:
        self.env = gym.make(env_id, disable_env_checker=True)
        box = self.env.action_space
        assert isinstance(box, gym.spaces.Box)
        p, k = gym.spaces.flatdim(self.env.observation_space), gym.spaces.flatdim(box)
        self.p, self.k, self.batch, self.starts, self.tau, self.noise = p, k, batch, starts, tau, noise
        self.half, self.center = (box.high - box.low) / 2, (box.high + box.low) / 2
        torch.manual_seed(0)
        self.actor = nn.Sequential(*layers((p, *hidden, k)), nn.Tanh())
        self.critic = nn.Sequential(*layers((p + k, *hidden, 1)))
        self.actor_target, self.critic_target = deepcopy(self.actor), deepcopy(self.critic)
        self.adams = [torch.optim.Adam(net.parameters(), lr, fused=True) for net in (self.actor, self.critic)]
        self.slow = [*self.actor_target.parameters(), *self.critic_target.parameters()]
        self.fast = [*self.actor.parameters(), *self.critic.parameters()]
        self.rows = torch.zeros(capacity, 2 * p + k + 2)
        self.array, self.size, self.at = self.rows.numpy(), 0, 0
        self.rng, self.seen = np.random.default_rng(0), self.env.reset(seed=0)[0]

    def learn(self, steps: int) -> TorchLoop:
        """Act, step the env, store, and update, as often as that."""
        for _ in range(steps):
            self.play()
            if self.size > self.starts:
                self.update()
        return self

    @torch.no_grad()
    def act(self) -> np.ndarray:
        if self.size < self.starts:
            return self.rng.uniform(-1, 1, self.k).astype(np.float32)
        action = self.actor(torch.as_tensor(self.seen, dtype=torch.float32)).numpy()
        return (action + self.noise * self.rng.standard_normal(self.k)).clip(-1, 1)

    def play(self) -> None:
        """Take one step in the env, and store it."""
        p, k, action = self.p, self.k, self.act()
        after, reward, terminated, truncated, _ = self.env.step((self.center + self.half * action).astype(np.float32))
        row = self.array[self.at]
        row[:p], row[p : p + k], row[p + k : 2 * p + k], row[-2], row[-1] = (
            self.seen, action, after, reward, 1 - terminated,
        )  # fmt: skip
        self.at, self.size = (self.at + 1) % len(self.rows), min(self.size + 1, len(self.rows))
        self.seen = self.env.reset()[0] if terminated or truncated else after

    def update(self) -> None:
        """Take one step of critic, actor and targets."""
        batch = self.rows[torch.randint(self.size, (self.batch,))]
        s, a, after, reward, continues = batch.split([self.p, self.k, self.p, 1, 1], 1)
        with torch.no_grad():
            following = self.critic_target(torch.cat([after, self.actor_target(after)], 1))
            target = torch.addcmul(reward, continues, following, value=0.99)
        self.descend(1, nn.functional.mse_loss(self.critic(torch.cat([s, a], 1)), target))
        self.descend(0, -self.critic(torch.cat([s, self.actor(s)], 1)).mean())
        with torch.no_grad():
            torch._foreach_lerp_(self.slow, self.fast, self.tau)  # type: ignore

    def descend(self, number: int, loss: Tensor) -> None:
        """Take a step of Adam on a loss; gradients that another loss left are dropped."""
        self.adams[number].zero_grad()
        loss.backward()
        self.adams[number].step()


def layers(widths: tuple[int, ...]) -> list[nn.Module]:
    """Return linear layers with ReLU between them."""
    found: list[nn.Module] = []
    for p, q in pairwise(widths):
        found += [nn.Linear(p, q), nn.ReLU()]
    return found[:-1]
