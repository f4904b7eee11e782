"""How the kernels are compiled, and kept on disk until one of their files changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

OPTIONS: dict[str, Any] = {
    "fastmath": {"contract", "reassoc", "arcp", "nsz"},
    "error_model": "numpy",
    "nogil": True,
}
ONE, ZERO = np.float32(1), np.float32(0)
CLIP = 5.0  # of normalization.py, whose scaling the kernels repeat


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a function when it is first called, and keep the code on disk if a folder for it can be written."""
    try:
        found: Any = njit(cache=True, **OPTIONS)(function)
    except RuntimeError:  # neither the folder of this file nor one of the user can be written
        return njit(**OPTIONS)(function)
    kept: Any = getattr(found._cache, "_cache_file", None)
    if hasattr(kept, "_source_stamp"):  # Numba looks at the file of the function, not at those of what it calls
        kept._source_stamp = stamp()
    return found


def part(function: Callable[..., Any]) -> Any:
    """Compile a function as a part of those that call it."""
    return njit(**OPTIONS)(function)


def stamp() -> tuple[tuple[str, float, int], ...]:
    """Return names, times and sizes of the files of the kernels: what is kept serves as long as they are the same."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return tuple((file.name, (found := file.stat()).st_mtime, found.st_size) for file in files)
