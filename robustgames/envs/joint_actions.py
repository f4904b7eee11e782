"""The action space of two players."""

from __future__ import annotations

import gymnasium as gym


class JointActions(gym.spaces.Dict):
    """A `Dict` of the actions of two players, whose text names the view that algorithms for one player take.

    Libraries print the action space when they refuse it, so their message says what to pass instead.
    """

    def __str__(self) -> str:
        first = next(iter(self.spaces))
        return f"{self!r} (two players: pass robustgames.PlayerView(env, {first!r}, opponent) to act for one)"
