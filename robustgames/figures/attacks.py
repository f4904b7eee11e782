"""Figures of classifiers under attack: digits, accuracy against eps, saliency maps.

They are made without pyplot, see `figures`. Classifiers are passed by name, {"standard": model, "robust": model}, as
functions or modules inputs -> logits; colors follow their order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.figure import SubFigure
from torch import Tensor

from robustgames.attacks import Victim, apgd, fgsm
from robustgames.attacks.victim import Model
from robustgames.errors import GameError
from robustgames.evaluation.saliency import compare_saliency, saliency_map
from robustgames.evaluation.under_attack import Attack, accuracies_at, predict
from robustgames.figures.digits import checked_side, first_of_each_class
from robustgames.figures.style import SIGNED, Figure, bare, colors, quiet

Models = Mapping[str, Model | Victim]
SIGNS = {"linf": "∞", "l2": "2", "l1": "1", "l0": "0"}
DEFAULT_ATTACKS: dict[str, tuple[Attack, float, str]] = {"FGSM": (fgsm, 0.3, "linf"), "APGD": (apgd, 10.0, "l1")}


def digits_under_attack(
    models: Models,
    x: Tensor,
    y: Tensor,
    attacks: Mapping[str, tuple[Attack, float, str]] = DEFAULT_ATTACKS,
    count: int = 10,
) -> Figure:
    """Draw images clean and under attack on each model, with its prediction: green if correct, red if wrong.

    Rows are named by the attack and its ball. One image of each class comes first; only images shown are attacked.

    Args:
        models: Classifiers by name, {name: classifier}.
        x: Square gray images (N, ...) in [0, 1].
        y: Classes (N,).
        attacks: Attacks by name, {name: (attack, eps, norm)}: any `attack(model, x, y, eps, norm)` of the library.
        count: Number of images.

    Raises:
        GameError: The images are not square, or no model is given.
    """
    check_models(models)
    chosen = first_of_each_class(y, count)
    x, y, side = x[chosen], y[chosen], checked_side(x)
    figure = Figure(figsize=(0.82 * len(x) + 1.1, 1.02 * len(models) * (len(attacks) + 1) + 0.2), layout="constrained")
    for part, (name, model) in zip(_stack(figure, len(models)), models.items(), strict=True):
        grid = part.subplots(len(attacks) + 1, len(x), squeeze=False)
        _name_part(part, name)
        _draw_row(grid[0], x, side, "clean")
        _write_predictions(grid[0], model, x, y)
        for row, (title, (attack, eps, norm)) in zip(grid[1:], attacks.items(), strict=True):
            attacked = attack(model, x, y, eps, norm)
            _draw_row(row, attacked, side, f"{title}\n$|\\eta|_{SIGNS[norm]} \\leq {eps:g}$")
            _write_predictions(row, model, attacked, y)
    return figure


# -- accuracy against eps ------------------------------------------------------------------------------------
def strong(model: Model | Victim, x: Tensor, y: Tensor, eps: float, norm: str) -> Tensor:
    """Auto-PGD with 50 steps on the cross-entropy; fooled images are removed from the batch at once."""
    return apgd(model, x, y, eps, norm, 50, early="drop")


def accuracy_against_eps(
    models: Models,
    x: Tensor,
    y: Tensor,
    eps: Sequence[float],
    norm: str = "linf",
    attack: Attack = strong,
    trained_at: float | None = None,
) -> tuple[Figure, dict[str, list[float]]]:
    """Draw the accuracy under an attack against its radius; also return {"eps", model: accuracies}.

    An image that is fooled at one radius counts as fooled at all larger ones, whose balls contain its perturbation.
    The curve therefore never rises, and only the other images are attacked again. Bands are ± one standard error.

    Args:
        models: Classifiers by name, {name: classifier}.
        x: Inputs (N, ...) in [0, 1].
        y: Classes (N,).
        eps: Radii >= 0; 0 is the clean accuracy.
        norm: Norm of the ball: "linf", "l2" or "l1".
        attack: Function `attack(model, x, y, eps, norm)`.
        trained_at: Radius of the robust model's training, to mark.

    Raises:
        GameError: There is no model, no image, or no radius.
    """
    check_models(models)
    if len(x) == 0 or len(eps) == 0:
        raise GameError(f"{len(x)} images and {len(eps)} radii: pass at least 1 of each, e.g. eps=[0, 0.1, 0.3]")
    radii = sorted(eps)
    shares = {name: accuracies_at(model, x, y, radii, norm, attack) for name, model in models.items()}
    mark = {} if trained_at is None else {f"trained at {trained_at:g}": trained_at}
    return draw_accuracies(radii, shares, len(x), norm, mark), {"eps": list(radii), **shares}


def draw_accuracies(
    radii: Sequence[float], shares: Mapping[str, Sequence[float]], count: int, norm: str, marks: Mapping[str, float]
) -> Figure:
    """Draw accuracies against the radius, with bands of ± one standard error.

    Args:
        radii: Radii in increasing order.
        shares: Accuracies at these radii, {classifier: accuracies}.
        count: Number of images.
        norm: Norm of the ball.
        marks: Radii to mark, {label: radius}.
    """
    figure = Figure(figsize=(5.0, 3.4), layout="constrained")
    axes = figure.add_subplot()
    for label, radius in marks.items():
        axes.axvline(radius, color=colors().axis, lw=1.2, ls="--", zorder=1, label=label)
    for color, (name, share) in zip(colors().palette * len(shares), shares.items(), strict=False):
        values = np.array(share)
        error = np.sqrt(values * (1 - values) / count)
        axes.plot(radii, values, color=color, lw=1.8, marker="o", ms=4, label=name, clip_on=False)
        axes.fill_between(radii, values - error, values + error, color=color, alpha=0.18, lw=0)
    axes.set(ylim=(0, 1), xlim=(radii[0], radii[-1]) if radii[-1] > radii[0] else None)
    axes.set_xlabel(f"radius of the attack, $|\\eta|_{SIGNS.get(norm, norm)}$", fontsize=9)
    axes.set_title(f"accuracy under attack, {count} images", fontsize=10, color=colors().ink, loc="left")
    quiet(axes)
    legend = figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    for text in legend.get_texts():
        text.set_parse_math(False)  # "$" in a name is a dollar
    return figure


# -- saliency --------------------------------------------------------------------------------------------------
def saliency_figure(
    standard: Model | Victim, robust: Model | Victim, x: Tensor, y: Tensor, maps: str = "gradient", count: int = 10
) -> tuple[Figure, dict[str, dict[str, tuple[float, float]]]]:
    """Draw images above the saliency maps of two classifiers, with the numbers of `compare_saliency`; return both.

    The numbers are means over all images; the pictures show the first of each class. Red raises the logit of the class,
    blue lowers it. The scale of each map ends at its 99.5 % quantile.

    Args:
        standard: Classifier of the second row.
        robust: Classifier of the third row.
        x: Square gray images (N, ...) in [0, 1], N >= 2.
        y: Classes (N,).
        maps: Name of the map, see `compare_saliency`.
        count: Number of images.
    """
    side, chosen = checked_side(x), first_of_each_class(y, count)
    numbers = compare_saliency(standard, robust, x, y, maps)
    figure = Figure(figsize=(0.82 * len(chosen) + 0.2, 3.5), layout="constrained")
    parts = _stack(figure, 3)
    _name_part(parts[0], f"image (numbers: means ± standard errors over {len(x)})")
    _draw_row(parts[0].subplots(1, len(chosen), squeeze=False)[0], x[chosen], side)
    for part, (name, model) in zip(parts[1:], {"standard": standard, "robust": robust}.items(), strict=True):
        _name_part(part, f"{name}: {_caption(numbers[name])}")
        found = saliency_map(model, x[chosen], y[chosen], maps)
        _draw_maps(part.subplots(1, len(chosen), squeeze=False)[0], found, side)
    return figure, numbers


def _caption(numbers: dict[str, tuple[float, float]]) -> str:
    texts = {"sparsity": "sparsity", "deletion": "area under deletion", "deletion_gain": "less than in random order by"}
    return ", ".join(f"{text} {numbers[key][0]:.3f} ± {numbers[key][1]:.3f}" for key, text in texts.items())


def _draw_maps(row: np.ndarray, maps: Tensor, side: int) -> None:
    for axes, values in zip(row, maps.flatten(1), strict=True):
        most = float(torch.quantile(values.abs().float(), 0.995)) or 1.0
        axes.imshow(values.view(side, side).cpu().numpy(), cmap=SIGNED, vmin=-most, vmax=most)
        bare(axes)


# -- shared by the figures -------------------------------------------------------------------------------------
def _draw_row(row: np.ndarray, images: Tensor, side: int, name: str = "") -> None:
    for axes, image in zip(row, images, strict=True):
        axes.imshow(image.reshape(side, side).cpu().numpy(), cmap="gray", vmin=0, vmax=1)
        bare(axes)
    row[0].set_ylabel(name, fontsize=8)


def _stack(figure: Figure, count: int) -> list[SubFigure]:
    return list(np.array(figure.subfigures(count, 1, squeeze=False)).flat)


def _name_part(part: SubFigure, name: str) -> None:
    part.suptitle(name, x=0.01, ha="left", fontsize=9, color=colors().ink)


def _write_predictions(row: np.ndarray, model: Model | Victim, x: Tensor, y: Tensor) -> None:
    for axes, guess, label in zip(row, predict(_victim(model), x).tolist(), y.tolist(), strict=True):
        axes.set_title(str(guess), fontsize=9, color=colors().right if guess == label else colors().wrong, pad=2)


def _victim(model: Model | Victim) -> Victim:
    return model if isinstance(model, Victim) else Victim(model)


def check_models(models: Models) -> None:
    """Check that classifiers are given by name.

    Raises:
        GameError: They are not in a dictionary, or it is empty.
    """
    if not isinstance(models, Mapping) or len(models) == 0:
        raise GameError("no model by name: pass a dictionary, e.g. {'standard': model}")
