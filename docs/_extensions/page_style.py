"""The style of the figures on executed pages: the package's palette, and axes as in `robustgames.figures`."""

from typing import Any

import matplotlib
from matplotlib import pyplot as plt

from robustgames.figures.style import AXIS, GRID, INK, PALETTE

STYLE = {
    "axes.prop_cycle": matplotlib.cycler(color=PALETTE),
    "axes.edgecolor": AXIS,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 11,
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": "white",
    "figure.figsize": (7.0, 4.2),
    "figure.dpi": 100,
    "image.cmap": "viridis",
    "savefig.bbox": "tight",
}


def reset(gallery_conf: dict[str, Any], page: str) -> None:
    """Give every page the same start: closed figures, and the style above."""
    plt.close("all")
    matplotlib.rcdefaults()
    matplotlib.use("Agg")
    matplotlib.rcParams.update(STYLE)
