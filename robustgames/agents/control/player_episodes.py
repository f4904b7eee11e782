"""Episodes of one player of an env, in which the other player follows the policies that it has at that moment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np

from robustgames.agents.control.separate_episodes import SeparateEnvs
from robustgames.agents.control.wrapped import check_wrappers, core_of
from robustgames.envs.control.coupling import Coupling
from robustgames.envs.opponents import Policy
from robustgames.envs.views import PlayerView

Opponents = Callable[[int], Sequence[Policy | str]]


class PlayerEpisodes(SeparateEnvs):
    """S runs of a single-agent MDP: the view of one player, whose opponents are fixed during an episode.

    Whatever the coupling is, the player observes what its `PlayerView` shows, the critic learns from the player's own
    action, and the reward is the player's own, so both players maximize.

    An episode is played against one of the opponents, drawn by the seed of the episode, with the weights that it has
    at the start. So a checkpoint restores an episode as long as the opponents have not learned since: an episode has
    to be abandoned before they do.

    Args:
        envs: Two-player envs, one per run.
        player: Name of the player.
        seed: Seed of the agent.
        opponents: Function of a run that returns the present policies of the other side, or the word "random".

    Raises:
        GameError: An env without an adversary, or with wrappers that agents cannot learn with.
    """

    def __init__(self, envs: list[gym.Env], player: str, seed: int, opponents: Opponents) -> None:
        cores, self.player, self.opponents = [core_of(check_wrappers(env)) for env in envs], player, opponents
        self.views = [PlayerView(env, player, "random") for env in envs]
        self.envs, self.first, self.law = envs, envs[0], cores[0].coupling  # type: ignore[assignment]
        self.alphas = [_share(core.coupling) for core in cores]
        self._allocate(cores, self.views[0].action_space, seed)

    def _begin(self, i: int) -> Any:
        several = self.opponents(i)
        draw = np.random.default_rng((self._seeds[i], 1)).integers(len(several))  # the env has the stream of the seed
        opponent = several[int(draw)]
        self.views[i].set_opponent(opponent if isinstance(opponent, str) else partial(_finite, opponent))
        return self.views[i].reset(seed=self._seeds[i])[0]

    def _move(self, i: int, own: np.ndarray, other: np.ndarray) -> tuple[Any, ...]:
        return self.views[i].step(own)

    def _stored_action(self, i: int, own: np.ndarray, other: np.ndarray, info: dict[str, Any]) -> np.ndarray:
        return own.ravel()


def _finite(policy: Policy, observation: Any) -> np.ndarray:
    """Return the action of a policy, 0 for what is not finite: one diverged run must not stop the others."""
    return np.nan_to_num(policy(observation))


def _share(coupling: Coupling) -> float:
    """Return the adversary's share α of a coupling of actions, 0 for others."""
    return float(getattr(coupling, "alpha", 0.0))
