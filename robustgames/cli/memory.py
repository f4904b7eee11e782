"""A check that the runs fit into the memory of the machine."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from rich.console import Console

from robustgames.errors import GameError

if TYPE_CHECKING:
    from robustgames.experiment import ControlExperiment, Experiment

MANY = 1_000  # runs from which on their memory is estimated
COPIES = 8  # of z: the point, the field, two moments, their new values, and intermediate results


def check_memory(experiment: Experiment | ControlExperiment) -> None:
    """Refuse more runs than the memory of the machine holds; print a rough estimate if they take much of it.

    Raises:
        GameError: If the runs do not fit, or the experiment cannot be made.
    """
    if experiment.runs <= MANY:
        return
    one = replace(experiment, runs=1).make_agent()
    device, of_run = one.z.device, COPIES * one.z.nbytes
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory
    else:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    needed = experiment.runs * of_run
    text = f"{experiment.runs:,} runs take about {needed / 2**30:,.1f} GiB"
    if needed > memory:
        fit = f"about {memory // of_run:,} runs fit into the {memory / 2**30:,.0f} GiB of this machine"
        raise GameError(f"{text}: {fit}, e.g. --runs {min(MANY, max(1, memory // of_run))}")
    if needed > memory / 10:
        Console(stderr=True, highlight=False).print(f"{text} of memory", soft_wrap=True)
