"""The style of the figures on executed pages: the package's palette, and axes as in `robustgames.figures`."""

import builtins
from pathlib import Path
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


def reset(gallery_conf: dict[str, Any], page: str | None) -> None:
    """Give every page the same start: closed figures, the style above, and `__file__`, which a script has."""
    for folder in gallery_conf["examples_dirs"] if page else ():
        if (place := Path(folder) / page).exists():
            builtins.__file__ = str(place)  # type: ignore[attr-defined]
    plt.close("all")
    matplotlib.rcdefaults()
    matplotlib.use("Agg")
    matplotlib.rcParams.update(STYLE)
