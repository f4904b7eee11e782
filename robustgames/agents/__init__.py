"""Agents: learn, predict, save, load."""

from robustgames.agents.game_agent import GameAgent
from robustgames.agents.robust_ddpg import RobustDDPG, RobustTD3

__all__ = ["GameAgent", "RobustDDPG", "RobustTD3"]
