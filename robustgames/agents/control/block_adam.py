"""Adam with an optimizer for each block of a point, of which a step moves some."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from robustgames.errors import GameError
from robustgames.solvers.fused_adam import FusedAdam
from robustgames.solvers.rules import Adam, State, rate_at
from robustgames.solvers.schemes import Scheme, Simultaneous


@dataclass(frozen=True)
class BlockAdam(Adam):
    """`Adam` whose blocks of `width` coordinates have moments and counts of their own; a block with v = 0 stays.

    It is what M optimizers of M blocks do if each is called only when its block has a gradient.

    Args:
        width: Number of coordinates of a block, which divides those of the point.

    Example:
        >>> rule, w = BlockAdam(0.1, width=2), torch.zeros(4)
        >>> rule.step(w, torch.tensor([3.0, -1.0, 0.0, 0.0]), rule.init(w), torch.Generator())[0]
        tensor([ 0.1000, -0.1000,  0.0000,  0.0000])
    """

    width: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width < 1:
            raise GameError(f"width is {self.width}: a block has at least 1 coordinate")

    def init(self, z: Tensor) -> State:
        counts = z.new_zeros(*z.shape[:-1], z.shape[-1] // self.width, dtype=torch.float64)
        return {"k": 0, "counts": counts, "m": torch.zeros_like(z), "s": torch.zeros_like(z)}

    def step(self, z: Tensor, v: Tensor, state: State, generator: Generator) -> tuple[Tensor, State]:
        k, moves = state["k"] + 1, (v.unflatten(-1, (-1, self.width)) != 0).any(-1)
        counts, on = state["counts"] + moves, moves.repeat_interleave(self.width, -1)
        m = torch.where(on, torch.lerp(state["m"], v, 1 - self.betas[0]), state["m"])
        s = torch.where(on, torch.lerp(state["s"], v * v, 1 - self.betas[1]), state["s"])
        each = counts.clamp(min=1).repeat_interleave(self.width, -1)
        first, second = ((1 - beta**each).to(z.dtype) for beta in self.betas)
        step = rate_at(self.lr, k) * (m / first) / ((s / second).sqrt() + self.eps)
        return torch.where(on, z + step, z), {"k": k, "counts": counts, "m": m, "s": s}


def with_block_adam(solver: Scheme, width: int) -> Scheme:
    """Return a solver in which player 1 of simultaneous Adam has a `BlockAdam`; any other as it is."""
    if type(solver) is not Simultaneous:
        return solver
    first, second = solver.rule if isinstance(solver.rule, tuple) else (solver.rule, solver.rule)
    if not isinstance(second, Adam) or type(second) not in (Adam, FusedAdam):
        return solver
    return Simultaneous((first, BlockAdam(second.lr, second.betas, second.eps, width)), solver.replays)
