"""Conformance checks that the package's own games and solvers pass, for a user's too.

Example:
    >>> from robustgames.games import Forsaken
    >>> check_game(Forsaken())
    >>> check_solver(make_solver("extra_adam"))
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Generator, Tensor

from robustgames import envs
from robustgames.errors import GameError
from robustgames.games import Game, GeneralSumGame, Oracle, Quadratic, ZeroSumGame
from robustgames.games.game import Sample
from robustgames.solvers import Scheme, make_solver
from robustgames.solvers.config import from_config, to_config
from robustgames.tensors import tensors_of

RUNS = 3


def check_game(game: Game | type[Game] | str) -> None:
    """Check that a game keeps the contract of `Game`; returns nothing when it does.

    Checked in float64 on the CPU: shapes; that draws and starts repeat with their generator; that projecting twice is
    projecting once; that the field is the derivative of the payoff or losses; that one player's block is that block
    of the field; that runs do not see each other; that dtypes are kept; that the solution is critical; that
    extragradient can take steps.

    Args:
        game: a game, its class, or a registered id.

    Raises:
        GameError: the first violation, what was expected, and what to look at.
    """
    if isinstance(game, str):
        game = envs.make(game).unwrapped.game  # type: ignore[attr-defined]
    elif isinstance(game, type):
        game = game()
    assert isinstance(game, Game)
    game = game.to("cpu", torch.float64)
    oracle = Oracle(game, (RUNS,))  # checks the shapes
    oracle.draw()
    z = oracle.project(game.initial((RUNS,), oracle.generator))
    _check_randomness(game)
    _check_projection(game, z, oracle.sample)
    _check_blocks(game, z, oracle.sample)
    _check_runs(game, z, oracle.sample)
    _check_derivative(game, z, oracle.sample)
    _check_single_precision(game)
    _check_solution(game, z)
    _check_training(game)


def _fail(game: Any, problem: str, hint: str) -> GameError:
    return GameError(f"{type(game).__name__}: {problem}; {hint}")


def _require(holds: bool, game: Any, problem: str, hint: str) -> None:
    if not holds:
        raise _fail(game, problem, hint)


def _check_randomness(game: Game) -> None:
    def everything() -> list[Tensor]:
        generator = Generator().manual_seed(1)
        return [game.initial((RUNS,), generator), *tensors_of(game.draw((RUNS,), generator))]

    same = all(torch.equal(a, b) for a, b in zip(everything(), everything(), strict=True))
    _require(same, game, "initial or draw does not repeat with its generator", "pass generator=generator to torch")


def _check_projection(game: Game, z: Tensor, sample: Sample) -> None:
    far = 10 * z + 1
    once = game.project(far, sample)
    error = float((game.project(once, sample) - once).abs().max())
    _require(error < 1e-8, game, f"projecting twice moves a point by {error:.2g}", "project must be a projection")


def _check_blocks(game: Game, z: Tensor, sample: Sample) -> None:
    v = game.field(z, sample)
    _require(bool(torch.isfinite(v).all()), game, "the field is not finite at its own start", "look at initial")
    for player, block in enumerate(game.split(v)):
        own = game.field(z, sample, player)
        matches = own.shape == block.shape and torch.allclose(own, block, rtol=1e-9, atol=1e-12)
        _require(
            matches, game, f"field(z, sample, player={player}) is not that block of field(z, sample)", "compare them"
        )


def _check_derivative(game: Game, z: Tensor, sample: Sample) -> None:
    """Compare each block with a central difference of the player's own loss along a random direction."""
    if not isinstance(game, ZeroSumGame | GeneralSumGame):
        return
    v = game.split(game.field(z, sample))
    for player in (0, 1):
        direction = torch.zeros_like(z)
        block = game.split(direction)[player]
        if block.numel() == 0:
            continue
        block.copy_(torch.randn(block.shape, dtype=z.dtype, generator=Generator().manual_seed(2)))
        block.div_(max(1.0, float(block[0].norm()) / 10))  # a long step would cross kinks of a large network
        expected, close = (v[player] * block).sum(-1), False
        for h in (1e-6, 1e-8, 1e-10):  # a step that crosses a kink is followed by a shorter one
            up, down = (game.evaluate(z + s * h * direction, sample)[0][player] for s in (1, -1))
            close = close or torch.allclose((up - down) / (2 * h), expected, rtol=1e-3, atol=1e-5)
        hint = "is the payoff differentiable, and a function of its arguments only?"
        _require(close, game, f"the field of {game.players[player]} is not the slope of its reward", hint)


def _check_runs(game: Game, z: Tensor, sample: Sample) -> None:
    v = game.field(z, sample)
    for i in range(RUNS):
        alone = game.field(z[i], _take(sample, i))
        apart = torch.allclose(alone, v[i], rtol=1e-8, atol=1e-10)
        hint = "a payoff reduces the last dimension only: write .sum(-1), not .sum()"
        _require(apart, game, f"run {i} of {RUNS} has another field in the batch than alone", hint)


