"""The style that all figures share: colors, axes, and how a figure is shown and saved."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib.figure
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.legend import Legend
from matplotlib.rcsetup import cycler
from matplotlib.text import Text

from robustgames.disk import write_whole

_PANEL, _AROUND = 4.2, 1.3  # inches: width of a panel of TensorBoard; heights of a title and a legend
_WORDY = 30  # characters, from which on a text is wrapped


@dataclass(frozen=True)
class Colors:
    """Colors of a figure.

    Attributes:
        palette: Ten colors of runs or methods, distinct with and without color blindness.
        ink: Text.
        muted: Text of less weight.
        axis: Axes and their ticks.
        faint: Lines of a field, data below samples.
        grid: Lines of a grid.
        grid_3d: Lines of a grid in three dimensions.
        empty: Background of a panel without content.
        paper: Background.
        right: Correct predictions.
        wrong: Wrong predictions.
    """

    palette: tuple[str, ...]
    ink: str
    muted: str
    axis: str
    faint: str
    grid: str
    grid_3d: str
    empty: str
    paper: str
    right: str
    wrong: str


LIGHT = Colors(
    palette=(
        *("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9"),  # Okabe and Ito 2008
        *("#D55E00", "#490092", "#BDB76B", "#B66DFF", "#111111"),
    ),
    ink="#222222",
    muted="#6B7280",
    axis="#888888",
    faint="#C3C9D2",
    grid="#EDEFF2",
    grid_3d="#E1E4E8",
    empty="#F1F3F5",
    paper="#FFFFFF",
    right="#1A7F37",
    wrong="#C62828",
)
DARK = Colors(
    palette=(
        *("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#A6E1FF"),
        *("#E4572E", "#7B61FF", "#C9F29B", "#FF9DA7", "#FFFFFF"),
    ),
    ink="#E6E8EB",
    muted="#A0A7B1",
    axis="#8A929C",
    faint="#4A525C",
    grid="#2A3038",
    grid_3d="#343B44",
    empty="#20262D",
    paper="#14181D",
    right="#5BC77A",
    wrong="#FF7B72",
)

PALETTE, INK, RIGHT, WRONG = LIGHT.palette, LIGHT.ink, LIGHT.right, LIGHT.wrong
VALUES, SIGNED = "viridis", "RdBu_r"  # color maps
ON_DARK, ON_LIGHT = "white", "#111111"  # numbers on cells of a color map
HEIGHTS = LinearSegmentedColormap.from_list("heights", ["#FAFBFD", "#BBD3E8", "#6C9CC6", "#2F6499"])  # dots show on all


def colors() -> Colors:
    """Return the colors of new figures: the dark ones if `figure.facecolor` of matplotlib is dark."""
    red, green, blue = to_rgb(rcParams["figure.facecolor"])
    return DARK if 0.299 * red + 0.587 * green + 0.114 * blue < 0.5 else LIGHT


def theme(dark: bool = False) -> dict[str, Any]:
    """Return the style of the package as rcParams of matplotlib, light or dark.

    Figures of the package follow the background: with the dark theme they are dark as well.

    Args:
        dark: If True, light lines on a dark background.

    Example:
        >>> import matplotlib
        >>> with matplotlib.rc_context(theme(dark=True)):
        ...     colors() is DARK
        True
    """
    c = DARK if dark else LIGHT
    ink = ("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.labelcolor", "ytick.labelcolor")
    lines = ("axes.edgecolor", "xtick.color", "ytick.color")
    return {
        **dict.fromkeys(ink, c.ink),
        **dict.fromkeys(lines, c.axis),
        **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor", "legend.facecolor"), c.paper),
        "axes.prop_cycle": cycler(color=c.palette),
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": c.grid,
        "grid.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlelocation": "left",
        "axes.titlesize": 10,
        "axes.labelsize": 9,
        "xtick.labelsize": 9,
        "ytick.labelsize": 9,
        "legend.fontsize": 9,
        "legend.frameon": False,
        "figure.constrained_layout.use": True,
        "savefig.dpi": 150,
        "savefig.bbox": "tight",
        "image.cmap": VALUES,
    }


class Figure(matplotlib.figure.Figure):
    """A figure without pyplot, which a notebook shows if it is the last value of a cell."""

    def _repr_png_(self) -> bytes:
        return png(self, 100)


def png(figure: matplotlib.figure.Figure, dpi: float) -> bytes:
    """Return a figure as PNG."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, bbox_inches="tight", facecolor=figure.get_facecolor())
    return buffer.getvalue()


def save(figure: matplotlib.figure.Figure, path: str | Path) -> None:
    """Write a figure as PNG with 150 dots per inch, creating its folder."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, png(figure, 150))


def shrink(figure: matplotlib.figure.Figure) -> None:
    """Scale a figure down to a panel of TensorBoard, 420 pixels wide, but to no less than 60 %.

    Its text keeps its size, and so does the space above and below the panels; long texts are smaller and wrapped.
    """
    wide, tall = figure.get_size_inches()
    factor = min(1.0, max(0.6, _PANEL / wide))
    figure.set_size_inches(factor * wide, factor * tall + (1 - factor) * _AROUND)
    labels = {text for legend in figure.findobj(Legend) for text in legend.get_texts()}  # matplotlib cannot wrap these
    for text in figure.findobj(Text):
        if "\n" in text.get_text() or len(text.get_text()) > _WORDY:
            text.set(wrap=text not in labels, fontsize=min(8.0, text.get_fontsize()))


def write_title(figure: matplotlib.figure.Figure, title: str) -> None:
    """Write a title of one or several lines above a figure, at its left edge; "" writes none."""
    if title:
        figure.suptitle(title, fontsize=10, color=colors().ink, x=0.01, ha="left", parse_math=False)


def quiet(axes: Axes) -> None:
    """Reduce the frame to what is necessary to read a value."""
    c = colors()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(c.axis)
    axes.tick_params(color=c.axis, labelsize=9)
    axes.grid(color=c.grid, lw=0.8)
    axes.set_axisbelow(True)


def bare(axes: Axes) -> None:
    """Remove ticks and frame, for a panel that shows an image."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def mark_diverged(axes: Axes) -> None:
    """Write "diverged" into a panel that has nothing finite to draw."""
    axes.set_facecolor(colors().empty)
    middle = {"transform": axes.transAxes, "ha": "center", "va": "center"}
    axes.text(0.5, 0.5, "diverged", **middle, fontsize=10, color=colors().ink, zorder=5)
