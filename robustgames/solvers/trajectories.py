"""The iterates of a solver, without an agent."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from robustgames.errors import GameError
from robustgames.games.game import Game
from robustgames.games.oracle import Oracle
from robustgames.solvers.fitting import adapted
from robustgames.solvers.schemes import Scheme


@torch.no_grad()
def trajectory(solver: Scheme, game: Game, z: Tensor, steps: int, seed: int = 0) -> Tensor:
    """Return the iterates z_0 … z_steps of a solver, shape (steps + 1, *S, n + m).

    Args:
        solver: Solver, e.g. `make_solver("extragradient", lr=0.1)`.
        game: Game; it is taken to the device and the dtype of z.
        z: First iterate z_0, (*S, n + m).
        steps: Number of steps.
        seed: Seed of the samples ζ and of the solver's own draws.

    Raises:
        GameError: z has the wrong shape, steps is negative, or the solver does not fit the game, e.g. entropic steps
            outside simplices, or rates of another number of runs.

    Example:
        >>> from robustgames.games.toy import Bilinear
        >>> from robustgames.solvers import SGD, Simultaneous
        >>> trajectory(Simultaneous(SGD(1.0)), Bilinear(), torch.tensor([1.0, 0.0]), steps=1)
        tensor([[1., 0.],
                [1., 1.]])
    """
    width = sum(game.sizes)
    if z.dim() == 0 or z.shape[-1] != width:
        raise GameError(f"z has shape {tuple(z.shape)}: joint strategies of {game!r} have shape (*S, {width})")
    if not steps >= 0:
        raise GameError(f"steps is {steps}: a number of steps >= 0 is needed, e.g. steps=1000")
    game = game.to(z.device, z.dtype)
    oracle = Oracle(game, tuple(z.shape[:-1]), Generator(z.device).manual_seed(seed))
    solver = adapted(solver, oracle)
    state, points = solver.init(oracle, z), [z]
    for _ in range(steps):
        z, state = solver.step(oracle, z, state)
        points.append(z)
    return torch.stack(points)
