"""Best response: one player answers the other by several steps, then the other moves by Danskin's gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from robustgames.errors import GameError
from robustgames.games.oracle import Oracle
from robustgames.solvers.convex_hull import MOST, min_norm_combination
from robustgames.solvers.players import init_rules
from robustgames.solvers.rules import Rule, State
from robustgames.solvers.schemes import Scheme, Tally


@dataclass(frozen=True)
class BestResponse(Scheme):
    """Player 1 takes `inner_steps` steps against the frozen player 0, then player 0 one step: Danskin's gradient.

    y_k+1 = P(inner(y_k, ∇y Φ(x, y_k; ζ))) for k < K, then x⁺ = P(outer(x, -∇x Φ(x, y_K; ζ))). inner_steps + 1 calls a
    step. With a look-ahead, player 0 plays extragradient on f(x) = max_y Φ(x, y): x_half = P(outer(x, g)), and
    x⁺ = P(outer(x, g')) with the gradient g' at the answer to x_half; g is the one at the answer to x ("extra", twice
    the calls) or the g' of the step before ("past", at first 0).

    Args:
        outer: Rule of player 0. With a look-ahead both half steps apply it.
        inner: Rule of player 1.
        inner_steps: Steps of player 1 per answer, K >= 0.
        start: Start of y in each step: "random" (drawn by the game), "zero", "keep" (the last answer; the state of
            the inner rule is then kept as well) or "exact" (the best response that the game knows).
        hold: Whether an answer and its gradient share one ζ (adversarial training). If False, every call draws a new
            one (WGAN's critic steps).
        lookahead: "none", "extra" or "past".
        ramp: Steps over which player 1's answers grow to full size: y_K is scaled by k / ramp in step k. From scratch,
            training against a strong attacker can stall.
        answers: Answers of player 1 to each x, from as many random starts. With several, player 0 follows the element
            of least norm of the convex hull of its gradients there, minus which is the direction of steepest descent
            if all answers are maximizers (see `danskin`).
        perturbation: Radius γ of an adversarial perturbation of the weights: the gradient is taken at the point
            x + γ |x| g/|g|, which raises the loss, and the step from x. It is one more call for each answer.

    Source: lecture "Stochastic Adversarial Training"; Madry et al. 2018, section 2.1; Latorre et al. 2023, algorithm 1,
    for several answers; Wu, Xia and Wang 2020 for the perturbation, with one norm of all the weights.
    """

    outer: Rule
    inner: Rule
    inner_steps: int = 1
    start: Literal["random", "zero", "keep", "exact"] = "random"
    hold: bool = True
    lookahead: Literal["none", "extra", "past"] = "none"
    ramp: int = 0
    answers: int = 1
    perturbation: float = 0.0

    def __post_init__(self) -> None:
        if self.inner_steps < 0:
            raise GameError(f"inner_steps is {self.inner_steps}: a number >= 0 of steps of player 1 is expected")
        if self.start not in ("random", "zero", "keep", "exact"):
            raise GameError(f"start is {self.start!r}: one of random, zero, keep, exact")
        if self.lookahead not in ("none", "extra", "past"):
            raise GameError(f"lookahead is {self.lookahead!r}: one of none, extra, past")
        if self.ramp < 0:
            raise GameError(f"ramp is {self.ramp}: a number of steps >= 0")
        if not 1 <= self.answers <= MOST:
            raise GameError(f"answers is {self.answers}: 1 to {MOST} answers of player 1 are combined, e.g. answers=2")
        if self.answers > 1 and (self.start != "random" or not self.hold):
            raise GameError(
                f"answers is {self.answers}: several of them differ by their random starts on one sample; use "
                "start='random' and hold=True"
            )
        if not 0 <= self.perturbation < 1:
            raise GameError(f"perturbation is {self.perturbation}: a share of |x| in [0, 1), e.g. 0.005")

    def init(self, oracle: Oracle, z: Tensor) -> State:
        if self.start == "exact" and oracle.game.best_response(z, 1) is None:
            raise GameError(
                f"{oracle.game!r} knows no best response of its player {oracle.game.players[1]}: against a classifier "
                "the interval attacker has one, --set attacker=interval"
            )
        state = {**init_rules((self.outer, self.inner), oracle, z), "k": 0}
        return {**state, "v": torch.zeros_like(oracle.game.split(z)[0])} if self.lookahead == "past" else state

    def step(self, oracle: Oracle, z: Tensor, state: State) -> tuple[Tensor, State]:
        x, outer, inner = oracle.game.split(z)[0], state["x"], state["y"]
        if self.lookahead != "none":
            if self.lookahead == "extra":
                z, ahead, inner = self._answer(oracle, z, inner, state["k"])
            else:
                ahead = state["v"]
            half, after = self.outer.step(x, ahead, outer, oracle.generator)
            z, outer = oracle.place(z, 0, half), self.outer.rewind(after, outer)
        z, v, inner = self._answer(oracle, z, inner, state["k"])
        moved, outer = self.outer.step(x, v, outer, oracle.generator)
        following = {"x": outer, "y": inner, "k": state["k"] + 1}
        if self.lookahead == "past":
            following["v"] = v
        return oracle.place(z, 0, moved), following

    def tally(self) -> Tally:
        answers = self.answers * (2 if self.lookahead == "extra" else 1)
        calls = answers * (self.inner_steps + (2 if self.perturbation else 1))
        return Tally(
            calls,
            x=1 if self.lookahead == "none" else 2,
            y=answers * self.inner_steps,
            partial=calls,
        )

    def _answer(self, oracle: Oracle, z: Tensor, inner: State, k: int) -> tuple[Tensor, Tensor, State]:
        """Return (z with player 1's answer to x, player 0's field there, the inner rule's state)."""
        if self.hold or self.start != "keep":  # otherwise every call draws its own
            oracle.draw()
        if self.answers == 1:
            return self._one_answer(oracle, z, inner, k)
        fields: list[Tensor] = []
        for _ in range(self.answers):
            z, v, inner = self._one_answer(oracle, z, inner, k)
            fields.append(v)
        return z, min_norm_combination(torch.stack(fields, -2)), inner

    def _one_answer(self, oracle: Oracle, z: Tensor, inner: State, k: int) -> tuple[Tensor, Tensor, State]:
        if self.start != "keep":
            z = self._restart(oracle, z)
            inner = self.inner.init(oracle.game.split(z)[1])
        z, inner = respond(self.inner, oracle, z, player=1, steps=self.inner_steps, state=inner, hold=self.hold)
        if k + 1 < self.ramp:
            z = oracle.place(z, 1, oracle.game.split(z)[1] * ((k + 1) / self.ramp))
        if not self.hold:
            oracle.draw()
            if oracle.game.sets_follow_sample:
                z = oracle.project(z)
        return z, self._field(oracle, z), inner

    def _field(self, oracle: Oracle, z: Tensor) -> Tensor:
        """Return player 0's field at z, or at the perturbed weights."""
        v = oracle(z, 0)
        if not self.perturbation:
            return v
        x = oracle.game.split(z)[0]
        lengths = (torch.linalg.vector_norm(part, dim=-1, keepdim=True) for part in (x, v))
        ratio = next(lengths) / next(lengths).clamp_min(torch.finfo(v.dtype).tiny)
        return oracle(oracle.place(z, 0, x - self.perturbation * ratio * v), 0)

    def _restart(self, oracle: Oracle, z: Tensor) -> Tensor:
        if self.start == "exact" and (best := oracle.game.best_response(z, 1)) is not None:
            return oracle.place(z, 1, best)
        return oracle.restart(z, 1, zero=self.start == "zero")


def respond(
    rule: Rule, oracle: Oracle, z: Tensor, player: int, steps: int, state: State, hold: bool = True
) -> tuple[Tensor, State]:
    """Let one player take steps against the frozen other: y⁺ = P(rule(y, V_y(x, y; ζ))). One call a step.

    An attack is this function with player 1. The sample of the oracle is held, unless `hold` is False.
    """
    for _ in range(steps):
        if not hold:
            oracle.draw()
        block, state = rule.step(oracle.game.split(z)[player], oracle(z, player), state, oracle.generator)
        z = oracle.place(z, player, block)
    return z, state
