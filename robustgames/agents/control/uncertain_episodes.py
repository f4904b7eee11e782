"""Episodes whose env has parameters of its own in each of them, chosen by the agent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from robustgames.agents.control.batched_episodes import BatchedEnvs
from robustgames.agents.control.episodes import Episodes, Played
from robustgames.agents.control.seeds import EPISODES, seed_of
from robustgames.agents.control.separate_episodes import SeparateEnvs
from robustgames.agents.control.uncertainty_box import UncertaintyBox
from robustgames.checkpoints import CHECKPOINT, check_like
from robustgames.envs.control.batch import RobustVectorEnv
from robustgames.envs.control.uncertainty_sets import Axis, axis_name, by_axis, nested
from robustgames.errors import GameError

Choose = Callable[[int, np.random.Generator], np.ndarray]
"""(run, generator of the episode) -> coordinates (d,) of the parameters of a new episode."""
MIDDLE = 1  # number of the stream of an episode from which its parameters are drawn


def with_uncertainty(plain: Episodes, text: str, choose: Choose, shown: bool) -> UncertainEnvs | UncertainPendulums:
    """Return episodes in the envs of others, each with parameters of an uncertainty box.

    Args:
        plain: Episodes that have not begun.
        text: Text of the `UncertaintyBox`.
        choose: Function that chooses the parameters of an episode.
        shown: Whether the played actions are [a | c], with the coordinates c of the parameters.

    Raises:
        GameError: An adversary with a share of the actions, or a box that does not fit the env.
    """
    if any(plain.alphas):
        share = max(plain.alphas)
        raise GameError(f"alpha is {share:g}: here the adversary sets parameters, not actions; set alpha=0")
    assert isinstance(plain, SeparateEnvs | BatchedEnvs)
    box = UncertaintyBox(text, plain.first)
    if isinstance(plain, BatchedEnvs):
        return UncertainPendulums(plain.env, plain.seed, box, choose, shown)
    return UncertainEnvs(plain.envs, plain.seed, box, choose, shown)


class UncertainEnvs(SeparateEnvs):
    """`SeparateEnvs` whose episodes begin with a perturbation from a box.

    The parameters of an episode come from the agent and from a stream of that episode, so a run does not depend on the
    others, and a checkpoint holds the parameters of the present episode. Axes of a perturbation of the env itself that
    are not in the box stay.

    Args:
        envs: Envs, one per run.
        seed: Seed of the agent.
        box: Box of the parameters.
        choose: Function that chooses the parameters of an episode.
        shown: Whether the played actions are [a | c], with the coordinates c of the parameters.
    """

    def __init__(self, envs: list[gym.Env], seed: int, box: UncertaintyBox, choose: Choose, shown: bool) -> None:
        super().__init__(envs, seed)
        self.box, self.choose, self.shown = box, choose, shown
        self.coordinates = np.zeros((self.runs, box.size))
        """Coordinates of the parameters of the present episodes, (S, d)."""
        self._own = [core._source for core in self._cores]
        self._others = [by_axis(own) for own in self._own]
        for others in self._others:
            _check_apart(others, box)

    def _prepare(self, i: int) -> None:
        drawn = np.random.default_rng(seed_of(self.seed, i, EPISODES, self._episodes[i], MIDDLE))
        self.coordinates[i] = self.choose(i, drawn)

    def _options(self, i: int) -> dict[str, Any]:
        chosen = by_axis(self.box.perturbation(self.coordinates[i]))
        return {"perturbation": nested({**self._others[i], **chosen}.items())}

    def _begin(self, i: int) -> Any:
        observation = super()._begin(i)
        self._cores[i]._source = self._own[i]  # of later episodes: the env is not the agent's alone
        return observation

    def play(self, own: Any, other: Any) -> Played:
        played = super().play(own, other)
        if not self.shown:
            return played
        return played._replace(executed=np.concatenate([played.executed, self.coordinates], -1, dtype=np.float32))

    def _run_state(self, i: int) -> dict[str, Any]:
        return {**super()._run_state(i), "coordinates": torch.from_numpy(self.coordinates[i].copy())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for i in range(self.runs):  # before the episodes are played again
            saved, place = state["runs"][str(i)], ("episodes", "runs", i)
            check_like(saved, self._like_run_state(i), CHECKPOINT, place)
            self.coordinates[i] = saved["coordinates"].cpu().numpy()
        super().load_state_dict(state)


def _check_apart(others: Mapping[Axis, Any], box: UncertaintyBox) -> None:
    """Check that neither the env's own perturbation nor the box has an axis as a whole and the other a part of it."""
    for own in others:
        for axis in by_axis(box.perturbation(np.zeros(box.size))):
            if type(own) is not type(axis) and _whole(own) == _whole(axis):
                names = f"{axis_name(own)}, and the uncertainty {axis_name(axis)}"
                raise GameError(f"the perturbation of the env has {names}: give the parts in both, or leave one out")


def _whole(axis: Axis) -> str:
    return axis if isinstance(axis, str) else axis[0]


class UncertainPendulums(BatchedEnvs):
    """`BatchedEnvs` whose episodes begin with perturbations from a box, one for each pendulum.

    Args:
        env: Batch of pendulums.
        seed: Seed of the agent.
        box: Box of the parameters.
        choose: Function that chooses the parameters of an episode.
        shown: Whether the played actions are [a | c], with the coordinates c of the parameters.
    """

    def __init__(self, env: RobustVectorEnv, seed: int, box: UncertaintyBox, choose: Choose, shown: bool) -> None:
        super().__init__(env, seed)
        self.box, self.choose, self.shown = box, choose, shown
        self.coordinates = np.zeros((self.runs, box.size))
        """Coordinates of the parameters of the present episodes, (S, d)."""
        self._others = dict(env._source)

    def _options(self) -> dict[str, Any]:
        for i in range(self.runs):
            drawn = np.random.default_rng(seed_of(self.seed, i, EPISODES, self._resets, MIDDLE))
            self.coordinates[i] = self.choose(i, drawn)
        self._shown = torch.as_tensor(self.coordinates, dtype=self.env.dtype, device=self.device)
        return {"perturbation": {**self._others, **self.box.perturbation(self.coordinates)}}

    def observe(self) -> Any:
        observation = super().observe()
        self.env._source = self._others  # of later episodes: the env is not the agent's alone
        return observation

    def play(self, own: Any, other: Any) -> Played:
        played = super().play(own, other)
        if played.ended[0]:
            self._now = None  # the next episode begins by a reset, with parameters of its own
        if not self.shown:
            return played
        return played._replace(executed=torch.cat([played.executed, self._shown], -1))

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "coordinates": torch.from_numpy(self.coordinates.copy())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        choose, self.choose = self.choose, lambda run, drawn: np.zeros(self.box.size)  # a reset that is overwritten
        try:
            super().load_state_dict(state)
        finally:
            self.choose = choose
        self.coordinates[:] = state["coordinates"].cpu().numpy()
        self._shown = torch.as_tensor(self.coordinates, dtype=self.env.dtype, device=self.device)
