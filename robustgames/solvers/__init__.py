"""Solvers: a scheme (where to ask the field) of rules (what to do with its value)."""

from robustgames.solvers import danskin, diagnostics
from robustgames.solvers.chains import LangevinChains
from robustgames.solvers.fused_adam import FusedAdam, fused
from robustgames.solvers.recipes import RECIPES, make_solver
from robustgames.solvers.rules import (
    SGD,
    Adam,
    Entropic,
    Exponential,
    InversePower,
    Langevin,
    Linear,
    Momentum,
    PreconditionedLangevin,
    RMSProp,
    Rule,
    Sign,
    Steepest,
    Triangular,
)
from robustgames.solvers.schemes import (
    Alternating,
    Averaged,
    BestResponse,
    Extragradient,
    Optimistic,
    Scheme,
    Simultaneous,
    Solver,
    Turns,
    respond,
    trajectory,
)
from robustgames.solvers.torch_rule import TorchRule

__all__ = [
    "RECIPES",
    "SGD",
    "Adam",
    "Alternating",
    "Averaged",
    "BestResponse",
    "Entropic",
    "Exponential",
    "Extragradient",
    "FusedAdam",
    "InversePower",
    "Langevin",
    "LangevinChains",
    "Linear",
    "Momentum",
    "Optimistic",
    "PreconditionedLangevin",
    "RMSProp",
    "Rule",
    "Scheme",
    "Sign",
    "Simultaneous",
    "Solver",
    "Steepest",
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
