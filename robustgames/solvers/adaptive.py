"""Schemes that find their step sizes themselves."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustgames.errors import GameError
from robustgames.games.game import join
from robustgames.games.oracle import Oracle
from robustgames.solvers.rules import Rate, State, check_rate, rate_at
from robustgames.solvers.schemes import Scheme, Tally


@dataclass(frozen=True)
class GoldenRatio(Scheme):
    """Adaptive golden ratio (aGRAAL): z̄⁺ = ((φ - 1) z + z̄)/φ, z⁺ = P(z̄⁺ + λ V(z)), λ from the last two points alone.

    λ⁺ = min((1/φ + 1/φ²) λ, φ θ / (4 λ) |z - z⁻|² / |V(z) - V(z⁻)|², longest), θ⁺ = φ λ⁺/λ: the inverse of a local
    Lipschitz constant, never a line search. One call a step. Converges on every monotone game
    whose field is locally Lipschitz, constrained or not. For exact fields: the noise of two samples counts as
    curvature, and λ becomes small. Source: Malitsky 2020, algorithm 1.

    Args:
        lr: First step, of which only the order matters: λ grows by at most 11 % a step.
        phi: φ in (1, 1.618]; 1.5 in the paper.
        longest: Largest λ.
    """

    lr: Rate
    phi: float = 1.5
    longest: float = 1e6

    def __post_init__(self) -> None:
        check_rate(self.lr)
        if not 1 < self.phi <= (1 + 5**0.5) / 2:
            raise GameError(f"phi is {self.phi}: it lies in (1, 1.618], up to the golden ratio")
        if not self.longest > 0:
            raise GameError(f"longest is {self.longest}: the largest step is a positive number, e.g. 1e6")

    def init(self, oracle: Oracle, z: Tensor) -> State:
        one = torch.ones_like(z[..., :1])
        rate = rate_at(self.lr, 1) * one
        return {"bar": z, "last": z, "v": torch.zeros_like(z), "rate": rate, "theta": one, "started": one < 0}

    def step(self, oracle: Oracle, z: Tensor, state: State) -> tuple[Tensor, State]:
        started, rate, phi = state["started"], state["rate"], self.phi
        oracle.draw()
        v = oracle(z)
        far, change = (oracle.dot(part, part) for part in (z - state["last"], v - state["v"]))
        local = torch.where(change > 0, ratio(far, change), torch.inf)  # a constant field bounds no step
        longest = phi * state["theta"] / (4 * rate) * local
        found = torch.minimum((1 / phi + 1 / phi**2) * rate, longest).clamp_max(self.longest)
        found = torch.where(started & (far > 0), found, rate)  # the first step has no last point
        bar = torch.where(started, ((phi - 1) * z + state["bar"]) / phi, z)
        theta = torch.where(started, phi * found / rate, state["theta"])
        after = oracle.project(bar + found * v)
        bar = torch.where(started, bar, after)
        return after, {"bar": bar, "last": z, "v": v, "rate": found, "theta": theta, "started": started | True}

    def tally(self) -> Tally:
        raise finds_its_steps(self)


@dataclass(frozen=True)
class AdaptiveExtragradient(Scheme):
    """Extragradient with γ_k = lr / sqrt(1 + Σ_{i<k} |V(z_i,half) - V(z_i)|²). Two calls a step.

    The sum stays finite if V is smooth, and grows like k if it is not: the rate of extragradient, O(1/k), or that of
    nonsmooth games, O(1/sqrt(k)), for the average of the look-aheads, with no constant to know.
    Source: Antonakopoulos, Belmega and Mertikopoulos 2021, "Adaptive extra-gradient methods for min-max optimization
    and games", Euclidean case.

    Args:
        lr: First step, 1 in the paper.
    """

    lr: Rate = 1.0

    def __post_init__(self) -> None:
        check_rate(self.lr)

    def init(self, oracle: Oracle, z: Tensor) -> State:
        return {"k": 0, "sum": torch.ones_like(z[..., :1])}

    def step(self, oracle: Oracle, z: Tensor, state: State) -> tuple[Tensor, State]:
        k = state["k"] + 1
        rate = rate_at(self.lr, k) / state["sum"].sqrt()
        oracle.draw()
        v = oracle(z)
        half = oracle.project(z + rate * v)
        oracle.draw()
        w = oracle(half)
        return oracle.project(z + rate * w), {"k": k, "sum": state["sum"] + oracle.dot(w - v, w - v)}

    def tally(self) -> Tally:
        return Tally(calls=2, x=1, y=1)


@dataclass(frozen=True)
class TiAda(Scheme):
    """x⁺ = P(x + lr V_x / max(s_x, s_y)^α), y⁺ = P(y + lr_y V_y / s_y^β), s_x and s_y the sums of |V_x|² and |V_y|².

    The maximum slows x down until y has settled, so the ratio of both steps needs no tuning. One call a step. Converges
    on games that are nonconvex in x and strongly concave in y. Source: Li, Yang and He 2023, "TiAda", algorithm 1.

    Args:
        lr: Step of x.
        lr_y: Step of y; that of x if None.
        alpha: α, more than 1/2.
        beta: β, less than 1/2.
        initial: First value of both sums.
    """

    lr: Rate = 0.1
    lr_y: Rate | None = None
    alpha: float = 0.6
    beta: float = 0.4
    initial: float = 1e-8

    def __post_init__(self) -> None:
        check_rate(self.lr)
        check_rate(self.lr if self.lr_y is None else self.lr_y)
        if not 0 < self.beta < self.alpha < 1 or not self.initial > 0:
            raise GameError(f"{self}: 0 < beta < alpha < 1 and initial > 0 are needed")

    def init(self, oracle: Oracle, z: Tensor) -> State:
        first = torch.full_like(z[..., :1], self.initial)
        return {"k": 0, "s_x": first, "s_y": first}

    def step(self, oracle: Oracle, z: Tensor, state: State) -> tuple[Tensor, State]:
        k = state["k"] + 1
        oracle.draw()
        v = oracle(z)
        x, y = oracle.game.split(v)
        own = oracle.dot(v, join([torch.zeros_like(x), y], v))  # over the processes that divide y
        s_x, s_y = state["s_x"] + (x * x).sum(-1, keepdim=True), state["s_y"] + own
        rates = rate_at(self.lr, k), rate_at(self.lr if self.lr_y is None else self.lr_y, k)
        move = [rates[0] * x / torch.maximum(s_x, s_y) ** self.alpha, rates[1] * y / s_y**self.beta]
        return oracle.project(z + join(move, z)), {"k": k, "s_x": s_x, "s_y": s_y}

    def tally(self) -> Tally:
        return Tally(calls=1, x=1, y=1)


def ratio(a: Tensor, b: Tensor) -> Tensor:
    """Return a / b, and 0 where b is 0."""
    return torch.where(b > 0, a / torch.where(b > 0, b, 1), 0)


def finds_its_steps(scheme: Scheme) -> GameError:
    """Return the error for learning rates that should fall in a scheme that finds its own."""
    return GameError(f"{type(scheme).__name__} finds its step sizes itself: leave anneal out")
