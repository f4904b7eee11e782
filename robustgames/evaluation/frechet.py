"""Generated images against real ones: the Fréchet distance in features, classes, copies of training images.

Generated and real images are rows (N, p) with pixels in [-1, 1], as in `robustgames.data.images`; labeled digits have
them in [0, 1]. A distance is named after its features, since distances in different features cannot be compared.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Generator, Tensor
from torch.nn import functional

from robustgames.data import Split, digits, mnist
from robustgames.data.images import ImageSource
from robustgames.errors import GameError
from robustgames.evaluation.image_features import Features, digits_features, mnist_features, random_features
from robustgames.tensors import Movable

PAIRS = 2**25  # distances in memory at a time
SHARE = 0.01  # of the images: a class with more counts as generated


# -- the distance ----------------------------------------------------------------------------------------------------
def frechet_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return |μa - μb|² + tr(Ca + Cb - 2 (Ca Cb)^½), the squared 2-Wasserstein distance of two Gaussians.

    The Gaussians have the means and the unbiased covariances of two samples. With C = Rᵀ R by the QR decomposition of
    the centered rows, tr (Ca Cb)^½ is the sum of the singular values of Ra Rbᵀ. No covariance is formed or rooted, so
    singular ones (fewer rows than columns) cost no digits. Few rows make the distance too large: compare at equal N
    and M. Source: Dowson and Landau 1982; Heusel et al. 2017 for images.

    Args:
        a: First sample, (*S, N, d), N >= 2.
        b: Second sample, (*S, M, d), or (M, d) for all runs, M >= 2.

    Returns:
        Distances (*S,) in float64; NaN if a value is not finite.

    Raises:
        GameError: A sample has a single row, or the numbers of columns differ.

    Example:
        >>> a = torch.tensor([[0.0], [2.0]])    # mean 1, variance 2; 2 a + 3 has mean 5 and variance 8
        >>> frechet_distance(a, 2 * a + 3)    # 16 + (√2 - √8)²
        tensor(18., dtype=torch.float64)
    """
    if min(a.dim(), b.dim()) < 2 or min(a.shape[-2], b.shape[-2]) < 2 or a.shape[-1] != b.shape[-1]:
        found = f"{tuple(a.shape)} and {tuple(b.shape)}"
        raise GameError(f"features have shapes {found}: they must be (..., N, d) and (..., M, d) with N, M >= 2")
    (mean_a, root_a), (mean_b, root_b) = _moments(a), _moments(b)
    product = (root_a @ root_b.mT).nan_to_num(0, 0, 0)  # LAPACK refuses non-finite values; the traces restore them
    traces = root_a.square().sum((-2, -1)) + root_b.square().sum((-2, -1))
    distance = (mean_a - mean_b).square().sum(-1) + traces - 2 * torch.linalg.svdvals(product).sum(-1)
    return distance.clamp_min(0).where(distance.isfinite(), torch.nan)


