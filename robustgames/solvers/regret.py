"""Regret matching in every information set: RM, RM+ and predictive RM+ on simplices, CFR and CFR+ on treeplexes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustgames.errors import GameError
from robustgames.games.game import join
from robustgames.games.oracle import Oracle
from robustgames.games.sets import Product, Set, Simplex
from robustgames.games.treeplex import Treeplex
from robustgames.solvers.players import NAMES
from robustgames.solvers.rules import State
from robustgames.solvers.schemes import Scheme, Tally


def treeplex(part: Set, size: int) -> Treeplex | None:
    """Return a set of strategies as a treeplex, None if it is not one: simplices are those of one move."""
    if isinstance(part, Treeplex):
        return part
    if isinstance(part, Simplex):
        return Treeplex((-1,), (size,))
    if isinstance(part, Product) and isinstance(part.factor, Simplex):
        count = size // part.width
        return Treeplex((-1,) * count, (part.width,) * count)
    return None


def treeplexes(scheme: Scheme, oracle: Oracle) -> tuple[Treeplex, Treeplex]:
    """Return the sets of a game as treeplexes; raise if one of them is not."""
    game = oracle.game
    found = [treeplex(part, size) for part, size in zip(game.sets, game.sizes, strict=True)]
    x, y = found
    if x is None or y is None:
        raise GameError(
            f"{type(scheme).__name__} needs simplices or treeplexes, {game!r} has sets {game.sets!r}: use e.g. "
            "extragradient, or a matrix game"
        )
    return x, y


@dataclass(frozen=True)
class RegretMatching(Scheme):
    """b ∝ max(R + p, 0) in every information set, R⁺ = max(R + r, 0), r_a = (gain of action a) - (mean gain).

    R are the cumulative regrets, p is a prediction of the next ones. An information set without positive regret plays
    uniformly. The gains are the player's block of V, so on simplices r_a = V_a - <V, u>; on a treeplex they are
    counterfactual. Without learning rates: only the payoff's scale is free, and it cancels.

    The regret of RM and RM+ after T calls is at most sqrt(T Σ_a (largest |r_a|)²), i.e. Δ sqrt(|A| T) on a simplex, so
    the gap of the average is O(1 / sqrt(T)); in practice RM+ with `alternating` and a weighted average is much faster.
    Two one-player calls a step, or one call of both players. Source: Hart and Mas-Colell 2000 (RM); Zinkevich et al.
    2007 (CFR); Tammelin 2014 (RM+); Farina, Kroer and Sandholm 2021, algorithm 5 (predictive, whose prediction p is
    the last regret).

    Args:
        plus: Whether cumulative regrets are cut off at 0 (RM+) or kept (RM).
        predictive: Whether the last regrets count twice when the strategy is chosen.
        alternating: Whether y sees the new x, each with a call of its own.
    """

    plus: bool = True
    predictive: bool = False
    alternating: bool = True

    def init(self, oracle: Oracle, z: Tensor) -> State:
        trees = treeplexes(self, oracle)
        blocks = oracle.game.split(z)
        behaviors = {name: tree.behavior(u) for name, tree, u in zip(NAMES, trees, blocks, strict=True)}
        return {name: {"regret": torch.zeros_like(b), "behavior": b.clone(), "k": 0} for name, b in behaviors.items()}

    def step(self, oracle: Oracle, z: Tensor, state: State) -> tuple[Tensor, State]:
        trees, blocks, following = treeplexes(self, oracle), list(oracle.game.split(z)), dict(state)
        if not self.alternating:
            oracle.draw()
        gains = oracle.game.split(oracle(z)) if not self.alternating else None
        for player, name in enumerate(NAMES):
            if gains is None:
                oracle.draw()
            gain = oracle(join(blocks, z), player) if gains is None else gains[player]
            following[name] = self._learn(trees[player], gain, state[name])
            blocks[player] = trees[player].realize(following[name]["behavior"])
        return join(blocks, z), following

    def _learn(self, tree: Treeplex, gain: Tensor, state: State) -> State:
        values, means = tree.counterfactual(gain, state["behavior"])
        seen = values - means
        regret = state["regret"] + seen
        regret = regret.clamp_min(0) if self.plus else regret
        positive = (regret + seen if self.predictive else regret).clamp_min(0)
        return {"regret": regret, "behavior": tree.behavior(positive), "k": state["k"] + 1}

    def tally(self) -> Tally:
        return Tally(calls=2, x=1, y=1, partial=2) if self.alternating else Tally(calls=1, x=1, y=1)
