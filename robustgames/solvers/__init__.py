"""Solvers: a scheme (where to evaluate the field) of rules (what to do with its value)."""

from robustgames.solvers import danskin, diagnostics
from robustgames.solvers.averaging import PolynomialAverage
from robustgames.solvers.best_response import BestResponse, respond
from robustgames.solvers.chains import LangevinChains
from robustgames.solvers.double_oracle import DoubleOracle
from robustgames.solvers.fused_adam import FusedAdam, fused
from robustgames.solvers.langevin import Langevin, PreconditionedLangevin
from robustgames.solvers.magnetic import Magnetic
from robustgames.solvers.pdhg import PDHG
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
    trajectory,
)
from robustgames.solvers.torch_rule import TorchRule

__all__ = [
    "PDHG",
    "RECIPES",
    "SGD",
    "Adam",
    "Alternating",
    "Averaged",
    "BestResponse",
    "DoubleOracle",
    "Entropic",
    "Exponential",
    "Extragradient",
    "FusedAdam",
    "InversePower",
    "Langevin",
    "LangevinChains",
    "Linear",
    "Magnetic",
    "Momentum",
    "Optimistic",
    "PolynomialAverage",
    "PreconditionedLangevin",
    "RMSProp",
    "RegretMatching",
    "Rule",
    "Scheme",
    "Sign",
    "Simultaneous",
    "Solver",
    "Steepest",
    "Tally",
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
