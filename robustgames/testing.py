"""Conformance checks for the games and solvers of a user; the package's own pass them.

Example:
    >>> from robustgames.games import Forsaken
    >>> check_game(Forsaken())
    >>> check_solver(make_solver("extra_adam"))
"""

from __future__ import annotations

import copy
import inspect
from typing import cast

import torch
from torch import Generator, Tensor

from robustgames import envs
from robustgames.errors import GameError
from robustgames.games import Game, GeneralSumGame, Oracle, Quadratic, Simplex, ZeroSumGame
from robustgames.games.game import Sample
from robustgames.solvers import Scheme, make_solver
from robustgames.solvers.config import from_config, to_config
from robustgames.tensors import map_tensors, tensors_of

RUNS = 3
CONSTANTS = "derive constants from x, e.g. c.to(x)"


def check_game(game: Game | type[Game] | str) -> None:
    """Check that a game keeps the contract of `Game`.

    Checked in float64 on the CPU: arguments and shapes; that draws and starts repeat with their generator; that
    projecting twice is projecting once; that the field is the derivative of the payoff or losses; that one player's
    block is that block of the field; that runs are independent; that dtypes are kept; that the solution is critical;
    that extragradient can take steps.

    Args:
        game: Game, its class, or a registered id.

    Raises:
        GameError: The first violation, with what was expected and what to change.
    """
    if isinstance(game, str):
        game = cast("envs.GameEnv", envs.make(game).unwrapped).game
    elif isinstance(game, type):
        game = game()
    game = game.to("cpu", torch.float64)
    _check_arguments(game)
    oracle = _checked_oracle(game)
    oracle.draw()
    z = oracle.project(game.initial((RUNS,), oracle.generator))
    _check_values(game, z, oracle.sample)
    _check_randomness(game)
    _check_projection(game, z, oracle.sample)
    _check_blocks(game, z, oracle.sample)
    _check_runs(game, z, oracle.sample)
    _check_derivative(game, z, oracle.sample)
    _check_single_precision(game)
    _check_solution(game, z)
    _check_training(game)


def _fail(subject: Game | Scheme, problem: str, hint: str) -> GameError:
    return GameError(f"{type(subject).__name__}: {problem}; {hint}")


def _require(holds: bool, subject: Game | Scheme, problem: str, hint: str) -> None:
    if not holds:
        raise _fail(subject, problem, hint)


def _method(game: Game) -> tuple[str, str]:
    """Return the name and the arguments of the method that defines the field."""
    if isinstance(game, ZeroSumGame):
        return "payoff", "x, y, sample"
    return ("losses", "x, y, sample") if isinstance(game, GeneralSumGame) else ("field", "z, sample=None, player=None")


def _check_arguments(game: Game) -> None:
    name, arguments = _method(game)
    try:
        inspect.signature(getattr(game, name)).bind(*arguments.split(", "))
    except TypeError:
        raise _fail(game, f"{name} must take ({arguments})", f"write def {name}(self, {arguments})") from None


def _checked_oracle(game: Game) -> Oracle:
    """Return the oracle of some runs, which checks all shapes."""
    try:
        return Oracle(game, (RUNS,))
    except GameError:
        raise
    except (RuntimeError, TypeError, ValueError) as error:
        problem = f"{_method(game)[0]} raised {type(error).__name__} in float64, {str(error).splitlines()[0]}"
        raise _fail(game, problem, f"it is called with {RUNS} runs; {CONSTANTS}") from error


def _check_values(game: Game, z: Tensor, sample: Sample) -> None:
    """Check that the payoff or the losses depend on the strategies, in their dtype."""
    with torch.enable_grad():
        x, y = (block.detach().requires_grad_() for block in game.split(z))
        if isinstance(game, ZeroSumGame):
            values = (game.payoff(x, y, sample),)
        else:
            values = game.losses(x, y, sample) if isinstance(game, GeneralSumGame) else ()
    own_field = type(game).field not in (ZeroSumGame.field, GeneralSumGame.field)
    name, hint = _method(game)[0], "compute it from both by torch, without .detach(), .item() or NumPy"
    depends = own_field or any(value.requires_grad for value in values)
    _require(depends, game, f"{name} is a constant: it does not depend on x and y", hint)
    for value in values:
        _require(value.dtype == z.dtype, game, f"{name} is {value.dtype} in a game in {z.dtype}", CONSTANTS)


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
        problem = f"field(z, sample, player={player}) is not that block of field(z, sample)"
        _require(matches, game, problem, "compare them")


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
        hint = "the payoff must be differentiable, and depend on its arguments only"
        _require(close, game, f"the field of {game.players[player]} is not the slope of its reward", hint)


