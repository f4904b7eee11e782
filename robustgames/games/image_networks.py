"""Convolutional generators and discriminators of images, for `Network(lambda: dcgan_generator(...))`.

All take and return flat rows, p = channels * side * side: a generator (B, latent) -> (B, p) in [-1, 1], a critic
(B, p) -> (B, 1). Sides are 4, 5, 6 or 7 doubled once or more: 8, 28, 32, 64, 128 ...
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from robustgames.errors import GameError, unknown

NORM_LAYERS: dict[str, Callable[[int], nn.Module]] = {
    "none": lambda channels: nn.Identity(),
    "group": lambda channels: nn.GroupNorm(_groups(channels), channels),
    "layer": lambda channels: nn.GroupNorm(1, channels),
    "batch": lambda channels: nn.BatchNorm2d(channels, track_running_stats=False),
}
SAMPLEWISE = ("group", "layer", "none")  # norms under which an image's score does not depend on the other images


def dcgan_generator(
    latent: int = 64, side: int = 28, channels: int = 1, width: int = 32, norm: str = "batch"
) -> nn.Sequential:
    """Return the generator of DCGAN: a linear layer, then transposed convolutions (4 x 4, stride 2).

    Each doubles the side and halves the feature maps; for side 64: 8w at 4 x 4, 4w, 2w, w at 32 x 32, and the image. A
    norm and a ReLU follow every layer except the last, which ends in tanh. By default it has 237,345 weights; with
    latent 128, side 64, 3 channels and width 64 they are 3,814,723. They start from N(0, 0.02²).

    Source: Radford, Metz and Chintala 2016, section 3 and figure 1.

    Args:
        latent: Dimension of the noise.
        side: Pixels of a side.
        channels: 1 or 3.
        width: Number w of feature maps before the last layer.
        norm: "batch", over the current batch, so an image depends a little on the noise of the others; "group" or
            "layer", within an image; or "none". On MNIST "batch" and "group" were equally good within a few seeds.

    Raises:
        GameError: A side that is not 4, 5, 6 or 7 doubled once or more; an unknown norm.

    Example:
        >>> dcgan_generator(latent=16, side=28)(torch.zeros(5, 16)).shape
        torch.Size([5, 784])
    """
    start, doublings = _plan(side, width)
    make = _norm(norm, NORM_LAYERS)
    widths = [width * 2**i for i in reversed(range(doublings))]
    parts: list[nn.Module] = [
        nn.Linear(latent, widths[0] * start**2),
        nn.Unflatten(1, (widths[0], start, start)),
        make(widths[0]),
        nn.ReLU(),
    ]
    for wide, narrow in pairwise(widths):
        parts += [nn.ConvTranspose2d(wide, narrow, 4, 2, 1), make(narrow), nn.ReLU()]
    parts += [nn.ConvTranspose2d(width, channels, 4, 2, 1), nn.Tanh(), nn.Flatten()]
    return nn.Sequential(*parts).apply(_draw_as_dcgan)


def dcgan_critic(side: int = 28, channels: int = 1, width: int = 32, norm: str = "none") -> nn.Sequential:
    """Return the discriminator of DCGAN: convolutions (4 x 4, stride 2), then one linear score.

    Feature maps, for side 64: w at 32 x 32, 2w, 4w, 8w at 4 x 4. A norm, except after the first layer, and a leaky
    ReLU (slope 0.2) follow every convolution. By default it has 36,513 weights; with side 64, 3 channels and width 64
    they are 2,764,737. They start from N(0, 0.02²).

    Source: Radford, Metz and Chintala 2016, section 3; without norm as in Miyato et al. 2018, table 3.

    Args:
        side: Pixels of a side.
        channels: 1 or 3.
        width: Number w of feature maps after the first layer.
        norm: "none", "group" or "layer". With a gradient penalty "layer" learned MNIST in fewer steps than "none";
            under spectral normalization only "none" keeps the slope bounded. "batch" is not allowed: it would make
            the score of an image depend on the others, and a penalty meaningless (Gulrajani et al. 2017, section 4).

    Raises:
        GameError: A side that is not 4, 5, 6 or 7 doubled once or more; an unknown norm.

    Example:
        >>> dcgan_critic(side=28)(torch.zeros(5, 784)).shape
        torch.Size([5, 1])
    """
    start, doublings = _plan(side, width)
    make = _norm(norm, SAMPLEWISE)
    widths = [width * 2**i for i in range(doublings)]
    parts: list[nn.Module] = [
        nn.Unflatten(1, (channels, side, side)),
        nn.Conv2d(channels, width, 4, 2, 1),
        nn.LeakyReLU(0.2),
    ]
    for narrow, wide in pairwise(widths):
        parts += [nn.Conv2d(narrow, wide, 4, 2, 1), make(wide), nn.LeakyReLU(0.2)]
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(widths[-1] * start**2, 1)).apply(_draw_as_dcgan)


def resnet_generator(
    latent: int = 128, side: int = 64, channels: int = 3, width: int = 64, norm: str = "batch"
) -> nn.Sequential:
    """Return a residual generator: a linear layer, then blocks of two 3 x 3 convolutions that double the side.

    Feature maps, for side 64: 8w at 4 x 4, 8w, 4w, 2w, w at 64 x 64; norm, ReLU, a convolution and tanh make the image.
    By default it has 8,541,443 weights; with width 16 they are 733,763. They start as in Glorot and Bengio 2010, √2
    times wider in 3 x 3 convolutions.

    Source: Gulrajani et al. 2017 (code, gan_64x64.py); Miyato et al. 2018, figure 9.

    Args:
        latent: Dimension of the noise.
        side: Pixels of a side.
        channels: 1 or 3.
        width: Number w of feature maps of the last block.
        norm: See `dcgan_generator`.

    Raises:
        GameError: See `dcgan_generator`.
    """
    start, doublings = _plan(side, width)
    make = _norm(norm, NORM_LAYERS)
    widths = [width * m for m in _multiples(doublings)]
    parts: list[nn.Module] = [nn.Linear(latent, widths[-1] * start**2), nn.Unflatten(1, (widths[-1], start, start))]
    parts += [_Residual(p, q, make, up=True) for p, q in pairwise(reversed(widths))]
    parts += [make(width), nn.ReLU(), nn.Conv2d(width, channels, 3, padding=1), nn.Tanh(), nn.Flatten()]
    return nn.Sequential(*parts).apply(_draw_as_resnet)


def resnet_critic(side: int = 64, channels: int = 3, width: int = 64, norm: str = "none") -> nn.Sequential:
    """Return a residual discriminator: a convolution, then blocks of two 3 x 3 convolutions that halve the side.

    Feature maps, for side 64: w at 64 x 64, 2w, 4w, 8w, 8w at 4 x 4; then ReLU, and one linear score. By default it has
    7,488,961 weights; with width 16 they are 470,641. They start as those of `resnet_generator`.

    Source: Gulrajani et al. 2017 (code, gan_64x64.py), without its layer norm by default.

    Args:
        side: Pixels of a side.
        channels: 1 or 3.
        width: Number w of feature maps after the first convolution.
        norm: See `dcgan_critic`.

    Raises:
        GameError: See `dcgan_critic`.
    """
    start, doublings = _plan(side, width)
    make = _norm(norm, SAMPLEWISE)
    widths = [width * m for m in _multiples(doublings)]
    parts: list[nn.Module] = [nn.Unflatten(1, (channels, side, side)), nn.Conv2d(channels, width, 3, padding=1)]
    parts += [_Residual(p, q, make, up=False) for p, q in pairwise(widths)]
    parts += [nn.ReLU(), nn.Flatten(), nn.Linear(widths[-1] * start**2, 1)]
    return nn.Sequential(*parts).apply(_draw_as_resnet)


class _Residual(nn.Module):
    """shortcut(h) + conv(relu(norm(conv(relu(norm(h)))))), with the side doubled or halved in both branches."""

    def __init__(self, p: int, q: int, norm: Callable[[int], nn.Module], up: bool) -> None:
        super().__init__()
        self.up, inner = up, q if up else p
        self.before, self.between = norm(p), norm(inner)
        self.first, self.second = nn.Conv2d(p, inner, 3, padding=1), nn.Conv2d(inner, q, 3, padding=1)
        self.shortcut = nn.Conv2d(p, q, 1)

    def forward(self, h: Tensor) -> Tensor:
        rest = torch.relu(self.before(h))
        if self.up:  # a 1 x 1 convolution and a doubling commute: the convolution first is a quarter of the work
            rest = self.second(torch.relu(self.between(self.first(_double(rest)))))
            return _double(self.shortcut(h)) + rest
        rest = self.second(torch.relu(self.between(self.first(rest))))
        return self.shortcut(_halve(h)) + _halve(rest)


_double = partial(nn.functional.interpolate, scale_factor=2, mode="nearest")
_halve = partial(nn.functional.avg_pool2d, kernel_size=2)


def _plan(side: int, width: int) -> tuple[int, int]:
    """Return (s, k) with side = s * 2**k, s in 4..7 and k >= 1."""
    if width < 1:
        raise GameError(f"width is {width}: at least 1 feature map is needed, e.g. width=32")
    start, doublings = side, 0
    while start > 7 and start % 2 == 0:
        start, doublings = start // 2, doublings + 1
    if doublings == 0 or not 4 <= start <= 7:
        raise GameError(f"side is {side}: 4, 5, 6 or 7, doubled once or more, is needed, e.g. side=32 or side=64")
    return start, doublings


def _multiples(doublings: int) -> list[int]:
    return [min(2**i, 8) for i in range(doublings + 1)]


def _norm(name: str, known: Collection[str]) -> Callable[[int], nn.Module]:
    if name not in known:
        raise unknown("norm", name, known)
    return NORM_LAYERS[name]


def _groups(channels: int) -> int:
    """Return the most groups up to 8 that divide the channels."""
    return max(g for g in range(1, 9) if channels % g == 0)


def _draw_as_dcgan(part: nn.Module) -> None:
    if isinstance(part, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(part.weight, 0.0, 0.02)
        if part.bias is not None:
            nn.init.zeros_(part.bias)
    elif isinstance(part, nn.GroupNorm | nn.BatchNorm2d):
        nn.init.normal_(part.weight, 1.0, 0.02)


def _draw_as_resnet(part: nn.Module) -> None:
    if isinstance(part, nn.Linear | nn.Conv2d):
        followed = isinstance(part, nn.Conv2d) and part.kernel_size == (3, 3)
        nn.init.xavier_uniform_(part.weight, 2**0.5 if followed else 1.0)
        if part.bias is not None:
            nn.init.zeros_(part.bias)
