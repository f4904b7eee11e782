"""Bounds of a policy's actions when what it observes moves in a box: proofs, where attacks only search."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from robustgames.certificates.boxes import output_bounds
from robustgames.errors import GameError
from robustgames.evaluation.observation_attacks import Differentiable

BATCH = 100
"""States that are bounded at once."""


@dataclass(frozen=True, eq=False)
class ActionBounds:
    """The actions of a policy in some states, and bounds of those on the boxes around them, each (N, k).

    Attributes:
        actions: μ(s).
        low: Lower bounds of min μ(ŝ) over the box.
        high: Upper bounds of max μ(ŝ) over the box.
    """

    actions: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @property
    def change(self) -> np.ndarray:
        """Upper bounds of max |μ(ŝ) - μ(s)| over the box, (N, k)."""
        return np.maximum(self.high - self.actions, self.actions - self.low)


@torch.no_grad()
def bound_actions(
    own: Differentiable, states: np.ndarray, eps: float, scale: np.ndarray | None = None, method: str = "crown"
) -> ActionBounds:
    """Return bounds of the actions of a policy over {ŝ : |ŝ - s| <= eps scale in every component}.

    They hold for the arithmetic of the network in float32, and for observations that are rounded to float32. They bound
    one decision: an episode under attack visits other states.

    Args:
        own: Policy with its `network`.
        states: States (N, p).
        eps: Radius of the boxes, in units of `scale`.
        scale: Units of the components, (p,); 1 by default.
        method: "crown" or "ibp", see `robustgames.certificates.output_bounds`.

    Raises:
        GameError: A policy without a network, a negative eps, or a layer without bounds.

    Example:
        >>> net = torch.nn.Linear(2, 1, bias=False)
        >>> weights = torch.nn.utils.vector_to_parameters(torch.tensor([1.0, -2.0]), net.parameters())
        >>> bound_actions(Differentiable(net, network=net), np.zeros((1, 2)), eps=0.1).change.round(5)
        array([[0.3]])
    """
    if own.network is None:
        raise GameError("this policy has no network whose layers are known: bounds follow the layers of a module")
    if not 0 <= eps < float("inf"):
        raise GameError(f"eps is {eps}: the radius of the boxes is finite and not negative, e.g. eps=0.1")
    centers = np.asarray(states, np.float64)
    radius = eps * (np.ones(centers.shape[1]) if scale is None else np.asarray(scale, np.float64))
    scaled = own.scaled or (lambda rows: rows)  # it does not decrease in any component, nor does its rounding
    low, high = (
        scaled(torch.from_numpy(np.nextafter((centers + sign * radius).astype(np.float32), np.float32(sign * np.inf))))
        for sign in (-1, 1)
    )
    found = [output_bounds(own.network, *box, method) for box in zip(low.split(BATCH), high.split(BATCH), strict=True)]
    lower, upper = (torch.cat(parts).numpy() for parts in zip(*found, strict=True))
    return ActionBounds(own.act(torch.as_tensor(centers, dtype=torch.float32)).double().numpy(), lower, upper)
