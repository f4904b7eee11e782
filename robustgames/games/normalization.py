"""Normalization of the channels of images as the first layer of a network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from robustgames.errors import GameError


class Normalize(nn.Module):
    """x -> (x - mean) / std per channel, as a layer, so that an attack on the network moves pixels.

    Args:
        mean, std: One number for each channel, or one for all; std > 0.
        shape: Shape of one input: (C, H, W), (T, d), or (p,), flat, in which the pixels of a channel lie together.
        channels: Channels of a flat input.

    Raises:
        GameError: Another number of values, or a std that is not positive.

    Example:
        >>> Normalize([0.5], [0.25], (1, 2, 2))(torch.tensor([[[[0.0, 1.0], [0.5, 0.5]]]])).flatten()
        tensor([-2.,  2.,  0.,  0.])
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], shape: Sequence[int], channels: int | None = None
    ) -> None:
        super().__init__()
        channels = channels or (1 if len(shape) == 2 else shape[0])
        for name, given in (("mean", mean), ("std", std)):
            values = torch.tensor([float(v) for v in given])
            if len(values) not in (1, channels):
                what = f"{channels} channels" if channels > 1 else "1 channel"
                raise GameError(f"{name} has {len(values)} numbers for {what}: give one for each, or one for all")
            if not bool(torch.isfinite(values).all()) or (name == "std" and not bool((values > 0).all())):
                wanted = "positive numbers" if name == "std" else "finite numbers"
                raise GameError(f"{name} is {', '.join(f'{v:g}' for v in values.tolist())}: {wanted} are needed")
            if len(values) > 1:
                each = shape[0] // channels if len(shape) == 1 else 1
                values = values.repeat_interleave(each).view(-1, *(1 for _ in shape[1:]))
            self.register_buffer(name, values)

    def forward(self, x: Tensor) -> Tensor:
        """Return normalized inputs (N, ...) of shape (N, ...)."""
        return (x - self.mean) / self.std
