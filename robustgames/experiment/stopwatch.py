"""The time that a run takes, counted over all the sessions in which it is trained."""

from __future__ import annotations

import json
import math
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

from robustgames.disk import read_plain, write_whole
from robustgames.errors import GameError, writing

FILE, LARGEST = ".seconds.json", 2**12
"""File of a run folder with the time up to a checkpoint, and its largest number of bytes.

A checkpoint does not hold it: equal runs have equal checkpoints.
"""

PATIENCE = 1.0  # seconds


class Stopwatch:
    """Seconds of a run on the clock and of the CPU, of this session and of those before it.

    As a context it writes them at the end, whatever ends it; on a full disk they are in the result alone.

    Args:
        folder: Folder of the run.
        continues: Whether the run has begun in an earlier session.
        writes: Whether this process is the one that writes.
    """

    def __init__(self, folder: Path, continues: bool, writes: bool) -> None:
        self.path, self.writes = folder / FILE, writes
        self._before = _read(self.path) if continues else (0.0, 0.0)
        self._began = time.perf_counter(), time.process_time()
        self._saved = self._began[0]

    def spent(self) -> dict[str, float]:
        """Return the seconds so far."""
        now = time.perf_counter(), time.process_time()
        total = [before + end - began for before, end, began in zip(self._before, now, self._began, strict=True)]
        return {"seconds": total[0], "cpu_seconds": total[1]}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(GameError):
            self.save()

    def save(self) -> None:
        """Write the seconds so far to the folder."""
        if not self.writes:
            return
        self._saved = time.perf_counter()
        with writing(self.path.parent):
            write_whole(self.path, json.dumps(self.spent()).encode())

    def save_now_and_then(self) -> None:
        """Write them if that was not done in the last second: small games have checkpoints more often."""
        if time.perf_counter() - self._saved > PATIENCE:
            self.save()


def _read(path: Path) -> tuple[float, float]:
    """Return the seconds in a file; zeros without one, or if it holds something else."""
    try:
        content = json.loads(read_plain(path, LARGEST))
        clock, cpu = float(content["seconds"]), float(content["cpu_seconds"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # ValueError: a GameError also
        return 0.0, 0.0
    return (clock, cpu) if 0 <= clock < math.inf and 0 <= cpu < math.inf else (0.0, 0.0)
