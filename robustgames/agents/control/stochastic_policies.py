"""The stochastic policies of a protagonist and an adversary: squashed Gaussians."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from robustgames.agents.control.fast_policies import FastPolicies
from robustgames.agents.control.policies import Policies
from robustgames.agents.control.squashed import Squashed, squash
from robustgames.envs.control.action_couplings import ActionCoupling
from robustgames.errors import GameError
from robustgames.games.networks import MLP
from robustgames.streams import normal


class StochasticPolicies(Policies):
    """π_x(a|s) of the protagonist and π_y(ā|s) of the adversary, a = tanh(u), u ~ N(m(s), σ(s)²) in each action.

    A draw of both is a function of weights, states and the noise [ξ | ξ̄], so gradients go through it. Runs draw the
    noise of both players whether or not they have an adversary, which keeps their other random numbers the same.
    Without an adversary's network its actions are uniform in [-1, 1]^k.

    Source: Haarnoja et al. 2018; couplings of Tessler, Efroni and Mannor 2019.

    Args:
        actor: Network of π_x, (B, p) -> (B, 2k), [m | log σ].
        adversary: Network of π_y, alike; if None, its actions are uniform.
        alpha, coupling: As in `Policies`.

    Raises:
        GameError: As in `Policies`, or networks with an odd number of outputs or a function after the last layer.

    Example:
        >>> policies = StochasticPolicies(MLP((3, 8, 4)), MLP((3, 8, 4)), alpha=0.1)
        >>> policies.action_size
        2
    """

    actor: MLP
    adversary: MLP | None

    def __init__(
        self,
        actor: MLP,
        adversary: MLP | None = None,
        alpha: float | Tensor = 0.1,
        coupling: str | ActionCoupling = "noisy",
    ) -> None:
        for net in (actor, adversary):
            if net is not None and (net.widths[-1] % 2 or net.last is not None):
                got = f"{net.widths[-1]} outputs and last={net.last!r}"
                raise GameError(f"a stochastic policy has {got}: it needs 2k, [mean | log std], and last=None")
        super().__init__(actor, adversary, alpha, coupling)
        if self.passes is not None:
            self.passes = FastPolicies(actor, adversary, self.expectation.separate, self.action_size)

    @property
    def action_size(self) -> int:
        return self.actor.widths[-1] // 2

    def draw(self, shape: tuple[int, ...], generator: Generator, dtype: torch.dtype) -> Tensor:
        """Return the noise of both players, [ξ | ξ̄] ~ N(0, I), (*shape, 2k)."""
        return normal((*shape, 2 * self.action_size), generator, dtype)

    def sample(self, x: Tensor, y: Tensor, states: Tensor, noise: Tensor) -> tuple[Squashed, Squashed | None]:
        """Return the draws of both players: weights (*S, n), (*S, m), states (*S, B, p), noise (*S, B, 2k)."""
        return self.squashed(
            self.actor(x, states), None if self.adversary is None else self.adversary(y, states), noise
        )  # type: ignore[return-value]

    def sample_freely(self, z: Tensor, states: Tensor, noise: Tensor) -> tuple[Squashed, Squashed | None]:
        """Return the draws without a graph, for z (R, n + m), states (R, B, p)."""
        with torch.no_grad():
            if self.passes is None:
                return self.sample(*self.split(z), states, noise)
            _, own, other = self.passes.forward(z, states)
            return self.squashed(own, other, noise)  # type: ignore[return-value]

    def squashed(
        self, own: Tensor | None, other: Tensor | None, noise: Tensor
    ) -> tuple[Squashed | None, Squashed | None]:
        """Return the draws of the heads of both players, None where there are none."""
        first, second = noise.chunk(2, -1)
        return None if own is None else squash(own, first), None if other is None else squash(other, second)

    def joint(self, own: Squashed | None, other: Squashed | None, noise: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Return the actions (a, ā) of draws; ā is uniform for a random adversary, and None if there is none."""
        a = None if own is None else own.actions
        if self.adversary is None and not self.expectation.alone:
            return a, 2 * torch.special.ndtr(noise.chunk(2, -1)[1]) - 1
        return a, None if other is None else other.actions

    def actions(
        self, x: Tensor, y: Tensor, states: Tensor, drawn: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return (a, ā), each (*S, B, k), for the noise `drawn`; the actions tanh(m) of the means if it is None."""
        noise = states.new_zeros(*states.shape[:-1], 2 * self.action_size) if drawn is None else drawn
        return self.joint(*self.sample(x, y, states, noise), noise)  # type: ignore[return-value]

    def act(self, z: Tensor, states: Tensor, drawn: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return (a, ā) without a graph, for z (R, n + m), states (R, B, p), as `actions` does."""
        noise = states.new_zeros(*states.shape[:-1], 2 * self.action_size) if drawn is None else drawn
        return self.joint(*self.sample_freely(z, states, noise), noise)  # type: ignore[return-value]


def mean_network(net: MLP) -> MLP:
    """Return the network of the deterministic action tanh(m(s)) of a network with outputs [m | log σ]."""
    return MLP((*net.widths[:-1], net.widths[-1] // 2), net.activation, "tanh", net.norm)


def mean_weights(net: MLP, weights: Tensor) -> Tensor:
    """Return the weights of `mean_network`, (*S, n'), from those of the whole network, (*S, n)."""
    p, q = net.widths[-2:]
    body = net.size - (p * q + q)
    matrix, bias = weights[..., body : body + p * q], weights[..., body + p * q :]
    return torch.cat([weights[..., :body], matrix[..., : p * q // 2], bias[..., : q // 2]], -1)
