"""Both players in their envs while they learn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Generator, Tensor

from robustgames.agents.control.behavior import Behavior
from robustgames.agents.control.episodes import Episodes, Played
from robustgames.agents.control.normalization import RunningNorm
from robustgames.processes import Processes
from robustgames.streams import uniform

if TYPE_CHECKING:
    from robustgames.agents.control.native import NativeActing


class Interaction:
    """Plays in every env: at first random actions, then those of the policies with exploration.

    `halfway` is True from the start of a step in the envs until its transitions are stored. If an env was stepped
    or reset by others since the last step, its run begins a new episode.

    Args:
        episodes: Envs of the runs.
        behavior: Policies with exploration.
        norm: Running scale of the observations, or None.
        generator: Generator of the run.
        device: Device of the policies.
        acting: Compiled code that acts in the place of `behavior`, or None.
    """

    def __init__(
        self,
        episodes: Episodes,
        behavior: Behavior,
        norm: RunningNorm | None,
        generator: Generator,
        device: torch.device,
        acting: NativeActing | None = None,
    ) -> None:
        self.episodes, self.behavior, self.norm, self.acting = episodes, behavior, norm, acting
        self.generator, self.device = generator, device
        self.halfway = False

    def play(self, z: Tensor, random: bool) -> Played:
        """Play one step in every env, with weights z (S, n + m), or with random actions.

        Raises:
            GameError: An env fails.
        """
        self.halfway = True
        if any(lost := self.episodes.lost()):
            self.behavior.restart(z, lost)
        observations = self.episodes.observe()
        own, other = self._random(len(z)) if random else self._act(z, observations)
        return self.episodes.play(own, other)

    def abandon(self) -> None:
        """Drop a step in which an env failed or was stopped: envs cannot go back, so new episodes come next."""
        if self.halfway:
            self.halfway = False
            self.episodes.abandon()

    def _random(self, runs: int) -> tuple[Tensor, Tensor]:
        both = uniform((runs, 2, self.episodes.action_size), self.generator, torch.float32).mul_(2).sub_(1)
        own, other = both.to(self.episodes.device).unbind(1)
        return own, other

    def _act(self, z: Tensor, observations: Any) -> tuple[Any, Any]:
        """Return the actions of both players in every env: (S, k) each, on the device of the envs."""
        if self.acting is not None:
            return self._act_natively(self.acting, z, observations)
        if self.behavior.row_by_row and self.norm is None:
            own, other = self.behavior.act_alone(z, observations[0])
            return own[None], other[None]
        states = torch.as_tensor(observations, device=self.device).unsqueeze(-2)
        both = self.behavior.act(z, states if self.norm is None else self.norm.apply_(states.clone()))
        own, other = (actions.nan_to_num().to(self.episodes.device) for actions in both)  # of diverged runs
        return own, other

    def _act_natively(self, acting: NativeActing, z: Tensor, observations: Any) -> tuple[Any, Any]:
        if isinstance(observations, np.ndarray):
            both = acting.act(z, observations)
            return both[:, 0], both[:, 1]
        own, other = torch.from_numpy(acting.act(z, observations.float().contiguous().numpy()).copy()).unbind(1)
        return own, other

    def measures(self, processes: Processes) -> dict[str, float]:
        """Return the mean return and length of the last episodes, and the deviation of the runs' returns."""
        every = [recent for part in processes.collect(self.episodes.recent) for recent in part]
        finished = [recent for recent in every if recent]
        if not finished:
            return {}
        returns = [float(np.mean([reward for reward, _ in recent])) for recent in finished]
        lengths = [length for recent in finished for _, length in recent]
        means = {"ep_rew_mean": float(np.mean(returns)), "ep_len_mean": float(np.mean(lengths))}
        return means if len(returns) == 1 else {**means, "ep_rew_std_of_runs": float(np.std(returns, ddof=1))}
