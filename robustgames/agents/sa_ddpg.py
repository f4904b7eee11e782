"""SA-DDPG and SA-TD3: policies that change little where an adversary shifts what they observe."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, get_args

import torch
from torch import Tensor

from robustgames.agents.control.observation_game import BallSample, Maximizer, StateAdversarialGame, check_smoothing
from robustgames.agents.control.settings import Settings
from robustgames.agents.robust_ddpg import RobustDDPG
from robustgames.errors import GameError, check_whole_numbers, unknown


@dataclass(frozen=True)
class SASettings(Settings):
    """Hyper-parameters of `SADDPG`.

    Attributes:
        sa_kappa: Weight of the regularization (Zhang et al. 2020: 0.1 … 1000, by env and maximizer, on means over the
            actions).
        sa_eps: Radius of the balls, in units of `sa_scale`.
        sa_scale: Units of the components of what the networks take, one each. If empty they are all 1, which are
            standard deviations with `normalize`.
        sa_maximizer: What finds the most different action in a ball: steps of projected gradient ascent, or an upper
            bound by intervals, which needs no steps and is far above it for wide networks.
        sa_steps: Number of these steps (Zhang et al. 2020, code: 5).
        sa_start: Number of updates before the radius begins to rise (Zhang et al. 2020, code: half of all).
        sa_ramp: Number of updates in which it rises from 0 to sa_eps, linearly (Zhang et al. 2020, code: a quarter).

    Raises:
        GameError: Numbers out of range, or unknown words.
    """

    sa_kappa: float = 1.0
    sa_eps: float = 0.1
    sa_scale: tuple[float, ...] = ()
    sa_maximizer: Maximizer = "steps"
    sa_steps: int = 5
    sa_start: int = 0
    sa_ramp: int = 5_000

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "sa_scale", tuple(self.sa_scale))
        if not all(0 < unit < float("inf") for unit in self.sa_scale):
            raise GameError(f"sa_scale is {self.sa_scale}: units are positive, e.g. sa_scale=(0.5, 0.5, 2.0)")
        check_smoothing(self, "sa_")
        check_whole_numbers(self, sa_start=0, sa_ramp=0)
        if self.sa_maximizer not in (known := get_args(Maximizer)):
            raise unknown("sa_maximizer", str(self.sa_maximizer), known)
        if self.sa_maximizer == "interval" and self.sa_steps != type(self).sa_steps:
            raise GameError(
                f"sa_steps is {self.sa_steps}: intervals take no steps; leave it out, or sa_maximizer='steps'"
            )

    def radius(self, updates: int) -> float:
        """Return the radius of the update number `updates`.

        Example:
            >>> [SASettings(sa_eps=0.2, sa_start=10, sa_ramp=20).radius(k) for k in (10, 20, 30, 40)]
            [0.0, 0.1, 0.2, 0.2]
        """
        return self.sa_eps * min(max((updates - self.sa_start) / max(self.sa_ramp, 1), 0.0), 1.0)


class SADDPG(RobustDDPG):
    """DDPG whose policy is regularized by how much its actions change where its observation is shifted (SA-DDPG).

    The players move on `StateAdversarialGame`, min_x max_ŝ of -mean Q(s, μ_x(s)) + κ mean |μ_x(ŝ(s)) - μ_x(s)|²: a
    third player shifts the state of every sample within the ball of radius eps. All else is `RobustDDPG`. By default
    nothing disturbs the actions: the env's share α is 0 unless it or a coupling is given.

    Source: Zhang et al. 2020, Robust Deep Reinforcement Learning against Adversarial Perturbations on State
    Observations.

    Example:
        >>> agent = SADDPG(learning_starts=20, batch_size=8, sa_eps=0.2, sa_ramp=10).learn(30)
        >>> agent.game.eps, agent.has_adversary
        (0.2, False)
    """

    preset: ClassVar[SASettings] = SASettings()
    env_defaults = {"alpha": 0.0}  # noqa: RUF012 (never changed)
    settings: SASettings
    game: StateAdversarialGame

    def _make_game(self) -> StateAdversarialGame:
        s, critic = self.settings, self.practice.learning.critic
        if len(s.sa_scale) not in (0, size := self.ongoing.observation_size):
            raise GameError(f"sa_scale has {len(s.sa_scale)} units: observations have {size} components")
        return StateAdversarialGame(
            self.policies,
            critic,
            self.practice,
            s.final or None,
            s.sa_kappa,
            0.0,
            s.sa_scale,
            s.sa_maximizer,
            s.sa_steps,
        )

    def _update(self) -> None:
        self.game.eps = self.settings.radius(self.updates + 1)
        super()._update()

    def _objectives(self) -> dict[str, Tensor]:
        """Return what all agents log, and the roughness of the policy on the last minibatch."""
        found, states = super()._objectives(), self.practice.states
        generator = torch.Generator(states.device).manual_seed(self.seed)
        start = 2 * torch.rand(states.shape, generator=generator, device=states.device, dtype=states.dtype) - 1
        self.game.eps = self.settings.radius(self.updates)
        sample = BallSample(states, states.new_empty(0), None, start)
        found["train/roughness"] = self.game.rough(self.game.split(self.z)[0], sample)[0]
        return found


class SATD3(SADDPG):
    """`SADDPG` with two critics, target smoothing 0.2, a delay of 2 and tau 0.005.

    Example:
        >>> SATD3(learning_starts=20, batch_size=8).learn(30).settings.twin
        True
    """

    preset: ClassVar[SASettings] = replace(SADDPG.preset, tau=0.005, twin=True, smoothing=0.2, delay=2)
