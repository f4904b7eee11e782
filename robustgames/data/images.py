"""Images for generators: scikit-learn's digits, MNIST, a folder of image files, LSUN.

A source is sampled with `sample(shape, generator, dtype)`: flat images (*shape, p) in [-1, 1], p = channels * side *
side. A set that fits into memory is decoded once and kept on the device as bytes; others are decoded as they are drawn.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from robustgames.data.decoding import Decoder, check_settings
from robustgames.data.files import database_or_folder
from robustgames.data.labeled import Split, digits, mnist
from robustgames.errors import GameError
from robustgames.tensors import Movable


class ImageSource(Movable, ABC):
    """Images to draw from, `count` of them, each with `channels` x `side` x `side` = `size` values in [-1, 1].

    `held_out` are images that are never drawn, (M, size) in [-1, 1]; M may be 0. `skipped` counts unreadable images.
    """

    count: int
    channels: int
    side: int
    size: int
    kept: Tensor
    """The images that are held out, (M, size), as they are stored."""

    def sample(
        self, shape: tuple[int, ...], generator: Generator, dtype: torch.dtype, rows: slice = slice(None)
    ) -> Tensor:
        """Draw images with replacement, (*shape, size), on the generator's device, chosen by it alone.

        Args:
            shape: Number of images of every run, as the last dimension.
            generator: Source of the numbers of the images.
            dtype: Data type of the images.
            rows: Images that are read and returned, of those that are drawn.
        """
        index = torch.randint(self.count, shape, generator=generator, device=generator.device)
        return self.batch(index[..., rows], dtype)

    @abstractmethod
    def batch(self, index: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return the images of the given numbers 0 .. count - 1: (*shape) -> (*shape, size)."""

    @property
    def held_out(self) -> Tensor:
        """The images kept apart, (M, size) in [-1, 1]."""
        return _real(self.kept)

    @property
    @abstractmethod
    def skipped(self) -> int:
        """Number of unreadable images that have been skipped so far."""


