"""Experiments on disk: trained into a run folder, resumed, evaluated."""

from robustgames.experiment.control import CONTROL_AGENTS, ControlExperiment
from robustgames.experiment.driver import evaluate, load, read, read_experiment, resume, train
from robustgames.experiment.game import Experiment

__all__ = [
    "CONTROL_AGENTS",
    "ControlExperiment",
    "Experiment",
    "evaluate",
    "load",
    "read",
    "read_experiment",
    "resume",
    "train",
]
