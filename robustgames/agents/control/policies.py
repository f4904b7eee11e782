"""A protagonist and an adversary, and how their actions meet."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Generator, Tensor

from robustgames.agents.control.backward import Backprop, Passes
from robustgames.errors import GameError, unknown
from robustgames.games.networks import MLP
from robustgames.tensors import Movable

COUPLINGS = ("noisy", "probabilistic")


class Policy(Protocol):
    """A network as policy or critic: an `MLP`, a `Network`, or anything that is called like one."""

    size: int

    def __call__(self, weights: Tensor, inputs: Tensor) -> Tensor:
        """Return actions (*S, B, k) in [-1, 1], or Q (*S, B, 1): weights (*S, n), inputs (*S, B, p)."""
        ...

    def initial(self, shape: tuple[int, ...], generator: Generator, dtype: torch.dtype) -> Tensor:
        """Draw first weights, (*shape, n)."""
        ...


class Policies(Movable):
    """Deterministic policies μ_x of the protagonist and ν_y of the adversary, and how their actions meet.

    noisy (NR-MDP):          (1-α) μ_x(s) + α ν_y(s) is executed,
    probabilistic (PR-MDP):  ν_y(s) is executed with probability α, else μ_x(s).

    Without an adversary's network its actions are uniform in [-1, 1]^k: the control that any claim of robustness has
    to beat; with α = 0 then the protagonist is alone.

    Source: Tessler, Efroni and Mannor 2019, definitions 1 and 2.

    Args:
        actor: μ, (B, p) -> (B, k).
        adversary: ν, likewise; None: actions drawn at random.
        alpha: α in [0, 1], a number, or a tensor of shape (S,) with one per run.
        coupling: "noisy" or "probabilistic".

    Raises:
        GameError: an unknown coupling, α outside [0, 1], policies that do not fit each other.
    """

    def __init__(
        self,
        actor: Policy,
        adversary: Policy | None = None,
        alpha: float | Tensor = 0.1,
        coupling: str = "noisy",
    ) -> None:
        if coupling not in COUPLINGS:
            raise unknown("coupling", coupling, COUPLINGS)
        each = torch.as_tensor(alpha, dtype=None if isinstance(alpha, Tensor) else torch.float64)
        if each.dim() > 1 or not bool(((each >= 0) & (each <= 1)).all()):
            raise GameError(f"alpha is {alpha}: the adversary's share is a number in [0, 1], or one per run")
        if isinstance(actor, MLP) and isinstance(adversary, MLP) and _ends(actor) != _ends(adversary):
            raise GameError(f"the actor maps {_ends(actor)}, the adversary {_ends(adversary)}: they must be alike")
        self.actor, self.adversary, self.coupling = actor, adversary, coupling
        self.alpha = each.view(-1, 1, 1) if each.dim() == 1 else float(each)
        self.sizes: tuple[int, int] = (actor.size, 0 if adversary is None else adversary.size)
        self.alone = adversary is None and not bool((each > 0).any())
        self.fast = type(actor) is MLP and (adversary is None or type(adversary) is MLP)
        self._scratch: dict[Any, Any] = {}  # of all passes, of the critics', too, and of moved copies of these policies
        self._nets = [Backprop(net, scratch=self._scratch) for net in (actor, adversary) if type(net) is MLP]
        # two networks of one shape are one batch of twice the runs
        self._alike = isinstance(actor, MLP) and isinstance(adversary, MLP) and _kind(actor) == _kind(adversary)

    @property
    def action_size(self) -> int:
        """The number k of actions.

        Raises:
            GameError: the actor is no `MLP`.
        """
        if not isinstance(self.actor, MLP):
            raise GameError("a random adversary needs to know the number of actions: pass an MLP as actor")
        return self.actor.widths[-1]

    @property
    def _apart(self) -> bool:
        """True where Q is asked at each player's action, not at one mixture of both."""
        return self.coupling == "probabilistic" and not self.alone

    def draw(self, shape: tuple[int, ...], generator: Generator, dtype: torch.dtype) -> Tensor | None:
        """Return actions (*shape, k) of an adversary that draws them at random; None where there is no such one."""
        if self.adversary is not None or self.alone:
            return None
        size = (*shape, self.action_size)
        return torch.rand(size, generator=generator, device=generator.device, dtype=dtype).mul_(2).sub_(1)

    def actions(
        self, x: Tensor, y: Tensor, states: Tensor, drawn: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return (μ_x(s), ν_y(s)), each (*S, B, k): weights (*S, n), (*S, m), states (*S, B, p); the drawn as ν."""
        mu = self.actor(x, states)
        return mu, drawn if self.adversary is None else self.adversary(y, states)

    def act(self, z: Tensor, states: Tensor, drawn: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return (μ_x(s), ν_y(s)) without a graph, for z (R, n + m), states (R, B, p).

        Where `fast`, by the written-out passes: the actions of the next call of this shape overwrite them.
        """
        if self.fast:
            _, mu, nu = self.forward(z, states, drawn)
            assert mu is not None
            return mu, nu
        with torch.no_grad():
            return self.actions(*self.split(z), states, drawn)

    def split(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the views (x, y) of z."""
        x, y = z.split_with_sizes(self.sizes, -1)
        return x, y

    def passes_of(self, critic: MLP) -> Backprop:
        """Return the written-out passes of a critic, the same for all who ask for one of this kind."""
        first = critic.widths[0] - self.action_size
        return self._scratch.setdefault(_kind(critic), Backprop(critic, first, self._scratch))

    # -- what the critic is asked ---------------------------------------------------------------------------
    def queries(self, states: Tensor, mu: Tensor | None, nu: Tensor | None) -> Tensor:
        """Return the critic's inputs [s | action]: (*S, B, p + k), or both players' in turn, (*S, 2B, p + k)."""
        if mu is None or nu is None:
            played = mu if nu is None else nu
            assert played is not None
            return torch.cat([states, played], -1)
        if self._apart:
            return torch.cat([torch.cat([states, states], -2), torch.cat([mu, nu], -2)], -1)
        return torch.cat([states, torch.lerp(mu, nu, self.alpha)], -1)

    def asked(self, rows: int) -> int:
        """Return how many rows the queries for B states have: B or 2B."""
        return 2 * rows if self._apart else rows

    def blend(self, q: Tensor) -> Tensor:
        """Return the value of what is played, (*S, B, 1), from the critic's answers to both players' queries."""
        if not self._apart:
            return q
        first, second = q.chunk(2, -2)
        return torch.lerp(first, second, self.alpha)

    def ask(self, passes: Passes, states: Tensor, mu: Tensor | None, nu: Tensor | None) -> None:
        """Write the queries into the inputs of the critic's passes."""
        if mu is not None and nu is not None and not self._apart:
            passes.head.copy_(states)
            torch.lerp(mu, nu, self.alpha, out=passes.tail)
        elif mu is None or nu is None:
            passes.head.copy_(states)
            passes.tail.copy_(nu if mu is None else mu)  # type: ignore[arg-type]
        else:
            passes.inputs.copy_(self.queries(states, mu, nu))

    # -- written-out passes, for R runs ---------------------------------------------------------------------
    def forward(
        self, z: Tensor, states: Tensor, drawn: Tensor | None = None, player: int | None = None
    ) -> tuple[list[Passes | None], Tensor | None, Tensor | None]:
        """Return (passes, μ_x(s), ν_y(s)) for z (R, n + m), states (R, B, p); what `player` does not need is None.

        The actions lie in the memory of the passes.
        """
        runs, rows = states.size(0), states.size(1)
        if self._alike and player is None:
            passes = self._nets[0].at(2 * runs, rows, states)
            passes.inputs.view(runs, 2, rows, -1).copy_(states.unsqueeze(1))
            mu, nu = passes.forward(z.reshape(2 * runs, -1)).view(runs, 2, rows, -1).unbind(1)
            return [passes], mu, nu
        made: list[Passes | None] = [None, None]
        actions: list[Tensor | None] = [None, None if self._apart and player == 0 else drawn]
        blocks = (z,) if len(self._nets) == 1 else self.split(z)
        for i, (net, block) in enumerate(zip(self._nets, blocks, strict=True)):
            if player is None or player == i or not self._apart:
                made[i] = passes = net.at(runs, rows, states)
                actions[i] = passes.forward(block, states)
        return made, actions[0], actions[1]

    def in_weights(self, made: list[Passes | None], in_actions: Tensor, player: int | None = None) -> Tensor:
        """Return V, or one player's block of it, from the critic's gradient in its action inputs."""
        shares = self._shares(in_actions, player)
        if len(made) == 1:
            assert made[0] is not None
            torch.stack(shares, 1, out=made[0].slope.view(len(in_actions), 2, *shares[0].shape[1:]))
            return made[0].in_weights().view(len(in_actions), -1).clone()
        blocks = []
        for i, (passes, share) in enumerate(zip(made, shares, strict=False)):
            if passes is not None and player in (None, i):
                passes.slope.copy_(share)
                blocks.append(passes.in_weights())
        return blocks[0].clone() if len(blocks) == 1 else torch.cat(blocks, -1)

    def _shares(self, in_actions: Tensor, player: int | None) -> list[Tensor]:
        """Return what each player's own action changes: both ascend, the adversary on -Q."""
        of_x = of_y = in_actions
        if self._apart and player is None:
            of_x, of_y = in_actions.chunk(2, -2)
        return [of_x] if self.alone else [of_x * (1 - self.alpha), of_y * -self.alpha]


def initial(
    network: Policy, shape: tuple[int, ...], generator: Generator, dtype: torch.dtype, final: float | None
) -> Tensor:
    """Draw first weights as the network does, (*shape, n), the last layer of an `MLP` uniform in ±final."""
    weights = network.initial(shape, generator, dtype)
    if final is not None and isinstance(network, MLP):
        p, q = network.widths[-2:]
        weights[..., -(p * q + q) :] *= final * p**0.5  # they were uniform in ±1/sqrt(p)
    return weights


def _ends(net: MLP) -> tuple[int, int]:
    return net.widths[0], net.widths[-1]


def _kind(net: MLP) -> tuple:
    return type(net), net.widths, net.activation, net.last, net.norm
