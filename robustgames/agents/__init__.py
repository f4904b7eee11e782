"""Agents: learn, predict, save, load."""

from robustgames.agents.agent import Agent
from robustgames.agents.alternating import AlternatingTD3
from robustgames.agents.game_agent import GameAgent
from robustgames.agents.rarl import ATLA, RAP, RARL
from robustgames.agents.robust_ddpg import RobustDDPG, RobustTD3
from robustgames.agents.sa_ddpg import SADDPG, SATD3

__all__ = ["ATLA", "RAP", "RARL", "SADDPG", "SATD3", "Agent", "AlternatingTD3", "GameAgent", "RobustDDPG", "RobustTD3"]