class ImageArray(ImageSource):
    """Images on the device; bytes stay bytes there, and become real numbers when they are drawn.

    Args:
        images: Images (N, C, H, H) or flat (N, C H H), uint8 in 0..255 or floating-point in [0, 1].
        labels: Class numbers (N,), for evaluation; sampling ignores them.
        held_out: Held-out images of the same kind; if None, nothing is held out.
        held_out_labels: Class numbers of the held-out images.
        channels: Channels C of flat images.
        skipped: Number of images that could not be read.

    Raises:
        GameError: Shapes that do not fit, values outside [0, 1], no image.

    Example:
        >>> source = ImageArray(torch.tensor([[0, 255, 255, 0]], dtype=torch.uint8))
        >>> source.sample((1, 2), torch.Generator().manual_seed(0), torch.float64)
        tensor([[[-1.,  1.,  1., -1.],
                 [-1.,  1.,  1., -1.]]], dtype=torch.float64)
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor | None = None,
        held_out: Tensor | None = None,
        held_out_labels: Tensor | None = None,
        channels: int = 1,
        skipped: int = 0,
    ) -> None:
        self.channels, self.side = _square(images, channels)
        self.pixels = _stored("images", images, images)
        self.kept = _stored("held-out images", images[:0] if held_out is None else held_out, images)
        self.count, self.size = self.pixels.shape
        for given, pixels in ((labels, self.pixels), (held_out_labels, self.kept)):
            if given is not None and given.shape != pixels.shape[:1]:
                raise GameError(f"{len(pixels)} images have labels of shape {tuple(given.shape)}: one each is needed")
        self.labels, self.held_out_labels = labels, held_out_labels
        self._skipped = skipped

    def batch(self, index: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        chosen = self.pixels.index_select(0, index.flatten())  # several times faster than pixels[index] on a CPU
        return _real(chosen, dtype).view(*index.shape, self.size)

    @property
    def skipped(self) -> int:
        return self._skipped


class StreamedImages(ImageSource):
    """Images that are read and decoded as they are drawn, by threads; the draw does not depend on their number.

    An image that cannot be read is replaced by the next readable one, and counted in `skipped`; a warning names the
    first.

    Args:
        decoder: Decoder of all the images.
        numbers: Numbers (N,) of the images to draw from, in their order.
        held_out: Held-out images, uint8 (M, C, H, H).
    """

    labels = held_out_labels = None

    def __init__(self, decoder: Decoder, numbers: np.ndarray, held_out: np.ndarray) -> None:
        self.count, self.channels, self.side = len(numbers), decoder.channels, decoder.side
        self.size = self.channels * self.side**2
        self.kept = torch.from_numpy(held_out).flatten(1)
        # a tensor: so the fingerprint of a game, and with it a checkpoint, depends on the images
        self.identity = torch.tensor(list(decoder.identity(numbers)), dtype=torch.uint8)
        self._decoder, self._numbers = decoder, numbers

    def batch(self, index: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        pixels = torch.from_numpy(self._decoder.replaced(self._numbers, index.flatten().cpu().numpy()))
        return _real(pixels.to(index.device), dtype).view(*index.shape, self.size)

    @property
    def skipped(self) -> int:
        return len(self._decoder.unreadable)


def digits_images() -> ImageArray:
    """Return the 8x8 digits of `data.digits`: 1,437 to draw from, 360 held out, with labels."""
    return _with_labels(digits())


def mnist_images(data: str | Path | None = None) -> ImageArray:
    """Return MNIST in its own 28 x 28 pixels, as bytes, with labels; MNIST's test images are held out.

    Args:
        data: Folder of the four IDX files, "openml" or "shipped" (see `data.mnist`).
    """
    split = mnist(data)
    train, test = ((255 * x).round().to(torch.uint8) for x in (split.train_images, split.test_images))  # as they were
    return _with_labels(split._replace(train_images=train, test_images=test))


def image_folder(
    path: str | Path,
    side: int = 64,
    channels: int = 3,
    held_out: float = 0.0,
    memory: int = 2**30,
    workers: int | None = None,
) -> ImageSource:
    """Return all images below a folder, or in its LMDB, each cut to its central square and resized with antialiasing.

    The order is that of the relative paths, or keys. Unreadable images are skipped and counted; one warning names the
    first.

    Args:
        path: Folder, searched with its subfolders, without files and folders whose name starts with a dot; or a folder
            with a data.mdb as LSUN is distributed, which needs `pip install "robustgames[lsun]"`.
        side: Pixels of a side.
        channels: 3 for red, green and blue, 1 for gray.
        held_out: Images that are held out, the same in every call: a share below 1, or a number of images from 1 on.
        memory: Bytes that the decoded images may take (one per value). Up to it they are decoded once and kept on the
            device (`ImageArray`); above it they are decoded as they are drawn (`StreamedImages`).
        workers: Threads that decode; one per core, at most 16, if None.

    Raises:
        GameError: No folder, no image in it, or no readable one; a damaged LMDB, or several of which one must be
            chosen; settings out of range.
    """
    check_settings(side, channels, held_out, memory, workers)
    encoded = database_or_folder(path)
    decoder = Decoder(encoded, side, channels, workers or min(16, os.cpu_count() or 1))
    count, most = len(encoded.names), memory // (channels * side**2)
    apart = _number_apart(held_out, count, most)
    # RandomState, not Generator: NumPy promises that its stream never changes
    order = np.random.RandomState(0).permutation(count) if apart else np.arange(count)
    test, numbers = decoder.all(np.sort(order[:apart])), np.sort(order[apart:])
    if count > most:
        return StreamedImages(decoder, numbers, test)
    train = decoder.all(numbers)
    if len(train) == 0:
        raise decoder.nothing_readable()
    decoder.warn("and are skipped")
    return ImageArray(torch.from_numpy(train), held_out=torch.from_numpy(test), skipped=len(decoder.unreadable))


def lsun(path: str | Path, side: int = 64, **settings: Any) -> ImageSource:
    """Return one category of LSUN, e.g. the folder bedroom_train_lmdb: see `image_folder`, which detects its content.

    Source: Yu et al. 2015, "LSUN" (see `files.Database`).
    """
    return image_folder(path, side, **settings)


def _with_labels(split: Split) -> ImageArray:
    return ImageArray(split.train_images, split.train_labels, split.test_images, split.test_labels)


def _number_apart(held_out: float, count: int, most: int) -> int:
    """Return the number of the `count` images that are held out."""
    apart = int(held_out) if held_out >= 1 else round(held_out * count)
    if apart >= count:
        raise GameError(f"held_out is {held_out:g}: of {count} images some must remain to learn from")
    if apart > most:
        raise GameError(f"held_out is {held_out:g}: {apart} images, and memory holds {most}; use held_out={most}")
    return apart


def _square(images: Tensor, channels: int) -> tuple[int, int]:
    """Return (channels, side) of images (N, C, H, H) or (N, C H H)."""
    if images.dim() == 4 and len(images) and images.shape[2] == images.shape[3]:
        return images.shape[1], images.shape[2]
    side = isqrt(images.shape[1] // channels) if images.dim() == 2 and channels >= 1 else 0
    if side == 0 or channels * side**2 != images.shape[1] or len(images) == 0:
        needed = f"(N, C, H, H), or (N, {channels} H H) for channels={channels}, with N >= 1"
        raise GameError(f"images have shape {tuple(images.shape)}: {needed}, is needed")
    return channels, side


def _stored(what: str, images: Tensor, like: Tensor) -> Tensor:
    """Return flat images as they are stored: bytes, or real numbers in [-1, 1]."""
    if images.shape[1:] != like.shape[1:] or images.dtype != like.dtype:
        kind = f"{like.dtype} of shape (M, {', '.join(map(str, like.shape[1:]))})"
        raise GameError(
            f"{what} are {images.dtype} of shape {tuple(images.shape)}: {kind} is needed, as the images are"
        )
    flat = images.flatten(1)
    if images.dtype == torch.uint8:
        return flat
    if not images.is_floating_point():
        raise GameError(f"{what} are {images.dtype}: uint8 in 0..255 or floating-point in [0, 1] is needed")
    if len(flat) and not bool(((flat >= 0) & (flat <= 1)).all()):  # also refuses NaN
        raise GameError(f"{what} lie in [{flat.min():g}, {flat.max():g}]: [0, 1] is needed; bytes are given as uint8")
    return 2 * flat - 1


def _real(pixels: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return stored images as real numbers in [-1, 1]."""
    return pixels.to(dtype) / 127.5 - 1 if pixels.dtype == torch.uint8 else pixels.to(dtype)
