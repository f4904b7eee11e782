"""Agents: learn, predict, save, load."""

from robustgames.agents.game_agent import GameAgent

__all__ = ["GameAgent"]
