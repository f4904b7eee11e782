"""The expected value of a joint action: the critic's value of the action that a coupling executes."""

from __future__ import annotations

import torch
from torch import Tensor

from robustgames.envs.control.action_couplings import ActionCoupling, Share
from robustgames.errors import GameError
from robustgames.games.passes import Passes
from robustgames.tensors import Movable


class LerpShare(Share):
    """The share α in PyTorch's linear interpolation, one kernel instead of three."""

    def between(self, first: Tensor, second: Tensor) -> Tensor:
        """Return (1 - α) first + α second."""
        return torch.lerp(first, second, self.alpha)


class Expectation(Movable):
    """E Q(s, executed action) over the law of a coupling, given the actions (a, ā) of both players in state s.

    Q is evaluated at the candidates of the law, one or two per state; the law combines its values, and turns its
    gradients into the directions in which both players ascend.

    Args:
        coupling: Law of the executed action.
        alpha: α in [0, 1], a number, or a tensor of shape (S,) with one per run.
        alone: Whether there is no adversary, so a is executed.

    Raises:
        GameError: α outside [0, 1].
    """

    def __init__(self, coupling: ActionCoupling, alpha: float | Tensor, alone: bool = False) -> None:
        each = torch.as_tensor(alpha, dtype=None if isinstance(alpha, Tensor) else torch.float64)
        if each.dim() > 1 or not bool(((each >= 0) & (each <= 1)).all()):
            raise GameError(f"alpha is {alpha}: the adversary's share is a number in [0, 1], or one per run")
        self.coupling = coupling
        self.share = LerpShare(each.view(-1, 1, 1) if each.dim() == 1 else float(each))
        self.alone = alone and not bool((each > 0).any())
        self.separate = coupling.separate and not self.alone
        """Whether Q is evaluated at both players' actions in turn, not at one mixture of both."""

    def rows(self, states: int) -> int:
        """Return the number of rows of the critic's inputs for B states, B or 2B."""
        return 2 * states if self.separate else states

    def inputs(self, states: Tensor, mu: Tensor | None, nu: Tensor | None) -> Tensor:
        """Return the critic's inputs [s | action]: (*S, B, p + k), or both players' in turn, (*S, 2B, p + k)."""
        actions = self._candidates(mu, nu)
        if len(actions) == 1:
            return torch.cat([states, actions[0]], -1)
        return torch.cat([torch.cat([states, states], -2), torch.cat(actions, -2)], -1)

    def write_inputs(self, passes: Passes, states: Tensor, mu: Tensor | None, nu: Tensor | None) -> None:
        """Write these inputs into the memory of the critic's passes."""
        actions = self._candidates(mu, nu)
        if len(actions) == 1:
            passes.head.copy_(states)
            passes.tail.copy_(actions[0])
        else:
            passes.inputs.copy_(self.inputs(states, mu, nu))

    def value(self, q: Tensor) -> Tensor:
        """Return the expected value, (*S, B, 1), from the critic's values of its inputs."""
        return self.coupling.expectation(self.share, *q.chunk(2, -2)) if self.separate else q

    def ascents(
        self, slopes: Tensor, mu: Tensor | None, nu: Tensor | None, player: int | None = None
    ) -> tuple[Tensor, ...]:
        """Return the directions in which the players ascend, from the gradient of Q in its action inputs.

        If Q was evaluated at the actions of one `player` only, the direction of the other has no meaning.
        """
        if self.alone:
            return (slopes,)
        each = (slopes,)
        if self.separate:
            each = slopes.chunk(2, -2) if player is None else (slopes, slopes)
        return self.coupling.ascents(mu, nu, self.share, *each)  # type: ignore[arg-type]

    def _candidates(self, mu: Tensor | None, nu: Tensor | None) -> tuple[Tensor, ...]:
        if mu is not None and nu is not None:
            return self.coupling.candidates(mu, nu, self.share)
        played = nu if mu is None else mu
        assert played is not None
        return (played,)