def _moments(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean (*S, d) and a root R (*S, min(N, d), d) of the covariance Rᵀ R."""
    rows = rows.double()
    mean = rows.mean(-2, keepdim=True)
    return mean.squeeze(-2), torch.linalg.qr(rows - mean, mode="r").R / (rows.shape[-2] - 1) ** 0.5


# -- copies ----------------------------------------------------------------------------------------------------------
def nearest(images: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Return the Euclidean distance of each image to the nearest real one, and the index of that one.

    Args:
        images: Images, (*S, N, p).
        real: Real images, (M, p).

    Returns:
        Distances and indices into `real`, each (*S, N).
    """
    rows = images.to(real.dtype).flatten(0, -2)
    squares = real.square().sum(-1)
    parts = rows.split(max(1, PAIRS // len(real)))
    index = torch.cat([torch.addmm(squares, part, real.mT, alpha=-2).argmin(-1) for part in parts])
    # recomputed for the nearest: if images nearly coincide, the difference of their squares has no digits left
    distance = torch.linalg.vector_norm(rows - real[index], dim=-1)
    return distance.unflatten(0, images.shape[:-1]), index.unflatten(0, images.shape[:-1])


# -- all of them -----------------------------------------------------------------------------------------------------
class RealImages(Movable):
    """The reference for generated images: real images to train on and held out, and features.

    Args:
        train: Images that the generator is trained on, (M, p) with pixels in [-1, 1].
        held_out: Other images of the same kind, (M', p).
        features: Features φ.

    Raises:
        GameError: There are fewer than 2 images, their sizes differ, or pixels have another range; the least being
            exactly 0 counts as the range [0, 1].
    """

    def __init__(self, train: Tensor, held_out: Tensor, features: Features) -> None:
        if train.shape[-1] != held_out.shape[-1] or min(len(train), len(held_out)) < 2:
            found = f"{tuple(train.shape)} and {tuple(held_out.shape)}"
            raise GameError(f"real images have shapes {found}: each must have at least 2 rows of one length")
        low, high = float(train.min()), float(train.max())
        if low < -1 or high > 1 or low == 0:  # black in [0, 1]; the bytes of a dark or bright folder never become 0
            raise GameError(f"pixels lie in [{low:g}, {high:g}]: they must be in [-1, 1], e.g. 2 * images - 1")
        self.train, self.held_out, self.features = train, held_out, features
        self.known = features(held_out)
        self.apart = _mean_and_low(nearest(held_out, train)[0])
        self._bounds: dict[int, tuple[float, float]] = {}

    def bounds(self, count: int) -> tuple[float, float]:
        """Return the distances of `count` training images and of `count` images of uniform noise to the held-out ones.

        They are floor and ceiling for a generator. Few images make all distances too large, so the floor is not 0; if
        there are fewer training images than `count`, all are taken, and a good generator may be below this floor.
        """
        if count not in self._bounds:
            generator = Generator().manual_seed(0)
            rows = torch.randperm(len(self.train), generator=generator)[:count]
            noise = 2 * torch.rand(count, self.train.shape[-1], generator=generator) - 1
            first, second = (self.frechet(images) for images in (self.train[rows.to(self.train.device)], noise))
            self._bounds[count] = (float(first), float(second))
        return self._bounds[count]

    def frechet(self, images: Tensor) -> Tensor:
        """Return the Fréchet distance of images to the held-out ones, (*S, N, p) -> (*S,)."""
        return frechet_distance(self.features(images.to(self.train)), self.known)


def real_digits() -> RealImages:
    """Return scikit-learn's digits with the features of a classifier."""
    return _labeled(digits(), digits_features())


def real_mnist(data: str | Path | None = None) -> RealImages:
    """Return the images of `data.mnist` with the features of a classifier."""
    return _labeled(mnist(data), mnist_features(data))


def real_images(source: ImageSource, count: int = 5000) -> RealImages:
    """Return images of a source without labels, with random features.

    Copies are searched among these training images only.

    Args:
        source: Source of `robustgames.data.images` with held-out images.
        count: Largest number of training images and of held-out images, evenly spaced in their order.

    Raises:
        GameError: Fewer than 2 images are held out.
    """
    if len(held_out := source.held_out) < 2:
        raise GameError(
            f"{len(held_out)} images are held out: generated ones are compared with them, e.g. held_out=0.1"
        )
    train = source.batch(_spread(source.count, count).to(held_out.device))
    features = random_features(train, source.side, source.channels)
    return RealImages(train, held_out[_spread(len(held_out), count)], features)


def _spread(available: int, count: int) -> Tensor:
    return torch.arange(min(available, count)) * available // min(available, count)


def _labeled(split: Split, features: Features) -> RealImages:
    return RealImages(2 * split.train_images - 1, 2 * split.test_images - 1, features)


@torch.no_grad()
def image_metrics(generated: Tensor, real: RealImages) -> dict[str, Tensor]:
    """Return metrics of generated images against real ones, each of shape (*S,); NaN if a run is not finite.

    * `frechet_<features>`: the Fréchet distance to the held-out images, in the unit of `Features`;
      `frechet_floor` and `frechet_ceiling`: the distances of as many training images (of all if there are fewer, see
      `RealImages.bounds`), and of uniform noise.
    * `nearest_mean`, `nearest_low`: mean and 5 % quantile of the distance of an image to the nearest training image,
      divided by those of held-out images. About 1 for new images of the kind, 0 for copies of training images.
    * `classes`, `class_entropy`, with a classifier: the number of classes that it assigns to more than 1 % of the
      images, and the entropy of the shares of classes in nats, at most log 10 = 2.30 for ten.

    Args:
        generated: Generated images, (*S, N, p) with pixels in [-1, 1], N >= 2.
        real: Real images of the same kind, on the same device.

    Raises:
        GameError: The images have another size.
    """
    if generated.dim() < 2 or generated.shape[-1] != real.train.shape[-1]:
        found, expected = tuple(generated.shape), f"(..., N, {real.train.shape[-1]})"
        raise GameError(f"generated images have shape {found}: as the real ones they must be {expected}")
    features = real.features(generated.to(real.train.dtype))
    floor, ceiling = real.bounds(generated.shape[-2])
    ratios = _mean_and_low(nearest(generated, real.train)[0]) / real.apart
    distance = frechet_distance(features, real.known)
    metrics = {
        f"frechet_{real.features.name}": distance,
        "frechet_floor": torch.full_like(distance, floor),
        "frechet_ceiling": torch.full_like(distance, ceiling),
        "nearest_mean": ratios[..., 0],
        "nearest_low": ratios[..., 1],
    }
    logits = real.features.logits(features)
    return metrics if logits is None else {**metrics, **class_balance(logits)}


def class_balance(logits: Tensor) -> dict[str, Tensor]:
    """Return `classes` and `class_entropy`, see `image_metrics`: logits (*S, N, C) -> (*S,) each."""
    shares = functional.one_hot(logits.argmax(-1), logits.shape[-1]).to(logits).mean(-2)
    balance = {"classes": (shares > SHARE).sum(-1).to(logits), "class_entropy": torch.special.entr(shares).sum(-1)}
    finite = logits.isfinite().all(-1).all(-1)
    return {name: value.where(finite, torch.nan) for name, value in balance.items()}


def _mean_and_low(distance: Tensor) -> Tensor:
    """Return mean and 5 % quantile of (*S, N), as (*S, 2)."""
    return torch.stack([distance.mean(-1), distance.quantile(0.05, -1)], -1)
