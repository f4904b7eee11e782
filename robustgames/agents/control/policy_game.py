"""The actor/adversary step of action-robust control as a game, for any solver."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Generator, Tensor

from robustgames.agents.control.fast_policies import FastPolicies
from robustgames.agents.control.policies import FlatNetwork, Policies, initial
from robustgames.errors import GameError
from robustgames.games.game import ZeroSumGame
from robustgames.games.networks import MLP
from robustgames.games.passes import Backprop
from robustgames.tensors import Movable


class PolicySample(NamedTuple):
    """One draw of ζ."""

    states: Tensor
    """(*S, B, p)."""
    critic: Tensor
    """Weights of Q, (*S, c): fixed while the players move."""
    drawn: Tensor | None = None
    """Actions of a random adversary, (*S, B, k)."""


class Source(Protocol):
    """A source of ζ: the states, and the current critic."""

    def draw(self, shape: tuple[int, ...], generator: Generator, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return (states (*shape, B, p), weights of the critic (*shape, c))."""
        ...


@runtime_checkable
class Followed(Protocol):
    """A source with target networks."""

    def follow(self, z: Tensor) -> None:
        """Move the target networks towards z."""
        ...


class Fixed(Movable):
    """A source of the same states and critic at every draw.

    Args:
        states: States (B, p) of all runs.
        critic: Weights (c,); none by default, for a Q that is known.
    """

    def __init__(self, states: Tensor, critic: Tensor | None = None) -> None:
        self.states, self.critic = states, torch.empty(0) if critic is None else critic

    def draw(self, shape: tuple[int, ...], generator: Generator, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return the states and the critic for every run."""
        states, critic = (t.to(generator.device, dtype) for t in (self.states, self.critic))
        return states.expand(*shape, *states.shape), critic.expand(*shape, -1)


class PolicyGame(ZeroSumGame):
    """min_x max_y Φ(x, y; ζ), Φ = -mean_s E Q(s, executed action): protagonist μ_x against adversary ν_y.

    noisy (NR-MDP):          Φ = -mean_s Q(s, (1-α) μ_x(s) + α ν_y(s)),
    probabilistic (PR-MDP):  Φ = -mean_s [(1-α) Q(s, μ_x(s)) + α Q(s, ν_y(s))].

    Both players act in the same states s and under the same critic Q. These are the sample ζ: Q does not move with
    them. With α = 0 the field of x is DDPG's policy gradient, and that of y is 0. If the adversary is random
    (`Policies` without its network), y is empty and x trains against the draws.

    Source: Tessler, Efroni and Mannor 2019, propositions 2 and 4. Their code pairs Q(s, .) with μ(s'); this does not.

    Args:
        policies: μ and ν, their coupling, and α.
        critic: Q, (B, p + k) -> (B, 1), on [state | action].
        source: Source of states and critic weights.
        final: Half the width of the first weights in the last layer of each `MLP` policy, uniform in ±final so that
            first actions are near 0 (Lillicrap et al. 2016). If None, they are drawn like the other layers.
        fast: Whether to compute the field by written-out passes, if all networks are `MLP`s, instead of autograd.

    Raises:
        GameError: A critic that does not fit the policies, or a width that is not positive.

    Example:
        >>> policies = Policies(MLP((3, 8, 1), last="tanh"), MLP((3, 8, 1), last="tanh"), alpha=0.1)
        >>> critic = MLP((4, 8, 1))
        >>> game = PolicyGame(policies, critic, Fixed(torch.zeros(5, 3), torch.zeros(critic.size)))
        >>> game.sizes
        (41, 41)
    """

    players = ("protagonist", "adversary")

    def __init__(
        self,
        policies: Policies,
        critic: FlatNetwork,
        source: Source,
        final: float | None = 3e-3,
        fast: bool = True,
    ) -> None:
        if final is not None and not 0 < final < float("inf"):
            raise GameError(f"final is {final}: half the width of the last layer's first weights, e.g. 3e-3, or None")
        self.policies, self.critic, self.source, self.final = policies, critic, source, final
        self.fast = fast and policies.fast and type(critic) is MLP
        self.sizes = policies.sizes
        _check_fit(policies, critic)

    def draw(self, shape: tuple[int, ...], generator: Generator) -> PolicySample:
        states, critic = self.source.draw(shape, generator, self.dtype)
        return PolicySample(states, critic, self.policies.draw(states.shape[:-1], generator, self.dtype))

    def follow(self, z: Tensor) -> None:
        if isinstance(self.source, Followed):
            self.source.follow(z)

    def start(self, player: int, shape: tuple[int, ...], generator: Generator) -> Tensor:
        """Draw weights as the network does, the last layer small."""
        network = (self.policies.actor, self.policies.adversary)[player]
        if network is None:
            return torch.empty((*shape, 0), device=generator.device, dtype=self.dtype)
        return initial(network, shape, generator, self.dtype, self.final)

    def payoff(self, x: Tensor, y: Tensor, sample: PolicySample) -> Tensor:
        return -self.values(x, y, sample).mean((-2, -1))

    def values(self, x: Tensor, y: Tensor, sample: PolicySample) -> Tensor:
        """Return E Q(s, executed action) in every state, (*S, B, 1)."""
        policies = self.policies
        mu, nu = policies.actions(x, y, sample.states, sample.drawn)
        q = self.critic(sample.critic, policies.expectation.inputs(sample.states, mu, nu))
        return policies.expectation.value(q)

    def field(self, z: Tensor, sample: PolicySample | None = None, player: int | None = None) -> Tensor:
        if sample is None or not self._by_hand(z):
            return super().field(z, sample, player)
        if player is not None and self.sizes[player] == 0:
            return z.new_zeros(*z.shape[:-1], 0)
        return self._passed(z, sample, player)[1]

    def evaluate(self, z: Tensor, sample: PolicySample | None = None) -> tuple[tuple[Tensor, Tensor], Tensor]:
        if sample is None or not self._by_hand(z):
            return super().evaluate(z, sample)
        q, v = self._passed(z, sample, None)
        value = self.policies.expectation.value(q).mean((-2, -1)).view(z.shape[:-1])
        return (value, -value), v

    def _by_hand(self, z: Tensor) -> bool:
        return self.fast and not (z.requires_grad and torch.is_grad_enabled())

    def _passed(self, z: Tensor, sample: PolicySample, player: int | None) -> tuple[Tensor, Tensor]:
        """Return (Q at its inputs, (R, B or 2B, 1); V) from written-out passes."""
        if z.dim() != 2:
            rows = [None if t is None else t.reshape(-1, *t.shape[z.dim() - 1 :]) for t in sample]
            q, v = self._passed(z.reshape(-1, z.shape[-1]), PolicySample(*rows), player)  # type: ignore[arg-type]
            return q, v.view(*z.shape[:-1], -1)
        fast, net = self._passes
        expectation, states = self.policies.expectation, sample.states
        used, mu, nu = fast.forward(z, states, sample.drawn, player)
        rows = states.size(1) if player is not None else expectation.rows(states.size(1))
        passes = net.at(states.size(0), rows, states)
        expectation.write_inputs(passes, states, mu, nu)
        q = passes.forward(sample.critic)
        passes.slope.fill_(1 / states.size(1))
        return q, fast.in_weights(used, expectation.ascents(passes.in_inputs(), mu, nu, player), player)

    @cached_property
    def _passes(self) -> tuple[FastPolicies, Backprop]:
        assert self.policies.passes is not None and isinstance(self.critic, MLP)
        return self.policies.passes, self.policies.passes.critic(self.critic)


def _check_fit(policies: Policies, critic: FlatNetwork) -> None:
    actor = policies.actor
    if not (isinstance(actor, MLP) and isinstance(critic, MLP)):
        return
    needed = (actor.widths[0] + policies.action_size + policies.further, 1)
    if (got := (critic.widths[0], critic.widths[-1])) != needed:
        raise GameError(f"the critic maps {got}: policies {actor.widths} need one of {needed}, [state | action] to Q")
