"""Animations of a training: the paths of runs, and what a generator makes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from torch import Generator, Tensor

from robustgames.data import ImageSource
from robustgames.evaluation.generators import samples
from robustgames.figures.gans import samples_figure
from robustgames.figures.images import image_grid
from robustgames.figures.paths import ENDS, PATHS
from robustgames.figures.portraits import has_portrait, phase_portrait
from robustgames.figures.simplices import simplex_figure
from robustgames.figures.style import Figure
from robustgames.figures.video import Film
from robustgames.games import GAN, Game
from robustgames.games.densities import GaussianMixture

FPS = 10
_FRAMES, _DPI, _HOLD = 50, 64, 10  # frames of a path, dots per inch, copies of the last frame
_SAMPLES, _IMAGES = 1000, 25  # in a frame


def path_film(game: Game, trajectory: Tensor, average: Tensor | None = None, dt: float = 1.0, title: str = "") -> Film:
    """Return the phase portrait or the simplices of a game, in which the paths of the runs grow.

    Args:
        game: Game that `has_path`.
        trajectory: Iterates, (T, runs, n + m).
        average: Averages of the iterates, if these are evaluated.
        dt: Time between two iterates, see `phase_portrait`.
        title: Title above the figure; by default the game.
    """
    if has_portrait(game):
        figure = phase_portrait(game, trajectory, dt, average, title)
    else:
        figure = simplex_figure(game, trajectory, average, title)
    return Film(_grown(figure), FPS)


def _grown(figure: Figure) -> list[np.ndarray]:
    """Return frames of a figure in which its paths grow from their starts to their ends."""
    figure.set_dpi(_DPI)
    canvas = FigureCanvasAgg(figure)
    lines = [line for axes in figure.axes for line in axes.lines]
    paths = {line: np.asarray(line.get_xydata()) for line in lines if line.get_gid() in PATHS}
    ends = [line for line in lines if line.get_gid() in ENDS]
    for line in (*paths, *ends):
        line.set_animated(True)
    canvas.draw()
    behind, frames = canvas.copy_from_bbox(figure.bbox), []
    for share in np.linspace(0, 1, _FRAMES):
        canvas.restore_region(behind)
        for line, points in paths.items():
            line.set_data(*points[: max(1, round(share * len(points)))].T)
            figure.draw_artist(line)
        if share == 1:
            for line in ends:
                figure.draw_artist(line)
        frames.append(_pixels(canvas))
    return frames + frames[-1:] * _HOLD


def has_film(game: GAN) -> bool:
    """Return whether what a GAN generates can be drawn: points of the plane, or images."""
    return game.source.size == 2 or isinstance(game.source, ImageSource)


def generated(game: GAN, weights: Tensor) -> Tensor:
    """Return what a frame shows of the generator of one run: points (N, 2), or images with 8 bits per pixel (N, p)."""
    if isinstance(game.source, ImageSource):
        images = samples(game, weights, _IMAGES)
        return ((images.nan_to_num(nan=0.6) + 1) * 127.5).clamp(0, 255).round().to(torch.uint8)
    return samples(game, weights, _SAMPLES)


def generated_film(game: GAN, frames: dict[int, Tensor], title: str = "") -> Film:
    """Return what a generator made at several timesteps, a frame each.

    Args:
        game: The game.
        frames: {timesteps: result of `generated`}.
        title: Title above the figure.
    """
    below = _below(game)
    pictures = [_render(_frame(game, timesteps, points, title, below)) for timesteps, points in frames.items()]
    tall, wide = (max(picture.shape[axis] for picture in pictures) for axis in (0, 1))
    pictures = [picture[:tall, :wide] for picture in pictures]
    return Film(pictures + pictures[-1:] * _HOLD, FPS)


def _below(game: GAN) -> dict[str, Any]:
    """Return what lies below the samples of a planar GAN: the modes, or real points."""
    if isinstance(game.source, GaussianMixture):
        return {"means": game.source.means, "std": game.source.std}
    if isinstance(game.source, ImageSource):
        return {}
    return {"real": game.source.sample((_SAMPLES,), Generator(game.device).manual_seed(1), game.dtype)}


def _frame(game: GAN, timesteps: int, points: Tensor, title: str, below: dict[str, Any]) -> Figure:
    name = f"{timesteps:,} oracle calls"
    if isinstance(game.source, ImageSource):
        pixels = points.float() / 127.5 - 1
        heading = f"{title}\n{name}" if title else name
        return image_grid(pixels, game.source.side, game.source.channels, title=heading)
    return samples_figure({name: points}, **below, title=title)


def _render(figure: Figure) -> np.ndarray:
    figure.set_dpi(_DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return _pixels(canvas)


def _pixels(canvas: FigureCanvasAgg) -> np.ndarray:
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
