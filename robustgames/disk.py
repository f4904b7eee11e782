"""Files that may come from somebody else: read without hanging, written without following links."""

from __future__ import annotations

import os
import re
import secrets
import shlex
import stat
from pathlib import Path

from robustgames.errors import GameError

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check_plain(path: str | Path, largest: int | None = None) -> os.stat_result:
    """Return the status of a plain file; a link to one is followed.

    Opening a pipe would wait for its writer, and reading from a device would not end.

    Args:
        path: Path of the file.
        largest: Number of bytes that the file may have; if None, any.

    Raises:
        OSError: The file does not exist, or cannot be reached.
        GameError: It is a folder, a pipe, a socket or a device, or it is larger.
    """
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        kind = KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise GameError(f"{path} is {kind}: it must be a plain file")
    if largest is not None and status.st_size > largest:
        raise GameError(f"{path} has {status.st_size:,} bytes: at most {largest:,} are read")
    return status


def read_plain(path: str | Path, largest: int) -> bytes:
    """Return the content of a plain file of at most `largest` bytes, see `check_plain`."""
    check_plain(path, largest)
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        return file.read(largest)


def write_new(path: str | Path, *pieces: bytes | memoryview) -> Path:
    """Write a new file next to `path`, flushed to the disk, and return its path, which is random.

    Two processes that write one path so do not share it, and nobody can have put a link there before.

    Raises:
        OSError: The folder cannot be written, or the disk is full; nothing is left behind then.
    """
    new = Path(path).with_name(f"{Path(path).name}.{os.getpid()}-{secrets.token_hex(8)}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        with open(descriptor, "wb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    return new


def remove_unfinished(folder: Path) -> None:
    """Remove the files of `write_new` in a folder and in those below it that a process left when it was killed."""
    for path in folder.rglob("*.new"):
        if (found := re.fullmatch(r".*\.(\d{1,10})-[0-9a-f]{16}\.new", path.name)) and not _is_alive(int(found[1])):
            path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # of another user
        return True
    return True


def write_whole(path: str | Path, data: bytes) -> None:
    """Write a file whole or not at all, see `write_new`; a link in its place is replaced, not followed."""
    new = write_new(path, data)
    try:
        os.replace(new, path)
    except OSError:
        new.unlink(missing_ok=True)
        raise


def typed(path: str | Path) -> str:
    """Return a path as a word of a shell: in quotes if it has spaces or other signs that a shell would act upon.

    Example:
        >>> typed("runs/lr=0.1"), typed("my runs")
        ('runs/lr=0.1', "'my runs'")
    """
    return shlex.quote(str(path))


def printable(text: str) -> str:
    """Return a text in one line: a character that a terminal would act upon becomes its escape sequence in Python.

    Example:
        >>> printable("a" + chr(27) + "[2J") == "a" + chr(92) + "x1b[2J"
        True
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
