"""One player's view of a two-player env, for any single-agent library."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from robustgames.envs.opponents import ModelPolicy, Policy, Predictor, policy_of
from robustgames.errors import GameError, unknown


class PlayerView(gym.Env[Any, np.ndarray]):
    """A two-player env in which the other player follows a fixed strategy or policy.

    The action space is [-1, 1]^n, stretched over the player's own strategy box. The observation is the player's own if
    the env observes per player, else the shared one. The reward is the player's own, so every view is a maximization.
    Put wrappers that count rewards around the view, not inside it: inside, they count those of the first player.

    Args:
        env: Two-player env (Dict actions named after `env.unwrapped.players`), or its id.
        player: Name of the player that acts.
        opponent: The other player's strategy (an array), policy (observation -> strategy), "random" (uniform on its
            box), or anything with `predict`: an agent, or a model of Stable-Baselines3, whose actions are stretched
            from its own action box over the player's. `set_opponent` changes it.
        bound: Half-width of the action box if the player's strategy set is unbounded.

    Raises:
        GameError: An env of one player, an unknown player, an unbounded strategy set without `bound`, or an opponent of
            the wrong shape.

    Example:
        >>> view = PlayerView("robustgames/Quadratic-v0", "x", opponent=[0.5], bound=2.0)
        >>> observation, info = view.reset(seed=0)
        >>> view.step([0.5])[1]    # x = 1 pays x² - y² = 0.75
        -0.75
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}

    def __init__(
        self,
        env: gym.Env | str,
        player: str,
        opponent: Policy | Predictor | np.ndarray | list[float] | str,
        bound: float | None = None,
    ) -> None:
        self.env = gym.make(env) if isinstance(env, str) else env
        players = players_of(self.env)
        if player not in players:
            raise unknown("player", player, players)
        self.player, self.other = player, players[1 - players.index(player)]
        self._low, self._high = self._bounds(bound)
        self.action_space = gym.spaces.Box(-1.0, 1.0, self._low.shape, np.float32)
        observed = self.env.observation_space
        self.observation_space = observed[player] if has_own_observations(self.env) else observed  # type: ignore[index]
        self.metadata, self.render_mode = {**self.env.metadata}, self.env.render_mode  # type: ignore[misc]
        self._last: dict[str, Any] = {}
        self._shift: Any = None  # action of an adversary that has acted already
        self.set_opponent(opponent)

    def _bounds(self, bound: float | None) -> tuple[np.ndarray, np.ndarray]:
        box: gym.spaces.Box = self.env.action_space[self.player]  # type: ignore[index]
        if bound is not None:
            if not 0 < bound < float("inf"):
                raise GameError(f"bound is {bound}: the half-width of the action box is a positive number, e.g. 2.0")
            low, high = np.maximum(box.low, -bound), np.minimum(box.high, bound)
            if not (low <= high).all():
                raise GameError(f"bound is {bound}: no strategy of {self.player!r}, which plays {box}, is so small")
            return low, high
        if not box.is_bounded():
            raise GameError(f"the strategy set of player {self.player!r} is unbounded: pass bound=, e.g. bound=2.0")
        return box.low, box.high

    def set_opponent(self, opponent: Policy | Predictor | np.ndarray | list[float] | str) -> None:
        """Replace the strategy, policy or model of the other player."""
        space: gym.spaces.Box = self.env.action_space[self.other]  # type: ignore[index]
        if found := policy_of(opponent, self.other, space):
            self._policy: Policy = found
            return
        if isinstance(opponent, str):
            if opponent != "random":
                raise unknown("opponent", opponent, ["random"])
            if not space.is_bounded():
                raise GameError(f"the strategy set of {self.other!r} is unbounded: a random opponent needs a box")
            self._policy = self._draw
            return
        strategy = np.array(np.asarray(opponent), dtype=space.dtype)  # a copy: the caller may change the array
        if strategy.shape != space.shape:
            raise GameError(f"the opponent's strategy has shape {strategy.shape}: {self.other!r} plays {space.shape}")
        self._policy = partial(_always, strategy)

    def _draw(self, observation: Any) -> np.ndarray:
        space: gym.spaces.Box = self.env.action_space[self.other]  # type: ignore[index]
        return self.np_random.uniform(space.low, space.high).astype(space.dtype)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            # the env starts from the same seed: a child stream that it does not use, or the two draws would be equal
            self._np_random = self.np_random.spawn(2)[1]
        observation, info = self.env.reset(seed=seed, options=options)
        if isinstance(self._policy, ModelPolicy):
            self._policy.begin()
        self._observe(observation, info)
        return self._last[self.player], info

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        share = (np.clip(action, -1, 1) + 1) / 2
        own = (self._low + share * (self._high - self._low)).astype(self._low.dtype)
        own = np.clip(own, self._low, self._high)  # rounding may leave the box by a digit
        leader = adversary_first(self.env)
        if leader is None:
            other = self._policy(self._last[self.other])
        else:
            other = self._policy(leader.perceived(own)) if self.player == "adversary" else self._shift
        observation, reward, terminated, truncated, info = self.env.step({self.player: own, self.other: other})
        self._observe(observation, info)
        return self._last[self.player], rewards_of(self.env, reward, info)[self.player], terminated, truncated, info

    def _observe(self, observation: Any, info: dict[str, Any]) -> None:
        """Take the observations of both players; an adversary that acts first shifts the protagonist's at once."""
        self._last = observations_of(self.env, observation, info)
        if (leader := adversary_first(self.env)) is not None and self.player == "protagonist":
            self._shift = self._policy(self._last["adversary"])
            self._last = {**self._last, "protagonist": leader.perceived(self._shift)}

    def render(self) -> Any:
        return self.env.render()

    def close(self) -> None:
        self.env.close()


