"""The critic of soft actor-critic, whose targets hold the entropies of both players, and their temperatures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Generator, Tensor

from robustgames.agents.control.critics import TemporalDifference, _flat
from robustgames.agents.control.replay import Transitions
from robustgames.agents.control.stochastic_policies import StochasticPolicies
from robustgames.errors import GameError
from robustgames.solvers.fused_adam import FusedAdam
from robustgames.solvers.rules import State

NO_DRAWS = Generator()  # Adam draws nothing


@dataclass(frozen=True)
class SoftTemporalDifference(TemporalDifference):
    """One step of Q towards r + γ (1 - terminated) V'(s'), V' = E Q'(s', executed) - T log π_x(a') + T̄ log π_y(ā').

    a' and ā' are drawn from the present policies, which have no target networks; Q' is the smaller of two target
    critics, at every action that may be executed. `tune_` moves the temperatures so that each player's entropy tends
    to the target H: log T ascends E log π + H, by Adam.

    Source: Haarnoja et al. 2018, Soft Actor-Critic Algorithms and Applications, equations 5 and 18; the step in log T
    as in their code and in Stable-Baselines3.

    Args:
        temperature: First T of both players, >= 0.
        temperature_lr: Rate of Adam on log T; 0 keeps the temperatures.
        target_entropy: H < k log 2 in nats; -k if None, k being the number of actions.
    """

    policies: StochasticPolicies
    temperature: float = 1.0
    temperature_lr: float = 1e-3
    target_entropy: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_temperature(self.temperature, self.temperature_lr, self.target_entropy)
        most = self.policies.action_size * math.log(2)  # that of uniform actions in [-1, 1]^k
        if self.target_entropy is not None and self.target_entropy >= most:
            raise GameError(
                f"target_entropy is {self.target_entropy:g}: it must be below {most:.3g}, the entropy of uniform "
                f"actions, e.g. -{self.policies.action_size}"
            )

    def init(self, shape: tuple[int, ...], generator: Generator, dtype: torch.dtype = torch.float32) -> State:
        """Draw the critics, and begin the temperatures: also {"log_temperatures": (*S, 2), "temperature_rule"}."""
        state = super().init(shape, generator, dtype)
        logs = state["w"].new_full((*shape, 2), self.temperature).log()
        return {**state, "log_temperatures": logs, "temperature_rule": self._temperature_rule.init(logs)}

    def temperatures(self, state: State) -> Tensor:
        """Return [T, T̄], (*S, 2); T̄ is 0 in runs without an adversary, or with a share of 0."""
        return state["log_temperatures"].exp() * self._present.to(state["log_temperatures"])

    def targets(self, batch: Transitions, z: Tensor, state: State, generator: Generator) -> Tensor:
        """Return r + γ (1 - terminated) V'(s'), as the rewards (*S, B, 1)."""
        policies, after = self.policies, _flat(batch.next_states, 3)
        noise = policies.draw(after.shape[:-1], generator, z.dtype)
        own, other = policies.sample_freely(_flat(z, 2), after, noise)
        mu, nu = policies.joint(own, other, noise)
        assert mu is not None
        v = policies.expectation.value(self._least(state["target"], after, mu, nu, generator))
        t_own, t_other = _flat(self.temperatures(state), 2)[:, None, None, :].unbind(-1)
        v = v - t_own * own.log_prob
        if other is not None:
            v = v + t_other * other.log_prob
        return torch.addcmul(batch.rewards, batch.continues, v.view(batch.rewards.shape), value=self.gamma)

    def tune_(self, z: Tensor, states: Tensor, noise: Tensor, state: State) -> None:
        """Take the step of both temperatures in place, with the draws of noise (*S, B, 2k) in states (*S, B, p)."""
        if self.temperature_lr == 0:
            return
        drawn = self.policies.sample_freely(_flat(z, 2), _flat(states, 3), _flat(noise, 3))
        logs, present = state["log_temperatures"], self._present.to(state["log_temperatures"])
        goal = -float(self.policies.action_size) if self.target_entropy is None else self.target_entropy
        means = [present.new_zeros(()) if one is None else one.log_prob.mean((-2, -1)) + goal for one in drawn]
        ascent = torch.stack(torch.broadcast_tensors(*means), -1).view(logs.shape) * present
        moved, state["temperature_rule"] = self._temperature_rule.step(
            logs, ascent, state["temperature_rule"], NO_DRAWS
        )
        logs.copy_(moved)

    @cached_property
    def _temperature_rule(self) -> FusedAdam:
        return FusedAdam(self.temperature_lr or 1e-3)

    @cached_property
    def _present(self) -> Tensor:
        """Whether each player acts, (S or 1, 2): an adversary without a share has no part in the value."""
        alpha = torch.as_tensor(self.policies.expectation.share.alpha, dtype=torch.float32).reshape(-1)
        other = (alpha > 0) & (self.policies.adversary is not None)
        both = torch.stack([torch.ones_like(alpha), other.to(alpha)], -1)
        return both if len(both) > 1 else both[0]


def check_temperature(temperature: float, rate: float, target_entropy: float | None) -> None:
    """Check the settings of the temperatures.

    Raises:
        GameError: Numbers out of range.
    """
    if not 0 <= rate < float("inf"):
        raise GameError(f"temperature_lr is {rate}: a rate > 0, e.g. 1e-3, or 0, which keeps the temperature")
    if not 0 <= temperature < float("inf") or (temperature == 0 and rate > 0):
        least = ">= 0" if rate == 0 else "> 0, e.g. 1.0; 0 needs temperature_lr=0"
        raise GameError(f"temperature is {temperature}: it must be a number {least}")
    if target_entropy is not None and not abs(target_entropy) < float("inf"):
        raise GameError(f"target_entropy is {target_entropy}: a number, e.g. -1.0, or None, which is -k for k actions")
    if target_entropy is not None and rate == 0:
        raise GameError(
            f"target_entropy is {target_entropy}: temperature_lr=0 keeps the temperature; leave one of them out"
        )
