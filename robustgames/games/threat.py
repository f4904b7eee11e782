"""The threat model: which perturbations an attacker may add to an input."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Generator, Tensor

from robustgames.errors import GameError, unknown
from robustgames.games.projections import norm, project_l1_in_box, project_l2_in_box
from robustgames.games.sets import (
    Box,
    L1Ball,
    L1BallInBox,
    L2Ball,
    L2BallInBox,
    Set,
    linf_ball,
)
from robustgames.tensors import Movable

NORMS = {"linf": float("inf"), "l2": 2.0, "l1": 1.0}


def norm_name(norm: str | float) -> str:
    """Return the name of a norm as people write it: 2, 2.0, float("inf"), "L2", "Linf".

    Raises:
        GameError: If the norm is unknown.
    """
    if isinstance(norm, str):
        name = norm.lower()
    else:
        name = next((name for name, order in NORMS.items() if norm == order), str(norm))
    if name not in NORMS:
        raise unknown("norm", norm if isinstance(norm, str) else name, NORMS)
    return name


@dataclass(frozen=True, eq=False)
class ThreatModel(Movable):
    """{η : |η|_norm <= eps, low <= a + η <= high}: a norm ball around 0, joined with the box of the inputs.

    All methods take inputs a of shape (*S, p) and perturbations of the same shape; rows are independent.

    Args:
        norm: "linf", "l2" or "l1"; "Linf", "L2", 2, float("inf") and the like are brought to that form.
        eps: Radius >= 0, a number or one per row, (*S, 1).
        low: Least value of a coordinate of a + η, a number or a tensor that broadcasts to (*S, p).
        high: Largest value of a coordinate of a + η.

    Raises:
        GameError: Unknown norm, or a radius that is negative or not finite.

    Example:
        >>> threat = ThreatModel("l1", eps=1.0)
        >>> threat.project(torch.tensor([0.9, 0.5]), torch.tensor([2.0, 2.0]))    # the first pixel has 0.1 left
        tensor([0.1000, 0.5000])
    """

    norm: str = "linf"
    eps: float | Tensor = 0.3
    low: float | Tensor = 0.0
    high: float | Tensor = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "norm", norm_name(self.norm))
        radius = torch.as_tensor(self.eps)
        if not bool(((radius >= 0) & (radius < float("inf"))).all()):  # also refuses NaN
            raise GameError(f"eps is {self.eps}: the radius of an attack is a finite number >= 0, e.g. eps=0.3")

    @property
    def ball(self) -> Set:
        """The norm ball without the box; one radius."""
        radius = float(self.eps)
        return linf_ball(radius) if self.norm == "linf" else (L2Ball if self.norm == "l2" else L1Ball)(radius)

    def rows(self, keep: Tensor) -> Self:
        """Return the threat model of some rows (N, p): an index or mask; shared bounds stay as they are."""
        chosen = {
            name: value[keep]
            for name in ("eps", "low", "high")
            if isinstance(value := getattr(self, name), Tensor) and value.dim() > 1 and len(value) > 1
        }
        return replace(self, **chosen) if chosen else self

    def at(self, a: Tensor) -> Set:
        """Return the strategy set of the attacker at the inputs a."""
        low, high = self.low - a, self.high - a
        if self.norm == "linf":
            return Box(torch.clamp(low, min=-self.eps), torch.clamp(high, max=self.eps))
        return (L2BallInBox if self.norm == "l2" else L1BallInBox)(self.eps, low, high)

    def project(self, a: Tensor, eta: Tensor) -> Tensor:
        """Return the perturbation nearest to η in |·|_2 that is allowed at a: ball and box jointly, exactly."""
        return self.project_into(eta, *self.room(a))

    def room(self, a: Tensor) -> tuple[Tensor, Tensor]:
        """Return the least and the largest η of each coordinate at a: the box, in ℓ∞ joined with the ball."""
        low, high = self.low - a, self.high - a
        return (low.clamp_min(-self.eps), high.clamp_max(self.eps)) if self.norm == "linf" else (low, high)

    def project_into(self, eta: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Return `project`, given the `room` at a, which does not change from step to step."""
        if self.norm == "linf":
            return torch.clamp(eta, low, high)
        return (project_l2_in_box if self.norm == "l2" else project_l1_in_box)(eta, self.eps, low, high)

    def sample(self, a: Tensor, generator: Generator) -> Tensor:
        """Return a random perturbation: uniform in the ball, projected."""
        if self.norm == "linf":
            u = 2 * torch.rand(a.shape, generator=generator, device=a.device, dtype=a.dtype) - 1
        else:
            u = (L2Ball() if self.norm == "l2" else L1Ball()).sample(tuple(a.shape), generator, a.dtype)
        return self.project(a, self.eps * u)

    def steepest(self, g: Tensor) -> Tensor:
        """Return the direction u of norm 1 with the largest <g, u>: sign(g), g/|g|_2, or one signed coordinate."""
        if self.norm == "linf":
            return g.sign()
        return (L2Ball() if self.norm == "l2" else L1Ball()).maximize(g)

    def size(self, eta: Tensor) -> Tensor:
        """Return |η|_norm, (*S,)."""
        if self.norm == "l2":
            return norm(eta).squeeze(-1)
        if self.norm == "linf":
            return eta.abs().amax(-1)  # vector_norm took ten times as long
        return torch.linalg.vector_norm(eta, NORMS[self.norm], dim=-1)
