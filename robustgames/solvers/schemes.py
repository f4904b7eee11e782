"""Schemes: where to evaluate the field. A solver is a scheme of rules, e.g. ExtraAdam = Extragradient(Adam()).

Every scheme has the same two functions, init(oracle, z) -> state and step(oracle, z, state) -> (z, state), and depends
on the game only through its oracle. `oracle.draw()` is called where the paper writes a new ζ. A scheme takes one rule
for both players, or a pair (rule of player 0, rule of player 1).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from robustgames.errors import GameError
from robustgames.games.oracle import Oracle
from robustgames.solvers.players import NAMES, Rules, init_rules, move_in_turn, move_rules, move_together, pair, rewind
from robustgames.solvers.rules import State, is_whole


class Tally(NamedTuple):
    """Oracle calls of one round of a scheme, and applications of the rules of both players in it.

    A round is one step, or as many steps as it takes until they repeat themselves (`Turns`). `partial` of the calls are
    of one player.
    """

    calls: int
    x: int
    y: int
    partial: int = 0


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

    def tally(self) -> Tally:
        """Return the oracle calls of a round and the applications that they pay for.

        Raises:
            GameError: A scheme of a user that does not define it.
        """
        raise GameError(
            f"{type(self).__name__} cannot be annealed: define its tally(), or give its rules schedules, e.g. "
            "SGD(Linear(0.1, 1000))"
        )

    def applications(self, calls: int) -> tuple[float, float]:
        """Return how often a number of oracle calls applies the rule of player 0 and that of player 1.

        Example:
            >>> from robustgames.solvers.rules import SGD
            >>> Turns(SGD(0.1), ratio=9).applications(1000)
            (900.0, 100.0)
        """
        tally = self.tally()
        rounds = calls / tally.calls
        return rounds * tally.x, rounds * tally.y

    def evaluations(self, calls: float) -> float:
        """Return the evaluations of the whole field that a number of oracle calls amounts to: one player's is half.

        So alternating steps pay for two calls with one evaluation. What a call costs depends on the game, see
        docs/explain/dynamics.md; half is right for two equal players. Calls of a scheme without a tally count whole.

        Example:
            >>> from robustgames.solvers.rules import SGD
            >>> Alternating(SGD(0.1)).evaluations(1000), Simultaneous(SGD(0.1)).evaluations(1000)
            (500.0, 1000.0)
        """
        try:
            tally = self.tally()
        except GameError:
            return float(calls)
        return calls * (1 - tally.partial / (2 * tally.calls))


Solver = Scheme


@dataclass(frozen=True)
class Simultaneous(Scheme):
    """z⁺ = P(rule(z, V(z; ζ))): both players move at once. One call a step.

    Args:
        rule: Rule of both players, or a pair.
        replays: Number of steps on one sample ζ. "Free" adversarial training replays every minibatch.
    """

    rule: Rules
    replays: int = 1

    def __post_init__(self) -> None:
        if not is_whole(self.replays, 1):
            raise GameError(f"replays is {self.replays}: a sample serves at least 1 step, and a whole number of them")

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

    def tally(self) -> Tally:
        return Tally(calls=1, x=1, y=1)


@dataclass(frozen=True)
class Alternating(Scheme):
    """x⁺ = P(rule(x, V_x(x, y; ζ))), then y⁺ = P(rule(y, V_y(x⁺, y; ζ'))). Two calls a step, one per player."""

    rule: Rules

    def init(self, oracle: Oracle, z: Tensor) -> State:
        return init_rules(pair(self.rule), oracle, z)

    def step(self, oracle: Oracle, z: Tensor, state: State) -> tuple[Tensor, State]:
        return move_in_turn(pair(self.rule), oracle, base=z, point=z, state=state)

    def tally(self) -> Tally:
        return Tally(calls=2, x=1, y=1, partial=2)


@dataclass(frozen=True)
class Turns(Scheme):
    """`ratio` steps of player 0, then one of player 1, repeatedly; each is one call, of one player, on its own sample.

    Source: Tessler, Efroni and Mannor 2019, algorithm 5, with ratio = N. Their code counts every critic update as a
    step, so one of N + 1 critic updates serves the adversary.

    Args:
        rule: Rule of both players, or a pair.
        ratio: Steps of player 0 per step of player 1, N >= 1.
    """

    rule: Rules
    ratio: int = 10

    def __post_init__(self) -> None:
        if not is_whole(self.ratio, 1):
            raise GameError(f"ratio is {self.ratio}: at least 1 step of player 0 per step of player 1, a whole number")

    def init(self, oracle: Oracle, z: Tensor) -> State:
        return {"t": 0, **init_rules(pair(self.rule), oracle, z)}

    def step(self, oracle: Oracle, z: Tensor, state: State) -> tuple[Tensor, State]:
        t = state["t"] + 1
        player = int(t % (self.ratio + 1) == 0)
        name, rule = NAMES[player], pair(self.rule)[player]
        oracle.draw()
        v = oracle(z, player)
        z = oracle.asked  # both blocks are on the sets of this sample
        block, moved = rule.step(oracle.game.split(z)[player], v, state[name], oracle.generator)
        return oracle.place(z, player, block), {**state, "t": t, name: moved}

    def tally(self) -> Tally:
        return Tally(calls=self.ratio + 1, x=self.ratio, y=1, partial=self.ratio + 1)


@dataclass(frozen=True)
class Extragradient(Scheme):
    """z_half = P(ahead(z, V(z; ζ))), z⁺ = P(rule(z, V(z_half; ζ'))): look ahead, then step *from z*.

    By default one rule takes both half steps, and its state passes through both (so Adam's moments see both). With
    `alternating`, each half step lets x move first and y answer the new x. Two calls a step, or four one-player calls.

    Source: Korpelevich 1976; lecture "A deterministic, simple example"; Gidel et al. 2019, algorithms 2 and 4. Two
    steps: Diakonikolas, Daskalakis and Jordan 2021 (EG+); Hsieh, Iutzeler, Malick and Mertikopoulos 2020. One sample:
    Mishchenko et al. 2020.

    Args:
        rule: Rule of both players, or a pair.
        alternating: Whether y answers the new x in each half step.
        ahead: Rule of the look-ahead, with a state of its own; `rule` if None.
        same_sample: Whether both half steps see one sample, ζ' = ζ.
    """

    rule: Rules
    alternating: bool = False
    ahead: Rules | None = None
    same_sample: bool = False

    def __post_init__(self) -> None:
        if self.alternating and (self.ahead is not None or self.same_sample):
            raise GameError(
                "alternating extragradient has one rule and draws every sample: leave ahead, same_sample out"
            )

    def init(self, oracle: Oracle, z: Tensor) -> State:
        state = init_rules(pair(self.rule) if self.alternating else self.rule, oracle, z)
        return state if self.ahead is None else {"rule": state, "ahead": init_rules(self.ahead, oracle, z)}

    def step(self, oracle: Oracle, z: Tensor, state: State) -> tuple[Tensor, State]:
        draw = not self.same_sample
        if self.ahead is not None:
            half, ahead = move_together(self.ahead, oracle, base=z, point=z, state=state["ahead"])
            z, rule = move_together(self.rule, oracle, base=z, point=half, state=state["rule"], draw=draw)
            return z, {"rule": rule, "ahead": rewind(self.ahead, ahead, state["ahead"])}
        if self.alternating:
            rules = pair(self.rule)
            half, ahead = move_in_turn(rules, oracle, base=z, point=z, state=state)
            return move_in_turn(rules, oracle, base=z, point=half, state=rewind(rules, ahead, state))
        half, ahead = move_together(self.rule, oracle, base=z, point=z, state=state)
        ahead = rewind(self.rule, ahead, state)
        return move_together(self.rule, oracle, base=z, point=half, state=ahead, own=True, draw=draw)

    def tally(self) -> Tally:
        applied = 2 if self.ahead is None else 1
        partial = 4 if self.alternating else 0
        return Tally(calls=partial or 2, x=applied, y=applied, partial=partial)


@dataclass(frozen=True)
class Optimistic(Scheme):
    """z_half = P(rule(z, v)), v⁺ = V(z_half; ζ), z⁺ = P(rule(z, v⁺)): extragradient with the last look-ahead's field.

    One call a step. v starts as V(z; ζ), which costs one more call at the start. On unconstrained problems with
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
        half, ahead = move_rules(self.rule, oracle, z, state["v"], state["rule"])
        oracle.draw()
        v = oracle(oracle.project(half))
        z, rule = move_rules(self.rule, oracle, z, v, rewind(self.rule, ahead, state["rule"]))
        return oracle.project(z), {"rule": rule, "v": v}

    def tally(self) -> Tally:
        return Tally(calls=1, x=2, y=2)


@dataclass(frozen=True)
class Averaged(Scheme):
    """A scheme that also keeps an average of its iterates z_1 … z_k, with weights like i^power or decay^(k - i).

    The trajectory is that of the scheme; `state["mean"]` is the average (`agent.average()`). The weights of all sum to
    1 (as in Adam's bias correction), and the start z_0 has none. On monotone games the uniform average converges where
    the last iterate cycles; weights that grow forget the start sooner. Source: Nemirovski 2004; Shamir and Zhang 2013
    for the polynomial one; Yazici et al. 2019 for the exponential one.

    Args:
        scheme: Solver to average.
        decay: Decay of an exponential average in [0, 1); 0 keeps the last iterate. If None, `power` decides.
        lookahead: Whether to average the points of the last field evaluations (extragradient's theory) instead of the
            iterates.
        power: Weights i (i + 1) … (i + power - 1), which grow like i^power; 0 is the uniform average.
    """

    scheme: Scheme
    decay: float | None = None
    lookahead: bool = False
    power: int = 0

    def __post_init__(self) -> None:
        if self.power < 0 or self.power % 1 or (self.power and self.decay is not None):
            raise GameError(f"power is {self.power}: a whole number >= 0, and 0 with a decay")
        if self.decay is not None and not 0 <= self.decay < 1:
            raise GameError(f"decay is {self.decay}: None (uniform) or a number in [0, 1), e.g. 0.999")

    def init(self, oracle: Oracle, z: Tensor) -> State:
        return {"scheme": self.scheme.init(oracle, z), "mean": z.clone(), "k": 0}

    def step(self, oracle: Oracle, z: Tensor, state: State) -> tuple[Tensor, State]:
        z, inner = self.scheme.step(oracle, z, state["scheme"])
        k = state["k"] + 1
        weight = (self.power + 1) / (self.power + k) if self.decay is None else (1 - self.decay) / (1 - self.decay**k)
        mean = torch.lerp(state["mean"], oracle.asked if self.lookahead else z, weight)
        return z, {"scheme": inner, "mean": mean, "k": k}

    def output(self, z: Tensor, state: State) -> Tensor:
        return state["mean"]

    def adopt(self, point: Tensor, state: State) -> State:
        return {**state, "scheme": self.scheme.adopt(point, state["scheme"]), "mean": point.clone()}

    def tally(self) -> Tally:
        return self.scheme.tally()
