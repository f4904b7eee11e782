"""EG+ and its kin: a long look-ahead, then a shorter step from z. They solve weak Minty games.

A solution z* satisfies the weak Minty condition with ρ if <V(z), z* - z> >= ρ |V(z)|² at all z. Monotone games have
ρ = 0; for ρ < 0 extragradient may diverge. A step is written with H z = z + γ V(z) and z̄ = P(H z). Without constraints
H z̄ - H z = γ V(z̄). The iterates are projected as well, which brings them no further from z*.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustgames.errors import GameError
from robustgames.games.oracle import Oracle
from robustgames.solvers.adaptive import finds_its_steps, ratio
from robustgames.solvers.rules import Rate, State, check_rate, rate_at
from robustgames.solvers.schemes import Scheme, Tally


@dataclass(frozen=True)
class AdaptiveEGPlus(Scheme):
    """z⁺ = P(z + λ α (H z̄ - H z)), α = δ + <z̄ - z, H z̄ - H z> / |H z̄ - H z|². Two calls a step.

    Converges if ρ > δ lr and lr <= 1/L, so with the default up to nearly ρ = -1/(2L).
    Source: Pethick et al. 2022, algorithm 1 (CEG+) with the step of section 4; δ is theirs divided by lr.

    Args:
        lr: Step of the look-ahead, γ.
        delta: δ > -1/2.
        relax: λ in (0, 2).
    """

    lr: Rate
    delta: float = -0.495
    relax: float = 1.0

    def __post_init__(self) -> None:
        check_rate(self.lr)
        check_plus(self.delta, self.relax)

    def init(self, oracle: Oracle, z: Tensor) -> State:
        return {"k": 0}

    def step(self, oracle: Oracle, z: Tensor, state: State) -> tuple[Tensor, State]:
        k = state["k"] + 1
        rate = rate_at(self.lr, k)
        oracle.draw()
        ahead = z + rate * oracle(z)
        bar = oracle.project(ahead)
        oracle.draw()
        move = bar + rate * oracle(bar) - ahead
        alpha = (self.delta + ratio(oracle.dot(bar - z, move), oracle.dot(move, move))).clamp_min(0)
        return oracle.project(z + self.relax * alpha * move), {"k": k}

    def tally(self) -> Tally:
        return Tally(calls=2, x=1, y=1)


@dataclass(frozen=True)
class CurvatureEGPlus(Scheme):
    """AdaptiveEGPlus whose look-ahead γ is as long as the curvature allows: γ |V(z̄) - V(z)| <= ν |z̄ - z|.

    A trial that fails halves γ, and after every move γ grows. One call a step: V(z), or V(z̄) of a trial. So every run
    of a batch backtracks by itself and wastes no call; `state["moves"]` counts the moves of each run.

    For exact fields: V(z) and V(z̄) are of two samples, so where noise is as large as V no γ is short enough, and γ
    falls to 0.

    Converges if ρ > δ γ along the trajectory, where γ is the inverse of a local Lipschitz constant. Source: Pethick et
    al. 2022, algorithm 2 (CurvatureEG+). It starts each backtracking at ν / |DV(z)|; here it starts at `growth` times
    the last γ, which needs no derivative of V.

    Args:
        lr: First γ.
        nu: ν in (0, 1).
        delta: δ > -1/2.
        relax: λ in (0, 2).
        shrink: Factor of γ after a failed trial.
        growth: Factor of γ after a move.
        longest: Largest γ, in units of lr.
    """

    lr: Rate
    nu: float = 0.99
    delta: float = -0.495
    relax: float = 1.0
    shrink: float = 0.5
    growth: float = 1.5
    longest: float = 20.0

    def __post_init__(self) -> None:
        check_rate(self.lr)
        check_plus(self.delta, self.relax)
        if not (0 < self.nu < 1 and 0 < self.shrink < 1 <= self.growth and self.longest >= 1):
            raise GameError(f"{self}: nu and shrink lie in (0, 1), growth and longest are at least 1")

    def init(self, oracle: Oracle, z: Tensor) -> State:
        one = torch.ones_like(z[..., :1])
        moved = torch.ones_like(one, dtype=torch.bool)
        return {"v": torch.zeros_like(z), "gamma": rate_at(self.lr, 1) * one, "moved": moved, "moves": 0 * one}

    def step(self, oracle: Oracle, z: Tensor, state: State) -> tuple[Tensor, State]:
        v, gamma, moved = state["v"], state["gamma"], state["moved"]  # moved: V(z) is not known yet
        ahead = z + gamma * v
        bar = oracle.project(ahead)
        oracle.draw()
        w = oracle(torch.where(moved, z, bar))
        change, far = w - v, bar - z
        short = gamma**2 * oracle.dot(change, change) <= self.nu**2 * oracle.dot(far, far)
        move = bar + gamma * w - ahead
        alpha = (self.delta + ratio(oracle.dot(far, move), oracle.dot(move, move))).clamp_min(0)
        moves = short & ~moved
        longer = (self.growth * gamma).clamp_max(self.longest * rate_at(self.lr, 1))
        return torch.where(moves, oracle.project(z + self.relax * alpha * move), z), {
            "v": torch.where(moved, w, v),
            "gamma": torch.where(moves, longer, torch.where(moved | short, gamma, self.shrink * gamma)),
            "moved": moves,
            "moves": state["moves"] + moves,
        }

    def tally(self) -> Tally:
        raise finds_its_steps(self)


@dataclass(frozen=True)
class BiasCorrectedSEGPlus(Scheme):
    """EG+ for noisy fields: z̄ is corrected by what the same sample says at the last z, and only α_k falls.

    h = z + lr V(z; ζ) + (1 - α_k) (h⁻ - z⁻ - lr V(z⁻; ζ)),   z̄ = P(h),   z⁺ = P(z + α_k (z̄ - h + lr V(z̄; ζ'))),
    α_k = α_0 / sqrt(1 + k / decay). The look-ahead keeps its length, so noise does not shrink the set of games that are
    solved: ρ > -lr/2, almost. Three calls a step, two of them on one sample.
    Source: Pethick et al. 2023, "Solving stochastic weak Minty variational inequalities without increasing batch size",
    algorithms 1 and 2 with β_k = α_k, and the constants of its experiments.

    Args:
        lr: Step of the look-ahead, γ < 1/L.
        alpha: α_0 in (0, 1].
        decay: Steps after which α_k begins to fall.
    """

    lr: Rate
    alpha: float = 1 / 18
    decay: float = 100.0

    def __post_init__(self) -> None:
        check_rate(self.lr)
        if not (0 < self.alpha <= 1 and self.decay > 0):
            raise GameError(f"{self}: alpha lies in (0, 1] and decay is positive")

    def init(self, oracle: Oracle, z: Tensor) -> State:
        return {"k": 0, "last": z, "h": z}

    def step(self, oracle: Oracle, z: Tensor, state: State) -> tuple[Tensor, State]:
        k, last = state["k"] + 1, state["last"]
        rate, alpha = rate_at(self.lr, k), self.alpha / (1 + k / self.decay) ** 0.5
        oracle.draw()
        h = z + rate * oracle(z) + (1 - alpha) * (state["h"] - last - rate * oracle(last))
        bar = oracle.project(h)
        oracle.draw()
        after = oracle.project(z + alpha * (bar - h + rate * oracle(bar)))
        return after, {"k": k, "last": z, "h": h}

    def tally(self) -> Tally:
        return Tally(calls=3, x=1, y=1)


@dataclass(frozen=True)
class ApproximateProximal(Scheme):
    """Relaxed approximate proximal point: w_{t+1} = P(z + lr V(w_t)), w_0 = z, then z⁺ = (1 - λ) z + λ w_K.

    For lr < 1/L the inner steps contract to the proximal point w = z + lr V(w). K calls a step. With ρ > -lr/2 it
    converges for every λ < 2 (1 + 2 ρ / lr), up to the error of the inner steps, of order (lr L)^K.
    Source: Pethick, Xie and Cevher 2023, "Stable nonconvex-nonconcave training via linear interpolation", RAPP.

    Args:
        lr: Step of the proximal point, γ.
        inner_steps: Inner steps, K >= 1. With K = 2 and λ = 1 this is extragradient.
        relax: λ in (0, 2).
    """

    lr: Rate
    inner_steps: int = 5
    relax: float = 0.5

    def __post_init__(self) -> None:
        check_rate(self.lr)
        if self.inner_steps < 1:
            raise GameError(f"inner_steps is {self.inner_steps}: at least 1 step approximates the proximal point")
        check_plus(0.0, self.relax)

    def init(self, oracle: Oracle, z: Tensor) -> State:
        return {"k": 0}

    def step(self, oracle: Oracle, z: Tensor, state: State) -> tuple[Tensor, State]:
        k, w = state["k"] + 1, z
        for _ in range(self.inner_steps):
            oracle.draw()
            w = oracle.project(z + rate_at(self.lr, k) * oracle(w))
        return oracle.project(z + self.relax * (w - z)), {"k": k}

    def tally(self) -> Tally:
        return Tally(calls=self.inner_steps, x=1, y=1)


def check_plus(delta: float, relax: float) -> None:
    """Raise a `GameError` unless the constants are those of the theory of EG+."""
    if not (-0.5 < delta < 1 and 0 < relax < 2):
        raise GameError(f"delta is {delta} and relax {relax}: delta lies in (-0.5, 1) and relax in (0, 2)")
