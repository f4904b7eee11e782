"""Attacked images with the predicted labels."""

from __future__ import annotations

from math import isqrt

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from robustgames.errors import GameError
from robustgames.evaluation.certificates import attack
from robustgames.figures.style import RIGHT, WRONG
from robustgames.games import AdversarialClassification, HeldOut


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
