"""Episodes of S runs side by side, as a learner needs them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from typing import Any, NamedTuple

import torch

from robustgames.envs.control.action_couplings import ActionCoupling
from robustgames.envs.control.couplings import coupling_name

RECENT = 10  # episodes of each run in the logged return


class Played(NamedTuple):
    """One step of every run, as a replay stores it: NumPy arrays, or tensors on the device of the envs.

    The arrays are overwritten by the next step.
    """

    observations: Any
    """s, (S, p)."""
    executed: Any
    """Actions of the actuators, (S, k), before a perturbation "action_noise", which is a part of the env."""
    after: Any
    """s', (S, p), in the last step of an episode also."""
    rewards: Any
    """(S,)."""
    terminated: Any
    """(S,); a time limit does not terminate."""
    ended: list[bool]
    """Whether the episode of a run is over, terminated or truncated."""


class Episodes(ABC):
    """The envs of S runs in the middle of their episodes.

    `recent` holds (return, length) of the last episodes of each run. All randomness of the envs comes from the seeds of
    their episodes, and those from the seed of the agent, the number of the run and that of the episode. So a run does
    not depend on the others, and a saved one continues bit for bit if its envs repeat themselves.
    """

    runs: int
    observation_shape: tuple[int, ...]
    """Shape of an observation, whose p components are one row here."""
    observation_size: int
    action_size: int
    action_shape: tuple[int, ...]
    """Shape of the env's action, whose k components are one row here."""
    device: torch.device
    alphas: list[float]
    """α of every run."""
    law: ActionCoupling
    """Coupling of both actions; of its settings all but alpha are those of every run."""
    recent: list[deque[tuple[float, int]]]
    first: Any
    """The env of the first run, or the batch of all."""

    @property
    def coupling(self) -> str:
        """The name of the coupling, with its settings except alpha."""
        return coupling_name(self.law)

    @abstractmethod
    def observe(self) -> Any:
        """Return the observations of all runs, (S, p) in float32, after starting new episodes where they are over."""

    @abstractmethod
    def play(self, own: Any, other: Any) -> Played:
        """Play the actions of protagonists and adversaries, each (S, k) in [-1, 1], arrays or tensors.

        Raises:
            GameError: An env fails. Nothing of this step is kept, and new episodes begin in the next one.
        """

    @abstractmethod
    def lost(self) -> list[bool]:
        """Return the runs that lost their episode since the last call: it was abandoned, or others moved the env."""

    @abstractmethod
    def abandon(self) -> None:
        """Let new episodes come next."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return everything that is needed to continue."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""

    @abstractmethod
    def close(self) -> None:
        """Close the envs."""
