"""Solvers: a scheme (where to evaluate the field) of rules (what to do with its value)."""

from robustgames.solvers import danskin, diagnostics
from robustgames.solvers.adaptive import AdaptiveExtragradient, GoldenRatio, TiAda
from robustgames.solvers.anchored import ExtraAnchored, FastExtragradient
from robustgames.solvers.best_response import BestResponse, respond
from robustgames.solvers.chains import LangevinChains
from robustgames.solvers.double_oracle import DoubleOracle
from robustgames.solvers.fused_adam import FusedAdam, fused
from robustgames.solvers.langevin import Langevin, PreconditionedLangevin
from robustgames.solvers.lookahead import HalfTurn, Lookahead
from robustgames.solvers.magnetic import Magnetic
from robustgames.solvers.optimistic_adam import OptimisticAdam
from robustgames.solvers.pdhg import PDHG
from robustgames.solvers.plus import AdaptiveEGPlus, ApproximateProximal, BiasCorrectedSEGPlus, CurvatureEGPlus
from robustgames.solvers.recipes import RECIPES, make_solver
from robustgames.solvers.regret import RegretMatching
from robustgames.solvers.rules import SGD, Adam, Entropic, Momentum, RMSProp, Rule, Sign, Steepest
from robustgames.solvers.schedules import Exponential, InversePower, Linear, Triangular
from robustgames.solvers.schemes import (
    Alternating,
    Averaged,
    Extragradient,
    Optimistic,
    Scheme,
    Simultaneous,
    Solver,
    Tally,
    Turns,
)
from robustgames.solvers.second_order import (
    CompetitiveGradient,
    Consensus,
    FollowRidge,
    LeastAction,
    SymplecticAdjustment,
)
from robustgames.solvers.smoothed import RungeKutta, SmoothedGDA
from robustgames.solvers.torch_rule import TorchRule
from robustgames.solvers.trajectories import trajectory
from robustgames.solvers.turning import HalfTurnAround
from robustgames.solvers.whole_derivative import DampedNewton, StayOnRidge

__all__ = [
    "PDHG",
    "RECIPES",
    "SGD",
    "Adam",
    "AdaptiveEGPlus",
    "AdaptiveExtragradient",
    "Alternating",
    "ApproximateProximal",
    "Averaged",
    "BestResponse",
    "BiasCorrectedSEGPlus",
    "CompetitiveGradient",
    "Consensus",
    "CurvatureEGPlus",
    "DampedNewton",
    "DoubleOracle",
    "Entropic",
    "Exponential",
    "ExtraAnchored",
    "Extragradient",
    "FastExtragradient",
    "FollowRidge",
    "FusedAdam",
    "GoldenRatio",
    "HalfTurn",
    "HalfTurnAround",
    "InversePower",
    "Langevin",
    "LangevinChains",
    "LeastAction",
    "Linear",
    "Lookahead",
    "Magnetic",
    "Momentum",
    "Optimistic",
    "OptimisticAdam",
    "PreconditionedLangevin",
    "RMSProp",
    "RegretMatching",
    "Rule",
    "RungeKutta",
    "Scheme",
    "Sign",
    "Simultaneous",
    "SmoothedGDA",
    "Solver",
    "StayOnRidge",
    "Steepest",
    "SymplecticAdjustment",
    "Tally",
    "TiAda",
    "TorchRule",
    "Triangular",
    "Turns",
    "danskin",
    "diagnostics",
    "fused",
    "make_solver",
    "respond",
    "trajectory",
]
