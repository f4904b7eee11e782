"""Soft actor-critic against an adversary that acts in the same env."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from robustgames.agents.control.critic_training import CriticTraining
from robustgames.agents.control.parts import is_learned, make_critic_training, share_of
from robustgames.agents.control.player import Player
from robustgames.agents.control.soft_critics import SoftTemporalDifference
from robustgames.agents.control.soft_game import SoftPolicyGame, SoftSample
from robustgames.agents.control.soft_settings import SoftSettings
from robustgames.agents.control.soft_training import SoftTraining
from robustgames.agents.control.squashed import squash
from robustgames.agents.control.stochastic_policies import StochasticPolicies, mean_network, mean_weights
from robustgames.agents.robust_ddpg import RobustDDPG
from robustgames.games import MLP


class RobustSAC(RobustDDPG):
    """Soft actor-critic for a protagonist and an adversary in one env, both with mixed strategies; S runs side by side.

    Both policies are squashed Gaussians. The players move on `SoftPolicyGame`, min_x max_y of
    -E[Q(s, executed(a, ā)) - T log π_x(a|s) + T̄ log π_y(ā|s)], by any solver, and the twin critics learn the same
    value. A temperature for each player holds its entropy at a target. With α = 0 it is SAC.

    `predict` and `policy` return the action of the mean, tanh(m(s)); with `deterministic=False` they draw it.
    Everything else is as in `RobustDDPG`: replay, checkpoints, streams, evaluation. Updates are those of the engine
    torch.

    Source: Haarnoja et al. 2018, Soft Actor-Critic Algorithms and Applications; couplings of Tessler, Efroni and Mannor
    2019.

    Args:
        env, solver, seed, runs, env_settings, device, tensorboard_log, verbose: As in `RobustDDPG`.
        **settings: Fields of `SoftSettings`.

    Raises:
        GameError: As in `RobustDDPG`.

    Example:
        >>> agent = RobustSAC("robustgames/RobustPendulum-v0", runs=3, learning_starts=20, batch_size=8).learn(30)
        >>> agent.predict(np.zeros(3, np.float32), deterministic=False, run=2)[0].shape
        (1,)
    """

    preset = SoftSettings()
    settings: SoftSettings
    policies: StochasticPolicies
    game: SoftPolicyGame
    practice: SoftTraining

    def _make_policies(self) -> StochasticPolicies:
        s, envs = self.settings, self.ongoing
        widths = (envs.observation_size, *s.hidden, 2 * envs.action_size)
        actor, other = (MLP(widths, norm=s.layer_norm) for _ in range(2))
        adversary = other if is_learned(envs, s) else None
        return StochasticPolicies(actor, adversary, share_of(envs, self.device), envs.law)

    def _make_practice(self, generator: Generator) -> CriticTraining:
        s = self.settings
        return make_critic_training(
            self.policies,
            self.ongoing,
            s,
            self.norm,
            self.device,
            generator,
            learns=SoftTemporalDifference,
            trains=SoftTraining,
            temperature=s.temperature,
            temperature_lr=s.temperature_lr,
            target_entropy=s.target_entropy,
        )

    def _make_game(self) -> SoftPolicyGame:
        return SoftPolicyGame(self.policies, self.practice.learning.critic, self.practice, self.settings.final or None)

    # -- what is logged ------------------------------------------------------------------------------------------
    def _objectives(self) -> dict[str, Tensor]:
        """Return Φ on the last minibatch, Q of what each player does alone, entropies and temperatures, (S,) each."""
        states, learning = self.practice.states, self.practice.learning
        temperatures = learning.temperatures(self.practice.state)
        noise = self.policies.draw(states.shape[:-1], Generator(self.device).manual_seed(self.seed), states.dtype)
        sample = SoftSample(states, self.practice.state["w"], noise, temperatures)
        x, y = self.game.split(self.z)
        found = {"train/payoff": self.game.payoff(x, y, sample)}
        draws = self.policies.sample(x, y, states, noise)
        actions = self.policies.joint(*draws, noise)
        each = zip(self.game.players, draws, actions, temperatures.unbind(-1), strict=True)
        for player, drawn, action, temperature in each:
            if action is not None:
                q = self.game.critic(learning.first(self.practice.state), torch.cat([states, action], -1))
                found[f"train/q_of_{player}"] = q.mean((-2, -1))
            if drawn is not None:
                found[f"train/entropy_of_{player}"] = -drawn.log_prob.mean((-2, -1))
                found[f"train/temperature_of_{player}"] = temperature
        return found

    # -- playing -------------------------------------------------------------------------------------------------
    def policy(
        self, run: int = 0, player: str = "protagonist", deterministic: bool = True
    ) -> Callable[[Any], np.ndarray]:
        """Return the present policy of a player of one run: observation -> action, in the shapes of the env.

        Args:
            run: Number of the run.
            player: "protagonist" or "adversary".
            deterministic: Whether its action is tanh(m(s)), or drawn in each call.
        """
        return self._playing(player, run, deterministic).policy(self.ongoing.action_shape)

    def _playing(self, player: str, run: int, deterministic: bool) -> Player:
        """Return a player; draws come from a stream of their own, which training does not advance."""
        return self._player(player, run) if deterministic else self._drawing(player, run)

    def _player(self, player: str, run: int) -> Player:
        whole = super()._player(player, run)
        net = whole.network
        assert isinstance(net, MLP)
        return Player(mean_network(net), mean_weights(net, whole.weights), whole.norm, run)

    def _drawing(self, player: str, run: int) -> Player:
        whole = super()._player(player, run)
        return DrawingPlayer(whole.network, whole.weights, whole.norm, run, self._predicting)

    @cached_property
    def _predicting(self) -> Generator:
        return Generator(self.device).manual_seed(int(self.seed))


class DrawingPlayer(Player):
    """A player that draws each of its actions.

    Args:
        network, weights, norm, run: As in `Player`; the network returns [m | log σ].
        generator: Generator of the draws.
    """

    def __init__(self, network: Any, weights: Tensor, norm: Any, run: int, generator: Generator) -> None:
        super().__init__(network, weights, norm, run)
        self.generator = generator

    @torch.no_grad()
    def act(self, states: Tensor) -> Tensor:
        heads = self.network(self.weights, self.scaled(states))
        noise = torch.randn(
            (*heads.shape[:-1], heads.shape[-1] // 2), generator=self.generator, device=heads.device, dtype=heads.dtype
        )
        return squash(heads, noise).actions