def _always(strategy: np.ndarray, observation: Any) -> np.ndarray:
    return strategy


def adversary_first(env: gym.Env) -> Any:
    """Return the `ActionRobustEnv` in which the adversary acts before the protagonist, or None.

    Raises:
        GameError: A wrapper changes observations, which the adversary's shift would bypass.
    """
    core = env.unwrapped
    coupling = getattr(core, "coupling", None)
    if coupling is None or not coupling.adversary_first:
        return None
    while isinstance(env, gym.Wrapper):
        if isinstance(env, gym.ObservationWrapper) or env.observation_space != env.env.observation_space:
            raise GameError(
                f"{type(env).__name__} changes observations after the adversary's shift: put it into the inner env"
            )
        env = env.env
    return core


def players_of(env: gym.Env) -> tuple[str, str]:
    """Return the names of the players of a two-player env.

    Raises:
        GameError: The env has one player.
    """
    players = getattr(env.unwrapped, "players", None)
    if players is None:
        name = env.spec.id if env.spec else type(env.unwrapped).__name__
        raise GameError(
            f"{name} is not an env of two players: pass a game, or add an adversary by "
            f"gym.make('robustgames/ActionRobust-v0', env_id={name!r})"
        )
    return players


def has_own_observations(env: gym.Env) -> bool:
    """Return whether the env observes a dict with a block for every player."""
    space, players = env.observation_space, env.unwrapped.players  # type: ignore[attr-defined]
    return isinstance(space, gym.spaces.Dict) and set(space.keys()) == set(players)


def observations_of(env: gym.Env, observation: Any, info: dict[str, Any]) -> dict[str, Any]:
    """Return {player: observation}: its own block, else `info["observations"]`, else the one that all share."""
    if has_own_observations(env):
        return observation
    return info.get("observations") or dict.fromkeys(env.unwrapped.players, observation)  # type: ignore[attr-defined]


def rewards_of(env: gym.Env, reward: Any, info: dict[str, Any]) -> dict[str, float]:
    """Return {player: reward}: the env's `info["rewards"]`, or reward and its negative (zero-sum)."""
    first, second = env.unwrapped.players  # type: ignore[attr-defined]
    return info.get("rewards") or {first: float(reward), second: -float(reward)}
