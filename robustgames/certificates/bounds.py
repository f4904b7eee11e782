"""Certificates by bounds of the margins: intervals (IBP) and linear relaxations (CROWN)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from robustgames.certificates.certificate import Certificate, Task
from robustgames.certificates.relaxation import Relaxation
from robustgames.certificates.verdicts import Verdicts
from robustgames.games.activations import Monotone
from robustgames.games.layers import Affine, Layer, Sum


@dataclass(frozen=True)
class IBP(Certificate):
    """Interval bound propagation: bounds of each number of each layer from those of the layer before it.

    The cost is that of a few forward passes. Tight only on networks that were trained for it.
    Source: Gowal et al. 2018; Mirman et al. 2018.
    """

    name: ClassVar[str] = "ibp"
    batch: ClassVar[int] = 250

    def run(self, task: Task) -> Verdicts:
        found = Relaxation(task, linear=False).interval_margins()
        return task.verdicts(self, smallest(found, task.labels), task.misclassified())


@dataclass(frozen=True)
class CROWN(Certificate):
    """Linear relaxation: activations between two lines, propagated back to the input; never looser than `IBP`.

    The cost is that of one backward pass for each number of each hidden layer that may have both signs.
    Source: Zhang et al. 2018.
    """

    name: ClassVar[str] = "crown"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")
    layers: ClassVar[tuple[type[Layer], ...]] = (Affine, Monotone, Sum)
    without: ClassVar[str] = "use ibp, or smoothing, which certifies every network in l2"

    def run(self, task: Task) -> Verdicts:
        margin = smallest(crown_margins(Relaxation(task)), task.labels)
        return task.verdicts(self, margin, task.misclassified())


def crown_margins(found: Relaxation) -> Tensor:
    """Return the larger of linear and interval bounds of z_y - z_c, (N, C); 0 for the label."""
    return torch.maximum(found.linear_margins(), found.interval_margins())


def smallest(margins: Tensor, labels: Tensor) -> Tensor:
    """Return the least bound over the wrong classes, (N,)."""
    return margins.scatter(-1, labels.unsqueeze(-1), float("inf")).amin(-1)


def differences(logits: Tensor, labels: Tensor) -> Tensor:
    """Return z_y - z_c, (N, C)."""
    return logits.gather(-1, labels.unsqueeze(-1)) - logits
