"""The style that all figures share: colors, axes, and how a figure is saved."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
INK, FAINT = "#222222", "#C3C9D2"
RIGHT, WRONG = "#1A7F37", "#C62828"  # predictions


def quiet(axes: Axes) -> None:
    """Leave of the frame what helps to read a value."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#888888")
    axes.tick_params(color="#888888", labelsize=9)
    axes.grid(color="#EDEFF2", lw=0.8)
    axes.set_axisbelow(True)


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG with 150 dots per inch, making its folder."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150, bbox_inches="tight", facecolor="white")
