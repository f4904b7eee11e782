"""DQN against an adversary that replaces one of finitely many actions."""

from __future__ import annotations

import copy
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Generator, Tensor

from robustgames.agents.control.behavior import Behavior
from robustgames.agents.control.epsilon_greedy import EpsilonGreedy
from robustgames.agents.control.parts import share_of
from robustgames.agents.control.player import Player
from robustgames.agents.control.policies import Policies
from robustgames.agents.control.q_learning import Greedy, GreedyPolicies, QGame, QTraining, robust_value
from robustgames.agents.control.replay import Replay
from robustgames.agents.control.settings import Adversary, Engine, Settings, check_positive
from robustgames.agents.robust_ddpg import RobustDDPG
from robustgames.envs.control.discrete_actions import finite_actions
from robustgames.errors import GameError
from robustgames.evaluation.observation_attacks import Differentiable
from robustgames.games import MLP


@dataclass(frozen=True)
class DQNSettings:
    """Hyper-parameters of `RobustDQN`.

    Attributes:
        hidden: Widths of the hidden layers of Q, ReLU between them.
        final: Half the width of the first weights of the last layer. If 0, they are drawn like the other layers.
        gamma: Discount.
        tau: Share by which the target weights follow when they move; 1 copies the weights (Mnih et al. 2015).
        target_update_interval: Number of env steps after which the target weights move.
        train_freq: Number of env steps from one round of updates to the next.
        gradient_steps: Number of updates in a round.
        max_grad_norm: Euclidean norm to which a longer gradient is cut; 0 cuts none.
        double: Whether Q chooses the actions that the target weights evaluate (van Hasselt et al. 2016), instead of the
            target weights themselves (Mnih et al. 2015).
        huber: Whether errors above 1 count linearly, as in Mnih et al. 2015, instead of squared. Then the few ends of
            episodes, whose errors are as large as Q, weigh no more than errors of 1.
        batch_size: Number of transitions in a minibatch.
        buffer_size: Number of transitions in the replay of a run.
        learning_starts: Number of steps with random actions before the first update.
        exploration_steps: Steps after the random ones in which the probability of a random action falls from 1.
        epsilon: Probability of a random action after them (Mnih et al. 2015: 0.1).
        normalize: Scaling of observations by their running mean and deviation, frozen in evaluation.
        adversary: Kind of adversary: learned, the action of least Q, or random, the control.
        engine: What computes updates and actions: auto and torch are PyTorch.

    Raises:
        GameError: Numbers out of range, or unknown words.
    """

    hidden: tuple[int, ...] = (128, 128)
    final: float = 0.0
    gamma: float = 0.99
    tau: float = 1.0
    target_update_interval: int = 10
    train_freq: int = 128
    gradient_steps: int = 64
    max_grad_norm: float = 10.0
    double: bool = True
    huber: bool = False
    batch_size: int = 128
    buffer_size: int = 100_000
    learning_starts: int = 1_000
    exploration_steps: int = 7_000
    epsilon: float = 0.04
    normalize: bool = False
    adversary: Adversary = "learned"
    engine: Engine = "auto"

    def __post_init__(self) -> None:
        common = {f.name for f in fields(Settings)} & {f.name for f in fields(self)}
        Settings(**{name: getattr(self, name) for name in common})  # the same checks
        check_positive(self, exploration_steps=7000, train_freq=128, gradient_steps=64, target_update_interval=10)
        if not 0 <= self.max_grad_norm < float("inf"):
            raise GameError(f"max_grad_norm is {self.max_grad_norm}: the longest gradient, e.g. 10, or 0 for any")
        if not 0 <= self.epsilon <= 1:
            raise GameError(f"epsilon is {self.epsilon}: the probability of a random action, in [0, 1], e.g. 0.05")
        if not 0 <= self.gamma < 1 or not 0 < self.tau <= 1:
            raise GameError(f"gamma is {self.gamma} and tau {self.tau}: in [0, 1) and (0, 1], e.g. 0.99 and 0.005")

    changed = Settings.changed


