"""Figures of classifiers under attack: digits, accuracy against eps, the surface of the loss, saliency maps.

All are made without pyplot, see `figures`. Classifiers are passed by name, {"standard": model, "robust": model}, as
functions or modules inputs -> logits; colors follow their order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isqrt
from typing import Any

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from torch import Generator, Tensor

from robustgames.attacks import Victim, apgd, fgsm
from robustgames.attacks.problem import pose_problem
from robustgames.attacks.victim import Model
from robustgames.errors import GameError
from robustgames.evaluation.saliency import compare_saliency, saliency_map
from robustgames.figures.digits import first_of_each_class
from robustgames.figures.style import INK, PALETTE, RIGHT, WRONG, quiet

Models = Mapping[str, Model | Victim]
Attack = Callable[..., Tensor]  # attack(model, x, y, eps, norm) -> x_adv
SIGNS = {"linf": "∞", "l2": "2", "l1": "1"}
ATTACKS: dict[str, tuple[Attack, float, str]] = {"FGSM": (fgsm, 0.3, "linf"), "APGD": (apgd, 10.0, "l1")}


def digits_under_attack(
    models: Models, x: Tensor, y: Tensor, attacks: Mapping[str, tuple[Attack, float, str]] = ATTACKS, count: int = 10
) -> Figure:
    """Draw images clean and under attack on each model, with its prediction: green where right, red where wrong.

    Rows are named by the attack and its ball. One image of each class comes first; only those shown are attacked.

    Args:
        models: {name: classifier}.
        x: square gray images (N, ...) in [0, 1].
        y: classes (N,).
        attacks: {name: (attack, eps, norm)}: any `attack(model, x, y, eps, norm)` of the library.
        count: images to show.

    Raises:
        GameError: the images are not square, or no model is given.
    """
    _check_models(models)
    chosen = first_of_each_class(y, count)
    x, y, side = x[chosen], y[chosen], _side(x)
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
    """Auto-PGD with 50 steps on the cross-entropy; images that are fooled leave at once."""
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
    """Draw the share of images that an attack leaves right against its radius; return also {"eps", model: accuracies}.

    An image that falls at one radius counts as fallen at all larger ones, whose balls contain its perturbation: the
    curve never rises, and the attack looks at what is left alone. Bands are ± one standard error of the share.

    Args:
        models: {name: classifier}.
        x: inputs (N, ...) in [0, 1].
        y: classes (N,).
        eps: radii >= 0; 0 is the clean accuracy.
        norm: "linf", "l2" or "l1".
        attack: `attack(model, x, y, eps, norm)`.
        trained_at: radius that the robust model was trained at, to mark.

    Raises:
        GameError: no model, no image, or no radius.
    """
    _check_models(models)
    if len(x) == 0 or len(eps) == 0:
        raise GameError(f"{len(x)} images and {len(eps)} radii: at least 1 of each is needed, e.g. eps=[0, 0.1, 0.3]")
    radii = sorted(eps)
    shares = {name: _falling_accuracy(model, x, y, radii, norm, attack) for name, model in models.items()}
    figure = Figure(figsize=(5.0, 3.4), layout="constrained")
    axes = figure.add_subplot()
    if trained_at is not None:
        axes.axvline(trained_at, color="#888888", lw=1.2, ls="--", zorder=1, label=f"trained at {trained_at:g}")
    for color, (name, share) in zip(PALETTE * len(shares), shares.items(), strict=False):
        values = np.array(share)
        error = np.sqrt(values * (1 - values) / len(x))
        axes.plot(radii, values, color=color, lw=1.8, marker="o", ms=4, label=name, clip_on=False)
        axes.fill_between(radii, values - error, values + error, color=color, alpha=0.18, lw=0)
    axes.set(ylim=(0, 1), xlim=(radii[0], radii[-1]) if radii[-1] > radii[0] else None)
    axes.set_xlabel(f"radius of the attack, $|\\eta|_{SIGNS.get(norm, norm)}$", fontsize=9)
    axes.set_title(f"accuracy under attack, {len(x)} images", fontsize=10, color=INK, loc="left")
    quiet(axes)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure, {"eps": list(radii), **shares}


def _falling_accuracy(
    model: Model | Victim, x: Tensor, y: Tensor, radii: Sequence[float], norm: str, attack: Attack
) -> list[float]:
    victim, count, shares = _victim(model), len(x), []
    for radius in radii:
        attacked = attack(victim, x, y, radius, norm) if radius > 0 and len(x) > 0 else x
        keep = _predict(victim, attacked) == y if len(x) > 0 else y == y
        x, y = x[keep], y[keep]
        shares.append(len(x) / count)
    return shares


# -- the surface of the loss -----------------------------------------------------------------------------------
def loss_surface(
    models: Models,
    x: Tensor,
    y: Tensor,
    eps: float = 0.3,
    norm: str = "linf",
    points: int = 31,
    generator: Generator | None = None,
) -> tuple[Figure, dict[str, Tensor]]:
    """Draw the cross-entropy of one image on a plane of perturbations, on one scale; return also {model: losses}.

    η(s, t) = P(s eps u + t eps r), s and t in [-1, 1]: u the steepest direction of that model's loss at the image (the
    sign of its gradient in ℓ∞), r a random one of the same norm (seed 0 by default), P the projection on ball and box,
    which cuts where |s| + |t| > 1. Losses are of shape (points, points), rows t, columns s.

    Args:
        models: {name: classifier}.
        x: one image, (1, ...), in [0, 1].
        y: its class, (1,).
        eps: radius of the ball.
        norm: "linf", "l2" or "l1".
        points: per direction.
        generator: of the random direction.
    """
    _check_models(models)
    if len(x) != 1:
        raise GameError(f"{len(x)} images: the surface is that of one, e.g. x[:1], y[:1]")
    own = generator if generator is not None else Generator(x.device).manual_seed(0)
    random = torch.randn(x.flatten(1).shape, generator=own, device=x.device, dtype=x.dtype)
    surfaces = {name: _plane(model, x, y, eps, norm, points, random).cpu() for name, model in models.items()}
    figure = Figure(figsize=(4.3 * len(models), 3.8), layout="constrained")
    for i, (name, surface) in enumerate(surfaces.items()):
        with rc_context({"grid.color": "#E1E4E8"}):  # axes in 3-D read it when they are made, and never again
            axes = figure.add_subplot(1, len(models), i + 1, projection="3d")
        _draw_surface(axes, surface, max(float(part.max()) for part in surfaces.values()))
        axes.set_xlabel("sign of gradient · eps" if norm == "linf" else "steepest · eps", fontsize=8)
        axes.set_ylabel("random · eps", fontsize=8)
        axes.set_title(f"{name}: loss {_range(surface)}", fontsize=10, color=INK, y=1.0)
    return figure, surfaces


def _plane(model: Model | Victim, x: Tensor, y: Tensor, eps: float, norm: str, points: int, random: Tensor) -> Tensor:
    with pose_problem(model, x, y, eps, norm) as p:
        u = p.threat.steepest(p.gradient(torch.zeros_like(p.a))[2])
        r = random.sign() if norm == "linf" else random / p.threat.size(random)
        share = torch.linspace(-1, 1, points, device=x.device, dtype=x.dtype)
        t, s = (a.reshape(-1, 1) for a in torch.meshgrid(share, share, indexing="ij"))
        all_points = p.rows(torch.zeros(points * points, dtype=torch.long, device=x.device))
        losses, _ = all_points.losses(all_points.project(eps * (s * u + t * r)))
    return losses.view(points, points)


def _draw_surface(axes: Any, surface: Tensor, top: float) -> None:
    points = len(surface)
    grid = torch.linspace(-1, 1, points)
    t, s = (a.numpy() for a in torch.meshgrid(grid, grid, indexing="ij"))
    axes.plot_surface(s, t, surface.numpy(), cmap="viridis", vmin=0, vmax=top, rcount=points, ccount=points, lw=0)
    axes.set(zlim=(0, top), xticks=(-1, 0, 1), yticks=(-1, 0, 1))
    axes.view_init(elev=28, azim=-118)
    axes.set_box_aspect((1, 1, 0.72), zoom=0.92)
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_pane_color("#FFFFFF")
    axes.tick_params(labelsize=8, pad=0)


def _range(values: Tensor) -> str:
    return f"{max(0.0, float(values.min())):.2g} … {float(values.max()):.2g}"


# -- saliency --------------------------------------------------------------------------------------------------
def saliency_figure(
    standard: Model | Victim, robust: Model | Victim, x: Tensor, y: Tensor, maps: str = "gradient", count: int = 10
) -> tuple[Figure, dict[str, dict[str, tuple[float, float]]]]:
    """Draw images above the saliency maps of two classifiers, with the numbers of `compare_saliency`; return both.

    The numbers are of all images, the pictures of the first of each class. Red raises the logit of the class, blue
    lowers it; each map has its own scale, up to its 99.5 % quantile.

    Args:
        standard: classifier of the second row.
        robust: classifier of the third row.
        x: square gray images (N, ...) in [0, 1], N >= 2.
        y: classes (N,).
        maps: see `compare_saliency`.
        count: images to show.
    """
    side, chosen = _side(x), first_of_each_class(y, count)
    numbers = compare_saliency(standard, robust, x, y, maps)
    figure = Figure(figsize=(0.82 * len(chosen) + 0.2, 3.5), layout="constrained")
    parts = _stack(figure, 3)
    _name_part(parts[0], f"image (numbers: means ± standard errors over {len(x)})")
    _draw_row(parts[0].subplots(1, len(chosen), squeeze=False)[0], x[chosen], side)
    for part, (name, model) in zip(parts[1:], {"standard": standard, "robust": robust}.items(), strict=True):
        said = (f"{text} {numbers[name][key][0]:.3f} ± {numbers[name][key][1]:.3f}" for key, text in SAID.items())
        _name_part(part, f"{name}: {', '.join(said)}")
        found = saliency_map(model, x[chosen], y[chosen], maps)
        _draw_maps(part.subplots(1, len(chosen), squeeze=False)[0], found, side)
    return figure, numbers


SAID = {"sparsity": "sparsity", "deletion": "area under deletion", "deletion_gain": "less than in random order by"}


def _draw_maps(row: np.ndarray, maps: Tensor, side: int) -> None:
    for axes, values in zip(row, maps.flatten(1), strict=True):
        most = float(torch.quantile(values.abs().float(), 0.995)) or 1.0
        axes.imshow(values.view(side, side).cpu().numpy(), cmap="RdBu_r", vmin=-most, vmax=most)
        _bare(axes)


# -- what the figures share ------------------------------------------------------------------------------------
def _draw_row(row: np.ndarray, images: Tensor, side: int, name: str = "") -> None:
    for axes, image in zip(row, images, strict=True):
        axes.imshow(image.reshape(side, side).cpu().numpy(), cmap="gray", vmin=0, vmax=1)
        _bare(axes)
    row[0].set_ylabel(name, fontsize=8)


def _stack(figure: Figure, count: int) -> list[SubFigure]:
    return list(np.array(figure.subfigures(count, 1, squeeze=False)).flat)


def _name_part(part: SubFigure, name: str) -> None:
    part.suptitle(name, x=0.01, ha="left", fontsize=9, color=INK)


def _bare(axes: Axes) -> None:
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _write_predictions(row: np.ndarray, model: Model | Victim, x: Tensor, y: Tensor) -> None:
    for axes, guess, label in zip(row, _predict(_victim(model), x).tolist(), y.tolist(), strict=True):
        axes.set_title(str(guess), fontsize=9, color=RIGHT if guess == label else WRONG, pad=2)


def _predict(victim: Victim, x: Tensor) -> Tensor:
    with victim.under_attack():
        return victim.logits(x).argmax(-1)


def _victim(model: Model | Victim) -> Victim:
    return model if isinstance(model, Victim) else Victim(model)


def _side(x: Tensor) -> int:
    pixels = x[0].numel() if len(x) > 0 else 0
    if pixels == 0 or isqrt(pixels) ** 2 != pixels:
        raise GameError(f"images of shape {tuple(x.shape[1:])} cannot be drawn: square gray ones are needed")
    return isqrt(pixels)


def _check_models(models: Models) -> None:
    if not isinstance(models, Mapping) or len(models) == 0:
        raise GameError("no model by name: pass a dictionary, e.g. {'standard': model}")
