"""Decoding of images by threads, which skips the ones that cannot be read."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from robustgames.data.files import Encoded
from robustgames.errors import GameError

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # for others, as EPS, Pillow runs programs
MOST_PIXELS = 10**8  # of an image, decoded: a file of a few bytes may declare any number
MODES = {1: "L", 3: "RGB"}  # channels -> Pillow's name
LONGEST_SIDE = 4096  # pixels of an image that is not resized
ORIENTATION = 0x0112  # EXIF's tag
CHUNK = 1024  # images given to the threads at a time: Ctrl+C waits for at most that many
FURTHEST = 1000  # most images that are tried in place of an unreadable one


class Decoder:
    """Pixels of encoded images, by threads; `unreadable` holds the images that cannot be read, with the reasons.

    Args:
        encoded: Encoded images.
        side: Pixels of a side.
        channels: 1 or 3.
        workers: Number of threads.
    """

    def __init__(self, encoded: Encoded, side: int, channels: int, workers: int) -> None:
        self.encoded, self.side, self.channels, self.workers = encoded, side, channels, workers
        self.unreadable: dict[int, str] = {}
        self._warned = False

    def all(self, numbers: np.ndarray) -> np.ndarray:
        """Return the readable ones of the images as uint8 (n, channels, side, side), in their order."""
        out, filled = np.empty((len(numbers), self.channels, self.side, self.side), np.uint8), 0
        with (
            ThreadPoolExecutor(self.workers) as pool,
            tqdm(total=len(numbers), desc="decoding", unit="image", delay=3) as bar,
        ):
            for start in range(0, len(numbers), CHUNK):
                for pixels in pool.map(self._pixels, numbers[start : start + CHUNK]):
                    bar.update()
                    if pixels is not None:
                        out[filled], filled = pixels, filled + 1
        return out[:filled]

    def replaced(self, order: np.ndarray, index: np.ndarray) -> np.ndarray:
        """Return the images order[index] as uint8 (n, channels, side, side), unreadable ones replaced by successors.

        Raises:
            GameError: No successor can be read.
        """

        def first_readable(i: int) -> np.ndarray:
            successors = (int(order[(i + k) % len(order)]) for k in range(min(len(order), FURTHEST)))
            pixels = next((p for p in map(self._pixels, successors) if p is not None), None)
            if pixels is None:
                raise self.nothing_readable()
            return pixels

        if self.workers == 1:
            images = [first_readable(i) for i in index]
        else:
            with ThreadPoolExecutor(self.workers) as pool:
                images = list(pool.map(first_readable, index))
        if self.unreadable:
            self.warn("so far and are replaced by their successors")
        return np.stack(images)

    def warn(self, what: str) -> None:
        """Warn once that images cannot be read, with their number so far and the first of them."""
        if not self._warned and self.unreadable:
            self._warned = True
            count = f"{len(self.unreadable)} of {len(self.encoded.names)} images of {self.encoded.place}"
            warnings.warn(f"{count} cannot be read {what}; the first: {self._first()}", stacklevel=2)

    def nothing_readable(self) -> GameError:
        """Return the error for a set without a readable image."""
        return GameError(f"no image of {self.encoded.place} can be read; the first: {self._first()}; copy them again")

    def identity(self, numbers: np.ndarray) -> bytes:
        """Return 32 bytes that identify these pixels: a digest of names and sizes of the images and of `numbers`."""
        settings = f"{self.side} {self.channels}".encode()
        return hashlib.sha256(self.encoded.digest + settings + numbers.astype("<i8").tobytes()).digest()

    def _pixels(self, number: int) -> np.ndarray | None:
        if number in self.unreadable:
            return None
        try:
            return decode(self.encoded.read(number), self.side, self.channels)
        except Exception as error:  # Pillow's decoders raise anything on damaged bytes
            unknown_format = type(error).__name__ == "UnidentifiedImageError"
            self.unreadable[number] = "not an image" if unknown_format else " ".join(str(error).split())
            return None

    def _first(self) -> str:
        number = min(self.unreadable)
        return f"{os.fsdecode(self.encoded.names[number])!r} ({self.unreadable[number]})"


def check_settings(side: int, channels: int, held_out: float, memory: int, workers: int | None) -> None:
    """Refuse settings of `images.image_folder` that are out of range."""
    if channels not in MODES:
        raise GameError(f"channels is {channels}: 3 (red, green, blue) or 1 (gray)")
    if side < 1:
        raise GameError(f"side is {side}: images have at least 1 pixel a side, e.g. side=64")
    if not (0 <= held_out < 1 or (held_out >= 1 and float(held_out).is_integer())):
        raise GameError(f"held_out is {held_out}: a share in [0, 1) or a whole number of images, e.g. held_out=0.1")
    if memory < 0 or (workers is not None and workers < 1):
        raise GameError(f"memory is {memory} and workers is {workers}: use memory >= 0 bytes and workers >= 1")


def decode(encoded: bytes, side: int, channels: int) -> np.ndarray:
    """Return an encoded image as uint8 pixels (channels, side, side): its central square, resized with antialiasing.

    Exceptions are those of Pillow's decoders, which may be of any kind.
    """
    from PIL import Image, ImageOps

    with _opened(encoded) as image:
        image.draft(MODES[channels], (2 * side, 2 * side))  # a JPEG is decoded at the least scale that leaves this
        square = ImageOps.fit(_upright(image, channels), (side, side), Image.Resampling.BICUBIC)
    return _array(square, channels)


def pixels(encoded: bytes, channels: int, size: tuple[int, int]) -> np.ndarray:
    """Return an encoded image as uint8 pixels (channels, H, W), resized with antialiasing if its size is another."""
    from PIL import Image

    with _opened(encoded) as image:
        whole, (height, width) = _upright(image, channels), size
        if whole.size != (width, height):
            whole = whole.resize((width, height), Image.Resampling.BICUBIC)
    return _array(whole, channels)


def header(encoded: bytes) -> tuple[tuple[int, int], bool]:
    """Return the size (H, W) of an encoded image as it is looked at, and whether it is gray; pixels are not decoded."""
    with _opened(encoded) as image:
        turned = image.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8)
        size = (image.width, image.height) if turned else (image.height, image.width)
        return size, image.mode in ("1", "L", "I") or image.mode.startswith("I;16")


def _opened(encoded: bytes) -> Image.Image:
    from PIL import Image

    return Image.open(io.BytesIO(encoded), formats=FORMATS)


def _upright(image: Image.Image, channels: int) -> Image.Image:
    """Return an image as its camera was held, gray or in red, green and blue."""
    from PIL import Image, ImageOps

    if image.width * image.height > MOST_PIXELS:
        raise GameError(f"{image.width:,} x {image.height:,} pixels: at most {MOST_PIXELS:,} are decoded")
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16") or (upright.mode == "I" and image.format in ("PNG", "PPM")):
        # Pillow would clip 16 bits at 255; those of a PGM file it keeps in 32, and before 10.3 those of a PNG
        upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
    elif upright.mode in ("I", "F"):  # clipped at 255 they would be black, or white
        raise GameError(f"pixels of 32 bits, whose range is not known ({upright.mode}): store 8 or 16 bits")
    return upright.convert(MODES[channels])


def _array(image: Image.Image, channels: int) -> np.ndarray:
    """Return the pixels (channels, H, W)."""
    return np.ascontiguousarray(np.asarray(image).reshape(image.height, image.width, channels).transpose(2, 0, 1))