def _check_single_precision(game: Game) -> None:
    single = game.to(dtype=torch.float32)
    oracle = Oracle(single, (RUNS,))
    oracle.draw()
    v = oracle(single.initial((RUNS,), oracle.generator))
    _require(
        v.dtype == torch.float32,
        game,
        f"a float32 game has a field in {v.dtype}",
        "derive constants from x, e.g. c.to(x)",
    )


def _check_solution(game: Game, z: Tensor) -> None:
    solution = game.solution()
    if solution is None:
        return
    _require(
        solution.shape == z.shape[-1:],
        game,
        f"solution has shape {tuple(solution.shape)}",
        f"expected {tuple(z.shape[-1:])}",
    )
    at = float(game.residual(solution))
    _require(at < 1e-6, game, f"solution has residual {at:.2g}", "expected a critical point")


def _check_training(game: Game) -> None:
    oracle = Oracle(game, (RUNS,))
    solver = make_solver("extragradient", lr=1e-3)
    oracle.draw()
    z = oracle.project(game.initial((RUNS,), oracle.generator))
    with torch.no_grad():
        state = solver.init(oracle, z)
        for _ in range(3):
            z, state = solver.step(oracle, z, state)
    _require(
        bool(torch.isfinite(z).all()),
        game,
        "3 steps of extragradient with lr=0.001 leave the finite numbers",
        "rescale the payoff",
    )


def check_solver(solver: Scheme) -> None:
    """Check that a solver keeps the contract of `Scheme`; returns nothing when it does.

    On a strongly monotone quadratic: a step leaves z and the state before it as they were; runs do not see each other;
    dtypes and shapes are kept; each step asks equally often; the solver survives a round trip through its config.

    Raises:
        GameError: the first violation, what was expected, and what to look at.
    """
    game = Quadratic(coupling=1.0, n=2)
    z = torch.rand(RUNS, 4, generator=Generator().manual_seed(0), dtype=torch.float64) + 0.1
    z = (z.view(RUNS, 2, 2) / z.view(RUNS, 2, 2).sum(-1, keepdim=True)).flatten(-2)  # each player's on a simplex
    with torch.no_grad():
        _check_steps(solver, game.to(dtype=torch.float64), z)
        together, draws = _run(solver, game, z)
        again, _ = _run(solver, game, z)
        _require(
            torch.equal(together, again), solver, "two runs with one seed differ", "draw from oracle.generator only"
        )
        alone = torch.stack([_run(solver, game, z[i])[0] for i in range(RUNS)])
        apart = draws or torch.allclose(
            alone, together, rtol=1e-9, atol=1e-11
        )  # a solver that draws has other luck alone
        _require(apart, solver, "a batch of runs differs from the runs alone", "reduce no dimension but the last")
        single, _ = _run(solver, game, z.float())
    _require(single.dtype == torch.float32, solver, f"float32 iterates became {single.dtype}", "create tensors like z")
    _require(
        repr(from_config(to_config(solver))) == repr(solver),
        solver,
        "its config gives another solver",
        "use dataclass fields only",
    )


def _check_steps(solver: Scheme, game: Game, z: Tensor) -> None:
    oracle = Oracle(game, (RUNS,))
    state, asked = solver.init(oracle, z), []
    for _ in range(3):
        before, z_before, calls = copy.deepcopy(state), z.clone(), oracle.calls
        new, state_after = solver.step(oracle, z, state)
        asked.append(oracle.calls - calls)
        _require(
            torch.equal(z, z_before) and _same(state, before),
            solver,
            "a step changed its arguments",
            "return new tensors",
        )
        _require(
            new.shape == z.shape, solver, f"a step changed the shape {tuple(z.shape)} to {tuple(new.shape)}", "keep it"
        )
        z, state = new, state_after
    _require(
        len(set(asked)) == 1 and asked[0] > 0,
        solver,
        f"steps asked the field {asked} times",
        "ask equally often, at least once",
    )


def _run(solver: Scheme, game: Game, z: Tensor) -> tuple[Tensor, bool]:
    """Return z after five steps, and whether they drew random numbers."""
    oracle = Oracle(game.to(dtype=z.dtype), tuple(z.shape[:-1]))
    before = oracle.generator.get_state()
    state = solver.init(oracle, z)
    for _ in range(5):
        z, state = solver.step(oracle, z, state)
    return z, not torch.equal(before, oracle.generator.get_state())


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    return torch.equal(a, b) if isinstance(a, Tensor) else a == b


def _take(sample: Sample, i: int) -> Sample:
    """Return the draw of one run."""
    if isinstance(sample, Tensor):
        return sample[i]
    if isinstance(sample, dict):
        return {name: _take(part, i) for name, part in sample.items()}
    if not isinstance(sample, tuple | list):
        return sample
    parts = [_take(part, i) for part in sample]
    return type(sample)(*parts) if hasattr(sample, "_fields") else tuple(parts)
