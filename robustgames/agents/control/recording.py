"""The actions of an episode, which a resumed run plays again."""

from __future__ import annotations

import numpy as np

LIMIT = 10_000  # steps: an episode without an end takes no more memory, and is not played again for hours


class Recording:
    """The joint actions of one episode, up to `LIMIT` steps; after that the episode cannot be played again.

    Args:
        size: Number k of actions of a player.

    Example:
        >>> recording = Recording(1)
        >>> recording.add(np.zeros((2, 1), np.float32))
        >>> recording.length, recording.actions.shape
        (1, (1, 2, 1))
    """

    def __init__(self, size: int) -> None:
        self._kept, self.length = np.empty((16, 2, size), np.float32), 0

    def clear(self) -> None:
        """Begin a new episode."""
        self.length = 0

    def add(self, joint: np.ndarray) -> None:
        """Add the actions of a step, (2, k)."""
        if self.length < LIMIT:
            if self.length == len(self._kept):
                self._kept = np.concatenate([self._kept, np.empty_like(self._kept)])
            self._kept[self.length] = joint
        self.length += 1

    @property
    def whole(self) -> bool:
        """Whether every step of the episode is kept."""
        return self.length <= LIMIT

    @property
    def actions(self) -> np.ndarray:
        """The kept actions, (steps, 2, k), a view."""
        return self._kept[: min(self.length, LIMIT)]
