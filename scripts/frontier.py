"""Which solvers reach the critical point of games on which small steps cycle: one table and one heat map.

    python scripts/frontier.py [--solvers gda half_turn ...] [--games letcher ...] [--starts 10000] [--out frontier]

Every solver runs from the same random starts on every game, at several learning rates, with the exact field and with a
noisy one. A call is one evaluation of the field; one of a single player's block counts half, and a product with the
derivative counts two. A run has reached the critical point if its last iterate is within 0.01 of it (0.2 under noise).

Writes results.jsonl, table.md with all numbers, summary.md with those at one learning rate, and frontier.png to OUT.
The same command continues an interrupted table. Takes about 20 minutes of CPU with the defaults, and four hours with
10,000 starts.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import torch
import tyro
from matplotlib.figure import Figure
from results import Line, Log, Table
from torch import Generator, Tensor

import robustgames as rg
from robustgames.errors import GameError, unknown
from robustgames.figures.style import save
from robustgames.games import (
    AlmostBilinear,
    FiniteSumBilinear,
    Forsaken,
    Game,
    Letcher,
    MatrixGame,
    Noisy,
    Polar,
    WeakMinty,
)
from robustgames.games.oracle import Oracle
from robustgames.solvers import HalfTurnAround, Scheme
from robustgames.solvers.fitting import fit

KIND = torch.float64
LOST = 10.0  # distance from the critical point beyond which a run counts as lost
NEAR_CYCLE = 0.2
EVERY = 10  # calls between two looks at the distance


@dataclass(frozen=True)
class Options:
    """Run what results.jsonl lacks, and write the table and the heat map.

    Attributes:
        solvers: Solvers to run, by default all.
        games: Games to run them on, by default all.
        steps: Learning rates.
        calls: Numbers of calls after which the runs are judged.
        starts: Random starts of every learning rate.
        noise: Standard deviations of the noise of the field. The finite sum draws one term a call instead.
        shown: Learning rate of the summary and of the heat map.
        workers: Cells that are computed at a time, one core each.
        out: Folder of the results.
    """

    solvers: tuple[str, ...] = ()
    games: tuple[str, ...] = ()
    steps: tuple[float, ...] = (0.05, 0.1, 0.2, 0.4)
    calls: tuple[int, ...] = (600, 3000)
    starts: int = 200
    noise: tuple[float, ...] = (0.0, 0.1)
    shown: float = 0.2
    workers: int = 1
    out: Path = Path("frontier")


@dataclass(frozen=True)
class Field:
    """A game, and what is known about its critical point.

    Attributes:
        make: The game with an exact field.
        head: Heading of its column in the summary.
        good: Whether the point is a local Nash or local minimax point.
        toy: Whether it counts for the least share of the summary.
        cycle: Whether the flow has a stable cycle, which it reaches from (1.2, 0.9).
        reach: Starts are uniform in the cube of this half width around the critical point of the finite sum, and
            around 0 elsewhere; on simplices they are uniform.
    """

    make: Callable[[], Game]
    head: str
    good: bool
    toy: bool = False
    cycle: bool = False
    reach: float = 1.5


GAMES: dict[str, Field] = {
    "forsaken_0.45": Field(lambda: Forsaken(0.45), "F .45", good=False, toy=True, cycle=True),
    "forsaken_0.1": Field(lambda: Forsaken(0.1), "F .1", good=True, toy=True, cycle=True),
    "almost_bilinear": Field(AlmostBilinear, "almost", good=False, toy=True, cycle=True),
    "polar": Field(Polar, "polar", good=True, toy=True, cycle=True),
    "weak_minty_0.1": Field(lambda: WeakMinty(-0.1), "WM .1", good=False, toy=True),
    "rock_paper_scissors": Field(lambda: MatrixGame("rock_paper_scissors"), "RPS", good=True, toy=True),
    "letcher": Field(Letcher, "Letcher", good=False, cycle=True),
    "finite_sum": Field(lambda: FiniteSumBilinear(batch_size=None), "sum", good=True),
    "weak_minty_0.4": Field(lambda: WeakMinty(-0.4), "WM .4", good=False),
    "weak_minty_0.6": Field(lambda: WeakMinty(-0.6), "WM .6", good=False),
}

NAMES = [
    "gda",
    "alt_gda",
    "extragradient",
    "optimistic_gda",
    "adam",
    "alt_adam",
    "rmsprop",
    "extra_adam",
    "optimistic_adam",
    "langevin",
    "eg_plus",
    "adaptive_eg_plus",
    "curvature_eg_plus",
    "bc_seg_plus",
    "rapp",
    "same_sample_extragradient",
    "eag",
    "anchored_popov",
    "feg",
    "agraal",
    "adaptive_extragradient",
    "tiada",
    "omd_adam",
    "lookahead_gda",
    "lookahead_extragradient",
    "lookahead_adam",
    "half_turn",
    "half_turn_adam",
    "smoothed_gda",
    "rk4",
    "consensus",
    "sga",
    "competitive_gd",
    "follow_ridge",
    "lead",
    "newton",
    "pdhg",
]


def _around(name: str, every: int) -> Callable[[Any], Scheme]:
    return lambda lr: rg.solvers.Lookahead(rg.make_solver(name, lr=lr), every)


SOLVERS: dict[str, Callable[[Any], Scheme]] = {
    **{name: lambda lr, name=name: rg.make_solver(name, lr=lr) for name in NAMES},
    "competitive_gd": lambda lr: rg.make_solver("competitive_gd", lr=lr, inner_steps=1),  # exact in the plane
    "follow_ridge": lambda lr: rg.make_solver("follow_ridge", lr=lr, inner_steps=1),
    "half_turn, alpha 0.5": lambda lr: rg.make_solver("half_turn", lr=lr, alpha=0.5),
    "half_turn, extragradient": lambda lr: rg.make_solver("half_turn", lr=lr, scheme="extragradient"),
    "half_turn, alt_gda": lambda lr: rg.make_solver("half_turn", lr=lr, scheme="alt_gda"),
    "half_turn, fall 0.1": lambda lr: rg.make_solver("half_turn", lr=lr, fall=0.1),
    "half_turn, extragradient, fall 0.1": lambda lr: rg.make_solver(
        "half_turn", lr=lr, scheme="extragradient", fall=0.1
    ),
    "half_turn, alt_gda, fall 0.1": lambda lr: rg.make_solver("half_turn", lr=lr, scheme="alt_gda", fall=0.1),
    "half_turn, alt_gda, each player": lambda lr: HalfTurnAround(rg.make_solver("alt_gda", lr=lr), each=True),
    "half_turn, steps of 0.25": lambda lr: rg.solvers.HalfTurn(lr, longest=0.25),
    "lookahead of 10, curvature_eg_plus": _around("curvature_eg_plus", 10),
    "lookahead of 20, gda": _around("gda", 20),
    "lookahead of 20, extragradient": _around("extragradient", 20),
}

ANNEALED: dict[str, Callable[[float, int], Scheme]] = {
    "half_turn, annealed": lambda lr, calls: rg.make_solver("half_turn", lr=lr, least=_time(lr), anneal=calls),
    "lookahead_gda, annealed": lambda lr, calls: rg.make_solver("lookahead_gda", lr=lr, anneal=calls),
    "smoothed_gda, annealed": lambda lr, calls: rg.make_solver("smoothed_gda", lr=lr, anneal=2 * calls),  # half calls
    "extragradient, annealed": lambda lr, calls: rg.make_solver("extragradient", lr=lr, anneal=calls),
}
"""Solvers whose learning rates fall linearly to 0 over the calls."""


def _time(lr: float) -> int:
    """Return the steps of one unit of time, at least 2."""
    return max(2, round(1 / lr))


class HalfCalls(Oracle):
    """An oracle whose calls of one player count half."""

    def __call__(self, z: Tensor, player: int | None = None) -> Tensor:
        self.calls -= 0.5 * (player is not None)  # type: ignore[assignment]
        return super().__call__(z, player)

    def vjp(self, z: Tensor, u: Tensor | None = None, player: int | None = None) -> tuple[Tensor, Tensor]:
        self.calls -= player is not None
        return super().vjp(z, u, player)

    def jvp(self, z: Tensor, u: Tensor, player: int | None = None) -> tuple[Tensor, Tensor]:
        self.calls -= player is not None
        return super().jvp(z, u, player)


def oracle_of(game: str, noise: float) -> Game:
    """Return a game with an exact field, or with a noisy one."""
    if noise and game == "finite_sum":
        return FiniteSumBilinear(batch_size=1).to(dtype=KIND)
    exact = GAMES[game].make().to(dtype=KIND)
    return Noisy(exact, noise).to(dtype=KIND) if noise else exact


def starts_of(game: str, starts: int) -> Tensor:
    """Return the random starts, (starts, n + m); the same for all solvers."""
    field, generator = GAMES[game].make(), Generator().manual_seed(1)
    if game == "rock_paper_scissors":
        weights = torch.empty(starts, 2, 3, dtype=KIND).exponential_(generator=generator)
        return (weights / weights.sum(-1, keepdim=True)).flatten(1)
    uniform = GAMES[game].reach * (2 * torch.rand(starts, sum(field.sizes), generator=generator, dtype=KIND) - 1)
    return field.to(dtype=KIND).saddle + uniform if isinstance(field, FiniteSumBilinear) else uniform


@cache
def cycle_of(game: str) -> Tensor:
    """Return points of the stable cycle of the flow; its period is below 10."""
    path = rg.diagnostics.flow(GAMES[game].make().to(dtype=KIND), torch.tensor([1.2, 0.9], dtype=KIND), 60.0, 0.05)
    return path[-200:]


def run(solver: str, game: str, noise: float, steps: Iterable[float], calls: Iterable[int], starts: int) -> Line:
    """Run a solver from all starts at all learning rates, and judge the runs after each number of calls.

    Returns:
        For every number of calls a list over the learning rates of the shares that `reached` the critical point, are
        near the `cycle` of the flow, or are `lost`; and the median of the calls after which a run stayed within the
        tolerance, None if fewer than half did. An `error` if the solver is not for this game.
    """
    torch.set_num_threads(1)
    rates = list(steps)
    try:
        if solver in SOLVERS:
            lr = torch.tensor(rates, dtype=KIND).repeat_interleave(starts).unsqueeze(-1)
            return {"found": follow(SOLVERS[solver](lr), game, noise, len(rates), calls, starts)}
        found: dict[str, list[Line]] = {}
        for budget in calls:  # the rates of each fall by themselves
            runs = [follow(ANNEALED[solver](lr, budget), game, noise, 1, (budget,), starts) for lr in rates]
            found[str(budget)] = [cell for each in runs for cell in each[str(budget)]]
        return {"found": found}
    except GameError as error:
        return {"error": str(error)}


@torch.no_grad()
def follow(
    scheme: Scheme, game: str, noise: float, rates: int, calls: Iterable[int], starts: int
) -> dict[str, list[Line]]:
    """Return the lines of a scheme for every number of calls, all learning rates side by side."""
    tol = 0.2 if noise else 0.01
    acting, z = oracle_of(game, noise), starts_of(game, starts).repeat(rates, 1)
    goal = acting.exact.solution()
    assert goal is not None
    oracle = HalfCalls(acting, (len(z),), Generator().manual_seed(0))
    found: dict[str, list[Line]] = {}
    entered = torch.full((len(z),), math.inf, dtype=KIND)
    scheme = fit(scheme, oracle)
    oracle.calls = 0
    state, looked = scheme.init(oracle, z), 0.0
    for budget in sorted(calls):
        while oracle.calls < budget and not bool(z.isnan().all()):
            z, state = scheme.step(oracle, z, state)
            if oracle.calls >= min(looked + EVERY, budget):
                looked, within = oracle.calls, (z - goal).norm(dim=-1) < tol
                entered = torch.where(within, entered.clamp_max(looked), math.inf)
        found[str(budget)] = judge(z, goal, entered, game, rates)
    return found


def judge(z: Tensor, goal: Tensor, entered: Tensor, game: str, rates: int) -> list[Line]:
    """Return where the runs of every learning rate are."""
    apart = (z - goal).norm(dim=-1).nan_to_num(nan=math.inf)
    reached, lost = entered.isfinite(), apart > LOST
    near = torch.zeros_like(lost)
    if GAMES[game].cycle:
        near = ~reached & (torch.cdist(z.nan_to_num(), cycle_of(game)).amin(-1) < NEAR_CYCLE)
    lines = []
    for part in zip(*(kind.view(rates, -1) for kind in (reached, near, lost, entered)), strict=True):
        shares = {
            name: float(kind.double().mean()) for name, kind in zip(("reached", "cycle", "lost"), part[:3], strict=True)
        }
        median = float(part[3].median())
        lines.append({**shares, "median": median if math.isfinite(median) else None})
    return lines


def table(lines: list[Line]) -> Table:
    """Return the shares that reach the critical point, cycle or are lost, a row for each solver, game and noise."""
    first = lines[0]
    heads = ["solver", "game", "noise"]
    heads += [f"{calls} calls, lr {lr:g}" for calls in first["calls"] for lr in first["steps"]]
    rows = []
    for line in lines:
        name = line["game"] if GAMES[line["game"]].good else f"{line['game']} (neither)"
        row = [line["solver"], name, f"{line['noise']:g}"]
        if "error" in line:
            rows.append([*row, *["not for this game"] * (len(heads) - 3)])
            continue
        for calls in line["calls"]:
            row += [_cell(cell) for cell in line["found"][str(calls)]]
        rows.append(row)
    title = (
        f"Shares of {first['starts']} starts at the critical point / near the cycle / lost (median calls). "
        "Neither: the point is neither a local Nash nor a local minimax point, so none is reached there"
    )
    return Table(heads, rows, title)


def _cell(cell: Line) -> str:
    shares = " / ".join(f"{cell[name]:.2f}" for name in ("reached", "cycle", "lost"))
    return shares if cell["median"] is None else f"{shares} ({cell['median']:.0f})"


def summaries(lines: list[Line], shown: float) -> list[Table]:
    """Return, for each noise, the shares at one learning rate after the first number of calls, the best solvers first.

    The toy games have a table with the least shares over all learning rates after each number of calls, none if the
    solver is not for all of them. The other games have one of the solvers that reach any point.
    """
    first = lines[0]
    found = {(line["solver"], line["game"], line["noise"]): line for line in lines}
    solvers, games, noises = (list(dict.fromkeys(key[i] for key in found)) for i in range(3))
    at, calls = first["steps"].index(shown), first["calls"]
    tables = []
    for noise, toy in product(noises, (True, False)):
        if not (chosen := [game for game in games if GAMES[game].toy == toy]):
            continue
        rows: dict[tuple[str, ...], list[str]] = {}
        ranks: dict[tuple[str, ...], float] = {}
        for solver in solvers:
            own = [found.get((solver, game, noise)) for game in chosen]
            shares = [reached(line, calls[0])[at : at + 1] for line in own]
            for budget in calls if toy else ():
                every = [reached(line, budget) for line in own]
                shares.append([min(map(min, every))] if all(every) else [])
            cells = tuple(f"{share[0]:.3f}" if share else "" for share in shares)
            rows.setdefault(cells, []).append(solver)
            ranks[cells] = sum(map(sum, shares))
        best = sorted((cells for cells in rows if toy or ranks[cells]), key=ranks.__getitem__, reverse=True)
        heads = ["solver", *(GAMES[game].head for game in chosen), *(f"least {budget}" for budget in calls if toy)]
        title = f"noise {noise:g}, {calls[0]} calls, lr {shown:g}, {first['starts']} starts"
        tables.append(Table(heads, [["; ".join(rows[cells]), *cells] for cells in best], title))
    return tables


def reached(line: Line | None, calls: int) -> list[float]:
    """Return the share at the critical point for every learning rate, none if the solver is not for the game."""
    return [cell["reached"] for cell in line["found"][str(calls)]] if line and "found" in line else []


def figure(lines: list[Line], shown: float) -> Figure:
    """Draw the shares that reach the critical point at one learning rate, a panel for each noise and budget."""
    first = lines[0]
    at = first["steps"].index(shown)
    solvers, games = (list(dict.fromkeys(line[key] for line in lines)) for key in ("solver", "game"))
    panels = [(noise, calls) for noise in dict.fromkeys(line["noise"] for line in lines) for calls in first["calls"]]
    shares = torch.full((len(panels), len(solvers), len(games)), math.nan)
    for line in lines:
        place = solvers.index(line["solver"]), games.index(line["game"])
        for panel, (noise, calls) in enumerate(panels):
            if line["noise"] == noise and (found := reached(line, calls)):
                shares[panel, *place] = found[at]
    toys = [place for place, game in enumerate(games) if GAMES[game].toy]
    order = shares[..., toys].nan_to_num().sum((0, 2)).argsort(descending=True, stable=True)
    made = Figure(figsize=(1.6 + 2.6 * len(panels), 2.2 + 0.2 * len(solvers)), layout="constrained")
    grid = made.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (noise, calls), part in zip(grid, panels, shares[:, order], strict=True):
        image = axes.imshow(part.numpy(), cmap="cividis", vmin=0, vmax=1, aspect="auto")
        axes.set_xticks(range(len(games)), [GAMES[game].head for game in games], rotation=90, fontsize=7)
        axes.set_yticks(range(len(solvers)), [solvers[i] for i in order], fontsize=7)
        axes.set_title(f"{calls} calls, {'exact' if not noise else 'noisy'}", fontsize=9)
        axes.tick_params(length=0)
        axes.grid(visible=False)
    made.colorbar(image, ax=list(grid), shrink=0.5, aspect=30, label=f"share at the critical point, lr {shown:g}")
    return made


def main(options: Options) -> int:
    all_solvers = (*SOLVERS, *ANNEALED)
    try:
        for kind, names, known in (("solver", options.solvers, all_solvers), ("game", options.games, GAMES)):
            for name in names:
                if name not in known:
                    raise unknown(kind, name, known)
        if options.shown not in options.steps:
            raise GameError(f"shown is {options.shown}: one of the steps {options.steps}")
    except GameError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    budget = {"steps": list(options.steps), "calls": list(options.calls), "starts": options.starts}
    jobs = [
        {"solver": solver, "game": game, "noise": noise, **budget}
        for noise in options.noise
        for game in options.games or GAMES
        for solver in options.solvers or all_solvers
    ]
    log = Log(options.out)
    for line in log.complete(run, jobs, options.workers):
        print(line["solver"], line["game"], line["noise"], flush=True)
    lines = [line for job in jobs if (line := log.find(job))]
    (options.out / "table.md").write_text(table(lines).markdown() + "\n")
    summary = "\n\n".join(one.markdown() for one in summaries(lines, options.shown))
    (options.out / "summary.md").write_text(summary + "\n")
    save(figure(lines, options.shown), options.out / "frontier.png")
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
