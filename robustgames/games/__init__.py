"""Games: Φ(x, y; ζ) and the field V, in torch only."""

from robustgames.games.classification import AdversarialClassification, DigitsAdversarial
from robustgames.games.game import Game, GeneralSumGame, ZeroSumGame
from robustgames.games.matrix import MatrixGame
from robustgames.games.networks import MLP, Network
from robustgames.games.noisy import Noisy
from robustgames.games.oracle import Oracle
from robustgames.games.sets import Box, L1Ball, L1BallInBox, L2Ball, Set, Simplex, Space, linf_ball
from robustgames.games.toy import AlmostBilinear, Bilinear, DiracGAN, Forsaken, Polar, Quadratic

__all__ = [
    "MLP",
    "AdversarialClassification",
    "AlmostBilinear",
    "Bilinear",
    "Box",
    "DigitsAdversarial",
    "DiracGAN",
    "Forsaken",
    "Game",
    "GeneralSumGame",
    "L1Ball",
    "L1BallInBox",
    "L2Ball",
    "MatrixGame",
    "Network",
    "Noisy",
    "Oracle",
    "Polar",
    "Quadratic",
    "Set",
    "Simplex",
    "Space",
    "ZeroSumGame",
    "linf_ball",
]
