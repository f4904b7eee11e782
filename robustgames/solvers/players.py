"""Rules of two players, one for both or one each, and the two passes that schemes are made of."""

from __future__ import annotations

from torch import Tensor

from robustgames.games.game import join
from robustgames.games.oracle import Oracle
from robustgames.solvers.rules import Rule, State
from robustgames.tensors import Keys

Rules = Rule | tuple[Rule, Rule]
NAMES = ("x", "y")


def pair(rules: Rules) -> tuple[Rule, Rule]:
    """Return the rules of both players."""
    return (rules, rules) if isinstance(rules, Rule) else rules


def init_rules(rules: Rules, oracle: Oracle, z: Tensor) -> State:
    """Return the first state of one rule, or of a pair by player."""
    if isinstance(rules, Rule) and not rules.blockwise:
        return rules.init(z)
    return {name: r.init(b) for name, r, b in zip(NAMES, pair(rules), oracle.game.split(z), strict=True)}


def move_rules(
    rules: Rules, oracle: Oracle, z: Tensor, v: Tensor, state: State, own: bool = False
) -> tuple[Tensor, State]:
    """Apply a rule to all of z, or one rule to each player's block; a state of one's `own` may be overwritten."""
    if isinstance(rules, Rule) and not rules.blockwise:
        return (rules.consume if own else rules.step)(z, v, state, oracle.generator)
    split = oracle.game.split
    moved = [
        (rule.consume if own else rule.step)(block, ascent, state[name], oracle.generator)
        for name, rule, block, ascent in zip(NAMES, pair(rules), split(z), split(v), strict=True)
    ]
    return join([block for block, _ in moved], z), {n: s for n, (_, s) in zip(NAMES, moved, strict=True)}


def rewind(rules: Rules, state: State, before: State) -> State:
    """Return the state of one rule, or of a pair by player, after a look-ahead, see `Rule.rewind`."""
    if isinstance(rules, Rule) and not rules.blockwise:
        return rules.rewind(state, before)
    return {name: rule.rewind(state[name], before[name]) for name, rule in zip(NAMES, pair(rules), strict=True)}


def move_together(
    rules: Rules,
    oracle: Oracle,
    base: Tensor,
    point: Tensor,
    state: State,
    own: bool = False,
    draw: bool = True,
) -> tuple[Tensor, State]:
    """Move both players from base with the field at point; a state of one's `own` may be overwritten.

    Without `draw`, they see the sample that the oracle holds.
    """
    if draw:
        oracle.draw()
    z, state = move_rules(rules, oracle, base, oracle(point), state, own)
    return oracle.project(z), state


def move_in_turn(
    rules: tuple[Rule, Rule], oracle: Oracle, base: Tensor, point: Tensor, state: State
) -> tuple[Tensor, State]:
    """Move player 0, then player 1, from base with the field at point, which contains player 0's new strategy."""
    state = dict(state)
    for player, name in enumerate(NAMES):
        oracle.draw()
        v = oracle(point, player)
        block, state[name] = rules[player].step(oracle.game.split(base)[player], v, state[name], oracle.generator)
        point = oracle.place(point, player, block)
    return point, state


def player_of(path: Keys) -> int | None:
    """Return the player whose rule is at a path in a solver, see `rebuild`; None if the rule is of both players."""
    of = {0: 0, 1: 1, "outer": 0, "inner": 1}
    return next((of[key] for key in reversed(path) if key in of), None)
