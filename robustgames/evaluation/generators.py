"""What can be measured of a generator: on known laws modes and distances, on images the Fréchet distance and copies."""

from __future__ import annotations

from functools import lru_cache

import torch
from matplotlib.figure import Figure
from torch import Generator, Tensor

from robustgames.data.images import ImageSource
from robustgames.evaluation.frechet import RealImages, image_metrics, nearest, real_digits, real_images, real_mnist
from robustgames.evaluation.gan_figures import critic_figure, image_grid, interpolation_figure, samples_figure
from robustgames.evaluation.modes import mode_metrics
from robustgames.evaluation.transport import sliced_wasserstein, wasserstein
from robustgames.games.densities import GaussianMixture
from robustgames.games.gan import GAN
from robustgames.games.image_gans import DigitsGAN, MnistGAN

SAMPLES = 2500  # of the papers that count modes
EXACT = 1000  # for the exact transport, which takes a second for 2,500
LOOKED_AT = 500  # images of a learning curve
SHOWN = 3  # runs


@torch.no_grad()
def samples(game: GAN, z: Tensor, count: int = SAMPLES, seed: int = 0) -> Tensor:
    """Return generated points, (*S, count, p): the same noise for all runs, games and times.

    Args:
        game: the game.
        z: weights of the generator, (*S, n), or joint strategies, (*S, n + m).
        count: points of each run.
        seed: of the noise.
    """
    own = Generator(game.device).manual_seed(seed)
    noise = torch.randn((count, game.latent), generator=own, device=game.device, dtype=game.dtype)
    return game.generate(z[..., : game.sizes[0]], noise.expand(*z.shape[:-1], *noise.shape))


@torch.no_grad()
def generator_metrics(game: GAN, z: Tensor, quick: bool = False) -> dict[str, Tensor]:
    """Return how good the generators in z are, each number of shape (*S,); NaN for a run that is not finite.

    Mixtures: modes, share of high quality, reverse KL and JSD (`mode_metrics`). Laws on R^p: the sliced W1 to real
    points, and the exact one unless `quick`. Images: `image_metrics`, of fewer images if `quick`; nothing for a folder
    without held-out images.

    Args:
        game: the game.
        z: joint strategies, (*S, n + m).
        quick: for a learning curve.
    """
    if isinstance(game.source, ImageSource):
        real = _judge(game)
        found = {} if real is None else image_metrics(samples(game, z, LOOKED_AT if quick else SAMPLES), real)
        constant = ("frechet_floor", "frechet_ceiling") if quick else ()
        return {name: value for name, value in found.items() if name not in constant}
    points, values = samples(game, z), {}
    if isinstance(game.source, GaussianMixture):
        values = mode_metrics(points, game.source.means, game.source.std)
    real = game.source.sample((SAMPLES,), Generator(game.device).manual_seed(1), game.dtype)
    values["sliced_wasserstein"] = sliced_wasserstein(points, real)
    if not quick:
        values["wasserstein"] = wasserstein(points[..., :EXACT, :], real[:EXACT]).to(points)
    return values


def _judge(game: GAN) -> RealImages | None:
    if isinstance(game, DigitsGAN):
        return _known("digits", None, game.device)
    if isinstance(game, MnistGAN):
        return _known("mnist", game.data, game.device)
    assert isinstance(game.source, ImageSource)
    return _of_source(game.source, game.device) if len(game.source.kept) > 1 else None


@lru_cache(maxsize=2)
def _known(name: str, data: str | None, device: torch.device) -> RealImages:
    return (real_digits() if name == "digits" else real_mnist(data)).to(device)


@lru_cache(maxsize=2)
def _of_source(source: ImageSource, device: torch.device) -> RealImages:
    return real_images(source).to(device)


# -- figures -----------------------------------------------------------------------------------------------------------
@torch.no_grad()
def generator_figures(game: GAN, snapshots: dict[int, Tensor]) -> dict[str, Figure]:
    """Return the figures that apply to a GAN, by name.

    On the plane "samples" (a row for each of at most three runs, a column for each snapshot) and, of the first run,
    "critic"; on images "images" over the training images nearest to them, and "interpolation", of the first run.

    Args:
        game: the game.
        snapshots: {timesteps: joint strategies (*S, n + m)}, the newest last.
    """
    now = next(reversed(snapshots.values()))
    first = now.reshape(-1, now.shape[-1])[0]
    if isinstance(game.source, ImageSource):
        return _pictures(game, first, game.source.side, game.source.channels)
    if game.source.size != 2:
        return {}
    mixture = game.source if isinstance(game.source, GaussianMixture) else None
    means, std = (mixture.means, mixture.std) if mixture else (None, 0.0)
    real = None if mixture else game.source.sample((SAMPLES,), Generator(game.device).manual_seed(1), game.dtype)
    panels, captions = _panels(game, snapshots)
    drawn = {"samples": samples_figure(panels, means, std, real, captions, column="oracle calls")}
    seen = samples(game, first, 500)
    shown = seen if means is None else means
    if not bool(torch.isfinite(shown).all()):
        return drawn
    low, high = shown.amin(0) - 1, shown.amax(0) + 1
    y = game.split(first)[1]
    window = (float(low[0]), float(high[0]), float(low[1]), float(high[1]))
    drawn["critic"] = critic_figure(lambda points: game.score(y, points.to(y)), window, seen, means, std, "run 0")
    return drawn


def _panels(game: GAN, snapshots: dict[int, Tensor]) -> tuple[dict[str, dict], dict[str, dict]]:
    panels: dict[str, dict] = {}
    captions: dict[str, dict] = {}
    for timesteps, z in snapshots.items():
        points = samples(game, z.reshape(-1, z.shape[-1])[:SHOWN])
        for i, own in enumerate(points):
            panels.setdefault(f"run {i}", {})[timesteps] = own
            if isinstance(game.source, GaussianMixture):
                found = mode_metrics(own, game.source.means, game.source.std)
                captions.setdefault(f"run {i}", {})[timesteps] = _said(found)
    return panels, captions


def _said(found: dict[str, Tensor]) -> str:
    modes = int(found["modes"].nan_to_num())
    return f"{modes} mode{'' if modes == 1 else 's'}, {100 * float(found['high_quality']):.0f} % high quality"


def _pictures(game: GAN, z: Tensor, side: int, channels: int) -> dict[str, Figure]:
    images, x = samples(game, z, 36), game.split(z)[0]
    real = _judge(game)
    copies = None if real is None else real.train[nearest(images, real.train)[1]]
    own = Generator().manual_seed(0)
    return {
        "images": image_grid(images, side, channels, nearest=copies),
        "interpolation": interpolation_figure(
            lambda noise: game.generate(x, noise.to(x)), game.latent, side, channels, generator=own
        ),
    }
