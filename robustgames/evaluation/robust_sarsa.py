"""Q of a fixed policy for attacks on its observations: robust Sarsa."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Generator, Tensor, nn

from robustgames.evaluation.adversaries import SELECTION
from robustgames.evaluation.side_by_side import Episodes, SideBySide

EPISODES, NOISE = 10, 0.2
GAMMA, LAMBDA = 0.99, 0.95
ROUNDS, UPDATES, BATCH, RATE = 10, 100, 256, 3e-3
RADIUS, WEIGHT = 0.1, 1.0


def fit_robust_sarsa(
    policy: Callable[[np.ndarray], np.ndarray], envs: SideBySide, seed: int = 0
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return Q^μ fitted to episodes of a policy, ((B, p), (B, k)) -> (B,), up to its scale.

    It minimizes, over a network of 64-64, the mean of

        (Q(s, a) - G)² + max over |â - a| <= 0.1 of (Q(s, â) - Q(s, a))²,

    where the second term keeps Q smooth in the action, without which its gradient there would say little. G are
    λ-returns of Sarsa, r + γ ((1 - λ) Q(s', a') + λ G'), that are computed again in each of 10 rounds; Q(s', a') closes
    an episode that was truncated, and nothing one that terminated. The inner maximum is that of one signed gradient
    step from a random point. The actions have noise of standard deviation 0.2: those of a deterministic policy alone
    do not show how Q depends on them.

    Published code shuffles the transitions before it takes "the next" one of the batch for (s', a'); here s' follows s.

    Args:
        policy: Policy μ.
        envs: Envs to play 10 episodes in, other ones than those of an evaluation.
        seed: Seed of episodes, noise and network.

    Source: Zhang et al. 2020, section 3.5 (robust Sarsa; there with a convex relaxation for the inner maximum).
    """
    played = envs.play(policy, min(EPISODES, envs.count), seed + 2 * SELECTION, noise=NOISE)
    states, actions = (np.concatenate(rows) for rows in ([s[:-1] for s in played.states], played.actions))
    mean, std = states.mean(0), states.std(0)
    center, unit = (torch.as_tensor(x, dtype=torch.float32) for x in (mean, np.where(std > 1e-6, std, 1.0)))
    generator = Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        first = nn.Linear(states.shape[1] + actions.shape[1], 64)
        net = nn.Sequential(first, nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))

    def q(s: Tensor, a: Tensor) -> Tensor:
        return net(torch.cat([(s - center) / unit, a], -1)).squeeze(-1)

    inputs = [torch.as_tensor(x, dtype=torch.float32) for x in (states, actions)]
    with torch.inference_mode(False), torch.enable_grad():
        _fit(q, net, played, inputs, policy, generator)
    net.requires_grad_(False)
    return q


def _fit(
    q: Callable[[Tensor, Tensor], Tensor],
    net: nn.Module,
    played: Episodes,
    inputs: list[Tensor],
    policy: Callable[[np.ndarray], np.ndarray],
    generator: Generator,
) -> None:
    adam = torch.optim.Adam(net.parameters(), RATE)
    middle = spread = None
    for _ in range(ROUNDS):
        after = [np.zeros(len(rewards)) for rewards in played.rewards]
        if middle is not None:
            after = [middle + spread * values for values in _values_after(q, played, policy)]
            for values, terminated in zip(after, played.terminated, strict=True):
                values[-1] *= not terminated
        returns = np.concatenate([_lambda_returns(*row) for row in zip(played.rewards, after, strict=True)])
        if middle is None:
            middle, spread = returns.mean(), returns.std() or 1.0
        targets = torch.as_tensor((returns - middle) / spread, dtype=torch.float32)
        for _ in range(UPDATES):
            rows = torch.randint(len(targets), (BATCH,), generator=generator)
            s, a = (each[rows] for each in inputs)
            loss = (q(s, a) - targets[rows]).square().mean() + WEIGHT * _roughness(q, s, a, generator)
            adam.zero_grad()
            loss.backward()
            adam.step()


def _values_after(
    q: Callable[[Tensor, Tensor], Tensor], played: Episodes, policy: Callable[[np.ndarray], np.ndarray]
) -> list[np.ndarray]:
    """Return Q(s', a') of every step, in units of the network."""
    found = []
    for states, actions in zip(played.states, played.actions, strict=True):
        following = np.concatenate([actions[1:], np.asarray(policy(states[-1]))[None]])
        rows = (torch.as_tensor(x, dtype=torch.float32) for x in (states[1:], following))
        with torch.no_grad():
            found.append(q(*rows).double().numpy())
    return found


def _lambda_returns(rewards: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return G_t = r_t + γ ((1 - λ) Q(s', a') + λ G_{t+1}), where the last G is Q(s', a')."""
    out, g = np.empty(len(rewards)), after[-1]
    for t in reversed(range(len(rewards))):
        g = rewards[t] + GAMMA * ((1 - LAMBDA) * after[t] + LAMBDA * g)
        out[t] = g
    return out


def _roughness(q: Callable[[Tensor, Tensor], Tensor], s: Tensor, a: Tensor, generator: Generator) -> Tensor:
    """Return the mean over rows of max (Q(s, â) - Q(s, a))² over |â - a| <= RADIUS, after one step."""
    near = a + RADIUS * (2 * torch.rand(a.shape, generator=generator) - 1)
    near.requires_grad_()
    (g,) = torch.autograd.grad((q(s, near) - q(s, a)).square().sum(), near)
    with torch.no_grad():
        near = (near + 2 * RADIUS * g.sign()).clamp(a - RADIUS, a + RADIUS)
    return (q(s, near) - q(s, a)).square().mean()
