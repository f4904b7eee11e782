"""Attacked images with the predicted labels."""

from __future__ import annotations

from math import isqrt

import numpy as np
import torch
from torch import Tensor

from robustgames.errors import GameError
from robustgames.evaluation.certificates import attack
from robustgames.figures.style import SIGNED, Figure, bare, colors, write_title
from robustgames.games import AdversarialClassification, HeldOut


@torch.no_grad()
def digit_grid(game: AdversarialClassification, z: Tensor, count: int = 10, steps: int = 40, title: str = "") -> Figure:
    """Draw images, perturbations of the first run's classifier by PGD, and their sums, with the predicted labels.

    Correct predictions are green, wrong ones red. Images are held-out ones if the game has them, one of each class
    first.

    Args:
        game: Game on square gray images.
        z: Weights, (*S, n), or joint strategies, (*S, n + m).
        count: Number of images.
        steps: Number of signed steps of the attack, each of 2.5 eps / steps, from a random start (seed 0).
        title: Title above the figure.

    Raises:
        GameError: The images are not square.
    """
    game = _first_of_each_class(game.held_out if isinstance(game, HeldOut) else game, count)
    side = checked_side(game.images)
    x = z.reshape(-1, z.shape[-1])[0, : game.sizes[0]]
    noise = attack(game, x, steps).view(game.images.shape)
    attacked, radius = game.images + noise, game.eps or 1.0
    rows = {"clean": game.images, f"perturbation\n±{game.eps:g}": noise, "attacked": attacked}
    figure = Figure(figsize=(0.95 * len(noise) + 0.8, 3.7), layout="constrained")
    grid = figure.subplots(3, len(noise), squeeze=False)
    for i, (name, pictures) in enumerate(rows.items()):
        shades, low, high = (SIGNED, -radius, radius) if i == 1 else ("gray", 0, 1)
        for axes, picture in zip(grid[i], pictures, strict=True):
            axes.imshow(picture.reshape(side, side).cpu().numpy(), cmap=shades, vmin=low, vmax=high)
            bare(axes)
        grid[i, 0].set_ylabel(name, fontsize=9)
    write_title(figure, title)
    _write_labels(grid[0], game, game.logits(x, game.images).argmax(-1), with_truth=True)
    _write_labels(grid[2], game, game.logits(x, attacked).argmax(-1), with_truth=False)
    return figure


def _first_of_each_class(game: AdversarialClassification, count: int) -> AdversarialClassification:
    chosen = first_of_each_class(game.labels, count)
    return game.on(game.images[chosen], game.labels[chosen])


def first_of_each_class(y: Tensor, count: int) -> Tensor:
    """Return the indices of the first `count` images, taken from the classes in turn."""
    turn = torch.nn.functional.one_hot(y.long()).cumsum(0).gather(1, y.long().unsqueeze(1)).squeeze(1)
    return (turn * (int(y.max()) + 1) + y).argsort(stable=True)[:count]


def square_side(images: Tensor) -> int | None:
    """Return the side length of square gray images (N, ...) in pixels, or None if they are not square."""
    pixels = images[0].numel() if len(images) > 0 else 0
    return isqrt(pixels) if pixels > 0 and isqrt(pixels) ** 2 == pixels else None


def checked_side(images: Tensor) -> int:
    """Return the side length of square gray images (N, ...) in pixels.

    Raises:
        GameError: The images are not square.
    """
    side = square_side(images)
    if side is None:
        raise GameError(f"images of shape {tuple(images.shape[1:])} cannot be drawn: they must be square gray ones")
    return side


def _write_labels(row: np.ndarray, game: AdversarialClassification, predicted: Tensor, with_truth: bool) -> None:
    for axes, guess, label in zip(row, predicted.tolist(), game.labels.tolist(), strict=True):
        text = f"{guess} (true {label})" if with_truth else str(guess)
        axes.set_title(text, fontsize=9, color=colors().right if guess == label else colors().wrong)
