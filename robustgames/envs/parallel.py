"""A two-player env as a PettingZoo ParallelEnv (PettingZoo is optional: pip install "robustgames[pettingzoo]")."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium as gym

try:
    from pettingzoo import ParallelEnv
except ModuleNotFoundError as error:
    raise ModuleNotFoundError('PettingZoo is not installed: pip install "robustgames[pettingzoo]"') from error

from robustgames.envs.game_env import GameEnv
from robustgames.envs.views import adversary_first, has_own_observations, observations_of, players_of, rewards_of
from robustgames.errors import GameError


class ParallelGame(ParallelEnv):
    """Both players as PettingZoo agents, each with its own reward.

    Args:
        env: Two-player env (Dict actions named after `env.unwrapped.players`), or its id.

    Raises:
        GameError: An env of one player, or one in which the adversary acts first.

    Example:
        >>> game = ParallelGame("robustgames/Quadratic-v0")
        >>> observations, infos = game.reset(seed=0)
        >>> game.step({"x": [1.0], "y": [0.0]})[1]
        {'x': -1.0, 'y': 1.0}
    """

    def __init__(self, env: gym.Env | str) -> None:
        self.env = gym.make(env) if isinstance(env, str) else env
        players = players_of(self.env)
        if adversary_first(self.env) is not None:
            raise GameError(
                "in the coupling 'observation' the adversary acts first, and players of a ParallelEnv act at the same "
                "time: use a PlayerView, or coupling='delayed_observation'"
            )
        name = str(self.env.spec.id if self.env.spec else type(self.env.unwrapped).__name__)
        self.metadata, self.render_mode = {**self.env.metadata, "name": name}, self.env.render_mode
        self.possible_agents: list[str] = list(players)
        self.agents: list[str] = []
        observed, acted = self.env.observation_space, self.env.action_space
        own = has_own_observations(self.env)
        self.observation_spaces = {a: observed[a] if own else observed for a in self.possible_agents}  # type: ignore[index]
        self.action_spaces = {a: acted[a] for a in self.possible_agents}  # type: ignore[index]

    def observation_space(self, agent: str) -> gym.Space:
        """Return the observation space of one player, always the same object."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> gym.Space:
        """Return the strategy box of one player, always the same object."""
        return self.action_spaces[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Start a new game and return ({player: observation}, {player: info}).

        Args:
            seed: Seed of the env.
            options: Options of a control env; a game has none, and ignores those that PettingZoo passes.
        """
        if isinstance(self.env.unwrapped, GameEnv):
            options = None
        self.agents = list(self.possible_agents)
        observation, info = self.env.reset(seed=seed, options=options)
        return self._each(observation, info), {a: dict(info) for a in self.agents}

    def step(self, actions: dict[str, Any]) -> tuple[dict, dict, dict, dict, dict]:
        """Play both strategies and return observations, rewards, terminations, truncations and infos by player."""
        observation, reward, terminated, truncated, info = self.env.step(actions)
        players = self.agents
        result = (
            self._each(observation, info),
            rewards_of(self.env, reward, info),
            dict.fromkeys(players, terminated),
            dict.fromkeys(players, truncated),
            {a: dict(info) for a in players},
        )
        if terminated or truncated:
            self.agents = []
        return result

    def render(self) -> Any:
        """Render the env."""
        return self.env.render()

    def close(self) -> None:
        """Close the env."""
        self.env.close()

    def _each(self, observation: Any, info: dict[str, Any]) -> dict[str, Any]:
        seen = observations_of(self.env, observation, info)
        return {agent: copy.copy(seen[agent]) for agent in self.possible_agents}
