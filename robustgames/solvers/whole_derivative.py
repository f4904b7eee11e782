"""Schemes for small games, which solve systems with the whole derivative DV."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustgames.errors import GameError
from robustgames.games.oracle import Oracle
from robustgames.games.sets import Box, Space
from robustgames.solvers.applicable import check_small, check_unconstrained
from robustgames.solvers.rules import Rate, State, check_rate, rate_at
from robustgames.solvers.schemes import Scheme, Tally

MOST = 64
"""Coordinates of the largest game whose derivative is computed as a whole."""


@dataclass(frozen=True)
class DampedNewton(Scheme):
    """Levenberg and Marquardt's step on V = 0: z⁺ = z - lr (DVᵀDV + μ I)⁻¹ DVᵀV. 2 d calls a step for d coordinates.

    Quadratic convergence to critical points for lr = 1 and μ = 0, whatever their kind: also to saddles that no player
    wants. Without constraints. Source: Levenberg 1944; Marquardt 1963.

    Args:
        lr: Part of the step that is taken.
        damping: μ >= 0.
    """

    lr: Rate = 1.0
    damping: float = 1e-3

    def __post_init__(self) -> None:
        check_rate(self.lr)
        if not 0 <= self.damping < float("inf"):
            raise GameError(f"damping is {self.damping}: it must be a finite number >= 0")

    def init(self, oracle: Oracle, z: Tensor) -> State:
        check_unconstrained(self, oracle)
        check_small(self, oracle, MOST)
        return {"k": 0}

    def step(self, oracle: Oracle, z: Tensor, state: State) -> tuple[Tensor, State]:
        k = state["k"] + 1
        oracle.draw()
        v, derivative = whole_derivative(oracle, z)
        normal = derivative.mT @ derivative + self.damping * torch.eye(z.shape[-1]).to(z)
        move, _ = torch.linalg.solve_ex(normal, derivative.mT @ v.unsqueeze(-1))
        return oracle.project(z - rate_at(self.lr, k) * move.squeeze(-1)), {"k": k}

    def tally(self) -> Tally:
        raise _depends_on_size(self)


@dataclass(frozen=True)
class StayOnRidge(Scheme):
    """STay-ON-the-Ridge (STON'R): a path from a corner of a box that ends at a min-max critical point, without cycles.

    The path makes the coordinates i = 1 … d stationary one after the other: V_i = 0, or a face of the box out of which
    V_i points. While it works on i it keeps V_S = 0 in the set S of the earlier coordinates that are stationary inside
    of the box, so it follows the null vector of the rows S and columns S and i of DV; the determinant of DV_SS decides
    its sign. A coordinate of S that meets a face leaves S, one on a face whose V_j turns inwards joins it, and if i
    comes back to its face, the path returns to i - 1. Newton's step on V_S = 0 corrects every move, and is all that is
    left at the end.

    The first step leads to the lower corner of the box, whatever z is. 2 d calls a step for d coordinates. For
    exact fields. Source: Daskalakis, Golowich, Skoulakis and Zampetakis 2023, "STay-ON-the-Ridge", dynamics of section
    3 and discretization of section 4.

    Args:
        lr: Length of a step in units of the widest side of the box.
        tol: Largest |V_i| that counts as 0, in units of lr times the widest side times the norm of row i of DV.
        radius: Half the width of the box around 0 for games without constraints.
    """

    lr: Rate = 0.005
    tol: float = 1.0
    radius: float = 2.0

    def __post_init__(self) -> None:
        check_rate(self.lr)
        if not (self.tol > 0 and 0 < self.radius < float("inf")):
            raise GameError(f"{self}: tol and radius are positive")

    def init(self, oracle: Oracle, z: Tensor) -> State:
        check_small(self, oracle, MOST)
        _box(oracle, z, self.radius)
        at = torch.full_like(z[..., :1], -1.0)  # the coordinate that the path works on; -1 before the first corner
        inside = torch.zeros_like(z, dtype=torch.bool)
        return {"k": 0, "at": at, "inside": inside, "left": torch.ones_like(at, dtype=torch.bool)}

    def step(self, oracle: Oracle, z: Tensor, state: State) -> tuple[Tensor, State]:
        k, at, inside, d = state["k"] + 1, state["at"], state["inside"], z.shape[-1]
        low, high = _box(oracle, z, self.radius)
        length = rate_at(self.lr, k) * (high - low).amax(-1, keepdim=True)
        oracle.draw()
        v, derivative = whole_derivative(oracle, z)
        current, before = torch.arange(d).to(at) == at, torch.arange(d).to(at) < at
        along, back = _directions(v, derivative, inside, current)

        def of_current(row: Tensor) -> Tensor:
            return (row * current).sum(-1, keepdim=True)

        begins, ended = at < 0, at >= d
        down, up = z <= low, z >= high
        outwards = (down & (v < 0)) | (up & (v > 0))
        near = of_current(v).abs() <= self.tol * length * of_current(derivative.norm(dim=-1))
        settled = of_current(outwards).bool()
        zero = near & state["left"] & ~settled
        good = settled | zero
        meets = ((down & (along < 0)) | (up & (along > 0))) & (inside | current)
        returns = ~good & of_current(meets).bool()
        leaves = _first(meets & ~current) & ~good & ~returns
        bad = returns | leaves.any(-1, keepdim=True)
        next_v = v + length * (derivative @ along.unsqueeze(-1)).squeeze(-1)
        joins = _first(((down & (next_v > 0)) | (up & (next_v < 0))) & before & ~inside) & ~good & ~bad
        moves = ~(good | bad | joins.any(-1, keepdim=True))
        step = torch.where(ended, 0, length * along) + back * (length / _norm(back)).clamp_max(1)

        after = torch.where(moves | ended, torch.minimum(torch.maximum(z + step, low), high), z)
        previous = torch.arange(d).to(at) == at - 1
        stays = (inside & ~leaves & ~(previous & returns)) | joins | (current & zero)
        following = at + good.to(at) - (returns & (at > 0)).to(at)
        return oracle.project(torch.where(begins, low, after)), {
            "k": k,
            "at": torch.where(begins, 0, torch.where(ended, at, following)),
            "inside": torch.where(begins | ended, inside, stays),
            "left": torch.where(returns, begins, state["left"] | ~near | good),
        }

    def tally(self) -> Tally:
        raise _depends_on_size(self)


def whole_derivative(oracle: Oracle, z: Tensor) -> tuple[Tensor, Tensor]:
    """Return (V, DV) at z, (*S, d) and (*S, d, d), of the sample that the oracle holds: 2 d calls."""
    found = [oracle.vjp(z, row.expand_as(z).contiguous()) for row in torch.eye(z.shape[-1]).to(z)]
    return found[0][0], torch.stack([row for _, row in found], -2)


def _directions(v: Tensor, derivative: Tensor, inside: Tensor, current: Tensor) -> tuple[Tensor, Tensor]:
    """Return the unit vector along which V_S stays what it is, and Newton's step to V_S = 0."""
    eye = torch.eye(v.shape[-1]).to(v)
    columns = (inside | current).unsqueeze(-2)
    system = torch.where(inside.unsqueeze(-1), derivative * columns, eye)  # its determinant is that of DV_SS
    right = torch.stack([current.to(v), torch.where(inside, -v, 0)], -1)
    found, _ = torch.linalg.solve_ex(system, right)
    along, back = torch.nan_to_num(found).unbind(-1)
    sign = torch.linalg.det(system).sign() * (1 - 2 * (inside.sum(-1) % 2))
    return along * torch.where(sign == 0, 1, sign).unsqueeze(-1) / _norm(along), back


def _first(mask: Tensor) -> Tensor:
    """Return the mask of the first true entry of every run."""
    return mask & (mask.cumsum(-1) == 1)


def _norm(v: Tensor) -> Tensor:
    return v.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(v.dtype).tiny)


def _box(oracle: Oracle, z: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    """Return the lower and upper bounds of z."""
    game, low, high = oracle.game, [], []
    for part, block in zip(game.sets, game.split(z), strict=True):
        if isinstance(part, Space):
            part = Box(-radius, radius)
        if not isinstance(part, Box):
            raise GameError(f"StayOnRidge needs a box, {game!r} has sets {game.sets!r}: use e.g. extragradient")
        low.append(torch.as_tensor(part.low).to(block).expand_as(block))
        high.append(torch.as_tensor(part.high).to(block).expand_as(block))
    return torch.cat(low, -1), torch.cat(high, -1)


def _depends_on_size(scheme: Scheme) -> GameError:
    return GameError(f"the calls of a step of {type(scheme).__name__} depend on the game: leave anneal out")
