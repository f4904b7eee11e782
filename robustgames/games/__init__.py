"""Games: Φ(x, y; ζ) and the field V, in torch only."""

from robustgames.games.attack import ClassifierAttack, DigitsAttack, LinearAttack, MnistAttack
from robustgames.games.classification import (
    AdversarialClassification,
    DigitsAdversarial,
    HeldOut,
    MnistAdversarial,
    small_cnn,
)
from robustgames.games.game import Game, GeneralSumGame, ZeroSumGame
from robustgames.games.gan import GAN
from robustgames.games.image_gans import DigitsGAN, ImageGAN, MnistGAN
from robustgames.games.matrix import MatrixGame
from robustgames.games.networks import MLP, Frozen, Network
from robustgames.games.noisy import Noisy
from robustgames.games.normalization import Normalize
from robustgames.games.oracle import Oracle
from robustgames.games.planar_gans import GaussianMixtureGAN, GaussianRingGAN, GaussianWGAN1D, PlanarGAN, SwissRollGAN
from robustgames.games.sets import (
    Box,
    L1Ball,
    L1BallInBox,
    L2Ball,
    L2BallInBox,
    Product,
    Set,
    Simplex,
    Space,
    linf_ball,
)
from robustgames.games.sharded import ShardedOracle
from robustgames.games.threat import ThreatModel
from robustgames.games.toy import AlmostBilinear, Bilinear, DiracGAN, Forsaken, Polar, Quadratic

__all__ = [
    "GAN",
    "MLP",
    "AdversarialClassification",
    "AlmostBilinear",
    "Bilinear",
    "Box",
    "ClassifierAttack",
    "DigitsAdversarial",
    "DigitsAttack",
    "DigitsGAN",
    "DiracGAN",
    "Forsaken",
    "Frozen",
    "Game",
    "GaussianMixtureGAN",
    "GaussianRingGAN",
    "GaussianWGAN1D",
    "GeneralSumGame",
    "HeldOut",
    "ImageGAN",
    "L1Ball",
    "L1BallInBox",
    "L2Ball",
    "L2BallInBox",
    "LinearAttack",
    "MatrixGame",
    "MnistAdversarial",
    "MnistAttack",
    "MnistGAN",
    "Network",
    "Noisy",
    "Normalize",
    "Oracle",
    "PlanarGAN",
    "Polar",
    "Product",
    "Quadratic",
    "Set",
    "ShardedOracle",
    "Simplex",
    "Space",
    "SwissRollGAN",
    "ThreatModel",
    "ZeroSumGame",
    "linf_ball",
    "small_cnn",
]
