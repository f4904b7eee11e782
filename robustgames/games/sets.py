"""Strategy sets with exact Euclidean projections, linear maximizers and random points.

All functions act on the last dimension: a point has shape (*S, n), one row per run. The ℓ1 ball is
projected by soft-thresholding at the *last* index where the sorted test holds, row by row. The two errors in
circulation (the first index where it fails; projecting rows that are already inside) are excluded by a test each.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from robustgames.errors import GameError
from robustgames.games.projections import (
    direction,
    like,
    norm,
    project_l1_in_box,
    project_l2_in_box,
    signs,
    threshold,
    way,
)
from robustgames.tensors import Movable


class Set(Movable, ABC):
    """A closed convex set of strategies in R^n."""

    @abstractmethod
    def project(self, point: Tensor) -> Tensor:
        """Return argmin_{u in set} |u - point|_2, shape (*S, n)."""

    @abstractmethod
    def maximize(self, g: Tensor) -> Tensor:
        """Return one argmax_{u in set} <g, u>, shape (*S, n): a best response to a linear payoff.

        Raises:
            GameError: The set is unbounded, so no maximizer exists.
        """

    @property
    @abstractmethod
    def bounds(self) -> tuple[float, float]:
        """(low, high) of the smallest cube that holds the set: the bounds of an action space."""

    @abstractmethod
    def sample(self, shape: tuple[int, ...], generator: Generator, dtype: torch.dtype) -> Tensor:
        """Return random points of the set of the given shape (*S, n)."""


@dataclass(frozen=True, eq=False)
class Space(Set):
    """All of R^n; random points are standard normal."""

    def project(self, point: Tensor) -> Tensor:
        return point

    def maximize(self, g: Tensor) -> Tensor:
        raise GameError(
            "a linear payoff has no best response in an unbounded set: give the player a set, e.g. Box(-1, 1)"
        )

    @property
    def bounds(self) -> tuple[float, float]:
        return -float("inf"), float("inf")

    def sample(self, shape: tuple[int, ...], generator: Generator, dtype: torch.dtype) -> Tensor:
        return torch.randn(shape, generator=generator, device=generator.device, dtype=dtype)


@dataclass(frozen=True, eq=False)
class Box(Set):
    """{u : low <= u_i <= high}; the bounds are numbers or tensors that broadcast to (*S, n).

    The ℓ∞ ball of radius r around 0 is `Box(-r, r)`, also spelled `linf_ball(r)`.
    """

    low: float | Tensor
    high: float | Tensor

    def __post_init__(self) -> None:
        low, high = torch.as_tensor(self.low), torch.as_tensor(self.high)
        if not bool((low <= high).all()):  # also refuses NaN
            raise GameError(f"the box [{self.low}, {self.high}] is empty: low must be at most high in every coordinate")

    def _sides(self, point: Tensor) -> tuple[float, float] | tuple[Tensor, Tensor]:
        """Return (low, high), both numbers or both tensors like the point: `torch.clamp` takes no mixture."""
        if isinstance(self.low, Tensor) or isinstance(self.high, Tensor):
            return like(self.low, point), like(self.high, point)
        return self.low, self.high

    def project(self, point: Tensor) -> Tensor:
        return torch.clamp(point, *self._sides(point))  # type: ignore[arg-type]

    def maximize(self, g: Tensor) -> Tensor:
        zero, (low, high) = self.project(torch.zeros_like(g)), self._sides(g)
        best = torch.where(g > 0, high, torch.where(g < 0, low, zero.where(g == 0, g)))  # NaN stays NaN
        if (isinstance(low, Tensor) or not math.isfinite(low + high)) and bool(best.isinf().any()):
            raise GameError(
                f"a linear payoff has no best response in the box [{self.low}, {self.high}], which is open on a side "
                "where it grows: give the player a bounded set, e.g. Box(-1, 1)"
            )
        return best

    @property
    def bounds(self) -> tuple[float, float]:
        return _least(self.low), -_least(-self.high)

    def sample(self, shape: tuple[int, ...], generator: Generator, dtype: torch.dtype) -> Tensor:
        if not all(map(math.isfinite, self.bounds)):  # an open side: normal points, moved inside
            return self.project(Space().sample(shape, generator, dtype)).to(dtype)
        uniform = torch.rand(shape, generator=generator, device=generator.device, dtype=dtype)
        return (self.low + (self.high - self.low) * uniform).to(dtype)


def linf_ball(radius: float) -> Box:
    """Return {u : |u|_inf <= radius}."""
    _check_radius(radius)
    return Box(-radius, radius)


@dataclass(frozen=True, eq=False)
class L2Ball(Set):
    """{u : |u|_2 <= radius}."""

    radius: float = 1.0

    def __post_init__(self) -> None:
        _check_radius(self.radius)

    def project(self, point: Tensor) -> Tensor:
        return torch.where(norm(point) <= self.radius, point, self.radius * direction(point))

    def maximize(self, g: Tensor) -> Tensor:
        return self.radius * direction(g)

    @property
    def bounds(self) -> tuple[float, float]:
        return -self.radius, self.radius

    def sample(self, shape: tuple[int, ...], generator: Generator, dtype: torch.dtype) -> Tensor:
        normal = torch.randn(shape, generator=generator, device=generator.device, dtype=dtype)
        u = torch.rand((*shape[:-1], 1), generator=generator, device=generator.device, dtype=dtype)
        return self.radius * u ** (1 / shape[-1]) * direction(normal)


@dataclass(frozen=True, eq=False)
class L1Ball(Set):
    """{u : |u|_1 <= radius}.

    The projection soft-thresholds |v| at theta with sum_i max(|v_i| - theta, 0) = radius, and leaves rows
    inside the ball alone. Source: Duchi et al. 2008, figure 1.
    """

    radius: float = 1.0

    def __post_init__(self) -> None:
        _check_radius(self.radius)

    def project(self, point: Tensor) -> Tensor:
        size = point.abs()
        inside = size.sum(-1, keepdim=True) <= self.radius
        return torch.where(inside, point, torch.copysign(threshold(size, self.radius), point))

    def maximize(self, g: Tensor) -> Tensor:
        best = g.abs().argmax(-1, keepdim=True)
        return torch.zeros_like(g).scatter(-1, best, self.radius * signs(g).gather(-1, best))

    @property
    def bounds(self) -> tuple[float, float]:
        return -self.radius, self.radius

    def sample(self, shape: tuple[int, ...], generator: Generator, dtype: torch.dtype) -> Tensor:
        # n of n + 1 coordinates of a uniform point of the simplex are uniform in {u >= 0, sum u <= 1}
        spare = Simplex().sample((*shape[:-1], shape[-1] + 1), generator, dtype)[..., :-1]
        coin = torch.rand(shape, generator=generator, device=generator.device, dtype=dtype)
        return self.radius * torch.where(coin < 0.5, -spare, spare)


@dataclass(frozen=True, eq=False)
class L1BallInBox(Set):
    """{u : |u|_1 <= radius, low <= u_i <= high} with low <= 0 <= high: the ℓ1 threat model on images.

    The joint projection is d_i = sign(v_i) * clip(|v_i| - theta, 0, room_i), room_i the distance to the box in the
    direction of v_i, with the least theta >= 0 for which sum |d_i| <= radius. It is found exactly: sum |d_i| is
    piecewise linear in theta with breaks at |v_i| and |v_i| - room_i. Projecting on the ball and then clipping
    gives a feasible point that is not the projection; it wastes budget. `radius` may be a tensor (*S, 1).
    """

    radius: float | Tensor
    low: float | Tensor
    high: float | Tensor

    def __post_init__(self) -> None:
        _check_ball_in_box(self.radius, self.low, self.high)

    def _room(self, direction: Tensor) -> Tensor:
        return way(direction, self.radius, self.low, self.high)

    def project(self, point: Tensor) -> Tensor:
        return project_l1_in_box(point, self.radius, self.low, self.high)

    def maximize(self, g: Tensor) -> Tensor:
        order = g.abs().argsort(dim=-1, descending=True)
        room = self._room(g).gather(-1, order)
        used = (room.cumsum(-1) - room).clamp_max(self.radius)  # budget spent on larger coordinates
        step = torch.minimum(room, self.radius - used)
        return torch.zeros_like(g).scatter(-1, order, step) * signs(g)

    @property
    def bounds(self) -> tuple[float, float]:
        return _cube(self.radius, self.low, self.high)

    def sample(self, shape: tuple[int, ...], generator: Generator, dtype: torch.dtype) -> Tensor:
        return self.project(self.radius * L1Ball().sample(shape, generator, dtype))


@dataclass(frozen=True, eq=False)
class L2BallInBox(Set):
    """{u : |u|_2 <= radius, low <= u_i <= high} with low <= 0 <= high: the ℓ2 threat model on images.

    The joint projection is d_i = sign(v_i) * min(s |v_i|, room_i) with the largest s <= 1 for which |d|_2 <= radius.
    It is found exactly: |d|² is piecewise quadratic in s with breaks at room_i / |v_i|. Scaling to the ball and then
    clipping, as most libraries do, is feasible but not the projection. `radius` may be a tensor (*S, 1).
    """

    radius: float | Tensor
    low: float | Tensor
    high: float | Tensor

    def __post_init__(self) -> None:
        _check_ball_in_box(self.radius, self.low, self.high)

    def project(self, point: Tensor) -> Tensor:
        return project_l2_in_box(point, self.radius, self.low, self.high)

    def maximize(self, g: Tensor) -> Tensor:
        return project_l2_in_box(g, self.radius, self.low, self.high, most=float("inf"))

    @property
    def bounds(self) -> tuple[float, float]:
        return _cube(self.radius, self.low, self.high)

    def sample(self, shape: tuple[int, ...], generator: Generator, dtype: torch.dtype) -> Tensor:
        return self.project(self.radius * L2Ball().sample(shape, generator, dtype))


@dataclass(frozen=True, eq=False)
class Product(Set):
    """{u : each row of u, cut into rows of `width` coordinates, lies in `factor`}: e.g. one strategy per image."""

    factor: Set
    width: int

    def project(self, point: Tensor) -> Tensor:
        return self.factor.project(point.unflatten(-1, (-1, self.width))).flatten(-2)

    def maximize(self, g: Tensor) -> Tensor:
        return self.factor.maximize(g.unflatten(-1, (-1, self.width))).flatten(-2)

    @property
    def bounds(self) -> tuple[float, float]:
        return self.factor.bounds

    def sample(self, shape: tuple[int, ...], generator: Generator, dtype: torch.dtype) -> Tensor:
        rows = (*shape[:-1], shape[-1] // self.width, self.width)
        return self.factor.sample(rows, generator, dtype).flatten(-2)


@dataclass(frozen=True, eq=False)
class Simplex(Set):
    """{u : u_i >= 0, sum u_i = 1}: mixed strategies; random points are uniform (Dirichlet(1, ..., 1))."""

    def project(self, point: Tensor) -> Tensor:
        return threshold(point, 1.0)

    def maximize(self, g: Tensor) -> Tensor:
        best = g.argmax(-1, keepdim=True)  # a NaN if there is one, which stays NaN
        return torch.zeros_like(g).scatter(-1, best, torch.where(g.isnan(), g, 1.0).gather(-1, best))

    @property
    def bounds(self) -> tuple[float, float]:
        return 0.0, 1.0

    def sample(self, shape: tuple[int, ...], generator: Generator, dtype: torch.dtype) -> Tensor:
        waits = torch.empty(shape, device=generator.device, dtype=dtype).exponential_(generator=generator)
        return waits / waits.sum(-1, keepdim=True)


def _least(bound: float | Tensor) -> float:
    return float(bound.min()) if isinstance(bound, Tensor) else bound


def _cube(radius: float | Tensor, low: float | Tensor, high: float | Tensor) -> tuple[float, float]:
    most = -_least(-radius)
    return max(-most, _least(low)), min(most, -_least(-high))


def check_column(name: str, value: float | Tensor) -> None:
    """Raise GameError if a tensor holds one number per row in another shape than (*S, 1): it would be per coordinate.

    Args:
        name: Name of the value, for the message.
        value: Number or tensor.
    """
    if isinstance(value, Tensor) and value.dim() > 0 and value.shape[-1] != 1:
        raise GameError(
            f"{name} has shape {tuple(value.shape)}: one number per row has shape (*S, 1); type {name}.unsqueeze(-1)"
        )


def _check_radius(radius: float | Tensor) -> None:
    check_column("radius", radius)
    inside = torch.as_tensor(radius)
    if not bool(((inside >= 0) & (inside < float("inf"))).all()):  # also refuses NaN
        raise GameError(f"the ball of radius {radius} is empty or unbounded: radius must be a finite number >= 0")


def _check_ball_in_box(radius: float | Tensor, low: float | Tensor, high: float | Tensor) -> None:
    _check_radius(radius)
    if not bool((torch.as_tensor(low) <= 0).all() and (torch.as_tensor(high) >= 0).all()):  # also refuses NaN
        raise GameError(f"the box [{low}, {high}] must contain 0, the center of the ball")
