"""The parts of a `RobustDDPG`, made from its settings and its envs."""

from __future__ import annotations

import torch
from torch import Generator

from robustgames.agents.control.critic_training import CriticTraining
from robustgames.agents.control.critics import TemporalDifference
from robustgames.agents.control.episodes import Episodes
from robustgames.agents.control.normalization import RunningNorm
from robustgames.agents.control.policies import Policies
from robustgames.agents.control.replay import Replay
from robustgames.agents.control.settings import Settings
from robustgames.games import MLP, Oracle
from robustgames.solvers import FusedAdam, Scheme, fused, make_solver
from robustgames.solvers.fitting import fit


def make_policies(episodes: Episodes, s: Settings, device: torch.device) -> Policies:
    """Return the two policies for these envs; the adversary has a network if it is learned and has a share."""
    alphas = episodes.alphas
    actor, other = (
        MLP((episodes.observation_size, *s.hidden, episodes.action_size), last="tanh", norm=s.layer_norm)
        for _ in range(2)
    )
    learned = s.adversary == "learned" and any(alphas)
    alpha = alphas[0] if len(set(alphas)) == 1 else torch.tensor(alphas, device=device)
    return Policies(actor, other if learned else None, alpha, episodes.law)


def make_alone(episodes: Episodes, s: Settings) -> Policies:
    """Return the policy of a player whose opponent is a part of its env."""
    actor = MLP((episodes.observation_size, *s.hidden, episodes.action_size), last="tanh", norm=s.layer_norm)
    return Policies(actor, None, 0.0)


def make_critic_training(
    policies: Policies,
    episodes: Episodes,
    s: Settings,
    norm: RunningNorm | None,
    device: torch.device,
    generator: Generator,
) -> CriticTraining:
    """Return the replay and the critic that learns from it; the generator draws the critic's first weights."""
    states, actions = episodes.observation_size, episodes.action_size
    learning = TemporalDifference(
        policies,
        MLP((states + actions, *s.hidden, 1), norm=s.layer_norm),
        s.gamma,
        s.tau,
        s.twin,
        s.smoothing,
        rule=FusedAdam(s.critic_lr),
        l2=s.l2,
        final=s.final or None,
    )
    replay = Replay(s.buffer_size, states, actions, (episodes.runs,), device)
    return CriticTraining(replay, learning, s.batch_size, generator, s.every_draw, norm)


def make_policy_solver(solver: Scheme | str | None, oracle: Oracle) -> Scheme:
    """Return the solver of the policies, fitted to their game; Adam(1e-3) by default."""
    if solver is None:
        solver = make_solver("adam", lr=1e-3)
    return fused(fit(make_solver(solver) if isinstance(solver, str) else solver, oracle))
