"""Linear bounds of a network, propagated from a value back to its input.

A row of coefficients A on the outputs of a layer bounds A·h from below; each layer turns it into a row on its inputs.
An affine layer is exact, a monotone function is replaced by the line that is on the safe side of the sign of A, and
the rounding of a layer costs |A| times its bound. At the input the minimum over ball and box is known.

Source: Zhang et al. 2018, "Efficient neural network robustness certification with general activation functions".
"""

from __future__ import annotations

import torch
from torch import Tensor

from robustgames.certificates.certificate import Task
from robustgames.games.activations import Monotone, Rectifier
from robustgames.games.interval import margins
from robustgames.games.layers import Affine, Interval, Layer, Sum

NUMBERS = 2**23  # of the largest tensor of coefficients, in float64 64 MB


class Relaxation:
    """The bounds of every value of a network over the balls of a task, as tight as interval and linear bounds are.

    Args:
        task: Images with their balls.
        linear: Whether to tighten the inputs of activations by linear bounds, or to use intervals alone.
        unit: Unit roundoff of the model; by default that of its own arithmetic.
    """

    def __init__(self, task: Task, linear: bool = True, unit: float | None = None) -> None:
        self.task = task
        self.graph, self.layers, own = task.graph()
        self.unit = own if unit is None else unit
        low, high = (bound.view(task.x.shape) for bound in (task.low, task.high))
        self.values: list[Interval] = [(low, high)]
        self.slack: list[Tensor | float] = [0.0]
        mixed = [0]  # layers behind a value in which inputs meet
        for step, layer in zip(self.graph.steps, self.layers, strict=True):
            if linear and isinstance(layer, Monotone) and (mixed[step.inputs[0]] > 1 or task.p.threat.norm != "linf"):
                self._tighten(step.inputs[0], layer)
            inputs = [self.values[i] for i in step.inputs]
            self.values.append(layer.bounds(self.unit, *inputs))
            self.slack.append(layer.rounding(self.unit, *inputs))
            mixes = not isinstance(layer, Affine) or layer.mixes
            mixed.append(max(mixed[i] for i in step.inputs) + mixes)

    def interval_margins(self) -> Tensor:
        """Return lower bounds of z_y - z_c by intervals, (N, C); 0 for the label."""
        return margins(self.graph, self.layers, self.values, self.task.labels, self.unit)

    def linear_margins(self) -> Tensor:
        """Return lower bounds of z_y - z_c by linear bounds, (N, C); 0 for the label."""
        classes = self.values[self.graph.last][0].shape[-1]
        every = torch.eye(classes, dtype=torch.float64, device=self.task.a.device)
        rows = every[self.task.labels].unsqueeze(1) - every
        return self.minimum(self.graph.last, rows)

    def minimum(self, index: int, rows: Tensor) -> Tensor:
        """Return lower bounds of <row, value> over the balls, for rows (N, R, *shape) on value `index`: (N, R)."""
        waiting, total = {index: rows}, rows.new_zeros(rows.shape[:2])
        for i in range(index, 0, -1):
            if (a := waiting.pop(i, None)) is None:
                continue
            step, layer = self.graph.steps[i - 1], self.layers[i - 1]
            slack = self.slack[i]
            if isinstance(slack, Tensor):
                total = total - _dot(a.abs(), slack)
            if isinstance(layer, Sum):
                parts = [a for _ in step.inputs]
            else:
                before, gain = self._through(layer, a, step.inputs[0])
                parts, total = [before], total + gain
            for j, part in zip(step.inputs, parts, strict=True):
                waiting[j] = waiting[j] + part if j in waiting else part
        return total if 0 not in waiting else total + self._over_balls(waiting[0].flatten(2))

    def _through(self, layer: Layer, a: Tensor, source: int) -> tuple[Tensor, Tensor]:
        """Return (rows on the inputs of a layer, constants (N, R))."""
        low, high = self.values[source]
        if isinstance(layer, Affine):
            shape = torch.Size((a.shape[0] * a.shape[1], *low.shape[1:]))
            offset = layer(torch.zeros_like(low[:1]))
            return layer.transpose(a.flatten(0, 1), shape).unflatten(0, a.shape[:2]), _dot(a, offset)
        assert isinstance(layer, Monotone)
        lines = layer.lines(low, high)
        positive, negative = a.clamp_min(0), a.clamp_max(0)
        rows = positive * lines.low_slope.unsqueeze(1) + negative * lines.high_slope.unsqueeze(1)
        return rows, _dot(positive, lines.low_offset) + _dot(negative, lines.high_offset)

    def _over_balls(self, rows: Tensor) -> Tensor:
        """Return bounds of min <row, u> over ball and box: the larger of those over each, exact in ℓ∞."""
        task, norm = self.task, self.task.p.threat.norm
        center, radius = (task.low + task.high) / 2, (task.high - task.low) / 2
        found = _dot(rows, center) - _dot(rows.abs(), radius)
        if norm == "linf":
            return found
        dual = torch.linalg.vector_norm(rows, {"l2": 2.0, "l1": float("inf")}[norm], dim=-1)
        return torch.maximum(found, _dot(rows, task.a) - task.radius * dual)

    def _tighten(self, index: int, layer: Monotone) -> None:
        """Replace the bounds of the input of a layer by linear ones where they are tighter and matter to the layer."""
        low, high = (bound.flatten(1) for bound in self.values[index])
        shape, width = self.values[index][0].shape[1:], low.shape[1]
        curved = (low < 0) & (high > 0) if isinstance(layer, Rectifier) else low < high
        chosen = curved.any(0).nonzero().squeeze(-1)
        if len(chosen) == 0:
            return
        low, high = low.clone(), high.clone()
        largest = max(value.shape[1:].numel() for value, _ in self.values[: index + 1])
        for part in chosen.split(max(1, NUMBERS // (2 * len(low) * largest))):
            rows = torch.zeros(len(part), width, dtype=low.dtype, device=low.device)
            rows.scatter_(1, part.unsqueeze(1), 1.0)
            both = torch.cat([rows, -rows]).expand(len(low), -1, -1).reshape(len(low), -1, *shape)
            found_low, found_high = self.minimum(index, both).split(len(part), 1)
            where = curved[:, part]  # of each image: its bounds must not depend on the others of the batch
            low[:, part] = torch.where(where, torch.maximum(low[:, part], found_low), low[:, part])
            high[:, part] = torch.where(where, torch.minimum(high[:, part], -found_high), high[:, part])
        self.values[index] = (low.view(-1, *shape), high.view(-1, *shape))


def _dot(rows: Tensor, values: Tensor) -> Tensor:
    """Return <row, value> for rows (N, R, *shape) and values (N or 1, *shape) that broadcast: (N, R)."""
    return (rows * values.unsqueeze(1)).flatten(2).sum(-1)
