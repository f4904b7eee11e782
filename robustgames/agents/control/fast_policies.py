"""The written-out passes of two policies, and the memory that they share with those of the critics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from robustgames.games.networks import MLP
from robustgames.games.passes import Backprop, Passes


class FastPolicies:
    """μ_x and ν_y for R runs by written-out passes, forwards and backwards.

    Two networks of one shape are one batch of twice the runs.

    Args:
        actor: μ.
        adversary: ν; if None, its actions are drawn elsewhere.
        separate: Whether the field of one player depends on its own action only, see `Expectation`.
        tail: Number of inputs that the critic has after the state; by default that of the outputs of μ.
    """

    def __init__(self, actor: MLP, adversary: MLP | None, separate: bool, tail: int | None = None) -> None:
        nets = [net for net in (actor, adversary) if net is not None]
        self._sizes, self._separate = [net.size for net in nets], separate
        self._tail = tail or actor.widths[-1]
        self._scratch: dict[Any, Any] = {}  # of all passes, those of the critics included
        self._nets = [Backprop(net, scratch=self._scratch) for net in nets]
        self._alike = len(nets) == 2 and _kind(nets[0]) == _kind(nets[1])

    def critic(self, critic: MLP) -> Backprop:
        """Return the written-out passes of a critic, the same for all critics of one kind."""
        first = critic.widths[0] - self._tail
        return self._scratch.setdefault(_kind(critic), Backprop(critic, first, self._scratch))

    def forward(
        self, z: Tensor, states: Tensor, drawn: Tensor | None = None, player: int | None = None
    ) -> tuple[list[Passes | None], Tensor | None, Tensor | None]:
        """Return (passes, μ_x(s), ν_y(s)) for z (R, n + m), states (R, B, p).

        The actions lie in the memory of the passes. What the field of `player` does not need is None.
        """
        runs, rows = states.size(0), states.size(1)
        if self._alike and player is None:
            passes = self._nets[0].at(2 * runs, rows, states)
            passes.inputs.view(runs, 2, rows, -1).copy_(states.unsqueeze(1))
            mu, nu = passes.forward(z.reshape(2 * runs, -1)).view(runs, 2, rows, -1).unbind(1)
            return [passes], mu, nu
        used: list[Passes | None] = [None, None]
        actions: list[Tensor | None] = [None, None if self._separate and player == 0 else drawn]
        blocks = (z,) if len(self._nets) == 1 else z.split_with_sizes(self._sizes, -1)
        for i, (net, block) in enumerate(zip(self._nets, blocks, strict=True)):
            if player is None or player == i or not self._separate:
                used[i] = passes = net.at(runs, rows, states)
                actions[i] = passes.forward(block, states)
        return used, actions[0], actions[1]

    def in_weights(self, used: list[Passes | None], ascents: Sequence[Tensor], player: int | None = None) -> Tensor:
        """Return V, or the block of one player, from the passes of `forward` and the ascents of the actions."""
        if len(used) == 1:
            assert used[0] is not None
            runs = len(ascents[0])
            torch.stack(tuple(ascents), 1, out=used[0].slope.view(runs, 2, *ascents[0].shape[1:]))
            return used[0].in_weights().view(runs, -1).clone()
        blocks = []
        for i, (passes, ascent) in enumerate(zip(used, ascents, strict=False)):
            if passes is not None and player in (None, i):
                passes.slope.copy_(ascent)
                blocks.append(passes.in_weights())
        return blocks[0].clone() if len(blocks) == 1 else torch.cat(blocks, -1)


def _kind(net: MLP) -> tuple:
    return type(net), net.widths, net.activation, net.last, net.norm
