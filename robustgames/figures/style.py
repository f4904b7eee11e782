"""The style that all figures share: colors, axes, and how a figure is saved."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from robustgames.disk import write_whole

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
INK, MUTED, AXIS, FAINT = "#222222", "#6B7280", "#888888", "#C3C9D2"  # from text to background
GRID, GRID_3D, EMPTY = "#EDEFF2", "#E1E4E8", "#F1F3F5"
RIGHT, WRONG = "#1A7F37", "#C62828"  # predictions
VALUES, SIGNED = "viridis", "RdBu_r"  # color maps
ON_DARK, ON_LIGHT = "white", "#111111"  # numbers on cells of a color map
HEIGHTS = LinearSegmentedColormap.from_list("heights", ["#FAFBFD", "#BBD3E8", "#6C9CC6", "#2F6499"])  # dots show on all


def quiet(axes: Axes) -> None:
    """Reduce the frame to what is necessary to read a value."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(AXIS)
    axes.tick_params(color=AXIS, labelsize=9)
    axes.grid(color=GRID, lw=0.8)
    axes.set_axisbelow(True)


def bare(axes: Axes) -> None:
    """Remove ticks and frame, for a panel that shows an image."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def mark_diverged(axes: Axes) -> None:
    """Write "diverged" into a panel that has nothing finite to draw."""
    axes.set_facecolor(EMPTY)
    axes.text(
        0.5, 0.5, "diverged", transform=axes.transAxes, ha="center", va="center", fontsize=10, color=INK, zorder=5
    )


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG with 150 dots per inch, creating its folder."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=150, bbox_inches="tight", facecolor="white")
    write_whole(path, buffer.getvalue())
