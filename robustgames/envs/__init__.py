"""Envs: the Gymnasium face of games, one player's view, registration."""

from robustgames.envs.black_box import BlackBoxAttack
from robustgames.envs.first_order import GameEnv, GameVectorEnv
from robustgames.envs.registration import game_ids, make, register
from robustgames.envs.views import PlayerView

__all__ = ["BlackBoxAttack", "GameEnv", "GameVectorEnv", "PlayerView", "game_ids", "make", "register"]