class RobustDQN(RobustDDPG):
    """DQN whose value holds against an adversary that replaces each action with probability α: the optimum of PR-MDP.

        Q(s, a) → r + γ (1 - terminated) V(s'),        V = (1 - α) max_a Q + α min_a Q.

    One Q serves both players, so the operator is exact, and not a pair of policies that chase each other. With α = 0 it
    is DQN, by default double DQN. The solver steps on `QGame`, Adam(1e-3) by default.

    All else is that of `RobustDDPG`: runs side by side, streams, checkpoints and evaluation.

    Source: Mnih et al. 2015; van Hasselt, Guez and Silver 2016; Tessler, Efroni and Mannor 2019 (PR-MDP).

    Args:
        env: Id of a control env with an adversary and finitely many actions, with coupling "probabilistic", or one env.
        solver: Scheme of Q's weights, or a name of `make_solver`.
        seed: Seed of everything random.
        runs: Number of runs S.
        env_settings: Settings of the id, e.g. {"env_id": "CartPole-v1", "coupling": "probabilistic", "alpha": 0.1}.
        device: Device, see `RobustDDPG`.
        tensorboard_log: Folder of event files; if None, none are written.
        verbose: If 1, every log is printed as a table.
        **settings: Fields of `DQNSettings`.

    Raises:
        GameError: An env with other actions or another coupling, or settings that are out of range.

    Example:
        >>> env, soon = {"env_id": "CartPole-v1", "coupling": "probabilistic"}, {"learning_starts": 20, "train_freq": 5}
        >>> agent = RobustDQN("robustgames/ActionRobust-v0", env_settings=env | {"alpha": 0.1}, **soon).learn(30)
        >>> agent.predict(torch.zeros(4))[0].shape, sorted(agent.policy()(torch.zeros(4).numpy()).tolist())
        ((2,), [-1.0, 1.0])
    """

    preset: Any = DQNSettings()
    takes_preferences = True

    def _make_policies(self) -> Policies:
        core, episodes, s = self.env.unwrapped, self.ongoing, self.settings
        if finite_actions(core) is None:
            raise GameError(f"{getattr(core, 'env_id', core)} has continuous actions: train it with robust_ddpg")
        if any(episodes.alphas) and not episodes.law.separate:
            raise GameError(
                f"the coupling is {episodes.coupling}: robust_dqn has the value of an adversary that replaces actions, "
                "--set coupling=probabilistic; without an adversary --set alpha=0"
            )
        q = MLP((episodes.observation_size, *s.hidden, episodes.action_size))
        return GreedyPolicies(q, share_of(episodes, self.device), episodes.law, s.adversary == "random")

    def _make_practice(self, generator: Generator) -> QTraining:  # type: ignore[override]
        episodes, s = self.ongoing, self.settings
        sizes = (episodes.observation_size, episodes.action_size, (episodes.runs,))
        return QTraining(Replay(s.buffer_size, *sizes, self.device), s.batch_size, s.tau, self.norm)

    def _make_game(self) -> Any:
        s: Any = self.settings
        longest = s.max_grad_norm or None
        return QGame(self.policies, self.practice, s.gamma, s.double, s.final or None, s.huber, longest)  # type: ignore[arg-type]

    def _make_behavior(self) -> Behavior:
        s: Any = self.settings
        return EpsilonGreedy(self.policies, s.exploration_steps, s.epsilon, self.generator, len(self.z))  # type: ignore[arg-type]

    def _update(self) -> None:
        """Move the target weights, then take a round of updates, each if it is due after this env step.

        That is the order of Stable-Baselines3.
        """
        s: Any = self.settings
        practice: Any = self.practice
        if self.num_timesteps % s.target_update_interval == 0:
            practice.move_target(self.z)
        if self.num_timesteps % s.train_freq == 0:
            for _ in range(s.gradient_steps):
                self.updates += 1
                self.z, self.state = self.engine.step(self.z, self.state, due=True)

    def _player(self, player: str, run: int) -> Player:
        found = super()._player(player, run)
        if player == "adversary":  # the weights are the protagonist's
            found.weights = self.z[run].clone()
        return found

    @torch.no_grad()
    def values(self, states: Tensor) -> Tensor:
        """Return the value of both players' best actions, (S, B): states (S, B, p)."""
        states = states.to(self.device)
        scaled = states if self.norm is None else self.norm.apply_(states.clone())
        return self._value(self._q(self.z, scaled)).squeeze(-1)

    def differentiable(self, run: int) -> Differentiable:
        """Return the policy of a run for attacks by gradients: 2 softmax(Q) - 1, of which the largest one is played."""
        weights, norm = self.z[run].clone(), copy.deepcopy(self.norm)

        def q_of(states: Tensor) -> Tensor:
            return self._q(weights, states if norm is None else norm.apply_(states.clone(), run))

        def act(states: Tensor) -> Tensor:
            return 2 * q_of(states).softmax(-1) - 1

        return Differentiable(act, lambda states, actions: (q_of(states) * (actions + 1) / 2).sum(-1))

    def _value(self, q: Tensor) -> Tensor:
        assert isinstance(self.policies, GreedyPolicies)
        return robust_value(q, self.policies.expectation.share.alpha, random=self.policies.random)

    def _q(self, weights: Tensor, states: Tensor) -> Tensor:
        actor = self.policies.actor
        assert isinstance(actor, Greedy)
        return actor.q(weights, states)

    @torch.no_grad()
    def _objectives(self) -> dict[str, Tensor]:
        """Return the largest and the least Q on the last minibatch, and the value of both, (S,) each."""
        states = self.practice.states
        q = self._q(self.z, states)
        v = self._value(q)
        means = {"q_of_protagonist": q.amax(-1), "q_of_adversary": q.amin(-1), "value": v.squeeze(-1)}
        return {f"train/{name}": value.mean(-1) for name, value in means.items()}
