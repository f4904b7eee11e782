"""Half turns against restarted averages on bilinear games: oracle calls until the distance is 10⁶ times smaller.

    python scripts/half_turns.py [--conditions 1 3 10 30] [--starts 5] [--limit 3000] [--out half_turns]

Φ = xᵀA y with n singular values from 1/κ to 1, evenly in the logarithm, in turned coordinates. Every method has its
best step of the given ones; a call of one player's block counts half. Medians over random starts.

Writes table.md to OUT. Takes a quarter of a minute of CPU with the defaults.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from frontier import KIND, HalfCalls
from results import Table
from torch import Generator, Tensor

import robustgames as rg
from robustgames.games import Bilinear
from robustgames.solvers import HalfTurnAround, Scheme
from robustgames.solvers.fitting import fit


@dataclass(frozen=True)
class Options:
    """Compare the methods, and write the table.

    Attributes:
        lr: Steps that every method may choose from.
        conditions: Condition numbers κ.
        size: Singular values n; with κ = 1 all are 1.
        starts: Random starts.
        limit: Calls after which a run is given up.
        out: Folder of the results.
    """

    lr: tuple[float, ...] = (0.3, 0.6, 0.9)
    conditions: tuple[float, ...] = (1, 3, 10, 30)
    size: int = 10
    starts: int = 5
    limit: int = 3000
    out: Path = Path("half_turns")


METHODS: dict[str, Callable[[float], Scheme]] = {
    "half_turn": lambda lr: rg.make_solver("half_turn", lr=lr),
    "half_turn, extragradient": lambda lr: rg.make_solver("half_turn", lr=lr, scheme="extragradient"),
    "half_turn, alt_gda": lambda lr: rg.make_solver("half_turn", lr=lr, scheme="alt_gda"),
    "half_turn, alt_gda, each player": lambda lr: HalfTurnAround(rg.make_solver("alt_gda", lr=lr), each=True),
    "pdhg, restarted averages": lambda lr: rg.make_solver("pdhg", lr=lr),
    "pdhg, restarted averages, rounds of 3": lambda lr: rg.make_solver("pdhg", lr=lr, round=3),
    "pdhg without restarts": lambda lr: rg.make_solver("pdhg", lr=lr, restart=False),
    "extragradient": lambda lr: rg.make_solver("extragradient", lr=lr),
    "optimistic_gda": lambda lr: rg.make_solver("optimistic_gda", lr=lr),
    "lookahead_gda": lambda lr: rg.make_solver("lookahead_gda", lr=lr),
    "smoothed_gda": lambda lr: rg.make_solver("smoothed_gda", lr=lr),
}


def game_of(condition: float, size: int) -> Bilinear:
    """Return the game of a condition number."""
    generator = Generator().manual_seed(0)
    left, right = (torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=KIND))[0] for _ in "xy")
    return Bilinear(left @ torch.diag(condition ** -torch.linspace(0, 1, size, dtype=KIND)) @ right)


@torch.no_grad()
def calls_to(solver: Scheme, game: Bilinear, starts: Tensor, limit: float, factor: float = 1e-6) -> float:
    """Return the median over starts of the calls after which |z| is below the factor of its start; inf if not."""
    game = game.to(dtype=KIND)
    oracle = HalfCalls(game, (len(starts),))
    z, solver = starts, fit(solver, oracle)
    oracle.calls = 0
    state, reached = solver.init(oracle, z), torch.full((len(starts),), torch.inf, dtype=KIND)
    goal = factor * z.norm(dim=-1)
    while oracle.calls < limit and bool(reached.isinf().any()):
        z, state = solver.step(oracle, z, state)
        near = solver.output(z, state).norm(dim=-1) <= goal
        reached = torch.where(near, reached.clamp_max(oracle.calls), reached)
        if not bool((z.norm(dim=-1) < 1e6).any()):
            break
    return float(reached.quantile(0.5, interpolation="higher"))


def main(options: Options) -> int:
    starts = torch.randn(options.starts, 2 * options.size, generator=Generator().manual_seed(1), dtype=KIND)
    rows = []
    for name, make in METHODS.items():
        cells = []
        for condition in options.conditions:
            game = game_of(condition, options.size)
            found = {lr: calls_to(make(lr), game, starts, options.limit) for lr in options.lr}
            best = min(found, key=lambda lr: found[lr])
            cells.append("more" if found[best] == torch.inf else f"{found[best]:.0f} ({best:g})")
        rows.append((name, *cells))
        print(rows[-1], flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    heads = ("calls (step)", *(f"κ = {condition:g}" for condition in options.conditions))
    Table(heads, rows).show(options.out / "table.md")
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
