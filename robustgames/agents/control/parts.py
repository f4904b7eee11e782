"""The parts of a `RobustDDPG`, made from its settings and its envs."""

from __future__ import annotations

from typing import Any

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
    actor, other = make_actor(episodes, s), make_actor(episodes, s)
    return Policies(actor, other if is_learned(episodes, s) else None, share_of(episodes, device), episodes.law)


def make_actor(episodes: Episodes, s: Settings) -> MLP:
    """Return the network of a deterministic policy."""
    return MLP((episodes.observation_size, *s.hidden, episodes.action_size), last="tanh", norm=s.layer_norm)


def is_learned(episodes: Episodes, s: Settings) -> bool:
    """Return whether the adversary is learned: it may be, and has a share."""
    return s.adversary == "learned" and any(episodes.alphas)


def share_of(episodes: Episodes, device: torch.device) -> float | torch.Tensor:
    """Return α, or a tensor of one per run if they differ."""
    alphas = episodes.alphas
    return alphas[0] if len(set(alphas)) == 1 else torch.tensor(alphas, device=device)


def make_alone(episodes: Episodes, s: Settings) -> Policies:
    """Return the policy of a player whose opponent is a part of its env."""
    return Policies(make_actor(episodes, s), None, 0.0)


def make_critic_training(
    policies: Policies,
    episodes: Episodes,
    s: Settings,
    norm: RunningNorm | None,
    device: torch.device,
    generator: Generator,
    further: int = 0,
    learns: type[TemporalDifference] = TemporalDifference,
    trains: type[CriticTraining] = CriticTraining,
    **more: Any,
) -> CriticTraining:
    """Return the replay and the critic that learns from it.

    Args:
        policies: Policies of the players.
        episodes: Envs of the runs.
        s: Settings of the agent.
        norm: Scaling of the sampled observations.
        device: Device of the replay.
        generator: Generator of the critic's first weights.
        further: Number of inputs that the critic has after the action; the replay stores them with the action.
        learns: Kind of critic.
        trains: Kind of training.
        **more: Further settings of the critic.
    """
    states, actions = episodes.observation_size, episodes.action_size + further
    learning = learns(
        policies,
        MLP((states + actions, *s.hidden, 1), norm=s.layer_norm),
        s.gamma,
        s.tau,
        s.twin,
        s.smoothing,
        rule=FusedAdam(s.critic_lr),
        l2=s.l2,
        final=s.final or None,
        **more,
    )
    replay = Replay(s.buffer_size, states, actions, (episodes.runs,), device)
    return trains(replay, learning, s.batch_size, generator, s.every_draw, norm)


def make_policy_solver(solver: Scheme | str | None, oracle: Oracle) -> Scheme:
    """Return the solver of the policies, fitted to their game; Adam(1e-3) by default."""
    if solver is None:
        solver = make_solver("adam", lr=1e-3)
    return fused(fit(make_solver(solver) if isinstance(solver, str) else solver, oracle))
