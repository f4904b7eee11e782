"""Figures of a run: which apply to a game.

All are `matplotlib.figure.Figure` objects made without pyplot: no backend, no window, nothing global.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from pathlib import Path

from matplotlib.figure import Figure
from torch import Tensor

from robustgames.figures.curves import learning_curves
from robustgames.figures.digits import digit_grid
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

    Those of a GAN are named in `generator_figures`.

    Args:
        game: the game.
        z: joint strategies to show, (*S, n + m).
        trajectory: iterates, (T, runs, n + m); without them a portrait shows z alone.
        progress: `progress.csv` of a run, or of several.
        dt: time between two iterates.
        snapshots: {timesteps: joint strategies} of a GAN, the newest last; without them z alone is shown.
    """
    figures = {}
    if has_portrait(game):
        figures["phase_portrait"] = phase_portrait(game, z.unsqueeze(0) if trajectory is None else trajectory, dt)
    if progress:
        figures["learning_curves"] = learning_curves(progress)
    if isinstance(game, AdversarialClassification) and isqrt(game.images[0].numel()) ** 2 == game.images[0].numel():
        figures["digits"] = digit_grid(game, z)
    if isinstance(game, GAN):
        figures |= generator_figures(game, snapshots or {0: z})
    return figures
