"""Agents: learn, predict, save, load."""

from robustgames.agents.agent import Agent
from robustgames.agents.alternating import AlternatingTD3
from robustgames.agents.game_agent import GameAgent
from robustgames.agents.m2td3 import M2TD3, DomainRandomizedTD3, SoftM2TD3
from robustgames.agents.rarl import ATLA, RAP, RARL
from robustgames.agents.robust_ddpg import RobustDDPG, RobustTD3
from robustgames.agents.robust_dqn import RobustDQN
from robustgames.agents.robust_sac import RobustSAC
from robustgames.agents.sa_ddpg import SADDPG, SATD3

__all__ = [
    "ATLA",
    "M2TD3",
    "RAP",
    "RARL",
    "SADDPG",
    "SATD3",
    "Agent",
    "AlternatingTD3",
    "DomainRandomizedTD3",
    "GameAgent",
    "RobustDDPG",
    "RobustDQN",
    "RobustSAC",
    "RobustTD3",
    "SoftM2TD3",
]
