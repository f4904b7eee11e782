"""Figures of a run: all that apply to a game.

They are `matplotlib.figure.Figure` objects made without pyplot: no backend, no window, nothing global. They follow the
background of matplotlib's rcParams: after `rcParams.update(theme(dark=True))` they are dark.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from robustgames.figures.basins import basin_figure, draw_basins
from robustgames.figures.curves import learning_curves
from robustgames.figures.digits import digit_grid, square_side
from robustgames.figures.generators import generator_figures
from robustgames.figures.portraits import has_portrait, phase_portrait
from robustgames.figures.simplices import has_simplices, simplex_figure
from robustgames.figures.style import Figure, save, theme
from robustgames.games import GAN, AdversarialClassification, Game

__all__ = ["basin_figure", "draw_all", "draw_basins", "save", "theme"]


def draw_all(
    game: Game,
    z: Tensor,
    trajectory: Tensor | None = None,
    progress: str | Path | Sequence[str | Path] | None = None,
    dt: float = 1.0,
    snapshots: dict[int, Tensor] | None = None,
    average: Tensor | None = None,
    title: str = "",
    runs: int = 0,
    images: int = 10,
    quick: bool = False,
) -> dict[str, Figure]:
    """Return the figures that apply to a game, by name.

    These are "phase_portrait" or "simplices" of a small game, "learning_curves", and "digits". The names for a GAN are
    in `generator_figures`.

    Args:
        game: The game.
        z: Joint strategies to show, (*S, n + m).
        trajectory: Iterates, (T, runs, n + m); without them a portrait shows z only.
        progress: `progress.csv` of a run, or of several.
        dt: Time between two iterates.
        snapshots: {timesteps: joint strategies} of a GAN, the newest last; without them only z is shown.
        average: Averages of the iterates, (T, runs, n + m), if these are evaluated.
        title: Method and settings, above every figure.
        runs: Number of runs in the bands of learning curves, see `learning_curves`.
        images: Number of images in the figure "digits".
        quick: If True, no limit cycles are searched for a portrait.
    """
    figures: dict[str, Figure] = {}
    path = z.unsqueeze(0) if trajectory is None else trajectory
    if has_portrait(game):
        figures["phase_portrait"] = phase_portrait(game, path, dt, average, title, not quick)
    if has_simplices(game):
        figures["simplices"] = simplex_figure(game, path, average, title)
    if progress:
        figures["learning_curves"] = learning_curves(progress, title, runs=runs)
    if isinstance(game, AdversarialClassification) and square_side(game.images) is not None:
        figures["digits"] = digit_grid(game, z, images, title=title)
    if isinstance(game, GAN):
        figures |= generator_figures(game, snapshots or {0: z}, title)
    return figures


def has_path(game: Game) -> bool:
    """Return whether paths of iterates can be drawn: in a phase portrait, or on simplices."""
    return has_portrait(game) or has_simplices(game)
