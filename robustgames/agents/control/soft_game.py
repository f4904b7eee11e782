"""The step of both players in action-robust soft actor-critic as a game, for any solver."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Generator, Tensor

from robustgames.agents.control.policies import FlatNetwork
from robustgames.agents.control.policy_game import PolicyGame
from robustgames.agents.control.squashed import Squashed, in_heads
from robustgames.agents.control.stochastic_policies import StochasticPolicies
from robustgames.tensors import Movable


class SoftSample(NamedTuple):
    """One draw of ζ."""

    states: Tensor
    """(*S, B, p)."""
    critic: Tensor
    """Weights of one or two critics, (*S, c) or (*S, 2c): fixed while the players move."""
    drawn: Tensor
    """Noise of both players, [ξ | ξ̄], (*S, B, 2k)."""
    temperatures: Tensor
    """[T, T̄], (*S, 2)."""


class SoftSource(Protocol):
    """A source of ζ: the states, the critics, the noise and the temperatures."""

    def draw_soft(self, shape: tuple[int, ...], generator: Generator, dtype: torch.dtype) -> SoftSample:
        """Return one draw for runs of a shape."""
        ...


class FixedSoft(Movable):
    """A source of the same states, critic and temperatures at every draw, with new noise.

    Args:
        policies: Policies whose noise is drawn.
        states: States (B, p) of all runs.
        temperatures: [T, T̄], (2,).
        critic: Weights (c,); none by default, for a Q that is known.
    """

    def __init__(
        self, policies: StochasticPolicies, states: Tensor, temperatures: Tensor, critic: Tensor | None = None
    ) -> None:
        self.policies, self.states, self.temperatures = policies, states, temperatures
        self.critic = torch.empty(0) if critic is None else critic

    def draw_soft(self, shape: tuple[int, ...], generator: Generator, dtype: torch.dtype) -> SoftSample:
        """Return the states, the critic, new noise and the temperatures for every run."""
        states, critic, temperatures = (
            t.to(generator.device, dtype) for t in (self.states, self.critic, self.temperatures)
        )
        noise = self.policies.draw((*shape, len(states)), generator, dtype)
        return SoftSample(
            states.expand(*shape, *states.shape), critic.expand(*shape, -1), noise, temperatures.expand(*shape, 2)
        )


class SoftPolicyGame(PolicyGame):
    """min_x max_y Φ, Φ = -mean_s E[Q(s, executed(a, ā)) - T log π_x(a|s) + T̄ log π_y(ā|s)], a ~ π_x, ā ~ π_y.

    Q is the smaller of two critics, and the gradient goes through the draws a = tanh(m + σ ξ). Each player maximizes
    its own entropy: T log π_x is a cost of the protagonist, T̄ log π_y one of the adversary. So at positive
    temperatures both strategies are mixed, which the noisy coupling needs for a value. With α = 0 and without an
    adversary the field is the policy gradient of SAC.

    Source: Haarnoja et al. 2018, Soft Actor-Critic Algorithms and Applications, equation 7; couplings of Tessler,
    Efroni and Mannor 2019.

    Args:
        policies: π_x and π_y, their coupling, and α.
        critic: Q, (B, p + k) -> (B, 1), on [state | action].
        source: Source of states, critic weights, noise and temperatures.
        final, fast: As in `PolicyGame`.

    Example:
        >>> from robustgames.games import MLP
        >>> policies, critic = StochasticPolicies(MLP((3, 8, 2)), MLP((3, 8, 2)), alpha=0.1), MLP((4, 8, 1))
        >>> source = FixedSoft(policies, torch.zeros(5, 3), torch.tensor([0.1, 0.1]), torch.zeros(critic.size))
        >>> SoftPolicyGame(policies, critic, source).sizes
        (50, 50)
    """

    policies: StochasticPolicies

    def __init__(
        self,
        policies: StochasticPolicies,
        critic: FlatNetwork,
        source: SoftSource,
        final: float | None = None,
        fast: bool = True,
    ) -> None:
        super().__init__(policies, critic, source, final, fast)  # type: ignore[arg-type]

    def draw(self, shape: tuple[int, ...], generator: Generator) -> SoftSample:  # type: ignore[override]
        return self.source.draw_soft(shape, generator, self.dtype)  # type: ignore[attr-defined]

    def payoff(self, x: Tensor, y: Tensor, sample: SoftSample) -> Tensor:  # type: ignore[override]
        own, other = self.policies.sample(x, y, sample.states, sample.drawn)
        return -self._soft(self._expected(own, other, sample), own, other, sample).mean((-2, -1))

    def values(self, x: Tensor, y: Tensor, sample: SoftSample) -> Tensor:  # type: ignore[override]
        """Return E Q(s, executed action) over the coupling in every state, for the drawn actions, (*S, B, 1)."""
        return self._expected(*self.policies.sample(x, y, sample.states, sample.drawn), sample)

    def evaluate(self, z: Tensor, sample: SoftSample | None = None) -> tuple[tuple[Tensor, Tensor], Tensor]:  # type: ignore[override]
        if sample is None or not self._by_hand(z):
            return super().evaluate(z, sample)  # type: ignore[arg-type]
        value, v = self._passed(z, sample, None)
        mean = value.mean((-2, -1)).view(z.shape[:-1])
        return (mean, -mean), v

    def _expected(self, own: Squashed, other: Squashed | None, sample: SoftSample) -> Tensor:
        policies, size = self.policies, self.critic.size
        inputs = policies.expectation.inputs(sample.states, *policies.joint(own, other, sample.drawn))
        heads = sample.critic.split(size, -1) if size else (sample.critic,)
        q = torch.stack([self.critic(head, inputs) for head in heads]).amin(0)
        return policies.expectation.value(q)

    def _soft(self, value: Tensor, own: Squashed, other: Squashed | None, sample: SoftSample) -> Tensor:
        """Return a value (*S, B, 1) with the entropies of both players."""
        t_own, t_other = sample.temperatures[..., None, None, :].unbind(-1)
        value = value - t_own * own.log_prob
        return value if other is None else value + t_other * other.log_prob

    def _passed(  # type: ignore[override]
        self, z: Tensor, sample: SoftSample, player: int | None
    ) -> tuple[Tensor, Tensor]:
        """Return (the value in every state, (R, B, 1), if both players are wanted; V) from written-out passes."""
        if z.dim() != 2:
            runs = z.dim() - 1
            rows = [t.reshape(-1, *t.shape[runs:]) for t in sample]
            value, v = self._passed(z.reshape(-1, z.shape[-1]), SoftSample(*rows), player)
            return value, v.view(*z.shape[:-1], -1)
        (fast, net), expectation, states = self._passes, self.policies.expectation, sample.states
        used, own_heads, other_heads = fast.forward(z, states, None, player)
        draws = self.policies.squashed(own_heads, other_heads, sample.drawn)
        mu, nu = self.policies.joint(*draws, sample.drawn)
        if player == 0 and expectation.separate:
            nu = None  # a random adversary's action, which this field does not depend on
        runs, heads = len(z), sample.critic.size(-1) // self.critic.size
        inputs = expectation.inputs(states, mu, nu)
        rows = inputs.size(1)
        passes = net.at(runs * heads, rows, states)
        passes.inputs.view(runs, heads, rows, -1).copy_(inputs.unsqueeze(1))
        q = passes.forward(sample.critic.reshape(runs * heads, -1)).view(runs, heads, rows, 1)
        least, share = q.amin(1, keepdim=True), 1 / states.size(1)
        if heads == 1:
            passes.slope.fill_(share)
        else:
            is_least = (q == least).to(q)  # amin divides the gradient among equal values
            torch.div(is_least * share, is_least.sum(1, keepdim=True), out=passes.slope.view_as(q))
        slopes = passes.in_inputs().view(runs, heads, rows, -1).sum(1)
        ascents = expectation.ascents(slopes, mu, nu, player)
        temperatures = sample.temperatures[:, None, None, :].unbind(-1)
        in_outputs = [
            ascent if drawn is None else in_heads(drawn, ascent, share * temperature)
            for drawn, ascent, temperature in zip(draws, ascents, temperatures, strict=False)
        ]
        found = fast.in_weights(used, in_outputs, player)
        if player is not None:
            return least, found
        own, other = draws
        assert own is not None
        return self._soft(expectation.value(least.squeeze(1)), own, other, sample), found
