"""Episodes of S runs side by side, as a learner needs them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from typing import Any, NamedTuple

import torch

RECENT = 10  # episodes of each run in the logged return


class Played(NamedTuple):
    """One step of every run, as a replay stores it: numpy arrays, or tensors on the device of the envs.

    The arrays are overwritten by the next step.
    """

    observations: Any
    """s, (S, p)."""
    executed: Any
    """What the actuators got, (S, k)."""
    after: Any
    """s', (S, p), also where the episode ends."""
    rewards: Any
    """(S,)."""
    terminated: Any
    """(S,); a time limit does not terminate."""
    ended: list[bool]
    """Whose episode is over, terminated or truncated."""


class Episodes(ABC):
    """The envs of S runs in the middle of their episodes.

    `recent` holds (return, length) of the last episodes of each run. All randomness of the envs comes from the seeds
    that are drawn from `generator`, so that a saved run goes on bit for bit where its envs repeat themselves.
    """

    runs: int
    observation_size: int
    action_size: int
    action_shape: tuple[int, ...]
    """Of the env, whose k components are one row here."""
    device: torch.device
    alphas: list[float]
    """α of every run."""
    coupling: str
    recent: list[deque[tuple[float, int]]]
    first: Any
    """The env of the first run, or the batch of all."""

    @abstractmethod
    def observe(self) -> Any:
        """Return what every run observes now, (S, p) in float32, where need be of a new episode."""

    @abstractmethod
    def play(self, own: Any, other: Any) -> Played:
        """Play the actions of protagonists and adversaries, each (S, k) in [-1, 1], arrays or tensors.

        Raises:
            GameError: an env fails; nothing of this step is kept, and new episodes come next.
        """

    @abstractmethod
    def abandon(self) -> None:
        """Let new episodes come next."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return what is needed to go on."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""

    @abstractmethod
    def close(self) -> None:
        """Close the envs."""
