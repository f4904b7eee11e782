"""One style: colors that everybody can distinguish, a light and a dark theme, figures that notebooks show."""

import subprocess
import sys

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb

from robustgames import figures
from robustgames.figures.attacks import draw_accuracies
from robustgames.figures.portraits import phase_portrait
from robustgames.figures.style import DARK, LIGHT, Figure, colors, png, shrink, theme
from robustgames.games import Bilinear

# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB
VISION = {
    "normal": np.eye(3),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
}
XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def linear(names):
    c = np.array([to_rgb(name) for name in names])
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    """Return CIELAB of linear RGB, white D65."""
    x = np.clip(rgb, 0, 1) @ XYZ.T / [0.95047, 1, 1.08883]
    f = np.where(x > 216 / 24389, np.cbrt(x), (24389 / 27 * x + 16) / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], -1)


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("theme_colors", [LIGHT, DARK], ids=["light", "dark"])
def test_ten_colors_are_distinct_for_everybody(theme_colors, vision):
    """The least CIELAB distance of a pair is 17.8; 2.3 is a just noticeable difference."""
    assert len(set(theme_colors.palette)) == 10
    seen = lab(linear(theme_colors.palette) @ VISION[vision].T)
    apart = np.linalg.norm(seen[:, None] - seen, axis=-1) + 100 * np.eye(10)
    assert apart.min() > 17


def contrast(a, b):
    """Return the ratio of WCAG 2: 4.5 is required of text, 1.5 is enough for a large mark."""
    bright, dim = sorted(linear([a, b]) @ XYZ[1], reverse=True)
    return (bright + 0.05) / (dim + 0.05)


@pytest.mark.parametrize("c", [LIGHT, DARK], ids=["light", "dark"])
def test_text_and_marks_stand_out_from_the_background(c):
    for text in (c.ink, c.muted, c.right, c.wrong):
        assert contrast(text, c.paper) > 4.5, text
    assert min(contrast(mark, c.paper) for mark in c.palette) > 1.9
    assert contrast(c.grid, c.paper) < 1.6


def test_figures_follow_the_theme():
    points = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    light = phase_portrait(Bilinear(), points, with_cycles=False)
    with matplotlib.rc_context(figures.theme(dark=True)):
        assert colors() is DARK
        dark = phase_portrait(Bilinear(), points, with_cycles=False)
    assert colors() is LIGHT
    for figure, c in ((light, LIGHT), (dark, DARK)):
        assert figure.axes[0].lines[0].get_color() == c.palette[0] and figure.axes[0].title.get_color() == c.ink
        assert to_rgb(figure.get_facecolor()) == to_rgb(c.paper)
    picture = np.asarray(matplotlib.image.imread(__import__("io").BytesIO(dark._repr_png_())))
    np.testing.assert_allclose(picture[0, 0, :3], to_rgb(DARK.paper), atol=0.01)


def test_the_theme_is_valid_and_changes_nothing_by_itself():
    code = (
        "import matplotlib, robustgames as rg\nbefore = dict(matplotlib.rcParams)\nt = rg.figures.theme()\n"
        "assert dict(matplotlib.rcParams) == before\nmatplotlib.rcParams.update(t)\n"
        "assert matplotlib.rcParams['axes.prop_cycle'].by_key()['color'][5] == '#D55E00'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert theme().keys() == theme(dark=True).keys()


def test_notebooks_show_figures_without_magic_words():
    figure = Figure(figsize=(1, 1))
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_figures_shrink_to_a_panel_of_tensorboard():
    figure = Figure(figsize=(6, 4), layout="constrained")
    figure.suptitle("a title of many words that is wider than a panel", fontsize=10)
    shrink(figure)
    assert figure.get_size_inches().tolist() == pytest.approx([4.2, 2.8 + 0.3 * 1.3])
    title = figure._suptitle
    assert title.get_wrap() and title.get_fontsize() == 8
    wide = Figure(figsize=(10, 4))
    shrink(wide)
    assert wide.get_size_inches().tolist() == pytest.approx([6.0, 2.4 + 0.4 * 1.3])


def test_a_long_name_in_a_legend_fits_a_panel_of_tensorboard():
    name = "my_networks:load_the_robust_classifier"
    figure = draw_accuracies([0, 0.1], {name: [0.9, 0.5], "$\\frac$": [0.8, 0.1]}, 10, "linf", {"eps 0.1": 0.1})
    shrink(figure)
    assert png(figure, 100).startswith(b"\x89PNG")
    assert name in [text.get_text() for text in figure.legends[0].get_texts()]
