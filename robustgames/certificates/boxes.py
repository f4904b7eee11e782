"""Bounds of the outputs of a network over boxes of inputs, such as the actions of a policy."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor, nn

from robustgames.attacks.reach import evaluation_mode
from robustgames.certificates.bounds import CROWN
from robustgames.certificates.certificate import LEAST_UNIT, Task, in_double
from robustgames.certificates.relaxation import Relaxation
from robustgames.errors import GameError, unknown
from robustgames.games.layers import Layer
from robustgames.games.tracing import Graph, attribute_of, trace

METHODS = ("ibp", "crown")
"""Methods, the looser one first."""


@torch.no_grad()
def output_bounds(model: nn.Module, low: Tensor, high: Tensor, method: str = "crown") -> tuple[Tensor, Tensor]:
    """Return (lower, upper) bounds of every output of a network over boxes of inputs, float64 (N, k) each.

        lower <= h(u) <= upper,    for all u with low <= u <= high,

    where h is computed in the model's own precision: the rounding of each layer is part of the bounds. A network of
    affine layers alone has exact bounds up to that.

    Args:
        model: Network, inputs (N, p) -> outputs (N, k), of the layers that `certify` has bounds of.
        low: Lower ends of the boxes, (N, p).
        high: Upper ends of the boxes, (N, p).
        method: "ibp", intervals, or "crown", linear relaxations, which are never looser and take a backward pass per
            hidden unit.

    Raises:
        GameError: An unknown method, an empty box, or a layer that the method has no bounds of.

    Example:
        >>> net = torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.Tanh())
        >>> weights = torch.nn.utils.vector_to_parameters(torch.tensor([1.0, -2.0, 0.0]), net.parameters())
        >>> low, high = output_bounds(net, torch.tensor([[-0.1, -0.1]]), torch.tensor([[0.1, 0.1]]))
        >>> low.round(decimals=4), torch.tensor(0.3).tanh()
        (tensor([[-0.2913]], dtype=torch.float64), tensor(0.2913))

    Source: Gowal et al. 2018 (intervals); Zhang et al. 2018 (CROWN); Lütjens, Everett and How 2020 for policies.
    """
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    if low.shape != high.shape or low.dim() != 2:
        raise GameError(f"low is {tuple(low.shape)} and high {tuple(high.shape)}: boxes have ends of shape (N, p)")
    if not bool((torch.isfinite(low) & torch.isfinite(high) & (low <= high)).all()):
        raise GameError("a box is empty or not finite: low <= high in every component, both finite")
    with evaluation_mode(model):
        box = _Boxes(model, low, high)
        if method == "crown":
            for step, layer in zip(box.network.steps, box.layers, strict=True):
                if not isinstance(layer, CROWN.layers):
                    raise GameError(f"crown has no bounds of {step.name}: use method='ibp'")
        found = Relaxation(cast(Task, box), linear=method == "crown")
    lower, upper = (bound.flatten(1) for bound in found.values[found.graph.last])
    if method == "crown":
        every = torch.eye(lower.shape[1], dtype=torch.float64, device=low.device)
        rows = torch.cat([every, -every]).expand(len(low), -1, -1)
        below, above = found.minimum(found.graph.last, rows).chunk(2, 1)
        lower, upper = torch.maximum(lower, below), torch.minimum(upper, -above)
    return lower, upper


class _Boxes:
    """What `Relaxation` needs of a `Task`: boxes instead of balls around images."""

    p = SimpleNamespace(threat=SimpleNamespace(norm="linf"))  # where `Relaxation` looks for the norm of its balls

    def __init__(self, model: nn.Module, low: Tensor, high: Tensor) -> None:
        self.low, self.high = low.double(), high.double()
        self.a = (self.low + self.high) / 2
        dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), low.dtype)
        self.x, self.unit = self.a.to(dtype), max(torch.finfo(dtype).eps / 2, LEAST_UNIT)
        self.network = trace(model, self.x[:2])
        self.layers = self.network.layers(lambda path: in_double(attribute_of(model, path)))
        self._check(model)

    def graph(self) -> tuple[Graph, list[Layer], float]:
        """Return the layers in float64, and the unit roundoff of the model."""
        return self.network, self.layers, self.unit

    def _check(self, model: nn.Module) -> None:
        """Refuse a model that computes something else than its layers, e.g. because of a hook."""
        inside: Any = self.x.double()
        low, high = self.network.bounds(self.layers, inside, inside, self.unit)[self.network.last]
        out = model(self.x).double()
        if not bool(((low - self.unit <= out) & (out <= high + self.unit)).all()):
            raise GameError(
                f"the outputs of {type(model).__name__} differ from those of its layers: hooks and code outside of "
                "layers cannot be bounded"
            )
