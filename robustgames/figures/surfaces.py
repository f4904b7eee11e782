"""Figure of the surface of the loss around an image, for classifiers passed by name.

It is made without pyplot, see `figures`.
"""

from __future__ import annotations

from typing import Any

import torch
from matplotlib import rc_context
from torch import Generator, Tensor

from robustgames.attacks import Victim
from robustgames.attacks.problem import pose_problem
from robustgames.attacks.victim import Model
from robustgames.errors import GameError
from robustgames.figures.attacks import Models, check_models
from robustgames.figures.style import VALUES, Figure, colors


def loss_surface(
    models: Models,
    x: Tensor,
    y: Tensor,
    eps: float = 0.3,
    norm: str = "linf",
    points: int = 31,
    generator: Generator | None = None,
) -> tuple[Figure, dict[str, Tensor]]:
    """Draw the cross-entropy of one image on a plane of perturbations, on one scale; also return {model: losses}.

    The perturbations are η(s, t) = P(s eps u + t eps r) with s and t in [-1, 1]. Here u is the steepest direction of
    that model's loss at the image (the sign of its gradient in ℓ∞), r a random direction of the same norm, and P the
    projection on ball and box, which is active if |s| + |t| > 1. Losses have shape (points, points), rows t, columns s.

    Args:
        models: Classifiers by name, {name: classifier}.
        x: One image, (1, ...), in [0, 1].
        y: Its class, (1,).
        eps: Radius of the ball.
        norm: Norm of the ball: "linf", "l2" or "l1".
        points: Number of points per direction.
        generator: Generator of the random direction, with seed 0 by default.
    """
    check_models(models)
    if len(x) != 1:
        raise GameError(f"{len(x)} images: the surface is that of one, e.g. x[:1], y[:1]")
    generator = generator if generator is not None else Generator(x.device).manual_seed(0)
    random = torch.randn(x.flatten(1).shape, generator=generator, device=x.device, dtype=x.dtype)
    surfaces = {name: _plane(model, x, y, eps, norm, points, random).cpu() for name, model in models.items()}
    figure = Figure(figsize=(4.3 * len(models), 3.8), layout="constrained")
    for i, (name, surface) in enumerate(surfaces.items()):
        with rc_context({"grid.color": colors().grid_3d}):  # axes in 3-D read it only when they are created
            axes = figure.add_subplot(1, len(models), i + 1, projection="3d")
        _draw_surface(axes, surface, max(float(part.max()) for part in surfaces.values()))
        axes.set_xlabel("sign of gradient · eps" if norm == "linf" else "steepest · eps", fontsize=8)
        axes.set_ylabel("random · eps", fontsize=8)
        axes.set_title(f"{name}: loss {_range(surface)}", fontsize=10, color=colors().ink, y=1.0)
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


def _draw_surface(axes: Any, surface: Tensor, top: float) -> None:  # matplotlib has no types of 3-D axes
    points = len(surface)
    grid = torch.linspace(-1, 1, points)
    t, s = (a.numpy() for a in torch.meshgrid(grid, grid, indexing="ij"))
    axes.plot_surface(s, t, surface.numpy(), cmap=VALUES, vmin=0, vmax=top, rcount=points, ccount=points, lw=0)
    axes.set(zlim=(0, top), xticks=(-1, 0, 1), yticks=(-1, 0, 1))
    axes.view_init(elev=28, azim=-118)
    axes.set_box_aspect((1, 1, 0.72), zoom=0.92)
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_pane_color(colors().paper)
    axes.tick_params(labelsize=8, pad=0)


def _range(values: Tensor) -> str:
    return f"{max(0.0, float(values.min())):.2g} … {float(values.max()):.2g}"
