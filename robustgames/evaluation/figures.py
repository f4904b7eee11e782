"""Figures of a run: which apply to a game, and attacked images.

All are `matplotlib.figure.Figure` objects made without pyplot: no backend, no window, nothing global.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from robustgames.errors import GameError
from robustgames.evaluation.certificates import attack
from robustgames.evaluation.curves import learning_curves
from robustgames.evaluation.generators import generator_figures
from robustgames.evaluation.portraits import has_portrait, phase_portrait
from robustgames.games import GAN, AdversarialClassification, Game, HeldOut

RIGHT, WRONG = "#1A7F37", "#C62828"


@torch.no_grad()
def digit_grid(game: AdversarialClassification, z: Tensor, count: int = 10, steps: int = 40) -> Figure:
    """Draw images, perturbations of the first run's classifier by PGD, and their sums, with the predicted labels.

    Predictions are green where right and red where wrong. Images are held-out ones where the game has them, one of
    each class first.

    Args:
        game: a game on square gray images.
        z: weights, (*S, n), or joint strategies, (*S, n + m).
        count: images to show.
        steps: signed steps of the attack, each of 2.5 eps / steps, from a random start (seed 0).

    Raises:
        GameError: the images are not square.
    """
    game = _first_of_each_class(game.held_out if isinstance(game, HeldOut) else game, count)
    side = isqrt(game.images[0].numel())
    if side * side != game.images[0].numel():
        raise GameError(f"images of shape {tuple(game.images[0].shape)} cannot be drawn: square gray ones are needed")
    x = z.reshape(-1, z.shape[-1])[0, : game.sizes[0]]
    noise = attack(game, x, steps).view(game.images.shape)
    attacked, radius = game.images + noise, game.eps or 1.0
    rows = {"clean": game.images, f"perturbation\n±{game.eps:g}": noise, "attacked": attacked}
    figure = Figure(figsize=(0.95 * len(noise) + 0.8, 3.7), layout="constrained")
    grid = figure.subplots(3, len(noise), squeeze=False)
    for i, (name, pictures) in enumerate(rows.items()):
        style = (
            {"cmap": "RdBu_r", "vmin": -radius, "vmax": radius} if i == 1 else {"cmap": "gray", "vmin": 0, "vmax": 1}
        )
        for axes, picture in zip(grid[i], pictures, strict=True):
            axes.imshow(picture.reshape(side, side).cpu().numpy(), **style)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        grid[i, 0].set_ylabel(name, fontsize=9)
    _write_labels(grid[0], game, game.logits(x, game.images).argmax(-1), with_truth=True)
    _write_labels(grid[2], game, game.logits(x, attacked).argmax(-1), with_truth=False)
    return figure


def _first_of_each_class(game: AdversarialClassification, count: int) -> AdversarialClassification:
    chosen = first_of_each_class(game.labels, count)
    return game.on(game.images[chosen], game.labels[chosen])


def first_of_each_class(y: Tensor, count: int) -> Tensor:
    """Return the indices of the first `count` images in turns through the classes."""
    turn = torch.nn.functional.one_hot(y.long()).cumsum(0).gather(1, y.long().unsqueeze(1)).squeeze(1)
    return (turn * (int(y.max()) + 1) + y).argsort(stable=True)[:count]


def _write_labels(row: np.ndarray, game: AdversarialClassification, predicted: Tensor, with_truth: bool) -> None:
    for axes, guess, label in zip(row, predicted.tolist(), game.labels.tolist(), strict=True):
        text = f"{guess} (true {label})" if with_truth else str(guess)
        axes.set_title(text, fontsize=9, color=RIGHT if guess == label else WRONG)


# -- all of them -----------------------------------------------------------------------------------------
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


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG with 150 dots per inch, making its folder."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150, bbox_inches="tight", facecolor="white")
