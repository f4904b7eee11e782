"""Ctrl-C that waits until a piece of work is done."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def deferred_interrupt(busy: Callable[[], bool] = lambda: False) -> Iterator[list[int]]:
    """Collect a Ctrl-C in a list instead of raising it, so a step can end; a second one takes effect at once.

    Args:
        busy: Whether a second one has to wait as well; by default it has not.
    """
    pressed: list[int] = []

    def note(number: int, frame: object) -> None:
        pressed.append(number)
        if len(pressed) > 1 and not busy():
            signal.signal(signal.SIGINT, before)
            signal.raise_signal(signal.SIGINT)

    try:
        before = signal.signal(signal.SIGINT, note)
    except ValueError:  # not the main thread, which alone receives signals
        yield pressed
        return
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)
