"""Schemes that use the derivative DV of the field, by products with vectors: they scale to games of any size.

With x and y the blocks of z, DV = [[V_xx, V_xy], [V_yx, V_yy]]. In a zero-sum game V_xx = -Φ_xx, V_xy = -Φ_xy,
V_yx = Φ_yx and V_yy = Φ_yy. Each product costs two calls, one of them for the field, see `Oracle.vjp`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustgames.errors import GameError
from robustgames.games.game import join
from robustgames.games.oracle import Oracle
from robustgames.solvers.applicable import check_unconstrained, check_zero_sum
from robustgames.solvers.conjugate_gradients import conjugate_gradients
from robustgames.solvers.players import Rules, init_rules, move_rules
from robustgames.solvers.rules import Rate, State, check_rate, rate_at
from robustgames.solvers.schemes import Scheme, Tally


@dataclass(frozen=True)
class Consensus(Scheme):
    """Consensus optimization: z⁺ = P(rule(z, V - w DVᵀV)), the field minus the gradient of w |V|²/2. Two calls a step.

    Converges locally to stable points, at any step if w is large; but minima of |V| that are not critical attract it
    as well. Source: Mescheder, Nowozin and Geiger 2017, algorithm 2.

    Args:
        rule: Rule of both players, or a pair.
        weight: w >= 0.
    """

    rule: Rules
    weight: float = 1.0

    def __post_init__(self) -> None:
        _check_weight(self.weight)

    def init(self, oracle: Oracle, z: Tensor) -> State:
        return init_rules(self.rule, oracle, z)

    def step(self, oracle: Oracle, z: Tensor, state: State) -> tuple[Tensor, State]:
        oracle.draw()
        v, pulled = oracle.vjp(z)
        z, state = move_rules(self.rule, oracle, z, v - self.weight * pulled, state)
        return oracle.project(z), state

    def tally(self) -> Tally:
        return Tally(calls=2, x=1, y=1)


@dataclass(frozen=True)
class SymplecticAdjustment(Scheme):
    """Symplectic gradient adjustment: z⁺ = P(rule(z, V - w s (DVᵀV - DV V)/2)). Four calls a step.

    The adjustment a = (DVᵀV - DV V)/2 comes from the antisymmetric part of DV: it acts against the rotation alone. The
    sign s is that of 1/10 - <V, DVᵀV> <a, DVᵀV> / d for d coordinates, so that steps are drawn to stable points and
    leave unstable ones. Source: Balduzzi et al. 2018, algorithm 1.

    Args:
        rule: Rule of both players, or a pair.
        weight: w >= 0.
        align: Whether to choose the sign; otherwise s = 1.
    """

    rule: Rules
    weight: float = 1.0
    align: bool = True

    def __post_init__(self) -> None:
        _check_weight(self.weight)

    def init(self, oracle: Oracle, z: Tensor) -> State:
        return init_rules(self.rule, oracle, z)

    def step(self, oracle: Oracle, z: Tensor, state: State) -> tuple[Tensor, State]:
        oracle.draw()
        v, pulled = oracle.vjp(z)
        adjustment = (pulled - oracle.jvp(z, v)[1]) / 2
        if self.align:
            alike = -oracle.dot(v, pulled) * oracle.dot(adjustment, pulled) / sum(oracle.whole.sizes)
            adjustment = torch.where(alike + 0.1 >= 0, adjustment, -adjustment)
        z, state = move_rules(self.rule, oracle, z, v - self.weight * adjustment, state)
        return oracle.project(z), state

    def tally(self) -> Tally:
        return Tally(calls=4, x=1, y=1)


@dataclass(frozen=True)
class CompetitiveGradient(Scheme):
    """Competitive gradient descent: both players move to the Nash point of the game that is bilinear near z.

    Δx = lr (V_x + V_xy Δy),   Δy = lr (V_y + V_yx Δx),   z⁺ = z + (Δx, Δy).
    Δx solves (I - lr² V_xy V_yx) Δx = lr (V_x + lr V_xy V_y), a positive definite system in a zero-sum game, by
    conjugate gradients. Stable at steps that the interaction V_xy would forbid to other methods. 4 K + 5 calls a step
    for K conjugate gradients, all of one player; with K >= n they are exact. Without constraints, zero-sum.
    Source: Schäfer and Anandkumar 2019, algorithm 1.

    Args:
        lr: Step, η.
        inner_steps: Conjugate gradients, K.
    """

    lr: Rate
    inner_steps: int = 5

    def __post_init__(self) -> None:
        check_rate(self.lr)
        _check_inner(self.inner_steps)

    def init(self, oracle: Oracle, z: Tensor) -> State:
        check_unconstrained(self, oracle)
        check_zero_sum(self, oracle)
        return {"k": 0}

    def step(self, oracle: Oracle, z: Tensor, state: State) -> tuple[Tensor, State]:
        k, rate = state["k"] + 1, rate_at(self.lr, state["k"] + 1)
        oracle.draw()
        v_y = oracle(z, 1)
        v_x, pushed = oracle.jvp(z, _vector(oracle, z, 1, v_y), 0)

        def system(p: Tensor) -> Tensor:
            back = oracle.jvp(z, _vector(oracle, z, 0, p), 1)[1]
            return p - rate**2 * oracle.jvp(z, _vector(oracle, z, 1, back), 0)[1]

        move_x = conjugate_gradients(system, rate * (v_x + rate * pushed), self.inner_steps)
        move_y = rate * (v_y + oracle.jvp(z, _vector(oracle, z, 0, move_x), 1)[1])
        return oracle.project(z + join([move_x, move_y], z)), {"k": k}

    def tally(self) -> Tally:
        calls = 4 * self.inner_steps + 5
        return Tally(calls, x=1, y=1, partial=calls)


@dataclass(frozen=True)
class FollowRidge(Scheme):
    """Follow the ridge: GDA in which y also makes up for the move of x, so that V_y stays what it is.

    Δx = lr V_x,   Δy = lr V_y - V_yy⁻¹ V_yx Δx,   z⁺ = z + (Δx, Δy).
    Near a critical point with V_yy < 0 the linear part is similar to that of x on max_y Φ and of y alone: the stable
    points are the local minimax points and no others. V_yy⁻¹ is that of V_yy² + μ I times V_yy, by conjugate
    gradients. 4 K + 5 calls a step, all but one of player 1. Without constraints.
    Source: Wang, Zhang and Ba 2020, algorithm 1.

    Args:
        lr: Step.
        damping: μ >= 0.
        inner_steps: Conjugate gradients, K; with K >= m they are exact.
    """

    lr: Rate
    damping: float = 1e-6
    inner_steps: int = 5

    def __post_init__(self) -> None:
        check_rate(self.lr)
        _check_inner(self.inner_steps)
        _check_weight(self.damping)

    def init(self, oracle: Oracle, z: Tensor) -> State:
        check_unconstrained(self, oracle)
        return {"k": 0}

    def step(self, oracle: Oracle, z: Tensor, state: State) -> tuple[Tensor, State]:
        k, rate = state["k"] + 1, rate_at(self.lr, state["k"] + 1)

        def hessian(p: Tensor) -> Tensor:
            return oracle.jvp(z, _vector(oracle, z, 1, p), 1)[1]

        oracle.draw()
        move_x = rate * oracle(z, 0)
        v_y, pushed = oracle.jvp(z, _vector(oracle, z, 0, move_x), 1)
        follow = conjugate_gradients(
            lambda p: hessian(hessian(p)) + self.damping * p, hessian(pushed), self.inner_steps
        )
        return oracle.project(z + join([move_x, rate * v_y - follow], z)), {"k": k}

    def tally(self) -> Tally:
        calls = 4 * self.inner_steps + 5
        return Tally(calls, x=1, y=1, partial=calls)


@dataclass(frozen=True)
class LeastAction(Scheme):
    """LEAD: GDA with momentum and a force that the other player's last move exerts through the mixed derivatives.

    x⁺ = x + β dx + lr V_x + α V_xy dy,   y⁺ = y + β dy + lr V_y + α V_yx dx,   (dx, dy) = z - z⁻, 0 at first.
    With α = lr and β = 0 it is optimistic gradient descent ascent on bilinear games. Four calls a step, of one player
    each. Without constraints. Source: Hemmat, Mitra, Lajoie and Mitliagkas 2023, algorithm 1.

    Args:
        lr: Step.
        alpha: α in units of lr.
        beta: β in (-1, 1).
    """

    lr: Rate
    alpha: float = 1.0
    beta: float = 0.0

    def __post_init__(self) -> None:
        check_rate(self.lr)
        if not -1 < self.beta < 1:
            raise GameError(f"beta is {self.beta}: it lies in (-1, 1)")
        if not -float("inf") < self.alpha < float("inf"):
            raise GameError(f"alpha is {self.alpha}: it must be a finite number, e.g. 1.0")

    def init(self, oracle: Oracle, z: Tensor) -> State:
        check_unconstrained(self, oracle)
        return {"k": 0, "last": z}

    def step(self, oracle: Oracle, z: Tensor, state: State) -> tuple[Tensor, State]:
        k, rate, d = state["k"] + 1, rate_at(self.lr, state["k"] + 1), z - state["last"]
        dx, dy = oracle.game.split(d)
        oracle.draw()
        v_x, force_x = oracle.jvp(z, _vector(oracle, z, 1, dy), 0)
        v_y, force_y = oracle.jvp(z, _vector(oracle, z, 0, dx), 1)
        push = join([v_x + self.alpha * force_x, v_y + self.alpha * force_y], z)
        return oracle.project(z + self.beta * d + rate * push), {"k": k, "last": z}

    def tally(self) -> Tally:
        return Tally(calls=4, x=1, y=1, partial=4)


def _vector(oracle: Oracle, z: Tensor, player: int, block: Tensor) -> Tensor:
    """Return the vector like z with one player's block, and 0 in the other's."""
    x, y = (torch.zeros_like(part) for part in oracle.game.split(z))
    return join([x, block] if player else [block, y], z)


def _check_weight(weight: float) -> None:
    if not 0 <= weight < float("inf"):
        raise GameError(f"the weight is {weight}: it must be a finite number >= 0")


def _check_inner(inner_steps: int) -> None:
    if inner_steps < 1:
        raise GameError(f"inner_steps is {inner_steps}: at least 1 conjugate gradient")
