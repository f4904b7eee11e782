"""Envs: the Gymnasium face of games, one player's view, registration."""

from robustgames.envs.first_order import GameEnv, GameVectorEnv
from robustgames.envs.registration import game_ids, make, register
from robustgames.envs.views import PlayerView

__all__ = ["GameEnv", "GameVectorEnv", "PlayerView", "game_ids", "make", "register"]
