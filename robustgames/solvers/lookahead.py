"""Lookahead: follow a solver for a while, then go a part of the way back to where it began."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustgames.errors import GameError
from robustgames.games.oracle import Oracle
from robustgames.solvers.adaptive import ratio
from robustgames.solvers.rules import Rate, State, check_rate, is_whole, rate_at
from robustgames.solvers.schemes import Scheme, Tally

WITHIN = 0.1, 0.9  # of a secant step between two points


@dataclass(frozen=True)
class Lookahead(Scheme):
    """After every `every` steps of a scheme z becomes P(slow + α (z - slow)), the next slow point.

    On a bilinear game one round of GDA multiplies an error by 1 - α + α (1 + i lr σ)^every: a spiral outwards becomes a
    contraction if the round is about half a turn. Source: Chavdarova et al. 2021, "Taming GANs with lookahead-minmax",
    algorithm 1, jointly for both players; Zhang et al. 2019.

    Args:
        scheme: Solver whose steps are followed.
        every: Steps of a round, a number or a tensor of shape (*S, 1) with one per run.
        alpha: α in (0, 1].
    """

    scheme: Scheme
    every: int | Tensor = 5
    alpha: float = 0.5

    def __post_init__(self) -> None:
        every = self.every.flatten().tolist() if isinstance(self.every, Tensor) else [self.every]
        if not all(is_whole(count, 1) for count in every) or not 0 < self.alpha <= 1:
            raise GameError(f"every is {self.every} and alpha {self.alpha}: whole steps >= 1, and a part in (0, 1]")

    def init(self, oracle: Oracle, z: Tensor) -> State:
        return {"scheme": self.scheme.init(oracle, z), "slow": z, "k": 0}

    def step(self, oracle: Oracle, z: Tensor, state: State) -> tuple[Tensor, State]:
        z, inner = self.scheme.step(oracle, z, state["scheme"])
        k, slow = state["k"] + 1, state["slow"]
        ends = k % self.every == 0
        if isinstance(ends, Tensor):  # of each run by itself
            back = oracle.project(slow.lerp(z, self.alpha))
            z, slow = torch.where(ends, back, z), torch.where(ends, back, slow)
        elif ends:
            z = slow = oracle.project(slow.lerp(z, self.alpha))
        return z, {"scheme": inner, "slow": slow, "k": k}

    def adopt(self, point: Tensor, state: State) -> State:
        return {**state, "scheme": self.scheme.adopt(point, state["scheme"]), "slow": point}

    def tally(self) -> Tally:
        return self.scheme.tally()


@dataclass(frozen=True)
class HalfTurn(Scheme):
    """Lookahead whose rounds end by themselves: when the distance from the slow point stops growing.

    Where <V(z), z - slow> <= 0 a rotation has made half a turn, and a point between both lies near its center:
    z⁺ = slow⁺ = slow + α (z - slow). Elsewhere z⁺ = z + s, s = lr V(z) shortened to at most `longest`. One call a step
    (two with `extragradient`), no period to choose; every run of a batch turns by itself.

    If `alpha` is None, α = <V(slow), V(slow) - V(z)> / |V(slow) - V(z)|² within [0.1, 0.9], where |V| is least between
    both points if V is linear: the secant step, with both fields already seen. Below 0.1 it would begin the same round
    again, above 0.9 it would hardly return.

    **Rate.** Let V be linear with one pair of eigenvalues λ, Im λ > 0, and step factor m = 1 + lr λ, as on a bilinear
    game of one singular value s, λ = is. A round of N steps costs N + 1 calls and multiplies the distance from the
    critical point by |1 - α + α m^N|. With the secant α this is |m|^N |sin ψ| / |1 - m^N|, ψ = arg m^N. Since 1 is at
    least |sin ψ| away from every point of the ray of m^N, a turn never loses against the steps before it. On the
    bilinear game, with a = lr s, m = 1 + ia turns by θ = arctan a, so N is the first number with Nθ >= π, and

        factor <= sin(Nθ - π) <= a / sqrt(1 + a²) < 1,    in at most π/θ + 2 calls,

    for a <= 1.34, up to which the secant α is at least 0.1; the bounded one contracts for a < 1.59.

    α = 1/2 has the factor |1 + m^N|/2, between 0.78 a and 0.94 a to first order, and contracts for a < 0.654 only.

    **Limits.** With Re λ = r Im λ the distance never stops growing if r > 0.274 (small lr), so it does not turn around
    points that repel so strongly. With singular values far apart, s > t, the fast one ends the rounds and the slow one
    shrinks by about cos(πt/2s) in each: quadratic in t, like extragradient.

    Not from a paper: its kin are Lookahead-minmax (Chavdarova et al. 2021), adaptive restarts (O'Donoghue and Candès
    2015) and Anderson's extrapolation from two points (1965).

    Args:
        lr: Step.
        alpha: α in (0, 1], or None for the secant step.
        least: Least number of steps between two turns. Under noise a multiple of 1/lr.
        longest: Largest |s|; 0 shortens none.
        extragradient: Whether a step is one of extragradient.
    """

    lr: Rate
    alpha: float | None = None
    least: int = 2
    longest: float = 0.0
    extragradient: bool = False

    def __post_init__(self) -> None:
        check_rate(self.lr)
        if not (self.alpha is None or 0 < self.alpha <= 1) or not (self.least >= 1 and self.longest >= 0):
            raise GameError(f"{self}: alpha is None or in (0, 1], least is at least 1 and longest at least 0")

    def init(self, oracle: Oracle, z: Tensor) -> State:
        return {"k": 0, "slow": z, "first": torch.zeros_like(z), "since": torch.zeros_like(z[..., :1])}

    def step(self, oracle: Oracle, z: Tensor, state: State) -> tuple[Tensor, State]:
        k, slow, since = state["k"] + 1, state["slow"], state["since"]
        rate = rate_at(self.lr, k)
        oracle.draw()
        v = oracle(z)
        first = torch.where(since == 0, v, state["first"])  # V(slow)
        turns = (oracle.dot(v, z - slow) <= 0) & (since >= self.least)
        alpha = self._secant(oracle, first, first - v) if self.alpha is None else self.alpha
        if self.extragradient:
            half = oracle.project(z + rate * v)
            oracle.draw()
            v = oracle(half)
        s = rate * v
        if self.longest:
            s = s * (self.longest / oracle.dot(s, s).sqrt()).clamp_max(1)
        z = oracle.project(torch.where(turns, slow + alpha * (z - slow), z + s))
        since = torch.where(turns, 0, since + 1)
        return z, {"k": k, "slow": torch.where(turns, z, slow), "first": first, "since": since}

    @staticmethod
    def _secant(oracle: Oracle, first: Tensor, change: Tensor) -> Tensor:
        return ratio(oracle.dot(first, change), oracle.dot(change, change)).clamp(*WITHIN)

    def adopt(self, point: Tensor, state: State) -> State:
        return {**state, "slow": point, "since": torch.zeros_like(state["since"])}

    def tally(self) -> Tally:
        applied = 2 if self.extragradient else 1
        return Tally(calls=applied, x=1, y=1)
