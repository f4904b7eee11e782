"""Figures of the result of an attack: accuracies of the classes, confusion, fooled images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.ticker import PercentFormatter

from robustgames.figures.style import ON_DARK, ON_LIGHT, VALUES, Figure, bare, colors, quiet, write_title

NUMBERED = 20  # classes up to which cells are numbered, and named
LONGEST = 12  # characters of a name


def class_accuracies(classes: Sequence[Mapping[str, int]], names: list[str], title: str = "") -> Figure:
    """Draw clean and robust accuracy of each class.

    Args:
        classes: Rows of `robustgames.evaluation.under_attack.by_class`.
        names: Names of the classes by their numbers.
        title: Title above the figure.
    """
    figure = Figure(figsize=(5.0, 3.4), layout="constrained")
    axes, at = figure.add_subplot(), np.arange(len(classes))
    for color, key in zip((colors().faint, colors().palette[0]), ("clean", "robust"), strict=True):
        axes.bar(at, [row[key] / row["images"] for row in classes], color=color, label=key, width=0.75)
    axes.set(ylim=(0, 1), xticks=at[:: max(1, len(at) // NUMBERED)])
    labels = [_short(names[classes[k]["label"]]) for k in axes.get_xticks()]
    axes.set_xticklabels(labels, rotation=90 if max(map(len, labels), default=0) > 3 else 0, parse_math=False)
    axes.yaxis.set_major_formatter(PercentFormatter(1, 0))
    quiet(axes)
    write_title(figure, title)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


def confusions(pairs: Sequence[Sequence[int]], names: list[str], title: str = "") -> Figure:
    """Draw the share of each true class (rows) that is classified as each class (columns).

    Args:
        pairs: Rows [true, predicted, count] of `robustgames.evaluation.under_attack.confusion`.
        names: Names of the classes by their numbers.
        title: Title above the figure.
    """
    counts = np.zeros((len(names), len(names)))
    for true, guess, count in pairs:
        counts[true, guess] = count
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure = Figure(figsize=(4.6, 4.4), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap=VALUES, vmin=0, vmax=1)
    if len(names) <= NUMBERED:
        for true, guess in zip(*np.nonzero(counts), strict=True):
            color = ON_LIGHT if shares[true, guess] > 0.6 else ON_DARK
            axes.text(guess, true, f"{counts[true, guess]:.0f}", ha="center", va="center", fontsize=8, color=color)
        labels = [_short(name) for name in names]
        turned = 90 if max(map(len, labels), default=0) > 3 else 0
        axes.set_xticks(range(len(names)), labels, rotation=turned, parse_math=False)
        axes.set_yticks(range(len(names)), labels, parse_math=False)
    axes.set_xlabel("predicted under attack", fontsize=9)
    axes.set_ylabel("true class", fontsize=9)
    axes.grid(visible=False)
    write_title(figure, title)
    return figure


def example_rows(
    pictures: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], labels: Sequence[tuple[str, str]], title: str = ""
) -> Figure:
    """Draw images, perturbations and perturbed images below each other, with true and predicted classes.

    Args:
        pictures: (image, perturbation, perturbed image) in 8 bits, each (height, width) or (height, width, 3).
        labels: (true, predicted) names of the classes.
        title: Title above the figure.
    """
    figure = Figure(figsize=(0.95 * len(pictures) + 0.8, 3.7), layout="constrained")
    grid = figure.subplots(3, len(pictures), squeeze=False)
    for column, row, (true, guess) in zip(grid.T, pictures, labels, strict=True):
        for axes, picture in zip(column, row, strict=True):
            axes.imshow(picture, cmap="gray", vmin=0, vmax=255)
            bare(axes)
        column[0].set_title(_short(true, 8), fontsize=8, color=colors().right, parse_math=False)
        column[2].set_title(_short(guess, 8), fontsize=8, color=colors().wrong, parse_math=False)
    for axes, name in zip(grid[:, 0], ("clean", "perturbation", "attacked"), strict=True):
        axes.set_ylabel(name, fontsize=9)
    write_title(figure, title)
    return figure


def _short(name: str, longest: int = LONGEST) -> str:
    return name if len(name) <= longest else f"{name[: longest - 1]}…"
