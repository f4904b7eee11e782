"""Metrics of a generator: on known laws modes and distances, on images the Fréchet distance and copies."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Generator, Tensor

from robustgames.data.images import ImageSource
from robustgames.evaluation.frechet import RealImages, image_metrics, real_digits, real_images, real_mnist
from robustgames.evaluation.modes import mode_metrics
from robustgames.evaluation.transport import sliced_wasserstein, wasserstein
from robustgames.games.densities import GaussianMixture
from robustgames.games.gan import GAN
from robustgames.games.image_gans import DigitsGAN, MnistGAN

SAMPLES = 2500  # as in the papers that count modes
EXACT = 1000  # for the exact transport, which takes a second for 2,500
QUICK = 500  # images for a learning curve


@torch.no_grad()
def samples(game: GAN, z: Tensor, count: int = SAMPLES, seed: int = 0) -> Tensor:
    """Return generated points, (*S, count, p): the same noise for all runs, games and times.

    Args:
        game: The game.
        z: Weights of the generator, (*S, n), or joint strategies, (*S, n + m).
        count: Number of points of each run.
        seed: Seed of the noise.
    """
    generator = Generator(game.device).manual_seed(seed)
    noise = torch.randn((count, game.latent), generator=generator, device=game.device, dtype=game.dtype)
    return game.generate(z[..., : game.sizes[0]], noise.expand(*z.shape[:-1], *noise.shape))


@torch.no_grad()
def generator_metrics(game: GAN, z: Tensor, quick: bool = False) -> dict[str, Tensor]:
    """Return the metrics of the generators in z, each of shape (*S,); NaN for a run that is not finite.

    Mixtures: modes, share of high quality, reverse KL and JSD (`mode_metrics`). Laws on R^p: the sliced W1 to real
    points, and the exact one unless `quick`. Images: `image_metrics`, of fewer images if `quick`; nothing for a folder
    without held-out images.

    Args:
        game: The game.
        z: Joint strategies, (*S, n + m).
        quick: If True, only the metrics that are cheap enough for a learning curve.
    """
    if isinstance(game.source, ImageSource):
        real = real_images_of(game)
        found = {} if real is None else image_metrics(samples(game, z, QUICK if quick else SAMPLES), real)
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


def real_images_of(game: GAN) -> RealImages | None:
    """Return the real images that generated ones are compared with, or None if no image is held out."""
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
