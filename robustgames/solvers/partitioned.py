"""Optimizer states that are divided among processes (ZeRO, stage 1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Generator, Tensor

from robustgames.errors import GameError
from robustgames.games.sharded import ShardedOracle
from robustgames.processes import Processes
from robustgames.solvers.fused_adam import FusedAdam
from robustgames.solvers.players import player_of
from robustgames.solvers.rules import Adam, Momentum, RMSProp, Rule, State
from robustgames.solvers.schemes import Scheme
from robustgames.tensors import Keys, rebuild

COORDINATEWISE = (Adam, FusedAdam, Momentum, RMSProp)
"""Rules whose state has a tensor like z, and that update every coordinate by itself."""
LANES = 64  # parts begin at its multiples: vector instructions then round as on the whole


@dataclass(frozen=True)
class Partitioned(Rule):
    """A rule of which each of W processes keeps and updates one part of the coordinates; then all gather the new point.

    The points are those of the rule, bit for bit, and a process stores one W-th of the state. Source: Rajbhandari et
    al. 2020, section 5, stage 1.

    Args:
        rule: One of `COORDINATEWISE`.
        processes: Processes that take every step together.
    """

    rule: Rule
    processes: Processes = field(repr=False, compare=False)

    def init(self, z: Tensor) -> State:
        part = self.rule.init(_own(z, self.processes))
        return {"k": part["k"], "n": z.shape[-1], "part": part}

    def step(self, z: Tensor, v: Tensor, state: State, generator: Generator) -> tuple[Tensor, State]:
        own = _own(z, self.processes), _own(v, self.processes)
        moved, part = self.rule.step(*own, state["part"], generator)
        return _joined(moved, state["n"], self.processes), {**state, "k": part["k"], "part": part}


def partitioned(solver: Scheme, oracle: ShardedOracle) -> Scheme:
    """Return the solver with the rules that can be divided among the processes of the oracle as `Partitioned`.

    Raises:
        GameError: There is none.
    """

    def divided(node: object, path: Keys) -> object:
        private = oracle.divides and player_of(path) != 0  # each process has coordinates of its own
        return Partitioned(node, oracle.processes) if type(node) in COORDINATEWISE and not private else node  # type: ignore[arg-type]

    found = rebuild(solver, divided)
    if found is solver:
        names = ", ".join(rule.__name__ for rule in COORDINATEWISE)
        raise GameError(f"{solver} has no state to divide (that of {names}): leave --shard-optimizer out")
    return found


def whole_solver(solver: Scheme) -> Scheme:
    """Return the solver that `partitioned` was given."""
    return rebuild(solver, lambda node, _: node.rule if isinstance(node, Partitioned) else node)


def whole_state(state: Any, processes: Processes) -> Any:
    """Return the state of `whole_solver`, with the parts of all processes."""

    def whole(node: Any, _: Keys) -> Any:
        if not (isinstance(node, dict) and "part" in node):
            return node
        return {name: _map(_joined, part, node["n"], processes) for name, part in node["part"].items()}

    return rebuild(state, whole)


def own_state(found: Any, like: Any, processes: Processes) -> Any:
    """Return the part of this process of a state that `whole_state` returned, for a solver whose state is like that."""
    if not isinstance(like, dict):
        return found
    if "part" in like:
        return {**like, "k": found["k"], "part": {name: _map(_own, part, processes) for name, part in found.items()}}
    return {name: own_state(item, like.get(name), processes) for name, item in found.items()}


def _map(function: Any, value: Any, *arguments: Any) -> Any:
    return function(value, *arguments) if isinstance(value, Tensor) else value


def _own(whole: Tensor, processes: Processes) -> Tensor:
    width = _width(whole.shape[-1], processes.world)
    return whole[..., processes.rank * width : (processes.rank + 1) * width]


def _joined(own: Tensor, n: int, processes: Processes) -> Tensor:
    missing = _width(n, processes.world) - own.shape[-1]
    return processes.gather(torch.nn.functional.pad(own, (0, missing)))[..., :n].contiguous()


def _width(n: int, world: int) -> int:
    """Return the coordinates of a part; the last parts may have fewer."""
    return -(-n // (world * LANES)) * LANES
