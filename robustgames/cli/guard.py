"""Where an error comes from: the file and line of a user's code."""

from __future__ import annotations

import inspect
import linecache
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from traceback import walk_tb
from types import FrameType
from typing import Any

from robustgames.errors import shorten

PACKAGE = Path(__file__).resolve().parents[1]
_PATHS = sysconfig.get_paths()
LIBRARIES = tuple({Path(_PATHS[name]).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")})
ATTRIBUTES = ("game", "env", "first", "inner", "exact", "oracle", "ongoing", "network", "module", "model")
DEPTH = 6  # wrappers inside one another
LAYERS = ("games", "envs", "agents", "evaluation")  # a `GameError` raised there may be about what they hold


def explain(error: BaseException) -> str | None:
    """Return one line about an error that a user's code raised or caused; None for an error of the package itself.

    The user's code raised it if a frame of it is in the traceback of the error or of the errors that led to it. It
    caused it if a game, env or network of the user's is a variable of a frame that failed, e.g. because `step`
    returned four values.
    """
    said = " ".join(str(error).split())
    said = f"{type(error).__name__}: {shorten(said, 160)}" if said else type(error).__name__
    if isinstance(error, SystemExit):
        said = f"sys.exit({error.code!r})"
    notes = "".join(f"; {note}" for note in getattr(error, "__notes__", ()))
    if place := _raised(error):
        file, _, line = place.rpartition(":")
        code = shorten(linecache.getline(file, int(line)).strip())
        return f"{place} raised {said}{f' in `{code}`' if code else ''}{notes}"
    if isinstance(error, SystemExit | MemoryError):
        return None
    frames = [frame for one in _chain(error) for frame, _ in reversed(_frames(one))]
    place = next((place for frame in frames if (place := _place_of_object(frame))), "")
    return f"{place} cannot be used: {said}{notes}" if place else None


def located(error: Exception) -> str:
    """Return the message of an error for users, with the place in a user's code if it was raised or caused there."""
    place = _raised(error)
    for one in [] if place else list(_chain(error))[::-1]:
        inside = [frame for frame, _ in _frames(one) if _is_package(frame.f_code.co_filename)]
        layer = Path(inside[-1].f_code.co_filename).relative_to(PACKAGE).parts[0] if inside else ""
        place = place or (_place_of_object(inside[-1]) if layer in LAYERS else "")
    if not place or place in str(error):
        return str(error)
    reason, mark, hint = str(error).partition("; to continue: ")
    return f"{reason} (see {place}){mark}{hint}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and the errors that led to it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _frames(error: BaseException) -> list[tuple[FrameType, int]]:
    return list(walk_tb(error.__traceback__))


def _raised(error: BaseException) -> str:
    """Return "file:line" of the last frame of a user's code in the tracebacks that led to an error, or ""."""
    for one in _chain(error):
        if isinstance(one, SyntaxError) and one.filename and _is_users(one.filename):
            return f"{_short(one.filename)}:{one.lineno}"
        for frame, line in reversed(_frames(one)):
            if _is_users(frame.f_code.co_filename):
                return f"{_short(frame.f_code.co_filename)}:{line}"
    return ""


def _is_users(file: str) -> bool:
    """Return whether a file is neither of the package nor of Python and its libraries, nor a command's own script."""
    path = Path(file).resolve()
    if file.startswith("<") or not path.is_file() or path == Path(sys.argv[0]).resolve():
        return False
    return not any(path.is_relative_to(home) for home in (PACKAGE, *LIBRARIES))


def _short(file: str) -> str:
    path = Path(file).resolve()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _is_package(file: str) -> bool:
    return Path(file).resolve().is_relative_to(PACKAGE)


def _place_of_object(frame: FrameType) -> str:
    """Return "file:line" of the class of a user's object among the variables of a frame of the package."""
    if not _is_package(frame.f_code.co_filename):
        return ""
    for value in list(frame.f_locals.values()):
        for found in (value, *_parts(value, DEPTH)):
            kind = found if inspect.isfunction(found) else type(found)
            file = getattr(sys.modules.get(getattr(kind, "__module__", None) or ""), "__file__", None)
            if file and _is_users(file):
                return f"{_short(file)}:{inspect.getsourcelines(kind)[1]}"
    return ""


def _parts(value: Any, depth: int) -> Iterator[Any]:
    """Yield what an object of the package or of Gymnasium wraps."""
    held = getattr(value, "__dict__", None)
    if not depth or not isinstance(held, dict):
        return
    for name in ATTRIBUTES:
        if (inner := held.get(name)) is not None:
            yield inner
            yield from _parts(inner, depth - 1)
