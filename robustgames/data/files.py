"""Encoded images on disk: a folder of files, or LSUN's LMDB."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakValueDictionary

from robustgames.disk import check_plain, read_plain
from robustgames.errors import GameError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
LARGEST = 2**28  # bytes of an encoded image
LMDB_FILE = "data.mdb"
META, MAGIC = (
    struct.Struct("<16x2I2QI92x2Q"),
    0xBEEFC0DE,
)  # LMDB's first two pages: magic, .., page size, last page, number
INSTALL = 'pip install "robustgames[lsun]"'


class Encoded(Protocol):
    """Images as they are stored, in a fixed order.

    `place` is the path in error messages, `names` identify the images, `digest` identifies names and sizes.
    """

    place: str
    digest: bytes

    @property
    def names(self) -> Sequence[str | bytes]:
        """The name of each image."""
        ...

    def read(self, index: int) -> bytes:
        """Return the encoded bytes of one image."""
        ...


class Folder:
    """All image files below a folder, in the order of their relative paths; hidden files and folders are left out.

    Args:
        path: Path of the folder; "~" is the home folder.

    Raises:
        GameError: No folder, or no image in it.
    """

    def __init__(self, path: str | Path) -> None:
        self.place = checked_folder(path)
        found = sorted(_walk(self.place))
        self.names = [name for name, _ in found]
        if not found:
            raise GameError(f"{self.place} holds no image: files ending in {', '.join(SUFFIXES)} are looked for")
        self.digest = hashlib.sha256(b"".join(b"%b\0%d\0" % (os.fsencode(name), size) for name, size in found)).digest()

    def read(self, index: int) -> bytes:
        """Return the bytes of one file."""
        return read_plain(Path(self.place) / self.names[index], LARGEST)


class Database:
    """All images of an LMDB as LSUN is distributed: values are the bytes of JPEG or WebP files, in the order of keys.

    Source: Yu et al. 2015, "LSUN: construction of a large-scale image dataset using deep learning with humans in the
    loop", and its data.mdb files.

    Args:
        path: Folder that holds data.mdb.

    Raises:
        GameError: lmdb is not installed; the file is not an LMDB, or it is empty.
    """

    def __init__(self, path: str | Path) -> None:
        self.place = str(path)
        self._environment = _open(os.path.realpath(self.place))
        digest, self.names = hashlib.sha256(), []
        with self._environment.begin(buffers=True) as transaction:  # buffers: no value is copied to get its size
            for key, value in transaction.cursor():
                self.names.append(bytes(key))
                digest.update(b"%b\0%d\0" % (self.names[-1], len(value)))
        if not self.names:
            raise GameError(f"{self.place} is an LMDB without entries: was its download cut off? Extract it again")
        self.digest = digest.digest()

    def read(self, index: int) -> bytes:
        """Return the bytes of one value."""
        with self._environment.begin() as transaction:
            return transaction.get(self.names[index]) or b""


def database_or_folder(path: str | Path) -> Encoded:
    """Return the content of a folder of LSUN: its LMDB, or the images that were extracted from it.

    Raises:
        GameError: Neither; or several LMDBs, of which one must be chosen.
    """
    given = Path(path).expanduser()
    folder = checked_folder(given.parent if given.name == LMDB_FILE else given)
    if os.path.isfile(os.path.join(folder, LMDB_FILE)):
        return Database(folder)
    inside = sorted(entry.parent.name for entry in Path(folder).glob(f"*/{LMDB_FILE}"))
    if inside:
        raise GameError(
            f"{folder} holds the LMDBs {', '.join(inside)}: give one, e.g. {os.path.join(folder, inside[0])}"
        )
    return Folder(folder)


def checked_folder(path: str | Path) -> str:
    """Return the absolute path of a folder.

    Raises:
        GameError: It does not exist, or is a file.
    """
    folder = os.path.abspath(os.path.expanduser(path))
    if not os.path.isdir(folder):
        problem = "is a file" if os.path.exists(folder) else "does not exist"
        raise GameError(f"{folder} {problem}: give the path of a folder of images")
    return folder


def _walk(root: str) -> Iterator[tuple[str, int]]:
    """Yield (path relative to root, bytes) of the image files; links to folders are followed, each folder once."""
    seen: set[str] = set()
    for parent, folders, names in os.walk(root, followlinks=True, onerror=_refuse):
        true = os.path.realpath(parent)
        folders[:] = [] if true in seen else sorted(f for f in folders if not f.startswith("."))
        for name in [] if true in seen else names:
            path = os.path.join(parent, name)
            if name.lower().endswith(SUFFIXES) and not name.startswith(".") and os.path.isfile(path):
                yield os.path.relpath(path, root), os.path.getsize(path)
        seen.add(true)


def _refuse(error: OSError) -> None:
    reason = (error.strerror or str(error)).lower()
    raise GameError(f"cannot list {error.filename} ({reason}): give it read permission, or another folder") from error


_opened: WeakValueDictionary[str, Any] = WeakValueDictionary()  # LMDB allows one opening of a file per process


def _open(folder: str) -> Any:
    try:
        import lmdb
    except ImportError as error:
        raise GameError(f"{folder} is an LMDB, and lmdb is not installed: {INSTALL}") from error
    environment = _opened.get(folder)
    if environment is None:
        _check_length(folder)
        try:
            environment = lmdb.open(folder, readonly=True, lock=False, readahead=False)
        except lmdb.Error as error:
            reason = " ".join(str(error).removeprefix(f"{folder}: ").split())
            raise GameError(f"cannot open the LMDB in {folder} ({reason}): extract or download it again") from error
        _opened[folder] = environment
    return environment


def _check_length(folder: str) -> None:
    """Check that a data.mdb has all the pages that it declares: LMDB would read beyond its end, which ends the process.

    Raises:
        GameError: It is shorter, or not a plain file.
    """
    path = os.path.join(folder, LMDB_FILE)
    length = check_plain(path).st_size
    with open(path, "rb") as file:
        first = file.read(META.size)
        if len(first) < META.size or META.unpack(first)[0] != MAGIC:
            return  # LMDB itself refuses it
        page = META.unpack(first)[4]
        file.seek(page)
        second = file.read(META.size)
    metas = [META.unpack(meta) for meta in (first, second) if len(meta) == META.size]
    last, _ = max((meta[5:] for meta in metas), key=lambda meta: meta[1])  # the one of the newest transaction counts
    if length < (last + 1) * page:
        raise GameError(f"{path} has {length:,} bytes and declares {(last + 1) * page:,}: extract or download it again")
