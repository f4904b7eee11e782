"""DDPG and TD3 on one page, with an adversary: modules, autograd and torch's optimizers, nothing written out by hand.

`RobustDDPG` computes the same updates, faster; tests/test_robust_ddpg.py compares both. Read this page first.

Source: Lillicrap et al. 2016, algorithm 1; Fujimoto, van Hoof and Meger 2018, algorithm 1; Tessler, Efroni and Mannor
2019, algorithm 5.
"""

import copy
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn


@dataclass(frozen=True)
class Settings:
    """TD3 is twin=True, smoothing=0.2, delay=2."""

    gamma: float = 0.99
    tau: float = 0.005
    lr: float = 1e-3
    twin: bool = False
    smoothing: float = 0.0
    delay: int = 1
    coupling: str = "noisy"
    alpha: float = 0.0


def network(widths, last=None):
    """Return linear layers with ReLU between them."""
    layers = [part for p, q in pairwise(widths) for part in (nn.Linear(p, q), nn.ReLU())]
    return nn.Sequential(*layers[:-1], *([] if last is None else [last]))


def parameters(*networks):
    """Return the parameters of several networks in one list."""
    return [p for net in networks for p in net.parameters()]


class ReferenceDDPG:
    """One protagonist μ, one adversary ν and one or two critics Q, which learn from batches of transitions."""

    def __init__(self, states, actions, hidden, settings, generator):
        self.settings, self.generator, self.updates = settings, generator, 0
        self.actor, self.adversary = (network((states, *hidden, actions), nn.Tanh()) for _ in range(2))
        self.critics = [network((states + actions, *hidden, 1)) for _ in range(1 + settings.twin)]
        self.networks = nn.ModuleList([self.actor, self.adversary, *self.critics])
        self.adams = {
            "actor": torch.optim.Adam(self.actor.parameters(), settings.lr),
            "adversary": torch.optim.Adam(self.adversary.parameters(), settings.lr),
            "critics": torch.optim.Adam(parameters(*self.critics), settings.lr),
        }

    def start(self):
        """Copy the networks to the target networks."""
        self.targets = copy.deepcopy(self.networks)

    def update(self, states, actions, rewards, next_states, terminated):
        """Take one step of the critics and, every `delay` steps, one of both players and the target networks."""
        s = self.settings
        with torch.no_grad():
            mu, nu, *critics = self.targets
            value = self.expectation(critics, next_states, mu(next_states), nu(next_states), self.noise)
            target = rewards + s.gamma * (1 - terminated) * value
        errors = [critic(torch.cat([states, actions], -1)) - target for critic in self.critics]
        self.descend(sum(error.square().mean() for error in errors), "critics")
        self.updates += 1
        if self.updates % s.delay == 0:
            value = self.expectation(self.critics[:1], states, self.actor(states), self.adversary(states)).mean()
            self.play(value)
            with torch.no_grad():
                for slow, fast in zip(self.targets.parameters(), self.networks.parameters(), strict=True):
                    slow.lerp_(fast, s.tau)

    def expectation(self, critics, states, mu, nu, noise=torch.zeros_like):
        """Return E Q(s, executed action), with Q the smaller of the critics at every action."""
        alpha = self.settings.alpha

        def q(action):
            smoothed = (action + noise(action)).clamp(-1, 1)
            return torch.stack([critic(torch.cat([states, smoothed], -1)) for critic in critics]).amin(0)

        if self.settings.coupling == "noisy":
            return q((1 - alpha) * mu + alpha * nu)
        return (1 - alpha) * q(mu) + alpha * q(nu)

    def noise(self, actions):
        """Return the clipped noise of TD3's target."""
        if not self.settings.smoothing:
            return torch.zeros_like(actions)
        drawn = torch.randn(actions.shape, generator=self.generator) * self.settings.smoothing
        return drawn.clamp(-0.5, 0.5)

    def play(self, value):
        """Take a step of both players at the same time: the protagonist ascends the value, the adversary descends."""
        for player in ("actor", "adversary"):
            self.adams[player].zero_grad()
        value.backward()
        for p in self.actor.parameters():
            p.grad.neg_()
        for player in ("actor", "adversary"):
            self.adams[player].step()

    def descend(self, loss, part):
        """Take one step of Adam on a loss."""
        self.adams[part].zero_grad()
        loss.backward()
        self.adams[part].step()
