"""Networks of the zoo, from the files beside this one."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from robustgames.games.small_networks import stored_cnn
from robustgames.zoo.table import PREFIX, entry

FOLDER = Path(__file__).parent


def load(name: str) -> nn.Module:
    """Return a trained classifier: flat images (N, 784) in [0, 1] -> logits (N, 10), in float32 and without gradients.

    Args:
        name: Key of `ZOO`, with or without "zoo:" before it.

    Raises:
        GameError: An unknown name; the close ones are shown.

    Example:
        >>> load("mnist-linf")(torch.zeros(2, 784)).shape
        torch.Size([2, 10])
    """
    found = entry(name)
    path = FOLDER / f"{name.removeprefix(PREFIX)}.safetensors"
    network = stored_cnn(path, found.channels, found.hidden, found.threshold)
    return network.eval().requires_grad_(False)


def store(network: nn.Module, path: Path) -> None:
    """Write the weights of a network as a file of the zoo: in float16, which halves it."""
    save_file({key: tensor.to(torch.float16).contiguous() for key, tensor in network.state_dict().items()}, path)
