"""Pictures of the site that are drawn when it is built: the logo, and the one on the front page."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from page_style import STYLE
from sphinx.application import Sphinx

import robustgames as rg
from robustgames.figures.logo import logo
from robustgames.figures.style import INK, PALETTE
from robustgames.games import Bilinear

FOLDER = Path(__file__).parents[1] / "_pictures"
METHODS = {
    "gradient descent ascent": ("gda", {"lr": 0.1}, PALETTE[5]),
    "alternating": ("alt_gda", {"lr": 0.1}, PALETTE[1]),
    "ExtraAdam": ("extra_adam", {"lr": 0.1}, PALETTE[2]),
    "extragradient": ("extragradient", {"lr": 0.3}, PALETTE[0]),
}


def setup(app: Sphinx) -> dict[str, Any]:
    """Draw before Sphinx copies static files."""
    app.connect("builder-inited", draw)
    return {"parallel_read_safe": True}


def draw(app: Sphinx) -> None:
    """Write both pictures if they are missing."""
    FOLDER.mkdir(exist_ok=True)
    if not (FOLDER / "logo.svg").exists():
        (FOLDER / "logo.svg").write_text(logo())
    if not (FOLDER / "front.svg").exists():
        front(FOLDER / "front.svg")


def front(path: Path) -> None:
    """Draw what four methods do on Φ(x, y) = x y from one start, and their distance to the saddle."""
    import matplotlib

    with matplotlib.rc_context({**STYLE, "svg.hashsalt": "robustgames"}):
        figure = Figure(figsize=(9, 4), layout="constrained")
        plane, rate = figure.subplots(1, 2, width_ratios=(1, 1.25))
        for label, (name, settings, color) in METHODS.items():
            path_of = rg.trajectory(rg.make_solver(name, **settings), Bilinear(), torch.tensor([0.9, 0.0]), 120)
            z = path_of.double().numpy()
            plane.plot(*z.T, color=color, lw=1.6)
            rate.plot(np.linalg.norm(z, axis=1), color=color, lw=2, label=label)
        plane.plot(0, 0, "*", color=INK, ms=11)
        plane.set(xlim=(-1.7, 1.7), ylim=(-1.7, 1.7), aspect="equal", xlabel="x minimizes", ylabel="y maximizes")
        plane.set_title("Φ(x, y) = x y, 120 steps")
        rate.set(yscale="log", ylim=(1e-3, 3), xlabel="steps", ylabel="distance to the saddle")
        rate.set_title("One game, four of its solvers")
        rate.legend(loc="lower left")
        figure.savefig(path, metadata={"Date": None})
