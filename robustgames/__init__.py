"""robustgames: min-max problems as two-player games, one library of solvers, Gymnasium envs and agents."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from robustgames import attacks
from robustgames.envs import GameEnv, GameVectorEnv, PlayerView, game_ids, register
from robustgames.envs.registration import register_all
from robustgames.errors import DivergedError, GameError
from robustgames.games import (
    MLP,
    Box,
    Game,
    GeneralSumGame,
    L1Ball,
    L1BallInBox,
    L2Ball,
    Network,
    Noisy,
    Oracle,
    Simplex,
    Space,
    ZeroSumGame,
    linf_ball,
)
from robustgames.solvers import Rule, Scheme, diagnostics, make_solver, trajectory

if TYPE_CHECKING:
    from robustgames.agents import GameAgent, RobustDDPG, RobustTD3

__version__ = version("robustgames")
__all__ = [
    "MLP",
    "Box",
    "DivergedError",
    "Game",
    "GameAgent",
    "GameEnv",
    "GameError",
    "GameVectorEnv",
    "GeneralSumGame",
    "L1Ball",
    "L1BallInBox",
    "L2Ball",
    "Network",
    "Noisy",
    "Oracle",
    "PlayerView",
    "RobustDDPG",
    "RobustTD3",
    "Rule",
    "Scheme",
    "Simplex",
    "Space",
    "ZeroSumGame",
    "attacks",
    "diagnostics",
    "game_ids",
    "linf_ball",
    "make_solver",
    "register",
    "trajectory",
]

register_all()


def __getattr__(name: str) -> Any:
    # Stable-Baselines3, which only the agents need, doubles the import time: load it on first use
    if name in ("GameAgent", "RobustDDPG", "RobustTD3"):
        from robustgames import agents

        return getattr(agents, name)
    raise AttributeError(f"module 'robustgames' has no attribute {name!r}")
