"""Games: Φ(x, y; ζ) and the field V, in torch only."""

from robustgames.games.attack import ClassifierAttack, DigitsAttack, LinearAttack, MnistAttack
from robustgames.games.classification import (
    AdversarialClassification,
    DigitsAdversarial,
    HeldOut,
    MnistAdversarial,
)
from robustgames.games.constrained import RidgeBox, StepBox
from robustgames.games.cycling import GlobalForsaken, Letcher, LetcherMarket
from robustgames.games.finite_sum import FiniteSumBilinear
from robustgames.games.game import Game, GeneralSumGame, ZeroSumGame
from robustgames.games.gan import GAN
from robustgames.games.image_gans import DigitsGAN, ImageGAN, MnistGAN
from robustgames.games.matrix import MatrixGame, RandomMatrixGame
from robustgames.games.networks import MLP, Frozen, Network
from robustgames.games.noisy import Noisy
from robustgames.games.normalization import Normalize
from robustgames.games.oracle import Oracle
from robustgames.games.planar_gans import GaussianMixtureGAN, GaussianRingGAN, GaussianWGAN1D, PlanarGAN, SwissRollGAN
from robustgames.games.ratio import RatioGame
from robustgames.games.regression import RobustRegression
from robustgames.games.sequence import KuhnPoker, SequenceGame
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
from robustgames.games.small_networks import small_cnn
from robustgames.games.threat import ThreatModel
from robustgames.games.toy import AlmostBilinear, Bilinear, DiracGAN, Forsaken, Polar, Quadratic
from robustgames.games.treeplex import Treeplex
from robustgames.games.weak_minty import WeakMinty

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
    "FiniteSumBilinear",
    "Forsaken",
    "Frozen",
    "Game",
    "GaussianMixtureGAN",
    "GaussianRingGAN",
    "GaussianWGAN1D",
    "GeneralSumGame",
    "GlobalForsaken",
    "HeldOut",
    "ImageGAN",
    "KuhnPoker",
    "L1Ball",
    "L1BallInBox",
    "L2Ball",
    "L2BallInBox",
    "Letcher",
    "LetcherMarket",
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
    "RandomMatrixGame",
    "RatioGame",
    "RidgeBox",
    "RobustRegression",
    "SequenceGame",
    "Set",
    "ShardedOracle",
    "Simplex",
    "Space",
    "StepBox",
    "SwissRollGAN",
    "ThreatModel",
    "Treeplex",
    "WeakMinty",
    "ZeroSumGame",
    "linf_ball",
    "small_cnn",
]
