"""Agents: learn, predict, save, load."""

from robustgames.agents.agent import Agent
from robustgames.agents.game_agent import GameAgent
from robustgames.agents.robust_ddpg import RobustDDPG, RobustTD3
from robustgames.agents.robust_dqn import RobustDQN

__all__ = ["Agent", "GameAgent", "RobustDDPG", "RobustDQN", "RobustTD3"]