def _check_runs(game: Game, z: Tensor, sample: Sample) -> None:
    v = game.field(z, sample)
    for i in range(RUNS):
        alone = game.field(z[i], map_tensors(sample, lambda part, i=i: part[i]))
        apart = torch.allclose(alone, v[i], rtol=1e-8, atol=1e-10)
        hint = "a payoff reduces the last dimension only: write .sum(-1), not .sum()"
        _require(apart, game, f"run {i} of {RUNS} has another field in the batch than alone", hint)


def _check_single_precision(game: Game) -> None:
    single = game.to(dtype=torch.float32)
    oracle = Oracle(single, (RUNS,))
    oracle.draw()
    v = oracle(single.initial((RUNS,), oracle.generator))
    _require(v.dtype == torch.float32, game, f"a game in float32 has a field in {v.dtype}", CONSTANTS)


def _check_solution(game: Game, z: Tensor) -> None:
    solution = game.solution()
    if solution is None:
        return
    expected = tuple(z.shape[-1:])
    _require(solution.shape == expected, game, f"solution has shape {tuple(solution.shape)}", f"expected {expected}")
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
    finite = bool(torch.isfinite(z).all())
    _require(finite, game, "3 steps of extragradient with lr=0.001 diverge (non-finite values)", "rescale the payoff")


def check_solver(solver: Scheme) -> None:
    """Check that a solver keeps the contract of `Scheme`.

    Checked on a strongly monotone quadratic, on simplices if the solver refuses unbounded sets: a step leaves its
    arguments as they were; runs are independent; dtypes and shapes are kept; every step calls the oracle equally
    often; the config of the solver gives the same solver.

    Raises:
        GameError: The first violation, with what was expected and what to change.
    """
    game = _game_of(solver)
    z = torch.rand(RUNS, 4, generator=Generator().manual_seed(0), dtype=torch.float64) + 0.1
    z = (z.view(RUNS, 2, 2) / z.view(RUNS, 2, 2).sum(-1, keepdim=True)).flatten(-2)  # each player's on a simplex
    with torch.no_grad():
        _check_steps(solver, game.to(dtype=torch.float64), z)
        together, draws = _run(solver, game, z)
        again, _ = _run(solver, game, z)
        same = torch.equal(together, again)
        _require(same, solver, "two runs with one seed differ", "draw from oracle.generator only")
        alone = torch.stack([_run(solver, game, z[i])[0] for i in range(RUNS)])
        # a solver that draws has other random numbers alone
        apart = draws or torch.allclose(alone, together, rtol=1e-9, atol=1e-11)
        _require(apart, solver, "a batch of runs differs from the runs alone", "reduce no dimension but the last")
        single, _ = _run(solver, game, z.float())
    _require(single.dtype == torch.float32, solver, f"float32 iterates became {single.dtype}", "create tensors like z")
    repeated = repr(from_config(to_config(solver))) == repr(solver)
    _require(repeated, solver, "its config gives another solver", "use dataclass fields only")


def _game_of(solver: Scheme) -> Game:
    """Return the quadratic game, on simplices if the solver refuses it without constraints."""
    game = Quadratic(coupling=1.0, n=2)
    try:
        solver.init(Oracle(game), torch.full((4,), 0.5))
    except GameError:
        game.sets = (Simplex(), Simplex())
    return game


def _check_steps(solver: Scheme, game: Game, z: Tensor) -> None:
    oracle = Oracle(game, (RUNS,))
    state, counts = solver.init(oracle, z), []
    for _ in range(3):
        before, z_before, calls = copy.deepcopy(state), z.clone(), oracle.calls
        new, state_after = solver.step(oracle, z, state)
        counts.append(oracle.calls - calls)
        kept = torch.equal(z, z_before) and _same(state, before)
        _require(kept, solver, "a step changed its arguments", "return new tensors")
        problem = f"a step changed the shape {tuple(z.shape)} to {tuple(new.shape)}"
        _require(new.shape == z.shape, solver, problem, "keep it")
        z, state = new, state_after
    equal = len(set(counts)) == 1 and counts[0] > 0
    _require(equal, solver, f"steps called the oracle {counts} times", "call it equally often, at least once")


def _run(solver: Scheme, game: Game, z: Tensor) -> tuple[Tensor, bool]:
    """Return z after five steps, and whether they drew random numbers."""
    oracle = Oracle(game.to(dtype=z.dtype), tuple(z.shape[:-1]))
    before = oracle.generator.get_state()
    state = solver.init(oracle, z)
    for _ in range(5):
        z, state = solver.step(oracle, z, state)
    return z, not torch.equal(before, oracle.generator.get_state())


def _same(a: object, b: object) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    return torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else a == b
