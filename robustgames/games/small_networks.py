"""The convolutional classifier of 28 x 28 gray images that the package trains, and its files of weights."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from robustgames.disk import check_plain
from robustgames.errors import GameError, one_line

SLOPE = 20.0
"""Slope of a threshold at the start of training: sigmoid(20 (0.3 - 0.31)) = 0.45, and 0.002 at a distance of 0.31."""


def small_cnn(
    first: int = 32, second: int = 64, hidden: int = 256, thresholds: tuple[float, ...] = ()
) -> nn.Sequential:
    """Return the network of `MnistAdversarial`: flat images of 28 x 28 pixels (B, 784) -> logits (B, 10).

    Two convolutions (4 x 4, stride 2, padding 1) and a hidden layer, with ReLU. With thresholds t_1 ... t_k the first
    convolution reads k channels sigmoid(w_j a - b_j) of every pixel a, w_j = 20 and b_j = 20 t_j at the start, and
    trained with the other weights. Near a threshold below 1/2 a black pixel stays off under any perturbation of
    smaller size, and near one above 1/2 a white pixel stays on.

    Args:
        first: Channels of the first convolution.
        second: Channels of the second convolution.
        hidden: Width of the hidden layer.
        thresholds: Gray levels t, strictly between 0 and 1.

    Raises:
        GameError: A threshold is not between 0 and 1.

    Example:
        >>> small_cnn(4, 8, 16, thresholds=(0.31, 0.69))(torch.rand(5, 784)).shape
        torch.Size([5, 10])
    """
    if not all(0 < t < 1 for t in thresholds):
        raise GameError(f"thresholds are {thresholds}: gray levels between 0 and 1 are expected, e.g. (0.31, 0.69)")
    front: list[nn.Module] = []
    if thresholds:
        pixels = nn.Conv2d(1, len(thresholds), 1)
        with torch.no_grad():
            pixels.weight.fill_(SLOPE)
            assert pixels.bias is not None
            pixels.bias.copy_(-SLOPE * torch.tensor(thresholds))
        front = [pixels, nn.Sigmoid()]
    return nn.Sequential(
        nn.Unflatten(1, (1, 28, 28)),
        *front,
        nn.Conv2d(max(1, len(thresholds)), first, 4, 2, 1),
        nn.ReLU(),
        nn.Conv2d(first, second, 4, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(49 * second, hidden),
        nn.ReLU(),
        nn.Linear(hidden, 10),
    )


def stored_cnn(
    path: str | Path, first: int = 32, second: int = 64, hidden: int = 256, thresholds: tuple[float, ...] = ()
) -> nn.Sequential:
    """Return a `small_cnn` with the weights of a safetensors file, in float32.

    Raises:
        GameError: The file cannot be read, or its weights are those of another network.
    """
    network = small_cnn(first, second, hidden, thresholds)
    try:
        check_plain(Path(path))
        network.load_state_dict({key: tensor.float() for key, tensor in load_file(path).items()})
    except (OSError, SafetensorError, RuntimeError) as error:
        raise GameError(
            f"weights {path} cannot be read ({one_line(error)}): give a file that scripts/zoo.py wrote, of a network "
            "with the same channels, hidden and thresholds"
        ) from error
    return network
