"""The share of a training's time that measurements may take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf

SHARE = 0.05
"""Largest share of the time of a training that its logs may take by default."""


class Budget:
    """Spreads measurements over a training, so they take at most a share of its time.

    A measurement is due if

        spent + progress · cost <= share · elapsed,

    with the time `spent` on those before it and on what is always done, the `cost` of the latest, and the time
    `elapsed` since the start. They then come at about equal distances, and the one at the end, for which progress ·
    cost is saved, still fits into the share. The first one is always due.

    Args:
        share: Largest share, in (0, 1]; `math.inf` makes every measurement due.
        clock: Function that returns the time in seconds.

    Example:
        >>> now = [0.0]
        >>> budget, at = Budget(0.1, clock=lambda: now[0]), []
        >>> for step in range(101):  # of a second each
        ...     if budget.is_due(progress=step / 100):
        ...         at.append(step)
        ...         with budget.spending():
        ...             now[0] += 2.0
        ...     now[0] += 1.0
        >>> at
        [0, 23, 45, 68, 90]
    """

    def __init__(self, share: float = SHARE, clock: Callable[[], float] = time.perf_counter) -> None:
        self.share, self.spent, self._clock, self._cost = share, 0.0, clock, 0.0
        self._began = clock()

    def is_due(self, progress: float) -> bool:
        """Return whether a measurement is due at this progress of the training, in [0, 1]."""
        if self.share == inf or self._cost == 0:
            return True
        return self.spent + progress * self._cost <= self.share * (self._clock() - self._began)

    @contextmanager
    def always(self) -> Iterator[None]:
        """Count the time inside as spent on what is done whether a measurement is due or not."""
        began = self._clock()
        yield
        self.spent += self._clock() - began

    @contextmanager
    def spending(self) -> Iterator[None]:
        """Count the time inside as that of one measurement."""
        began = self._clock()
        yield
        self._cost = self._clock() - began
        self.spent += self._cost
