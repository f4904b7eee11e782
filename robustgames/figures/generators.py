"""Figures of a generator: samples and critic on the plane, images and an interpolation between them."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from robustgames.data import ImageSource
from robustgames.evaluation.frechet import nearest
from robustgames.evaluation.generators import SAMPLES, real_images_of, samples
from robustgames.evaluation.modes import mode_metrics
from robustgames.figures.gans import critic_figure, samples_figure
from robustgames.figures.images import image_grid, interpolation_figure
from robustgames.figures.style import Figure
from robustgames.games.densities import GaussianMixture
from robustgames.games.gan import GAN

_SHOWN_RUNS = 3
_DOTS = 500  # generated and real points on a critic


@torch.no_grad()
def generator_figures(game: GAN, snapshots: dict[int, Tensor], title: str = "") -> dict[str, Figure]:
    """Return the figures that apply to a GAN, by name.

    On the plane these are "samples" (a row for each of at most three runs, a column for each snapshot) and "critic" of
    the first run. On images they are "images", each above the nearest training image, and "interpolation", both of the
    first run.

    Args:
        game: The game.
        snapshots: {timesteps: joint strategies (*S, n + m)}, the newest last.
        title: Method and settings, above every figure.
    """
    now = next(reversed(snapshots.values()))
    first = now.reshape(-1, now.shape[-1])[0]
    if isinstance(game.source, ImageSource):
        return _pictures(game, first, game.source.side, game.source.channels, title)
    if game.source.size != 2:
        return {}
    mixture = game.source if isinstance(game.source, GaussianMixture) else None
    means, std = (mixture.means, mixture.std) if mixture else (None, 0.0)
    real = game.source.sample((SAMPLES,), Generator(game.device).manual_seed(1), game.dtype)
    panels, captions = _panels(game, snapshots)
    below = None if mixture else real
    drawn = {"samples": samples_figure(panels, means, std, below, captions, column="oracle calls", title=title)}
    generated = samples(game, first, _DOTS)
    inside = generated if means is None else means
    if not bool(torch.isfinite(inside).all()):
        return drawn
    low, high = inside.amin(0) - 1, inside.amax(0) + 1
    y = game.split(first)[1]
    window = (float(low[0]), float(high[0]), float(low[1]), float(high[1]))
    heading = _joined(title, "critic of run 0")

    def critic(points: Tensor) -> Tensor:
        return game.score(y, points.to(y))

    drawn["critic"] = critic_figure(critic, window, generated, means, std, heading, real[:_DOTS])
    return drawn


def _joined(title: str, line: str) -> str:
    return f"{title}\n{line}" if title else line


def _panels(game: GAN, snapshots: dict[int, Tensor]) -> tuple[dict[str, dict[int, Tensor]], dict[str, dict[int, str]]]:
    panels: dict[str, dict[int, Tensor]] = {}
    captions: dict[str, dict[int, str]] = {}
    for timesteps, z in snapshots.items():
        for i, points in enumerate(samples(game, z.reshape(-1, z.shape[-1])[:_SHOWN_RUNS])):
            panels.setdefault(f"run {i}", {})[timesteps] = points
            if isinstance(game.source, GaussianMixture):
                metrics = mode_metrics(points, game.source.means, game.source.std)
                captions.setdefault(f"run {i}", {})[timesteps] = _caption(metrics)
    return panels, captions


def _caption(metrics: dict[str, Tensor]) -> str:
    modes = int(metrics["modes"].nan_to_num())
    return f"{modes} mode{'' if modes == 1 else 's'}, {100 * float(metrics['high_quality']):.0f} % high quality"


def _pictures(game: GAN, z: Tensor, side: int, channels: int, title: str) -> dict[str, Figure]:
    images, x = samples(game, z, 36), game.split(z)[0]
    real = real_images_of(game)
    copies = None if real is None else real.train[nearest(images, real.train)[1]]

    def generate(noise: Tensor) -> Tensor:
        return game.generate(x, noise.to(x))

    return {
        "images": image_grid(images, side, channels, nearest=copies, title=title),
        "interpolation": interpolation_figure(generate, game.latent, side, channels, title=title),
    }
