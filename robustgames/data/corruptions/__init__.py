"""Common corruptions of images: kinds and severities as in Hendrycks and Dietterich 2019, in this package's arithmetic.

Images are floats in [0, 1] of 1 or 3 channels and any size, and stay floats: nothing but JPEG is rounded to 8 bits. The
levels of noise, contrast, brightness, pixels and JPEG are those of ImageNet-C. Lengths are shares of the shorter side,
where ImageNet-C has pixels, and fields of fog, frost and snow are drawn, where it has photographs of frost. So
accuracies are comparable between models here, and not with published tables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from robustgames.data.corruptions import blur, digital, noise, weather
from robustgames.errors import GameError, unknown

__all__ = ["CORRUPTIONS", "SEVERITIES", "STANDARD", "corrupt"]

SEVERITIES = (1, 2, 3, 4, 5)


class Corruption(NamedTuple):
    """A kind of corruption: function(images, level, generator), and its levels by severity."""

    function: Callable[[Tensor, Any, Generator], Tensor]
    levels: tuple[Any, ...]


CORRUPTIONS = {
    "gaussian_noise": Corruption(noise.gaussian_noise, (0.08, 0.12, 0.18, 0.26, 0.38)),
    "shot_noise": Corruption(noise.shot_noise, (60, 25, 12, 5, 3)),
    "impulse_noise": Corruption(noise.impulse_noise, (0.03, 0.06, 0.09, 0.17, 0.27)),
    "defocus_blur": Corruption(blur.defocus_blur, (0.02, 0.03, 0.045, 0.06, 0.08)),
    "glass_blur": Corruption(blur.glass_blur, (0.01, 0.015, 0.022, 0.03, 0.04)),
    "motion_blur": Corruption(blur.motion_blur, (0.06, 0.1, 0.14, 0.18, 0.22)),
    "zoom_blur": Corruption(blur.zoom_blur, (0.11, 0.16, 0.21, 0.26, 0.31)),
    "snow": Corruption(weather.snow, ((0.1, 0.5), (0.15, 0.75), (0.2, 1.0), (0.25, 1.3), (0.3, 1.6))),
    "frost": Corruption(weather.frost, ((0.9, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.8), (0.6, 0.9))),
    "fog": Corruption(weather.fog, (0.3, 0.6, 1.0, 1.5, 2.5)),
    "brightness": Corruption(weather.brightness, (0.1, 0.2, 0.3, 0.4, 0.5)),
    "contrast": Corruption(digital.contrast, (0.4, 0.3, 0.2, 0.1, 0.05)),
    "elastic_transform": Corruption(
        digital.elastic_transform, ((0.01, 0.06), (0.018, 0.06), (0.026, 0.06), (0.034, 0.06), (0.045, 0.06))
    ),
    "pixelate": Corruption(digital.pixelate, (0.6, 0.5, 0.4, 0.3, 0.25)),
    "jpeg_compression": Corruption(digital.jpeg_compression, (25, 18, 15, 10, 7)),
    "speckle_noise": Corruption(noise.speckle_noise, (0.15, 0.2, 0.35, 0.45, 0.6)),
    "gaussian_blur": Corruption(blur.gaussian_blur, (0.01, 0.015, 0.022, 0.03, 0.04)),
    "saturate": Corruption(digital.saturate, (0.3, 0.1, 2, 5, 20)),
}
STANDARD = tuple(CORRUPTIONS)[:15]
"""The kinds that "all" denotes: those of ImageNet-C."""


def corrupt(x: Tensor, kind: str, severity: int, generator: Generator | None = None) -> Tensor:
    """Return corrupted images, clipped to [0, 1].

    Args:
        x: Images (N, C, H, W) in [0, 1], C = 1 or 3.
        kind: Key of `CORRUPTIONS`.
        severity: 1 to 5. The same generator state gives the same pattern at every severity.
        generator: Source of randomness, on the device of x; seed 0 by default.

    Raises:
        GameError: Unknown kind, another severity, images of another shape or outside of [0, 1], or a saturation of
            gray images.

    Example:
        >>> corrupt(torch.full((1, 1, 1, 2), 0.25), "brightness", severity=2)
        tensor([[[[0.4500, 0.4500]]]])
    """
    if kind not in CORRUPTIONS:
        raise unknown("corruption", kind, CORRUPTIONS)
    if severity not in SEVERITIES:
        raise GameError(f"severity is {severity}: it must be 1, 2, 3, 4 or 5")
    if x.dim() != 4 or x.shape[1] not in (1, 3) or not x.is_floating_point():
        raise GameError(f"images are {tuple(x.shape)} of {x.dtype}: floats (N, C, H, W) with C = 1 or 3 are needed")
    if kind == "saturate" and x.shape[1] == 1:
        raise GameError("saturate changes colors, the images are gray: leave it out, e.g. --corruptions all")
    if len(x) == 0:
        return x.clone()
    if not bool(((x >= 0) & (x <= 1)).all()):
        raise GameError("images must be in [0, 1]: scale them, (x - low) / (high - low)")
    generator = generator if generator is not None else Generator(x.device).manual_seed(0)
    found = CORRUPTIONS[kind]
    with torch.no_grad():
        wide = x if x.dtype in (torch.float32, torch.float64) else x.float()
        return found.function(wide, found.levels[severity - 1], generator).clamp(0, 1).to(x.dtype)


def kinds_of(words: str | Sequence[str]) -> tuple[str, ...]:
    """Return the kinds that words denote, "all" being the 15 of ImageNet-C.

    Raises:
        GameError: Unknown kind.
    """
    words = (words,) if isinstance(words, str) else words
    found = [kind for word in words for kind in (STANDARD if word == "all" else (word,))]
    for kind in found:
        if kind not in CORRUPTIONS:
            raise unknown("corruption", kind, ("all", *CORRUPTIONS))
    return tuple(dict.fromkeys(found))


def as_images(x: Tensor) -> Tensor | None:
    """Return inputs (N, ...) as images (N, C, H, W) with C = 1 or 3; None if they are not images.

    Gray images may be (N, H, W), or flat if they are squares of at least 4 pixels a side.
    """
    if x.dim() == 4:
        return x if x.shape[1] in (1, 3) else None
    if x.dim() == 3:
        return x.unsqueeze(1)
    side = round(x[:1].numel() ** 0.5) if x.dim() == 2 else 0
    return x.view(-1, 1, side, side) if side >= 4 and side * side == x.shape[1] else None
