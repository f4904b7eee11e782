"""The deterministic policies of a protagonist and an adversary."""

from __future__ import annotations

from typing import Protocol, TypeGuard

import torch
from torch import Generator, Tensor

from robustgames.agents.control.expectation import Expectation
from robustgames.agents.control.fast_policies import FastPolicies
from robustgames.envs.control.action_couplings import ActionCoupling
from robustgames.envs.control.couplings import check_actions_coupled, make_coupling
from robustgames.errors import GameError
from robustgames.games.networks import MLP
from robustgames.streams import Streams, uniform
from robustgames.tensors import Movable


class FlatNetwork(Protocol):
    """A policy or critic as a function of flat weights: an `MLP`, a `Network`, or an object with the same methods."""

    size: int

    def __call__(self, weights: Tensor, inputs: Tensor) -> Tensor:
        """Return actions (*S, B, k) in [-1, 1], or Q (*S, B, 1): weights (*S, n), inputs (*S, B, p)."""
        ...

    def initial(self, shape: tuple[int, ...], generator: Generator, dtype: torch.dtype) -> Tensor:
        """Draw first weights, (*shape, n)."""
        ...


class Policies(Movable):
    """Deterministic policies μ_x of the protagonist and ν_y of the adversary, and the coupling of their actions.

    Without an adversary's network its actions are uniform in [-1, 1]^k: the control that any claim of robustness has
    to beat. If α is also 0, the protagonist is alone.

    Source: Tessler, Efroni and Mannor 2019, definitions 1 and 2.

    Args:
        actor: μ, (B, p) -> (B, k).
        adversary: ν, (B, p) -> (B, k); if None, its actions are drawn at random.
        alpha: α in [0, 1], a number, or a tensor of shape (S,) with one per run.
        coupling: Name of an `ActionCoupling` ("noisy", "probabilistic"), or such an object; its own α is not used.

    Raises:
        GameError: An unknown coupling, α outside [0, 1], or policies that do not fit each other.
    """

    further: int = 0
    """Number of inputs that the critic has after the action."""

    def __init__(
        self,
        actor: FlatNetwork,
        adversary: FlatNetwork | None = None,
        alpha: float | Tensor = 0.1,
        coupling: str | ActionCoupling = "noisy",
    ) -> None:
        law = check_actions_coupled(make_coupling(coupling, None, {})[0])
        self.expectation = Expectation(law, alpha, alone=adversary is None)
        if isinstance(actor, MLP) and isinstance(adversary, MLP) and _ends(actor) != _ends(adversary):
            raise GameError(f"the actor maps {_ends(actor)}, the adversary {_ends(adversary)}: they must be alike")
        self.actor, self.adversary = actor, adversary
        self.sizes: tuple[int, int] = (actor.size, 0 if adversary is None else adversary.size)
        self.passes: FastPolicies | None = None
        """Written-out passes if both networks are `MLP`s; moved copies of these policies share their memory."""
        if _is_mlp(actor) and (adversary is None or _is_mlp(adversary)):
            self.passes = FastPolicies(actor, adversary, self.expectation.separate)
        self.fast = self.passes is not None

    @property
    def action_size(self) -> int:
        """The number k of actions.

        Raises:
            GameError: The actor is not an `MLP`.
        """
        if not isinstance(self.actor, MLP):
            raise GameError("a random adversary needs the number of actions: pass an MLP as actor")
        return self.actor.widths[-1]

    def draw(self, shape: tuple[int, ...], generator: Generator, dtype: torch.dtype) -> Tensor | None:
        """Return actions (*shape, k) of a random adversary; None if the adversary has a network or no share."""
        if self.adversary is not None or self.expectation.alone:
            return None
        return uniform((*shape, self.action_size), generator, dtype).mul_(2).sub_(1)

    def actions(
        self, x: Tensor, y: Tensor, states: Tensor, drawn: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return (μ_x(s), ν_y(s)), each (*S, B, k): weights (*S, n), (*S, m), states (*S, B, p).

        Without an adversary's network, `drawn` takes the place of ν_y(s).
        """
        mu = self.actor(x, states)
        return mu, drawn if self.adversary is None else self.adversary(y, states)

    def act(self, z: Tensor, states: Tensor, drawn: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return (μ_x(s), ν_y(s)) without a graph, for z (R, n + m), states (R, B, p).

        If `fast`, they come from written-out passes, and the next call of this shape overwrites them.
        """
        if self.fast and self.passes is not None:
            _, mu, nu = self.passes.forward(z, states, drawn)
            assert mu is not None
            return mu, nu
        with torch.no_grad():
            return self.actions(*self.split(z), states, drawn)

    def split(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the views (x, y) of z."""
        x, y = z.split_with_sizes(self.sizes, -1)
        return x, y


def initial(
    network: FlatNetwork, shape: tuple[int, ...], generator: Generator, dtype: torch.dtype, final: float | None
) -> Tensor:
    """Draw first weights as the network does, (*shape, n), the last layer of an `MLP` uniform in ±final."""
    if isinstance(generator, Streams):
        each = generator.generators()
        weights = torch.stack([network.initial(shape[1:], own, dtype) for own in each])
    else:
        weights = network.initial(shape, generator, dtype)
    if final is not None and isinstance(network, MLP):
        p, q = network.widths[-2:]
        weights[..., -(p * q + q) :] *= final * p**0.5  # they were uniform in ±1/sqrt(p)
    return weights


def _is_mlp(net: object) -> TypeGuard[MLP]:
    return type(net) is MLP  # not of a subclass, whose own passes would be ignored


def _ends(net: MLP) -> tuple[int, int]:
    return net.widths[0], net.widths[-1]
