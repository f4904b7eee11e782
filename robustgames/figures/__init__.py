"""Figures of a run: all that apply to a game.

They are `matplotlib.figure.Figure` objects made without pyplot: no backend, no window, nothing global.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from torch import Tensor

from robustgames.figures.curves import learning_curves
from robustgames.figures.digits import digit_grid, square_side
from robustgames.figures.generators import generator_figures
from robustgames.figures.portraits import has_portrait, phase_portrait
from robustgames.figures.style import save
from robustgames.games import GAN, AdversarialClassification, Game

__all__ = ["draw_all", "save"]


def draw_all(
    game: Game,
    z: Tensor,
    trajectory: Tensor | None = None,
    progress: str | Path | Sequence[str | Path] | None = None,
    dt: float = 1.0,
    snapshots: dict[int, Tensor] | None = None,
) -> dict[str, Figure]:
    """Return the figures that apply to a game, by name: "phase_portrait", "learning_curves", "digits".

    The names for a GAN are in `generator_figures`.

    Args:
        game: The game.
        z: Joint strategies to show, (*S, n + m).
        trajectory: Iterates, (T, runs, n + m); without them a portrait shows z only.
        progress: `progress.csv` of a run, or of several.
        dt: Time between two iterates.
        snapshots: {timesteps: joint strategies} of a GAN, the newest last; without them only z is shown.
    """
    figures = {}
    if has_portrait(game):
        figures["phase_portrait"] = phase_portrait(game, z.unsqueeze(0) if trajectory is None else trajectory, dt)
    if progress:
        figures["learning_curves"] = learning_curves(progress)
    if isinstance(game, AdversarialClassification) and square_side(game.images) is not None:
        figures["digits"] = digit_grid(game, z)
    if isinstance(game, GAN):
        figures |= generator_figures(game, snapshots or {0: z})
    return figures
