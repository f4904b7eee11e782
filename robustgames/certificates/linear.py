"""Linear classifiers, whose worst case is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from robustgames.attacks.universal import linear_worst_case
from robustgames.certificates.bounds import differences, smallest
from robustgames.certificates.certificate import Certificate, Task
from robustgames.certificates.relaxation import Relaxation
from robustgames.certificates.verdicts import Verdicts, row_mask
from robustgames.games.layers import Affine, Layer, Sum


@dataclass(frozen=True)
class Linear(Certificate):
    """The exact worst case of a linear classifier z = W a + b: z_y - z_c drops by eps |w_y - w_c|_dual without a box.

    The model may consist of several affine layers. Every image is certified or falsified, except in ties up to
    rounding. See `robustgames.attacks.linear_worst_case`.
    """

    name: ClassVar[str] = "linear"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")
    batch: ClassVar[int] = 250
    layers: ClassVar[tuple[type[Layer], ...]] = (Affine, Sum)
    without: ClassVar[str] = "the model is not linear, use crown or milp"

    def run(self, task: Task) -> Verdicts:
        found = Relaxation(task)
        inputs = torch.eye(task.a.shape[1], dtype=torch.float64, device=task.a.device)
        points = torch.cat([torch.zeros_like(inputs[:1]), inputs]).view(-1, *task.x.shape[1:])
        z, _ = found.graph.bounds(found.layers, points, points)[found.graph.last]
        bias, weights = z[0], (z[1:] - z[0]).T

        def worst(eps: Tensor) -> Tensor:
            box = (task.p.threat.low, task.p.threat.high)
            return linear_worst_case(weights, task.a, task.labels, eps, task.p.threat.norm, bias=bias, bounds=box)

        exact = smallest(differences(worst(task.radius) @ weights.T + bias, task.labels), task.labels)
        rounding = (Relaxation(task, unit=0.0).linear_margins() - found.linear_margins()).amax(-1)
        x_adv = task.p.images((worst(task.eps) - task.a).to(task.p.a))
        found_wrong = task.fooled(x_adv)
        x_adv = torch.where(row_mask(found_wrong, task.x), x_adv, task.x)
        return task.verdicts(self, exact - rounding, found_wrong | task.misclassified(), x_adv)
