"""The primal-dual hybrid gradient method, with adaptive restarts at its average."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustgames.errors import GameError
from robustgames.games.oracle import Oracle
from robustgames.solvers.rules import Rate, State, check_rate, rate_at
from robustgames.solvers.schemes import Scheme, Tally

SUFFICIENT, NECESSARY, LONG = 0.2, 0.8, 0.36
"""Decrease of the residual that restarts at once; that restarts when it rises again; share of all steps that does."""


@dataclass(frozen=True)
class PDHG(Scheme):
    """x⁺ = P(x + lr V_x(x, y)), y⁺ = P(y + lr_y V_y(2x⁺ - x, y)): x moves, then y answers the extrapolated x.

    Converges on bilinear Φ = xᵀA y if lr lr_y |A|₂² < 1. A step is a round of `round` such moves and two evaluations:
    the residual |P(z + V(z)) - z| of the last iterate and of the average since the last restart. The better one is the
    output. If `restart`, the method also starts again from it: at once if its residual is at most 0.2 times that
    at the last restart; at most 0.8 times, if it rises; and when the average holds 0.36 of all moves. Bilinear games on
    polytopes are sharp, so restarts give a linear rate in 1/(condition number), where the average alone has 1/k.
    Source: Chambolle and Pock 2011; Applegate et al. 2021, "Practical large-scale linear programming using
    primal-dual hybrid gradient"; Applegate, Hinder, Lu and Lubin 2023.

    Args:
        lr: Step size of x.
        lr_y: Step size of y, lr if None.
        round: Moves per round.
        restart: Whether to restart.
    """

    lr: Rate = 0.1
    lr_y: Rate | None = None
    round: int = 10
    restart: bool = True

    def __post_init__(self) -> None:
        check_rate(self.lr)
        if self.lr_y is not None:
            check_rate(self.lr_y)
        if self.round < 1:
            raise GameError(f"round is {self.round}: a round has at least one move, e.g. round=10")

    def init(self, oracle: Oracle, z: Tensor) -> State:
        none = torch.zeros_like(z[..., :1])
        infinite = torch.full_like(none, float("inf"))
        # of each run: mean since the restart, moves in it, residuals at the restart and after the last round
        return {"k": 0, "mean": z.clone(), "moves": none, "first": infinite, "last": infinite, "output": z.clone()}

    def step(self, oracle: Oracle, z: Tensor, state: State) -> tuple[Tensor, State]:
        k, mean, moves = state["k"], state["mean"], state["moves"]
        for _ in range(self.round):
            k, moves = k + 1, moves + 1
            z = self._move(oracle, z, k)
            mean = mean + (z - mean) / moves
        at_mean, at_z = self._residual(oracle, mean), self._residual(oracle, z)
        best, least = torch.where(at_mean < at_z, mean, z), torch.minimum(at_mean, at_z)
        following = {"k": k, "mean": mean, "moves": moves, "first": state["first"], "last": least, "output": best}
        if not self.restart:
            return z, following
        first = torch.where(state["first"].isinf(), least, state["first"])
        again = (
            (least <= SUFFICIENT * first)
            | (least <= NECESSARY * first) & (least > state["last"])
            | (moves >= LONG * k) & (moves < k)
        )
        z, mean = torch.where(again, best, z), torch.where(again, best, mean)
        moves, first = torch.where(again, 0, moves), torch.where(again, least, first)
        last = torch.where(again, float("inf"), least)
        return z, {"k": k, "mean": mean, "moves": moves, "first": first, "last": last, "output": best}

    def _move(self, oracle: Oracle, z: Tensor, k: int) -> Tensor:
        oracle.draw()
        x, y = oracle.game.split(z)
        moved = oracle.place(z, 0, x + rate_at(self.lr, k) * oracle(z, 0))
        x_new = oracle.game.split(moved)[0]
        ahead = torch.cat([2 * x_new - x, y], -1)
        oracle.draw()
        rate = rate_at(self.lr if self.lr_y is None else self.lr_y, k)
        return oracle.place(moved, 1, y + rate * oracle(ahead, 1))

    def _residual(self, oracle: Oracle, z: Tensor) -> Tensor:
        v = oracle(z)
        return torch.linalg.vector_norm(oracle.project(z + v) - z, dim=-1, keepdim=True)

    def output(self, z: Tensor, state: State) -> Tensor:
        return state["output"]

    def adopt(self, point: Tensor, state: State) -> State:
        none = torch.zeros_like(state["moves"])
        infinite = torch.full_like(none, float("inf"))
        start = {"mean": point.clone(), "moves": none, "first": infinite, "last": infinite, "output": point.clone()}
        return {**state, **start}

    def tally(self) -> Tally:
        return Tally(calls=2 * self.round + 2, x=self.round, y=self.round, partial=2 * self.round)
