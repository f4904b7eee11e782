"""Corruptions by processing: contrast, elastic distortion, coarse pixels, JPEG, saturation.

All take images (N, C, H, W) in [0, 1], a level and a generator.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor
from torch.nn.functional import pad

from robustgames.data.corruptions.blur import displaced, side, smooth

BLOCK = 8  # pixels of a block of JPEG
# tables K.1 and K.2 of ITU-T T.81, the standard of JPEG
LUMINANCE = (
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29),
    *(
        51,
        87,
        80,
        62,
        18,
        22,
        37,
        56,
        68,
        109,
        103,
        77,
        24,
        35,
        55,
        64,
        81,
        104,
        113,
        92,
        49,
        64,
        78,
        87,
        103,
        121,
        120,
    ),
    *(101, 72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMINANCE = (
    *(17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99, 47, 66),
    *(99,) * 38,
)
# of JFIF: Y, Cb and Cr of red, green and blue
YCBCR = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


def contrast(x: Tensor, level: float, generator: Generator) -> Tensor:
    """Return m + c (x - m), m the mean of each channel of an image."""
    mean = x.mean((-2, -1), keepdim=True)
    return mean + level * (x - mean)


def elastic_transform(x: Tensor, level: tuple[float, float], generator: Generator) -> Tensor:
    """Return x with its pixels displaced by a smooth random field.

    The level is (mean length of a displacement, smoothness of the field), both in shares of the shorter side.
    """
    shape = (len(x), 2, *x.shape[-2:])
    field = smooth(2 * torch.rand(shape, generator=generator, device=x.device, dtype=x.dtype) - 1, level[1] * side(x))
    length = torch.linalg.vector_norm(field, dim=1, keepdim=True).mean((-2, -1), keepdim=True)
    return displaced(x, level[0] * side(x) * field / length.clamp_min(1e-12))


def pixelate(x: Tensor, level: float, generator: Generator) -> Tensor:
    """Return x in fewer, larger pixels: means over areas, at a share of the resolution."""
    rows, columns = (_pixelation(n, max(round(level * n), 1)).to(x) for n in x.shape[-2:])
    return rows @ x @ columns.T


def _pixelation(count: int, few: int) -> Tensor:
    """Return the matrix (count, count) that takes means over `few` equal parts of a line, and back over its pixels."""
    fine, coarse = (torch.arange(n + 1, dtype=torch.float64) / n for n in (count, few))
    ends = torch.minimum(fine[1:].unsqueeze(1), coarse[1:].unsqueeze(0))
    common = (ends - torch.maximum(fine[:-1].unsqueeze(1), coarse[:-1].unsqueeze(0))).clamp_min(0)  # (count, few)
    return (count * common) @ (few * common).T


def jpeg_compression(x: Tensor, level: float, generator: Generator) -> Tensor:
    """Return x after the lossy steps of JPEG at a quality in [1, 100].

    Each block of 8 x 8 pixels of brightness Y and colors Cb, Cr, in 0..255, is transformed by the cosine transform,
    divided by the table of the quality, rounded, and transformed back. Colors keep their resolution (4:4:4). Source:
    ITU-T T.81 with the scale of quality of the Independent JPEG Group.
    """
    pixels = (255 * x).round()
    if x.shape[1] == 3:
        turn = torch.tensor(YCBCR, device=x.device, dtype=x.dtype)
        planes = torch.einsum("ij,njhw->nihw", turn, pixels).round()
        planes = torch.cat([planes[:, :1] - 128, planes[:, 1:]], 1)
        coded = torch.cat([_coded(planes[:, :1], LUMINANCE, level), _coded(planes[:, 1:], CHROMINANCE, level)], 1)
        coded = torch.cat([coded[:, :1] + 128, coded[:, 1:]], 1)
        back = torch.einsum("ij,njhw->nihw", torch.linalg.inv(turn.double()).to(turn), coded)
    else:
        back = _coded(pixels - 128, LUMINANCE, level) + 128
    return back.round().clamp(0, 255) / 255


def _coded(planes: Tensor, table: tuple[int, ...], quality: float) -> Tensor:
    """Return planes (N, C, H, W) around 0 after the quantization of their blocks."""
    height, width = planes.shape[-2:]
    padded = pad(planes, (0, -width % BLOCK, 0, -height % BLOCK), mode="replicate")
    rows, columns = (length // BLOCK for length in padded.shape[-2:])
    blocks = padded.view(*padded.shape[:2], rows, BLOCK, columns, BLOCK).transpose(-3, -2)
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    steps = ((torch.tensor(table, device=planes.device) * scale + 50) / 100).floor().clamp(1, 255).view(BLOCK, BLOCK)
    basis, steps = _cosines().to(planes.device), steps.double()
    levels = (8 * (basis @ blocks.double() @ basis.T)).round() / 8 / steps  # the usual coder works in eighths
    levels = (levels.abs() + 0.5 + 1e-9).floor() * levels.sign()  # halves, which are frequent, are rounded up
    blocks = basis.T @ (levels * steps) @ basis
    return blocks.transpose(-3, -2).reshape(padded.shape)[..., :height, :width].round().to(planes)


def _cosines() -> Tensor:
    """Return the orthonormal cosine transform (8, 8)."""
    k = torch.arange(BLOCK, dtype=torch.float64)
    basis = torch.cos(math.pi * (2 * k.unsqueeze(0) + 1) * k.unsqueeze(1) / (2 * BLOCK)) * (2 / BLOCK) ** 0.5
    basis[0] /= 2**0.5
    return basis


def saturate(x: Tensor, level: float, generator: Generator) -> Tensor:
    """Return V - c (V - x), V the maximum of the channels: saturation times c, at most 1; hue and value as before."""
    value, least = x.amax(1, keepdim=True), x.amin(1, keepdim=True)
    most = value / (value - least).clamp_min(1e-12)  # at which the smallest channel is 0
    return value - torch.minimum(most, torch.full_like(most, level)) * (value - x)
