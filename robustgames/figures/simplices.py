"""Mixed strategies of two players on their simplices: paths of runs in a triangle each."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor

from robustgames.errors import GameError
from robustgames.figures.paths import draw_averages, draw_paths, mark_solution, write_legend
from robustgames.figures.portraits import SHOWN_RUNS
from robustgames.figures.style import HEIGHTS, Figure, bare, colors, write_title
from robustgames.games import Game, MatrixGame, Simplex, ZeroSumGame

_CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, 0.75**0.5]])
_NAMES = {"rock_paper_scissors": ("rock", "paper", "scissors")}
_POINTS = 60  # per side of a triangle, at which the exploitability is computed


def has_simplices(game: Game) -> bool:
    """Return whether `simplex_figure` can draw the game: three actions per player."""
    return game.exact.sizes == (3, 3) and all(isinstance(part, Simplex) for part in game.sets)


def simplex_figure(game: Game, trajectory: Tensor, average: Tensor | None = None, title: str = "") -> Figure:
    """Draw the mixed strategies of both players in a triangle each, whose corners are the pure strategies.

    The shade of a point is what the best response of the opponent gains there, in comparison with the solution; it is
    lightest at a strategy that the opponent cannot exploit.

    Args:
        game: Game of two players with three actions each.
        trajectory: Iterates, (T, runs, 6); the first 10 runs are drawn.
        average: Averages of the iterates, (T, runs, 6), if these are evaluated: dotted paths.
        title: Title above the figure; by default the game.

    Raises:
        GameError: A player does not have three actions.
    """
    if not has_simplices(game):
        raise GameError(f"{game!r} with sizes {game.sizes} has no simplex figure: it must have three actions a player")
    exact, runs = game.exact.to("cpu", torch.float64), _shown(trajectory)
    figure = Figure(figsize=(8.4, 4.9), layout="constrained")
    marks, solution = {}, exact.solution()
    for player, axes in enumerate(figure.subplots(1, 2)):
        _draw_triangle(axes, exact, player)
        of_player = slice(3 * player, 3 * player + 3)
        marks |= draw_paths(axes, _places(runs[..., of_player]), _label(trajectory))
        if average is not None:
            marks |= draw_averages(axes, _places(_shown(average)[..., of_player]))
        if solution is not None:
            mark_solution(axes, _places(solution[of_player]), "equilibrium")
    write_title(figure, title or repr(game))
    write_legend(figure, figure.axes[0], marks)
    return figure


def _shown(points: Tensor) -> Tensor:
    return points.detach().reshape(len(points), -1, 6)[:, :SHOWN_RUNS].cpu().double()


def _places(strategies: Tensor) -> np.ndarray:
    """Return the points of the plane, (..., 2), of mixed strategies (..., 3): their barycentric coordinates."""
    return strategies.numpy() @ _CORNERS


def _label(trajectory: Tensor) -> str:
    runs = trajectory[0].reshape(-1, 6).shape[0]
    return "run" if runs == 1 else f"{runs} runs" if runs <= SHOWN_RUNS else f"{SHOWN_RUNS} of {runs} runs"


def _draw_triangle(axes: Axes, game: Game, player: int) -> None:
    c, role = colors(), ("minimizer", "maximizer")[player] if isinstance(game, ZeroSumGame) else ""
    _shade(axes, game, player)
    axes.plot(*_CORNERS[[0, 1, 2, 0]].T, color=c.axis, lw=1.2, zorder=2)
    for i, (name, corner) in enumerate(zip(_actions(game), _CORNERS, strict=True)):
        above = i == 2
        axes.text(
            corner[0],
            corner[1] + (0.03 if above else -0.03),
            name,
            ha="center",
            va="bottom" if above else "top",
            fontsize=9,
            color=c.ink,
        )
    axes.set(xlim=(-0.12, 1.12), ylim=(-0.12, 1.0), aspect="equal")
    axes.set_title(f"{game.players[player]} ({role})" if role else game.players[player], fontsize=10, color=c.ink)
    bare(axes)


def _actions(game: Game) -> tuple[str, ...]:
    for name, actions in _NAMES.items():
        if isinstance(game, MatrixGame) and game.matrix.tolist() == MatrixGame.NAMED[name]:
            return actions
    return ("action 1", "action 2", "action 3")


def _shade(axes: Axes, game: Game, player: int) -> None:
    """Shade a triangle by the gain of the opponent's best response, if the game has one in closed form."""
    steps = torch.arange(_POINTS + 1).double() / _POINTS
    grid = torch.cartesian_prod(steps, steps)
    grid = grid[grid.sum(-1) <= 1 + 1e-9]
    strategies = torch.cat([grid, (1 - grid.sum(-1, keepdim=True)).clamp_min(0)], -1)
    blocks = [strategies, strategies]
    found = game.best_response(torch.cat(blocks, -1), 1 - player)
    if found is None:
        return
    blocks[1 - player] = found
    gain = game.evaluate(torch.cat(blocks, -1))[0][1 - player]
    x, y = _places(strategies).T
    axes.tricontourf(x, y, (gain - gain.min()).numpy(), 12, cmap=HEIGHTS, alpha=0.75, zorder=0)
