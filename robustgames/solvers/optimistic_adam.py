"""Optimistic Adam of Daskalakis et al."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from robustgames.solvers.rules import Adam, State, no_zero, rate_at


@dataclass(frozen=True)
class OptimisticAdam(Adam):
    """z⁺ = z + lr (2 d - d⁻), where d = m̂ / (sqrt(ŝ) + eps) is Adam's direction and d⁻ the last one (0 at first).

    One call a step in `Simultaneous`. The recipe optimistic_adam looks ahead along the last direction instead.
    Source: Daskalakis, Ilyas, Syrgkanis and Zeng 2018, "Training GANs with optimism", algorithm 1.
    """

    def init(self, z: Tensor) -> State:
        return {**super().init(z), "d": torch.zeros_like(z)}

    def step(self, z: Tensor, v: Tensor, state: State, generator: Generator) -> tuple[Tensor, State]:
        k, (b1, b2) = state["k"] + 1, self.betas
        m = torch.lerp(state["m"], v, 1 - b1)
        s = torch.lerp(state["s"], v * v, 1 - b2)
        root = (s / (1 - b2**k)).sqrt() + self.eps
        d = m / (1 - b1**k) / no_zero(root, self.eps)
        return z + rate_at(self.lr, k) * (2 * d - state["d"]), {"k": k, "m": m, "s": s, "d": d}
