"""Features in which images are compared: the last hidden layer of a classifier, or of a random network.

Images are rows (N, p) with pixels in [-1, 1], as in `robustgames.data.images`; `robustgames.data` has them in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from robustgames.data import Split, digits, mnist
from robustgames.errors import GameError
from robustgames.games.small_networks import small_cnn
from robustgames.tensors import Movable

_ROWS = 4096  # images per forward pass
_STEPS, _BATCH = 500, 100  # of a classifier's training


class Features(Movable):
    """The last hidden layer of a network, φ: images -> R^d, in the unit in which real images have total variance 1.

    In this unit E|φ - Eφ|² = 1 over the images `unit`: a generator whose only image has their mean features is at
    Fréchet distance 1.

    Args:
        name: Suffix of the metric, `frechet_<name>`.
        body: Layers, images (B, p) with pixels in [0, 1] -> (B, d).
        unit: Images (N, p) with pixels in [-1, 1] that set the unit.
        head: Layer from the features to the logits of classes, if the network is a classifier.
        accuracy: Accuracy of the classifier on held-out images.
    """

    def __init__(
        self, name: str, body: nn.Module, unit: Tensor, head: nn.Module | None = None, accuracy: float | None = None
    ) -> None:
        self.name, self.body, self.head, self.accuracy = name, body, head, accuracy
        for part in (body, head or nn.Identity()):
            part.eval().requires_grad_(False)
        self.scale = torch.ones((), device=unit.device)
        self.scale = self(unit).double().var(0).sum().rsqrt().float()

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Return φ(images): (*S, N, p) with pixels in [-1, 1] -> (*S, N, d)."""
        rows = ((images + 1) / 2).to(self.scale.dtype).flatten(0, -2)
        features = torch.cat([self.body(part) for part in rows.split(_ROWS)])
        return self.scale * features.unflatten(0, images.shape[:-1])

    @torch.no_grad()
    def logits(self, features: Tensor) -> Tensor | None:
        """Return the classifier's logits, (*S, N, d) -> (*S, N, C); None without a classifier."""
        return None if self.head is None else self.head(features / self.scale)


@cache
def digits_features() -> Features:
    """Return the features of a perceptron 64-128-64-10 trained on scikit-learn's digits: d = 64, in half a second."""

    def build() -> nn.Sequential:
        return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))

    return trained_features("digits", digits(), build, lr=1e-2)


def mnist_features(data: str | Path | None = None) -> Features:
    """Return the features of `small_cnn` with 16 and 32 channels trained on `data.mnist`: d = 64, in 5 seconds."""
    return _mnist_features(mnist(data))


@cache
def _mnist_features(split: Split) -> Features:
    return trained_features("mnist", split, lambda: small_cnn((16, 32), 64), lr=3e-3)


def trained_features(name: str, split: Split, build: Callable[[], nn.Sequential], lr: float) -> Features:
    """Return the features of a classifier trained on labeled images by Adam, always the same, with its accuracy.

    Weights and minibatches are drawn with seed 0; the global generator is not changed. Other machines and numbers of
    threads round differently and then train another classifier of the same quality: compare distances of one machine.

    Args:
        name: Suffix of the metric.
        split: Images in [0, 1] and labels.
        build: Function that returns a network, images (B, p) -> logits.
        lr: Largest learning rate of the cycle.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)  # torch.manual_seed would also seed the other devices
        network = build()
    generator, optimizer = Generator().manual_seed(0), torch.optim.Adam(network.parameters(), lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=_STEPS)
    with torch.enable_grad():
        for _ in range(_STEPS):
            rows = torch.randint(len(split.train_images), (_BATCH,), generator=generator)
            loss = functional.cross_entropy(network(split.train_images[rows]), split.train_labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        correct = network(split.test_images).argmax(-1) == split.test_labels
    return Features(name, network[:-1], 2 * split.train_images - 1, network[-1], float(correct.float().mean()))


def random_features(images: Tensor, side: int, channels: int = 1, seed: int = 0) -> Features:
    """Return the features of a convolutional network with random weights, for images without labels: d = 64.

    They respond to edges and colors, not to objects: distances order the runs of one experiment and cannot be compared
    with others.

    Args:
        images: Images that set the unit, (N, channels · side²) with pixels in [-1, 1].
        side: Side length in pixels.
        channels: Number of channels, 1 or 3.
        seed: Seed of the weights.

    Raises:
        GameError: The images have another size.
    """
    if images.shape[-1] != channels * side**2:
        problem = f"images of {images.shape[-1]} numbers are not {channels} channels of {side} x {side} pixels"
        raise GameError(f"{problem}: give side and channels, e.g. random_features(images, 32, channels=3)")
    layers: list[nn.Module] = [nn.Unflatten(1, (channels, side, side))]
    generator = Generator().manual_seed(seed)
    for before, after in pairwise((channels, 32, 64, 16)):
        layer = nn.utils.skip_init(nn.Conv2d, before, after, 3, stride=2, padding=1)
        layer.weight.data = torch.randn(after, before, 3, 3, generator=generator) * (2 / (9 * before)) ** 0.5
        layer.bias.data = torch.randn(after, generator=generator) / 10
        layers += [layer, nn.ReLU()]
    body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten()).to(images.device)
    return Features("random", body, images)
