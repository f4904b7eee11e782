"""Schemes: where to ask the field. A solver is a scheme of rules, e.g. ExtraAdam = Extragradient(Adam()).

Every scheme has the same two functions, init(oracle, z) -> state and step(oracle, z, state) -> (z, state), and knows
nothing of the game but its oracle. `oracle.draw()` stands where the paper writes a new ζ. A scheme takes one rule for
both players, or a pair (rule of player 0, rule of player 1).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from robustgames.errors import GameError
from robustgames.games.game import Game, join
from robustgames.games.oracle import Oracle
from robustgames.solvers.rules import Rule, State

Rules = Rule | tuple[Rule, Rule]
NAMES = ("x", "y")


class Scheme(ABC):
    """One iteration of a solver."""

    @abstractmethod
    def init(self, oracle: Oracle, z: Tensor) -> State:
        """Return the state before the first step from z."""

    @abstractmethod
    def step(self, oracle: Oracle, z: Tensor, state: State) -> tuple[Tensor, State]:
        """Return (z after one iteration, the next state); z and state stay as they were."""

    def output(self, z: Tensor, state: State) -> Tensor:
        """Return the point to evaluate, (*S, n + m): the last iterate, unless the scheme keeps a better one."""
        return z

    def adopt(self, point: Tensor, state: State) -> State:
        """Return the state with which the point, (*S, n + m), is both the last iterate and the output."""
        return state


Solver = Scheme


@dataclass(frozen=True)
class Simultaneous(Scheme):
    """z⁺ = P(rule(z, V(z; ζ))): both players move at once. One call a step.

    Args:
        rule: of both players, or one each.
        replays: steps that one sample ζ serves; "free" adversarial training replays every minibatch.
    """

    rule: Rules
    replays: int = 1

    def __post_init__(self) -> None:
        if self.replays < 1:
            raise GameError(f"replays is {self.replays}: a sample serves at least 1 step")

    def init(self, oracle: Oracle, z: Tensor) -> State:
        return init_rules(self.rule, oracle, z)

    def step(self, oracle: Oracle, z: Tensor, state: State) -> tuple[Tensor, State]:
        if self.replays == 1:
            oracle.draw()
            z, state = move_rules(self.rule, oracle, z, oracle(z), state)
            return oracle.project(z), state
        rule = {name: part for name, part in state.items() if name != "drawn"}
        first = rule.get("x", rule)["k"] % self.replays == 0  # the rule counts the steps
        drawn = oracle.draw_to_replay() if first else oracle.replay(state["drawn"])
        z, rule = move_rules(self.rule, oracle, z, oracle(z), rule)
        return oracle.project(z), {**rule, "drawn": drawn}


@dataclass(frozen=True)
class Alternating(Scheme):
    """x⁺ = P(rule(x, V_x(x, y; ζ))), then y⁺ = P(rule(y, V_y(x⁺, y; ζ'))). Two calls a step, one per player."""

    rule: Rules

    def init(self, oracle: Oracle, z: Tensor) -> State:
        return init_rules(pair(self.rule), oracle, z)

    def step(self, oracle: Oracle, z: Tensor, state: State) -> tuple[Tensor, State]:
        return _in_turn(pair(self.rule), oracle, base=z, point=z, state=state)


@dataclass(frozen=True)
class Turns(Scheme):
    """`ratio` steps of player 0, then one of player 1, for ever; each is one call, of one player, on its own sample.

    Source: Tessler, Efroni and Mannor 2019, algorithm 5, with ratio = N; their code counts every critic update as a
    step, so that of N + 1 critic updates one serves the adversary.

    Args:
        rule: of both players, or one each.
        ratio: N >= 1.
    """

    rule: Rules
    ratio: int = 10

    def __post_init__(self) -> None:
        if self.ratio < 1:
            raise GameError(f"ratio is {self.ratio}: at least 1 step of player 0 per step of player 1")

    def init(self, oracle: Oracle, z: Tensor) -> State:
        return {"t": 0, **init_rules(pair(self.rule), oracle, z)}

    def step(self, oracle: Oracle, z: Tensor, state: State) -> tuple[Tensor, State]:
        t = state["t"] + 1
        player = int(t % (self.ratio + 1) == 0)
        name, rule = NAMES[player], pair(self.rule)[player]
        oracle.draw()
        v = oracle(z, player)
        z = oracle.asked  # on the sets of this sample, the other player's too
        block, moved = rule.step(oracle.game.split(z)[player], v, state[name], oracle.generator)
        return oracle.place(z, player, block), {**state, "t": t, name: moved}


@dataclass(frozen=True)
class Extragradient(Scheme):
    """z_half = P(rule(z, V(z; ζ))), z⁺ = P(rule(z, V(z_half; ζ'))): look ahead, then step *from z*.

    The rule's state passes through both half steps (so Adam's moments see both). With `alternating`, each half step
    lets x move first and y answer the new x; two calls a step, or four one-player calls.

    Source: Korpelevich 1976; lecture "A deterministic, simple example"; Gidel et al. 2019, algorithms 2 and 4.
    """

    rule: Rules
    alternating: bool = False

    def init(self, oracle: Oracle, z: Tensor) -> State:
        return init_rules(pair(self.rule) if self.alternating else self.rule, oracle, z)

    def step(self, oracle: Oracle, z: Tensor, state: State) -> tuple[Tensor, State]:
        if self.alternating:
            half, state = _in_turn(pair(self.rule), oracle, base=z, point=z, state=state)
            return _in_turn(pair(self.rule), oracle, base=z, point=half, state=state)
        half, state = _together(self.rule, oracle, base=z, point=z, state=state)
        return _together(self.rule, oracle, base=z, point=half, state=state)


@dataclass(frozen=True)
class Optimistic(Scheme):
    """z_half = P(rule(z, v)), v⁺ = V(z_half; ζ), z⁺ = P(rule(z, v⁺)): extragradient with the last look-ahead's field.

    One call a step. v starts as V(z; ζ), for which the first step pays one call more. On unconstrained problems with
    SGD the look-ahead points follow optimistic gradient descent ascent, w⁺ = w + 2 lr V(w) - lr V(w⁻). With Adam this
    is "extrapolation from the past" (Gidel et al. 2019, algorithm 4, option 2), not the Optimistic Adam of Daskalakis
    et al. 2018, which subtracts the previous *direction* m̂/sqrt(ŝ). Source: Popov 1980; Gidel et al. 2019, algorithm
    3.
    """

    rule: Rules

    def init(self, oracle: Oracle, z: Tensor) -> State:
        oracle.draw()
        return {"rule": init_rules(self.rule, oracle, z), "v": oracle(z)}

    def step(self, oracle: Oracle, z: Tensor, state: State) -> tuple[Tensor, State]:
        half, rule = move_rules(self.rule, oracle, z, state["v"], state["rule"])
        oracle.draw()
        v = oracle(oracle.project(half))
        z, rule = move_rules(self.rule, oracle, z, v, rule)
        return oracle.project(z), {"rule": rule, "v": v}


@dataclass(frozen=True)
class BestResponse(Scheme):
    """Player 1 takes `inner_steps` steps against the frozen player 0, then player 0 one step: Danskin's gradient.

    y_k+1 = P(inner(y_k, ∇y Φ(x, y_k; ζ))) for k < K, then x⁺ = P(outer(x, -∇x Φ(x, y_K; ζ))). inner_steps + 1 calls a
    step. With a look-ahead, player 0 plays extragradient on f(x) = max_y Φ(x, y): x_half = P(outer(x, g)), and
    x⁺ = P(outer(x, g')) with the gradient g' at the answer to x_half; g is the one at the answer to x ("extra", twice
    the calls) or the g' of the step before ("past", at first 0).

    Args:
        outer: rule of player 0; with a look-ahead both half steps apply it.
        inner: rule of player 1.
        inner_steps: K >= 0.
        start: where y begins in each step: "random" (drawn anew by the game), "zero" or "keep" (where it is; then
            the inner rule's state is kept too).
        hold: one ζ for an answer and its gradient (adversarial training); False draws a new one for every call (WGAN's
            critic steps).
        lookahead: "none", "extra" or "past".
        ramp: steps over which player 1's answers grow to full size: y_K is scaled by k / ramp in step k. From scratch,
            training against a strong attacker can stall.

    Source: lecture "Stochastic Adversarial Training"; Madry et al. 2018, section 2.1.
    """

    outer: Rule
    inner: Rule
    inner_steps: int = 1
    start: Literal["random", "zero", "keep"] = "random"
    hold: bool = True
    lookahead: Literal["none", "extra", "past"] = "none"
    ramp: int = 0

    def __post_init__(self) -> None:
        if self.inner_steps < 0:
            raise GameError(f"inner_steps is {self.inner_steps}: a number >= 0 of steps of player 1 is needed")
        if self.start not in ("random", "zero", "keep"):
            raise GameError(f"start is {self.start!r}: one of random, zero, keep")
        if self.lookahead not in ("none", "extra", "past"):
            raise GameError(f"lookahead is {self.lookahead!r}: one of none, extra, past")
        if self.ramp < 0:
            raise GameError(f"ramp is {self.ramp}: a number of steps >= 0")

    def init(self, oracle: Oracle, z: Tensor) -> State:
        state = {**init_rules((self.outer, self.inner), oracle, z), "k": 0}
        return {**state, "v": torch.zeros_like(oracle.game.split(z)[0])} if self.lookahead == "past" else state

    def step(self, oracle: Oracle, z: Tensor, state: State) -> tuple[Tensor, State]:
        x, outer, inner, news = oracle.game.split(z)[0], state["x"], state["y"], {"k": state["k"] + 1}
        if self.lookahead != "none":
            if self.lookahead == "extra":
                z, ahead, inner = self._answer(oracle, z, inner, state["k"])
            else:
                ahead = state["v"]
            half, outer = self.outer.step(x, ahead, outer, oracle.generator)
            z = oracle.place(z, 0, half)
        z, v, inner = self._answer(oracle, z, inner, state["k"])
        moved, outer = self.outer.step(x, v, outer, oracle.generator)
        if self.lookahead == "past":
            news["v"] = v
        return oracle.place(z, 0, moved), {"x": outer, "y": inner, **news}

    def _answer(self, oracle: Oracle, z: Tensor, inner: State, k: int) -> tuple[Tensor, Tensor, State]:
        """Return (z with player 1's answer to x, player 0's field there, the inner rule's state)."""
        if self.hold or self.start != "keep":  # else every call draws its own
            oracle.draw()
        if self.start != "keep":
            z = oracle.restart(z, 1, zero=self.start == "zero")
            inner = self.inner.init(oracle.game.split(z)[1])
        z, inner = respond(self.inner, oracle, z, player=1, steps=self.inner_steps, state=inner, hold=self.hold)
        if k + 1 < self.ramp:
            z = oracle.place(z, 1, oracle.game.split(z)[1] * ((k + 1) / self.ramp))
        if not self.hold:
            oracle.draw()
            if oracle.game.sets_follow_sample:
                z = oracle.project(z)
        return z, oracle(z, 0), inner


@dataclass(frozen=True)
class Averaged(Scheme):
    """A scheme that also keeps an average of its iterates: uniform, or exponential with weight 1 - decay on the newest.

    The trajectory is that of the scheme; `state["mean"]` is the average (`agent.average()`). On monotone games the
    uniform average converges where the last iterate cycles. Source: Nemirovski 2004; Yazici et al. 2019 for the
    exponential one.

    Args:
        scheme: the solver to average.
        decay: None for the uniform average of z_1 … z_k, else in [0, 1).
        lookahead: average the points where the field was last asked (extragradient's theory) instead of the iterates.
    """

    scheme: Scheme
    decay: float | None = None
    lookahead: bool = False

    def __post_init__(self) -> None:
        if self.decay is not None and not 0 <= self.decay < 1:
            raise GameError(f"decay is {self.decay}: None (uniform) or a number in [0, 1), e.g. 0.999")

    def init(self, oracle: Oracle, z: Tensor) -> State:
        return {"scheme": self.scheme.init(oracle, z), "mean": z.clone(), "k": 0}

    def step(self, oracle: Oracle, z: Tensor, state: State) -> tuple[Tensor, State]:
        z, inner = self.scheme.step(oracle, z, state["scheme"])
        k = state["k"] + 1
        weight = 1 / k if self.decay is None else 1 - self.decay
        mean = torch.lerp(state["mean"], oracle.asked if self.lookahead else z, weight)
        return z, {"scheme": inner, "mean": mean, "k": k}

    def output(self, z: Tensor, state: State) -> Tensor:
        return state["mean"]

    def adopt(self, point: Tensor, state: State) -> State:
        return {**state, "mean": point.clone()}


def respond(
    rule: Rule, oracle: Oracle, z: Tensor, player: int, steps: int, state: State, hold: bool = True
) -> tuple[Tensor, State]:
    """Let one player take steps against the frozen other: y⁺ = P(rule(y, V_y(x, y; ζ))). One call a step.

    An attack is this function with player 1; the sample in the oracle is held unless `hold` is False.
    """
    for _ in range(steps):
        if not hold:
            oracle.draw()
        block, state = rule.step(oracle.game.split(z)[player], oracle(z, player), state, oracle.generator)
        z = oracle.place(z, player, block)
    return z, state


@torch.no_grad()
def trajectory(solver: Scheme, game: Game, z: Tensor, steps: int, seed: int = 0) -> Tensor:
    """Return the iterates z_0 … z_steps of a solver, shape (steps + 1, *S, n + m).

    Example:
        >>> from robustgames.games.toy import Bilinear
        >>> from robustgames.solvers.rules import SGD
        >>> trajectory(Simultaneous(SGD(1.0)), Bilinear(), torch.tensor([1.0, 0.0]), steps=1)
        tensor([[1., 0.],
                [1., 1.]])
    """
    game = game.to(z.device, z.dtype)
    oracle = Oracle(game, tuple(z.shape[:-1]), torch.Generator(z.device).manual_seed(seed))
    state, points = solver.init(oracle, z), [z]
    for _ in range(steps):
        z, state = solver.step(oracle, z, state)
        points.append(z)
    return torch.stack(points)


# -- the two passes that all schemes are made of ------------------------------------------------------
def pair(rules: Rules) -> tuple[Rule, Rule]:
    """Return the rules of both players."""
    return (rules, rules) if isinstance(rules, Rule) else rules


def init_rules(rules: Rules, oracle: Oracle, z: Tensor) -> State:
    """Return the first state of one rule, or of a pair by player."""
    if isinstance(rules, Rule) and not rules.blockwise:
        return rules.init(z)
    return {name: r.init(b) for name, r, b in zip(NAMES, pair(rules), oracle.game.split(z), strict=True)}


def move_rules(rules: Rules, oracle: Oracle, z: Tensor, v: Tensor, state: State) -> tuple[Tensor, State]:
    """Apply a rule to all of z, or one rule to each player's block."""
    if isinstance(rules, Rule) and not rules.blockwise:
        return rules.step(z, v, state, oracle.generator)
    split = oracle.game.split
    moved = [
        rule.step(block, ascent, state[name], oracle.generator)
        for name, rule, block, ascent in zip(NAMES, pair(rules), split(z), split(v), strict=True)
    ]
    return join([block for block, _ in moved], z), {n: s for n, (_, s) in zip(NAMES, moved, strict=True)}


def _together(rules: Rules, oracle: Oracle, base: Tensor, point: Tensor, state: State) -> tuple[Tensor, State]:
    """Both players step from base with the field at point."""
    oracle.draw()
    z, state = move_rules(rules, oracle, base, oracle(point), state)
    return oracle.project(z), state


def _in_turn(
    rules: tuple[Rule, Rule], oracle: Oracle, base: Tensor, point: Tensor, state: State
) -> tuple[Tensor, State]:
    """Each player steps from base with its field at point, in which player 1 already sees player 0's new strategy."""
    state = dict(state)
    for player, name in enumerate(NAMES):
        oracle.draw()
        v = oracle(point, player)
        block, state[name] = rules[player].step(oracle.game.split(base)[player], v, state[name], oracle.generator)
        point = oracle.place(point, player, block)
    return point, state
