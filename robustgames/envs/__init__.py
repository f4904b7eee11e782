"""Envs: the Gymnasium face of games, control with an adversary, one player's view, registration."""

from typing import TYPE_CHECKING

from robustgames.envs.registration import control_ids, game_ids, make, register
from robustgames.lazy import attach

if TYPE_CHECKING:
    from robustgames.envs.black_box import BlackBoxAttack
    from robustgames.envs.control.action_couplings import (
        ActionCoupling,
        MixedAction,
        NoisyAction,
        ProbabilisticAction,
        Share,
    )
    from robustgames.envs.control.action_robust import ActionRobustEnv
    from robustgames.envs.control.coupling import ControlEnv, Coupling, Play
    from robustgames.envs.control.couplings import COUPLINGS
    from robustgames.envs.control.disturbances import (
        BodyForce,
        DelayedObservationShift,
        DynamicsShift,
        ObservationShift,
    )
    from robustgames.envs.control.perturbations import Choice, Distribution, LogUniform, Uniform
    from robustgames.envs.control.uncertainty_sets import UNCERTAINTY_SETS, UncertaintySet, uncertainty_set
    from robustgames.envs.game_env import GameEnv, GameVectorEnv
    from robustgames.envs.numpy_batch import NumpyBatch
    from robustgames.envs.views import PlayerView
else:  # hidden from type checkers, which would take any name for an attribute
    __getattr__, __dir__ = attach(__name__, __file__)

__all__ = [
    "COUPLINGS",
    "UNCERTAINTY_SETS",
    "ActionCoupling",
    "ActionRobustEnv",
    "BlackBoxAttack",
    "BodyForce",
    "Choice",
    "ControlEnv",
    "Coupling",
    "DelayedObservationShift",
    "Distribution",
    "DynamicsShift",
    "GameEnv",
    "GameVectorEnv",
    "LogUniform",
    "MixedAction",
    "NoisyAction",
    "NumpyBatch",
    "ObservationShift",
    "Play",
    "PlayerView",
    "ProbabilisticAction",
    "Share",
    "UncertaintySet",
    "Uniform",
    "control_ids",
    "game_ids",
    "make",
    "register",
    "uncertainty_set",
]
