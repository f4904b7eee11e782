"""SAC on one page, with an adversary: modules, torch.distributions, autograd and torch's optimizers.

`RobustSAC` computes the same updates, faster; tests/agents/test_robust_sac.py compares both. Read this page first.

Source: Haarnoja et al. 2018, Soft Actor-Critic Algorithms and Applications, algorithm 1; couplings of Tessler, Efroni
and Mannor 2019.
"""

import copy
from dataclasses import dataclass

import torch
from reference_ddpg import network, parameters
from torch import nn
from torch.distributions import Normal, TanhTransform


@dataclass(frozen=True)
class Settings:
    """With alpha=0 it is SAC."""

    gamma: float = 0.99
    tau: float = 0.005
    lr: float = 1e-3
    coupling: str = "noisy"
    alpha: float = 0.0


class ReferenceSAC:
    """One protagonist π_x, one adversary π_y, two critics Q and two temperatures, which learn from transitions."""

    def __init__(self, states, actions, hidden, settings):
        self.settings, self.k = settings, actions
        self.actor, self.adversary = (network((states, *hidden, 2 * actions)) for _ in range(2))
        self.critics = nn.ModuleList([network((states + actions, *hidden, 1)) for _ in range(2)])
        self.log_t = nn.Parameter(torch.zeros(2))
        parts = {"actor": self.actor, "adversary": self.adversary, "critics": self.critics}
        self.adams = {name: torch.optim.Adam(parameters(part), settings.lr) for name, part in parts.items()}
        self.adams["temperatures"] = torch.optim.Adam([self.log_t], settings.lr)

    def start(self):
        """Copy the critics to the target critics."""
        self.targets = copy.deepcopy(self.critics)

    def update(self, states, actions, rewards, next_states, terminated, next_noise, noise):
        """Take one step of critics, players, temperatures and target critics, all from the same point."""
        s, temperatures = self.settings, self.log_t.detach().exp()
        with torch.no_grad():
            value, _ = self.soft_value(self.targets, next_states, next_noise, temperatures)
            target = rewards + s.gamma * (1 - terminated) * value
        self.descend(
            sum((q(torch.cat([states, actions], -1)) - target).square().mean() for q in self.critics), "critics"
        )
        value, log_probs = self.soft_value(self.critics, states, noise, temperatures)
        for player in ("actor", "adversary"):
            self.adams[player].zero_grad()
        value.mean().backward()
        for p in self.actor.parameters():
            p.grad.neg_()  # the protagonist ascends, the adversary descends
        for player in ("actor", "adversary"):
            self.adams[player].step()
        self.descend(-(self.log_t * (log_probs.detach().mean((0, 1)) - self.k)).sum(), "temperatures")
        with torch.no_grad():
            for slow, fast in zip(self.targets.parameters(), self.critics.parameters(), strict=True):
                slow.lerp_(fast, s.tau)

    def soft_value(self, critics, states, noise, temperatures):
        """Return (E min Q(s, executed) - T log π_x(a|s) + T̄ log π_y(ā|s), (B, 1); both log-densities, (B, 1, 2))."""
        alpha = self.settings.alpha
        (a, log_a), (b, log_b) = (
            self.drawn(policy, states, xi)
            for policy, xi in zip((self.actor, self.adversary), noise.chunk(2, -1), strict=True)
        )

        def q(action):
            return torch.stack([critic(torch.cat([states, action], -1)) for critic in critics]).amin(0)

        if self.settings.coupling == "noisy":
            value = q((1 - alpha) * a + alpha * b)
        else:
            value = (1 - alpha) * q(a) + alpha * q(b)
        own, other = temperatures
        return value - own * log_a + (alpha > 0) * other * log_b, torch.stack([log_a, log_b], -1)

    def drawn(self, policy, states, xi):
        """Return (tanh(m + σ ξ), its log-density)."""
        mean, log_std = policy(states).chunk(2, -1)
        gaussian, squashing = Normal(mean, log_std.clamp(-20, 2).exp()), TanhTransform()
        u = mean + gaussian.scale * xi
        density = gaussian.log_prob(u) - squashing.log_abs_det_jacobian(u, squashing(u))
        return squashing(u), density.sum(-1, keepdim=True)

    def descend(self, loss, part):
        """Take one step of Adam on a loss."""
        self.adams[part].zero_grad()
        loss.backward()
        self.adams[part].step()
