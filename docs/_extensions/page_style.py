"""The style of the figures on executed pages is that of the package."""

import builtins
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib import pyplot as plt

from robustgames.figures.style import theme

STYLE = {**theme(), "figure.figsize": (7.0, 4.2), "figure.dpi": 100, "savefig.dpi": 100}


def reset(gallery_conf: dict[str, Any], page: str | None) -> None:
    """Give every page the same start: closed figures, the style above, and `__file__`, which a script has."""
    for folder in gallery_conf["examples_dirs"] if page else ():
        if (place := Path(folder) / page).exists():
            builtins.__file__ = str(place)  # type: ignore[attr-defined]
    plt.close("all")
    matplotlib.rcdefaults()
    matplotlib.use("Agg")
    matplotlib.rcParams.update(STYLE)
