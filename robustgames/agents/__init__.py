"""Agents: learn, predict, save, load."""

from robustgames.agents.agent import Agent
from robustgames.agents.game_agent import GameAgent
from robustgames.agents.m2td3 import M2TD3, DomainRandomizedTD3, SoftM2TD3
from robustgames.agents.robust_ddpg import RobustDDPG, RobustTD3

__all__ = ["M2TD3", "Agent", "DomainRandomizedTD3", "GameAgent", "RobustDDPG", "RobustTD3", "SoftM2TD3"]
