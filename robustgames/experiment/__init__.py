"""Experiments on disk: trained into a run folder, resumed, evaluated."""

from robustgames.experiment.base import Examination, Experiment
from robustgames.experiment.control import CONTROL_AGENTS, ControlExperiment
from robustgames.experiment.driver import complete, evaluate, load, read, read_experiment, resume, train
from robustgames.experiment.game import GameExperiment
from robustgames.experiment.result import Result

__all__ = [
    "CONTROL_AGENTS",
    "ControlExperiment",
    "Examination",
    "Experiment",
    "GameExperiment",
    "Result",
    "complete",
    "evaluate",
    "load",
    "read",
    "read_experiment",
    "resume",
    "train",
]
