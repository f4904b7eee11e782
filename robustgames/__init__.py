"""robustgames: min-max problems as two-player games, one library of solvers, Gymnasium envs and agents.

Importing the package registers its Gymnasium ids. PyTorch is imported with the first name that needs it.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from robustgames.envs.registration import game_ids, register, register_all
from robustgames.errors import DivergedError, GameError
from robustgames.lazy import attach

if TYPE_CHECKING:
    from robustgames import agents as agents
    from robustgames import attacks as attacks
    from robustgames import certificates as certificates
    from robustgames import data as data
    from robustgames import evaluation as evaluation
    from robustgames import experiment as experiment
    from robustgames import figures as figures
    from robustgames import games as games
    from robustgames import solvers as solvers
    from robustgames import testing as testing
    from robustgames import zoo as zoo
    from robustgames.agents import (
        ATLA,
        M2TD3,
        RAP,
        RARL,
        SADDPG,
        SATD3,
        AlternatingTD3,
        DomainRandomizedTD3,
        GameAgent,
        RobustDDPG,
        RobustDQN,
        RobustSAC,
        RobustTD3,
        SoftM2TD3,
    )
    from robustgames.envs import GameEnv, GameVectorEnv, PlayerView
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
else:  # hidden from type checkers, which would take any name for an attribute
    __getattr__, __dir__ = attach(__name__, __file__)

__version__ = version("robustgames")
__all__ = [
    "ATLA",
    "M2TD3",
    "MLP",
    "RAP",
    "RARL",
    "SADDPG",
    "SATD3",
    "AlternatingTD3",
    "Box",
    "DivergedError",
    "DomainRandomizedTD3",
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
    "RobustDQN",
    "RobustSAC",
    "RobustTD3",
    "Rule",
    "Scheme",
    "Simplex",
    "SoftM2TD3",
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
