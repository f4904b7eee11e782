"""Gymnasium faces of a game: play a joint strategy, observe the field there.

Both faces own the oracle that they step with. An agent uses the same oracle, so a training step and an env step are one
computation and one count. The game never ends; pass `max_episode_steps` to `gym.make` for episodes.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import cached_property
from operator import attrgetter
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from torch import Tensor

from robustgames.envs.joint_actions import JointActions
from robustgames.errors import GameError, unknown
from robustgames.games import Game, Noisy, Oracle
from robustgames.games.game import arguments
from robustgames.games.sharded import make_oracle
from robustgames.tensors import choose_device

DTYPES = {"float32": torch.float32, "float64": torch.float64}


def find_game(game: Game | type[Game] | str) -> Game | type[Game]:
    """Return the game or class itself, or the one that "module:Class" names."""
    if not isinstance(game, str):
        return game
    if found := getattr(game, "cls", None):  # a `ClassPath`
        return found
    module, _, name = game.partition(":")
    return attrgetter(name)(importlib.import_module(module))


def build_game(game: Game | type[Game] | str, noise: float = 0.0, bias: Any = 0.0, **settings: Any) -> Game:
    """Return the game that an id stands for.

    Args:
        game: A game, its class, or "module:Class".
        noise: Standard deviation of an additive noise on the field.
        bias: Constant error of the field, a number or one per coordinate.
        **settings: Arguments of the class.

    Raises:
        GameError: A setting that the class does not have.
    """
    game = find_game(game)
    if isinstance(game, Game) and settings:
        names = ", ".join(settings)
        raise GameError(f"settings {names} cannot be changed on {game!r}, which already exists: pass its class instead")
    if isinstance(game, type) and issubclass(game, Game):
        allowed = arguments(game)
        for setting in settings:
            if setting not in allowed:
                raise unknown(f"setting of {game.__name__}", setting, [*allowed, "noise", "bias", "dtype", "device"])
        game = game(**settings)
    if not isinstance(game, Game):
        raise GameError(f"{game!r} is not a game: pass a Game, its class, or 'module:Class'")
    return Noisy(game, noise, bias) if noise or np.any(bias) else game


def _prepared(game: Any, dtype: str, device: str, noise: float, bias: Any, settings: dict[str, Any]) -> Game:
    if dtype not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)
    if (
        mode := settings.pop("render_mode", None)
    ) is not None:  # Stable-Baselines3 asks for it before it looks at spaces
        view = "an algorithm for one player takes robustgames.PlayerView(env, player, opponent), not the id"
        raise GameError(f"render_mode is {mode!r}: a game of two players has no pictures; {view}")
    return build_game(game, noise, bias, **settings).to(choose_device(device), DTYPES[dtype])


def _check_options(options: dict[str, Any] | None) -> None:
    for name in options or {}:
        what = "runs never end, so all of them are reset" if name == "reset_mask" else "a game takes none, only a seed"
        raise GameError(f"unknown option of reset {name!r}: {what}")


def _strategy_space(game: Game) -> JointActions:
    dtype = np.dtype(str(game.dtype).removeprefix("torch."))
    boxes: dict[str, gym.Space] = {
        player: gym.spaces.Box(*strategies.bounds, shape=(size,), dtype=dtype.type)
        for player, strategies, size in zip(game.players, game.sets, game.sizes, strict=True)
    }
    return JointActions(boxes)


def _strategy(game: Game, actions: Any, player: int, runs: tuple[int, ...]) -> Tensor:
    """Return the strategy of one player in an action, (*runs, n)."""
    name, shape = game.players[player], (*runs, game.sizes[player])
    if not isinstance(actions, Mapping) or name not in actions:
        first, second = game.players
        raise GameError(f"the action has no strategy of {name!r}: pass a dict {{{first!r}: …, {second!r}: …}}")
    strategy = torch.as_tensor(actions[name], dtype=game.dtype, device=game.device)
    if strategy.shape != shape:
        raise GameError(f"the strategy of {name!r} has shape {tuple(strategy.shape)}: expected {shape}")
    return strategy


def _feedback_space(game: Game) -> gym.spaces.Dict:
    dtype = np.dtype(str(game.dtype).removeprefix("torch."))
    boxes: dict[str, gym.Space] = {
        player: gym.spaces.Box(-np.inf, np.inf, (size,), dtype.type)
        for player, size in zip(game.players, game.sizes, strict=True)
    }
    return gym.spaces.Dict(boxes)


class GameEnv(gym.Env[Any, Any]):
    """One run of a game in NumPy: for checkers, Stable-Baselines3 and PettingZoo.

    Action: {player: strategy}, projected onto the strategy sets. Observation: {player: its block of V at the joint
    strategy}; zeros at reset. Reward: -Φ, the reward of player 0; `info["rewards"]` holds both. `info["strategy"]` of
    `reset` is a start.

    Args:
        game: A game, its class or "module:Class".
        dtype: "float32" or "float64".
        device: Device of the game.
        noise, bias: Additive error of the field (see `Noisy`).
        **settings: Arguments of the game.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}

    def __init__(
        self,
        game: Game | type[Game] | str,
        dtype: str = "float32",
        device: str = "cpu",
        noise: float = 0.0,
        bias: float | list[float] = 0.0,
        **settings: Any,
    ) -> None:
        self.game = _prepared(game, dtype, device, noise, bias, settings)
        self.players = self.game.players
        self.oracle = Oracle(self.game)
        self.action_space = _strategy_space(self.game)
        self.observation_space = _feedback_space(self.game)
        self._seeded = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        _check_options(options)
        super().reset(seed=seed)
        if seed is not None or not self._seeded:
            self.oracle.generator.manual_seed(int(self.np_random.integers(2**31)))
            self._seeded = True
        z = self.game.initial((), self.oracle.generator)
        return self._blocks(torch.zeros_like(z)), {"strategy": self._blocks(z)}

    def step(self, action: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        strategies = [_strategy(self.game, action, player, ()) for player in (0, 1)]
        self.oracle.draw()
        rewards, v = self.oracle.evaluate(self.oracle.project(torch.cat(strategies)))
        named = {player: float(reward) for player, reward in zip(self.players, rewards, strict=True)}
        return self._blocks(v), float(rewards[0]), False, False, {"rewards": named}

    def _blocks(self, z: Tensor) -> dict[str, np.ndarray]:
        return {p: block.cpu().numpy().copy() for p, block in zip(self.players, self.game.split(z), strict=True)}


class GameVectorEnv(gym.vector.VectorEnv[dict[str, Tensor], dict[str, Tensor], Tensor]):
    """`num_envs` independent runs of a game in one tensor on the device; reached by `gym.make_vec(id, num_envs=S)`.

    The protocol is that of `GameEnv` with torch tensors of shape (S, n) and rewards of shape (S,); nothing is copied
    to NumPy. Runs never end, so there is no automatic reset. Gymnasium's vector wrappers compute with NumPy: put
    `robustgames.envs.NumpyBatch` between them and this env.

    Args:
        game, dtype, device, noise, bias: See `GameEnv`.
        num_envs: Number S of runs.
        shards: Shards of every minibatch, see `games.ShardedOracle`.
        **settings: Arguments of the game.
    """

    metadata: ClassVar[dict[str, Any]] = {"autoreset_mode": AutoresetMode.DISABLED, "render_modes": [], "torch": True}

    def __init__(
        self,
        game: Game | type[Game] | str,
        num_envs: int = 1,
        dtype: str = "float32",
        device: str = "cpu",
        noise: float = 0.0,
        bias: float | list[float] = 0.0,
        shards: int = 1,
        **settings: Any,
    ) -> None:
        if num_envs < 1:
            raise GameError(f"num_envs is {num_envs}: it must be at least 1")
        self.num_envs = num_envs
        self.game = _prepared(game, dtype, device, noise, bias, settings)
        self.players = self.game.players
        self.oracle = make_oracle(self.game, (num_envs,), shards=shards)
        self.game = self.oracle.game
        self.single_action_space = _strategy_space(self.game)
        self.single_observation_space = _feedback_space(self.game)
        self._seeded = False

    # a batched Box of a large game costs a second and 100 MB: built on first use
    @cached_property
    def action_space(self) -> gym.Space:  # type: ignore[override]
        """The batch of `single_action_space`."""
        return batch_space(self.single_action_space, self.num_envs)

    @cached_property
    def observation_space(self) -> gym.Space:  # type: ignore[override]
        """The batch of `single_observation_space`."""
        return batch_space(self.single_observation_space, self.num_envs)

    def reset(  # type: ignore[override]
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        _check_options(options)
        super().reset(seed=seed)
        if seed is not None or not self._seeded:
            self.oracle.generator.manual_seed(int(self.np_random.integers(2**31)))
            self._seeded = True
        z = self.oracle.initial()
        return self._blocks(torch.zeros_like(z)), {"strategy": self._blocks(z)}

    def step(self, actions: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor, Tensor, Tensor, dict[str, Any]]:
        strategies = [_strategy(self.game, actions, player, (self.num_envs,)) for player in (0, 1)]
        self.oracle.draw()
        rewards, v = self.oracle.evaluate(self.oracle.project(torch.cat(strategies, -1)))
        named = dict(zip(self.players, rewards, strict=True))
        never = torch.zeros(2, self.num_envs, dtype=torch.bool, device=self.game.device)  # new, a caller may change it
        return self._blocks(v), rewards[0].clone(), never[0], never[1], {"rewards": named}

    def _blocks(self, z: Tensor) -> dict[str, Tensor]:
        return dict(zip(self.players, self.game.split(z), strict=True))
