"""The convolutional classifier of 28 x 28 gray images that the package trains, and its files of weights."""

from __future__ import annotations

from itertools import pairwise
from math import isclose
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from robustgames.disk import check_plain
from robustgames.errors import GameError, one_line
from robustgames.games.normalization import Normalize

SLOPE = 20.0
"""Slope of a soft threshold: 0.018 and 0.982 at a distance of 0.2, 0.0025 and 0.9975 at 0.3."""


def small_cnn(
    channels: tuple[int, ...] = (32, 64), hidden: int = 256, threshold: float | None = None, slope: float = SLOPE
) -> nn.Sequential:
    """Return the network of `MnistAdversarial`: flat images of 28 x 28 pixels (B, 784) -> logits (B, 10).

    The first and the last convolution are 4 x 4 with stride 2 and padding 1, those between 3 x 3 with padding 1, then
    comes a hidden layer, all with ReLU. With a threshold t the first convolution reads h(a) = sigmoid(k (a - t)) of
    every pixel a. t and k are constants: they are no weights.

    Args:
        channels: Channels of the convolutions, two or more.
        hidden: Width of the hidden layer.
        threshold: Gray level t, strictly between 0 and 1; None leaves the layer out.
        slope: k > 0.

    Raises:
        GameError: Fewer than two convolutions, a threshold or slope out of range, or a slope without a threshold.

    Example:
        >>> small_cnn((4, 4, 8), 16, threshold=0.5)(torch.rand(5, 784)).shape
        torch.Size([5, 10])
    """
    if len(channels) < 2 or min(channels) < 1:
        raise GameError(f"channels are {channels}: those of two convolutions or more, e.g. (32, 64)")
    front: list[nn.Module] = []
    check_threshold(threshold, slope)
    if threshold is not None:
        front = [Normalize((threshold,), (1 / slope,), (1, 28, 28)), nn.Sigmoid()]
    between = [layer for p, q in pairwise(channels[:-1]) for layer in (nn.Conv2d(p, q, 3, 1, 1), nn.ReLU())]
    return nn.Sequential(
        nn.Unflatten(1, (1, 28, 28)),
        *front,
        nn.Conv2d(1, channels[0], 4, 2, 1),
        nn.ReLU(),
        *between,
        nn.Conv2d(channels[-2], channels[-1], 4, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(49 * channels[-1], hidden),
        nn.ReLU(),
        nn.Linear(hidden, 10),
    )


def check_threshold(threshold: float | None, slope: float) -> None:
    """Raise GameError unless the gray level is strictly between 0 and 1, if any, and the slope positive and in use."""
    if threshold is None and slope != SLOPE:
        raise GameError(f"slope is {slope}: it is that of a threshold, so set one, e.g. threshold=0.5, or leave it out")
    if threshold is not None and not 0 < threshold < 1:
        raise GameError(f"threshold is {threshold}: a gray level between 0 and 1 is expected, e.g. 0.5")
    if not 0 < slope < float("inf"):
        raise GameError(f"slope is {slope}: a positive number is expected, e.g. 60")


def stored_cnn(
    path: str | Path,
    channels: tuple[int, ...] = (32, 64),
    hidden: int = 256,
    threshold: float | None = None,
    slope: float | None = None,
) -> nn.Sequential:
    """Return a `small_cnn` with the weights of a safetensors file, in float32; without a slope, with that of the file.

    Raises:
        GameError: The file cannot be read, or its weights are those of another network, threshold or slope.
    """
    network = small_cnn(channels, hidden, threshold)
    try:
        check_plain(Path(path))
        network.load_state_dict({key: tensor.float() for key, tensor in load_file(path).items()})
    except (OSError, SafetensorError, RuntimeError) as error:
        raise GameError(
            f"weights {path} cannot be read ({one_line(error)}): give a file that scripts/zoo.py wrote, of a network "
            "with the same channels, hidden and threshold"
        ) from error
    if threshold is not None:
        front = dict(network[1].named_buffers())
        held = {"threshold": float(front["mean"]), "slope": 1 / float(front["std"])}  # float16 keeps three digits
        for name, given in (("threshold", threshold), ("slope", slope)):
            if given is not None and not isclose(given, held[name], rel_tol=2e-3):
                raise GameError(
                    f"{name} is {given:g}, but the weights {path} were trained with {held[name]:.3g}: "
                    f"give {name}={held[name]:.3g}"
                )
    return network
