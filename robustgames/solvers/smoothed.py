"""Smoothed gradient descent ascent, and steps of Runge and Kutta along the flow."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from torch import Tensor

from robustgames.errors import GameError
from robustgames.games.oracle import Oracle
from robustgames.solvers.rules import Rate, State, check_rate, rate_at
from robustgames.solvers.schemes import Scheme, Tally


@dataclass(frozen=True)
class SmoothedGDA(Scheme):
    """Alternating GDA in which each player is drawn to an anchor that follows it slowly.

    x⁺ = P(x + lr (V_x(x, y) - r (x - p))),   y⁺ = P(y + lr (V_y(x⁺, y) - r_y (y - q))),
    p⁺ = p + lr rate (x⁺ - p),   q⁺ = q + lr rate (y⁺ - q),   p_0 = x_0, q_0 = y_0.
    Two calls a step, one per player. Doubly smoothed (Zheng et al. 2023) it converges on games that are
    nonconvex-concave, convex-nonconcave, or nonconvex-nonconcave under a one-sided Kurdyka-Lojasiewicz condition. With
    r_y = 0 this is smoothed GDA (Zhang et al. 2020), for nonconvex-concave games.

    Source: Zheng et al. 2023, "Universal gradient descent ascent method for nonconvex-nonconcave minimax optimization",
    algorithm 1, and its code, where lr rate is β.

    Args:
        lr: Step of both players.
        r: Pull on x, >= 0.
        r_y: Pull on y, >= 0; that on x if None.
        rate: Rate at which the anchors follow, per unit of time.
    """

    lr: Rate
    r: float = 1.0
    r_y: float | None = None
    rate: float = 0.5

    def __post_init__(self) -> None:
        check_rate(self.lr)
        if not all(0 <= part < inf for part in (self.r, self.rate, self.r if self.r_y is None else self.r_y)):
            raise GameError(f"{self}: r, r_y and rate are finite and at least 0")

    def init(self, oracle: Oracle, z: Tensor) -> State:
        return {"k": 0, "anchor": z}

    def step(self, oracle: Oracle, z: Tensor, state: State) -> tuple[Tensor, State]:
        k, rate, point = state["k"] + 1, rate_at(self.lr, state["k"] + 1), z
        pulls = self.r, self.r if self.r_y is None else self.r_y
        anchors = oracle.game.split(state["anchor"])
        for player, (pull, anchor) in enumerate(zip(pulls, anchors, strict=True)):
            block = oracle.game.split(z)[player]
            oracle.draw()
            point = oracle.place(point, player, block + rate * (oracle(point, player) - pull * (block - anchor)))
        follows = rate * self.rate
        follows = follows.clamp_max(1) if isinstance(follows, Tensor) else min(follows, 1.0)
        return point, {"k": k, "anchor": state["anchor"] + follows * (point - state["anchor"])}

    def adopt(self, point: Tensor, state: State) -> State:
        return {**state, "anchor": point}

    def tally(self) -> Tally:
        return Tally(calls=2, x=1, y=1, partial=2)


@dataclass(frozen=True)
class RungeKutta(Scheme):
    """A step of Heun (order 2) or of Runge and Kutta (order 4) along z' = V(z), then P; as many calls as order.

    It follows the flow up to lr^order, so it converges to what attracts the flow, with steps at which GDA has left it.
    All stages of a step see one sample, whose field is then followed. Source: Qin et al. 2020, "Training generative
    adversarial networks by solving ordinary differential equations".

    Args:
        lr: Step.
        order: 2 or 4.
    """

    lr: Rate
    order: int = 4

    def __post_init__(self) -> None:
        check_rate(self.lr)
        if self.order not in (2, 4):
            raise GameError(f"order is {self.order}: 2 (Heun) or 4 (Runge and Kutta)")

    def init(self, oracle: Oracle, z: Tensor) -> State:
        return {"k": 0}

    def step(self, oracle: Oracle, z: Tensor, state: State) -> tuple[Tensor, State]:
        k, project = state["k"] + 1, oracle.project
        h = rate_at(self.lr, k)
        oracle.draw()
        first = oracle(z)
        if self.order == 2:
            return project(z + h / 2 * (first + oracle(project(z + h * first)))), {"k": k}
        second = oracle(project(z + h / 2 * first))
        third = oracle(project(z + h / 2 * second))
        fourth = oracle(project(z + h * third))
        return project(z + h / 6 * (first + 2 * second + 2 * third + fourth)), {"k": k}

    def tally(self) -> Tally:
        return Tally(calls=self.order, x=1, y=1)
