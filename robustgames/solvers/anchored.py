"""Anchored schemes: every step is drawn back to the first point, ever less, which makes |V|² fall like 1/k²."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from robustgames.errors import GameError
from robustgames.games.oracle import Oracle
from robustgames.solvers.applicable import check_unconstrained
from robustgames.solvers.rules import Rate, State, check_rate, rate_at
from robustgames.solvers.schemes import Scheme, Tally


@dataclass(frozen=True)
class ExtraAnchored(Scheme):
    """Extra anchored gradient (EAG-C): extragradient in which both half steps are drawn to the first point z_0.

    z_half = P(z + β_k (z_0 - z) + lr V(z)),   z⁺ = P(z + β_k (z_0 - z) + lr V(z_half)),   β_k = 1/(k + 2), k = 0, 1 …
    On monotone games |V(z_k)|² <= 260 L² |z_0 - z*|² / (k + 1)² for lr <= 1/(8 L). Two calls a step. With `past`, the
    first half step uses the field of the last look-ahead instead, so a step is one call, and one more at the start.

    Source: Yoon and Ryu 2021, section 2.1; with constraints Cai, Oikonomou and Zheng 2022; `past`: Tran-Dinh and Luo
    2021, the anchored Popov scheme.

    Args:
        lr: Step.
        past: Whether the look-ahead uses the field of the last one.
    """

    lr: Rate
    past: bool = False

    def __post_init__(self) -> None:
        check_rate(self.lr)

    def init(self, oracle: Oracle, z: Tensor) -> State:
        if not self.past:
            return {"k": 0, "anchor": z}
        oracle.draw()
        return {"k": 0, "anchor": z, "v": oracle(z)}

    def step(self, oracle: Oracle, z: Tensor, state: State) -> tuple[Tensor, State]:
        k = state["k"] + 1
        rate, drawn = rate_at(self.lr, k), z.lerp(state["anchor"], 1 / (k + 1))
        if not self.past:
            oracle.draw()
        half = oracle.project(drawn + rate * (state["v"] if self.past else oracle(z)))
        oracle.draw()
        v = oracle(half)
        following = {"k": k, "anchor": state["anchor"]}
        return oracle.project(drawn + rate * v), {**following, "v": v} if self.past else following

    def adopt(self, point: Tensor, state: State) -> State:
        return {**state, "k": 0, "anchor": point}

    def tally(self) -> Tally:
        return Tally(calls=1 if self.past else 2, x=1, y=1)


@dataclass(frozen=True)
class FastExtragradient(Scheme):
    """Fast extragradient (FEG): anchored, with steps 1/L that are eight times as long as those of `ExtraAnchored`.

    z_half = z + β_k (z_0 - z) + (1 - β_k) (lr + 2ρ) V(z),   z⁺ = z + β_k (z_0 - z) + lr V(z_half) + (1 - β_k) 2ρ V(z),
    β_k = 1/(k + 1), k = 0, 1 … On games that are ρ-comonotone with ρ > -lr/2, and lr = 1/L,
    |V(z_k)|² <= 4 |z_0 - z*|² / ((lr + 2ρ)² k²); monotone games have ρ = 0. Two calls a step. Without constraints.
    Source: Lee and Kim 2021, "Fast extra gradient methods for smooth structured nonconvex-nonconcave minimax problems".

    Args:
        lr: Step.
        rho: ρ.
    """

    lr: Rate
    rho: float = 0.0

    def __post_init__(self) -> None:
        check_rate(self.lr)
        if not -inf < self.rho < inf:
            raise GameError(f"rho is {self.rho}: it must be a finite number, 0 for monotone games")
        if callable(self.lr):
            if self.rho < 0:
                raise GameError(f"rho is {self.rho}: a rate that falls passes below -2 rho; leave anneal or rho out")
        elif (least := float(torch.as_tensor(self.lr).min())) + 2 * self.rho <= 0:
            raise GameError(f"rho is {self.rho}: it must be more than -lr/2, {-least / 2:g}")

    def init(self, oracle: Oracle, z: Tensor) -> State:
        check_unconstrained(self, oracle)
        return {"k": 0, "anchor": z}

    def step(self, oracle: Oracle, z: Tensor, state: State) -> tuple[Tensor, State]:
        k, beta = state["k"] + 1, 1 / (state["k"] + 1)
        rate, drawn = rate_at(self.lr, k), z.lerp(state["anchor"], beta)
        oracle.draw()
        v = (1 - beta) * oracle(z)
        half = oracle.project(drawn + (rate + 2 * self.rho) * v)
        oracle.draw()
        after = drawn + rate * oracle(half) + 2 * self.rho * v
        return oracle.project(after), {"k": k, "anchor": state["anchor"]}

    def adopt(self, point: Tensor, state: State) -> State:
        return {**state, "k": 0, "anchor": point}

    def tally(self) -> Tally:
        return Tally(calls=2, x=1, y=1)
