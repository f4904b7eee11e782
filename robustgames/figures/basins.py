"""Basins of attraction of planar games: every start in the color of the place where its run ends."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap

from robustgames.errors import GameError
from robustgames.figures.style import Figure, colors, quiet
from robustgames.solvers.basins import DIVERGED, Basins

SHOWN = 9  # groups with a color of their own; the others share the last one


def basin_figure(found: Basins, title: str = "") -> Figure:
    """Return a figure of basins, see `draw_basins`."""
    figure = Figure(figsize=(6, 6.4), layout="constrained")
    draw_basins(figure.add_subplot(aspect="equal"), found, title)
    return figure


def draw_basins(axes: Axes, found: Basins, title: str = "") -> None:
    """Draw the starts of a planar game in the colors of their groups, and where each group ends.

    Starts that form a grid are drawn as cells. Points are stars, cycles are lines, and starts that diverge are gray.

    Args:
        axes: Axes to draw in.
        found: Result of `basins`, of points in the plane.
        title: Title of the axes.

    Raises:
        GameError: The starts are not points of the plane.
    """
    if found.starts.shape[-1] != 2:
        raise GameError(f"basins of {found.starts.shape[-1]} coordinates cannot be drawn: the game must have two")
    c, labels = colors(), found.labels.clamp_max(SHOWN - 1)
    shades = [c.faint, *c.palette[:SHOWN]]
    starts = found.starts.cpu().double().numpy()
    x, y = (np.unique(part) for part in starts.T)
    if len(x) * len(y) == len(starts) and len(x) > 1 and len(y) > 1:
        cells = np.full((len(y), len(x)), DIVERGED)
        cells[np.searchsorted(y, starts[:, 1]), np.searchsorted(x, starts[:, 0])] = labels.cpu().numpy()
        axes.pcolormesh(x, y, cells, cmap=ListedColormap(shades), vmin=-1.5, vmax=SHOWN - 0.5, alpha=0.45, lw=0)
    else:
        axes.scatter(*starts.T, c=[shades[label + 1] for label in labels.tolist()], s=14, alpha=0.6, lw=0)
    _draw_ends(axes, found, shades)
    if found.share(DIVERGED):
        axes.plot([], [], "s", color=c.faint, label=f"diverges: {found.share(DIVERGED):.1%}")
    axes.set(xlabel="x", ylabel="y")
    axes.set_title(title, fontsize=10, color=c.ink)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), frameon=False, fontsize=9)
    quiet(axes)


def _draw_ends(axes: Axes, found: Basins, shades: list[str]) -> None:
    for label, (name, path) in enumerate(zip(found.names[:SHOWN], found.paths.cpu(), strict=False)):
        text, color = f"{name}: {found.share(label):.1%}", shades[label + 1]
        if name.startswith("point"):
            at = torch.lerp(path.amin(0), path.amax(0), 0.5)
            axes.plot(
                *at.tolist(), "*", color=color, mec=colors().ink, ms=13, ls="", label=text, clip_on=False, zorder=5
            )
        else:
            axes.plot(*path.T.numpy(), color=color, lw=1.8, label=text, zorder=4)
