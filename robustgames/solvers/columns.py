"""Steps of many runs of a small game as one compiled kernel on columns: coordinate i of all runs is one vector.

A step of one run is traced into a graph on its few numbers. Every number becomes a column, the vector of its values in
all runs, and what only rearranges numbers disappears. What is left is elementwise, so the compiler keeps all numbers of
a run in registers from the first operation of a step to the last, and writes them once. In tensors of shape (S, n + m)
it cannot: splitting and joining the players' blocks would go through memory.

The operations and their order are those of the eager step, without fused multiply-adds, so on a CPU both agree bit for
bit, except where a matrix product or a sum adds in another order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Generator, Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

from robustgames.games.game import Game
from robustgames.games.oracle import Oracle
from robustgames.solvers.column_graph import on_columns
from robustgames.solvers.rules import State
from robustgames.solvers.schemes import Scheme
from robustgames.tensors import map_tensors, rebuild, tensors_of

LEAP = 64
"""Steps that a kernel takes at a time: a Ctrl-C takes effect between two leaps."""


class Counter:
    """A count of steps while a step is traced; it can be added to, and any other use stops the trace.

    A step whose numbers depend on its count, such as Adam's, differs from one to the next.
    """

    def __init__(self, added: int = 0) -> None:
        self.added = added

    def __add__(self, other: int) -> Counter:
        return Counter(self.added + other)

    def __eq__(self, other: object) -> bool:
        raise TypeError("the step depends on its count")

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        raise TypeError("the step depends on its count")


@dataclass(frozen=True)
class Columns:
    """A solver's step of many runs, as a kernel on columns that it changes in place.

    Attributes:
        kernel: Function of the rows of z and of the tensors of the state, (d, S) each, which one step overwrites.
        calls: Oracle calls of a step.
        counts: State with the number that a step adds in the place of every count.
    """

    kernel: Callable[..., Any]
    calls: int
    counts: State
    _leaps: list[_Leap] = field(default_factory=list, repr=False)

    def __call__(self, z: Tensor, state: State, steps: int) -> tuple[Tensor, State]:
        """Return (z, state) after a number of steps; both stay as they were."""
        rows = [_row(tensor) for tensor in (z, *tensors_of(state))]
        if z.is_cuda and steps == LEAP:
            if not self._leaps:
                self._leaps.append(_Leap(self.kernel, rows))
            self._leaps[0](rows)
        else:
            columns = [column for row in rows for column in row]
            for _ in range(steps):
                self.kernel(*columns)
        left = iter(rows[1:])
        state = map_tensors(state, lambda _: next(left).mT)
        return rows[0].mT, _advanced(state, self.counts, steps)


class _Leap:
    """A kernel taken LEAP times as one CUDA graph, on rows of its own, as the launches take longer than the work."""

    def __init__(self, kernel: Callable[..., Any], rows: list[Tensor]) -> None:
        self.rows = [row.clone() for row in rows]
        columns = [column for row in self.rows for column in row]
        warm = torch.cuda.Stream()
        warm.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(warm):
            kernel(*columns)
        torch.cuda.current_stream().wait_stream(warm)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            for _ in range(LEAP):
                kernel(*columns)

    def __call__(self, rows: list[Tensor]) -> None:
        """Move the rows by LEAP steps."""
        for own, row in zip(self.rows, rows, strict=True):
            own.copy_(row)
        self.graph.replay()
        for own, row in zip(self.rows, rows, strict=True):
            row.copy_(own)


def _row(tensor: Tensor) -> Tensor:
    """Return a copy of a tensor (S, d) whose rows, (d, S), are contiguous."""
    return tensor.mT.clone(memory_format=torch.contiguous_format)


def columns(solver: Scheme, game: Game, z: Tensor, state: State) -> Columns | None:
    """Return the step of a solver on columns; None if it cannot be written so.

    That is so for steps that draw random numbers or depend on their count, rates per run, and operations other than
    elementwise ones, small matrix products and sums.

    Args:
        solver: Solver.
        game: Game, on the device of z.
        z: Joint strategies of the runs, (S, n + m).
        state: State of the solver.
    """
    if z.dim() != 2 or any(tensor.dim() != 2 or len(tensor) != len(z) for tensor in tensors_of(state)):
        return None
    try:
        traced, calls, counts = _trace(solver, game, z, state)
        written = on_columns(traced)
        examples: list[Any] = [column for tensor in (z, *tensors_of(state)) for column in _row(tensor)]
        kernel: Any = torch._inductor.compile(written, examples)
        found = Columns(kernel, calls, counts)
        return found if _agrees(found, solver, game, z, state) else None
    except Exception:  # whatever a game does that a tracer does not take
        return None


def _trace(solver: Scheme, game: Game, z: Tensor, state: State) -> tuple[fx.GraphModule, int, State]:
    """Trace a step of one run: tensors (z, *state) -> tensors (z, *state), each of shape (d,)."""
    oracle = Oracle(game, (), Generator(game.device).manual_seed(0))
    begun = rebuild(state, lambda node, _: Counter() if _is_count(node) else node)
    ended: list[State] = []
    oracle.calls = 0

    def step(*tensors: Tensor) -> list[Tensor]:
        left = iter(tensors[1:])
        after, following = solver.step(oracle, tensors[0], map_tensors(begun, lambda _: next(left)))
        ended.append(following)
        return [after, *tensors_of(following)]

    first = [tensor[0].clone() for tensor in (z, *tensors_of(state))]
    with torch.no_grad():
        traced = make_fx(step)(*first)
    traced.graph.eliminate_dead_code()
    return traced, oracle.calls, rebuild(ended[-1], lambda node, _: node.added if isinstance(node, Counter) else node)


def _is_count(node: Any) -> bool:
    return isinstance(node, int) and not isinstance(node, bool)


def _advanced(state: State, counts: State, steps: int) -> State:
    """Return a state with its counts that many steps later."""
    if isinstance(state, dict):
        return {name: _advanced(item, counts[name], steps) for name, item in state.items()}
    return state + steps * counts if _is_count(state) else state


def _agrees(found: Columns, solver: Scheme, game: Game, z: Tensor, state: State) -> bool:
    """Return whether two steps on columns are those of the solver, up to rounding."""
    oracle = Oracle(game, (len(z),), Generator(game.device).manual_seed(0))
    after, ended = z, state
    for _ in range(2):
        after, ended = solver.step(oracle, after, ended)
    ours, state = found(z, state, 2)
    pairs = zip((ours, *tensors_of(state)), (after, *tensors_of(ended)), strict=True)
    tolerance = 1e3 * torch.finfo(z.dtype).eps
    return all(torch.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True) for a, b in pairs)
