"""The threat model: which perturbations an attacker may add to an input."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Generator, Tensor

from robustgames.errors import GameError, unknown
from robustgames.games.projections import norm, project_l0_in_box, project_l1_in_box, project_l2_in_box
from robustgames.games.sets import (
    Box,
    L1Ball,
    L1BallInBox,
    L2Ball,
    L2BallInBox,
    Set,
    check_column,
    linf_ball,
)
from robustgames.tensors import Movable

NORMS = {"linf": float("inf"), "l2": 2.0, "l1": 1.0, "l0": 0.0}
IN_BOX = {"l2": project_l2_in_box, "l1": project_l1_in_box, "l0": project_l0_in_box}
CONVEX = ("linf", "l2", "l1")  # norms in the strict sense; ℓ0 counts the coordinates that are not 0


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


def convex_norm(norm: str | float, user: str) -> str:
    """Return the name of a norm whose balls are convex.

    Args:
        norm: Norm, see `norm_name`.
        user: What needs such a norm, for the message.

    Raises:
        GameError: If the norm is unknown, or l0.
    """
    name = norm_name(norm)
    if name not in CONVEX:
        raise GameError(
            f"{user} has no version in {name}, whose balls are not convex: use {', '.join(CONVEX[:-1])} or "
            f"{CONVEX[-1]}; fmn attacks in {name}"
        )
    return name


@dataclass(frozen=True, eq=False)
class ThreatModel(Movable):
    """{η : |η|_norm <= eps, low <= a + η <= high}: a norm ball around 0, joined with the box of the inputs.

    All methods take inputs a of shape (*S, p) and perturbations of the same shape; rows are independent.

    |η|_0 is the number of coordinates that are not 0, exactly, however small they are: features of a table, and of an
    image the values of its channels, so a pixel in color counts up to 3. Its balls are not convex: they have a
    projection, which keeps the coordinates that matter most, but neither a steepest direction nor a uniform draw.

    Args:
        norm: "linf", "l2", "l1" or "l0"; "Linf", "L2", 2, float("inf") and the like are brought to that form.
        eps: Radius >= 0, a number or one per row, (*S, 1); in ℓ0 a whole number.
        low: Least value of a coordinate of a + η, a number or a tensor that broadcasts to (*S, p).
        high: Largest value of a coordinate of a + η.

    Raises:
        GameError: Unknown norm, or a radius that is negative, not finite, in ℓ0 not whole, or of another shape.

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
        check_column("eps", self.eps)
        radius = torch.as_tensor(self.eps)
        if not bool(((radius >= 0) & (radius < float("inf"))).all()):  # also refuses NaN
            raise GameError(f"eps is {self.eps}: the radius of an attack is a finite number >= 0, e.g. eps=0.3")
        if self.norm == "l0" and not bool((radius == radius.floor()).all()):
            raise GameError(
                f"eps is {self.eps}: in l0 it is the number of coordinates that may change, a whole number, e.g. eps=5"
            )

    @property
    def ball(self) -> Set:
        """The norm ball without the box; one radius."""
        radius, _ = float(self.eps), convex_norm(self.norm, "this set")
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
        convex_norm(self.norm, "this set")
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
        return IN_BOX[self.norm](eta, self.eps, low, high)

    def sample(self, a: Tensor, generator: Generator) -> Tensor:
        """Return a random perturbation: uniform in the ball, projected."""
        convex_norm(self.norm, "a uniform draw")
        if self.norm == "linf":
            u = 2 * torch.rand(a.shape, generator=generator, device=a.device, dtype=a.dtype) - 1
        else:
            u = (L2Ball() if self.norm == "l2" else L1Ball()).sample(tuple(a.shape), generator, a.dtype)
        return self.project(a, self.eps * u)

    def steepest(self, g: Tensor) -> Tensor:
        """Return the direction u of norm 1 with the largest <g, u>: sign(g), g/|g|_2, or one signed coordinate."""
        convex_norm(self.norm, "the steepest direction")
        if self.norm == "linf":
            return g.sign()
        return (L2Ball() if self.norm == "l2" else L1Ball()).maximize(g)

    def size(self, eta: Tensor) -> Tensor:
        """Return |η|_norm, (*S,)."""
        if self.norm == "l2":
            return norm(eta).squeeze(-1)
        if self.norm == "linf":
            return eta.abs().amax(-1)  # vector_norm took ten times as long
        if self.norm == "l0":
            return (eta != 0).sum(-1).to(eta.dtype)
        return torch.linalg.vector_norm(eta, NORMS[self.norm], dim=-1)
