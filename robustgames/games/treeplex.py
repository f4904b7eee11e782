"""Sequence-form polytopes: strategies of a player with perfect recall in a game of several moves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from robustgames.errors import GameError
from robustgames.games.piecewise import Curve, total
from robustgames.games.sets import Set, Simplex


@dataclass(frozen=True, eq=False)
class Treeplex(Set):
    """{u >= 0 : the coordinates of each information set sum to that of its parent sequence, or to 1 at the root}.

    A coordinate u_a is the product of the probabilities of the player's own actions up to a: the realization weight of
    a sequence. The coordinates of an information set are consecutive. One set with parent -1 is a simplex; several are
    a product of simplices. Random points choose every action uniformly from its simplex. Source: von Stengel 1996,
    "Efficient computation of behavior strategies"; Hoda, Gilpin, Peña and Sandholm 2010.

    Args:
        parents: Number of the parent sequence (a coordinate) of each information set, smaller than its own
            coordinates, or -1 at the root.
        sizes: Number of actions of each information set.
    """

    parents: tuple[int, ...]
    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.parents) != len(self.sizes) or not self.sizes or min(self.sizes) < 1:
            raise GameError(f"parents {self.parents} and sizes {self.sizes} must have one entry per information set")
        for j, (parent, block) in enumerate(zip(self.parents, self.blocks(), strict=True)):
            if not -1 <= parent < block.start:
                raise GameError(f"parent {parent} of information set {j} must be -1 or an earlier coordinate")

    @property
    def width(self) -> int:
        """Number of sequences: of coordinates of a point."""
        return sum(self.sizes)

    def blocks(self) -> Iterator[slice]:
        """Yield the coordinates of each information set."""
        start = 0
        for size in self.sizes:
            yield slice(start, start + size)
            start += size

    def _check_width(self, *points: Tensor) -> None:
        for point in points:
            if point.dim() == 0 or point.shape[-1] != self.width:
                raise GameError(f"a point has shape {tuple(point.shape)}: points of this set have (*S, {self.width})")

    def _sets(self) -> list[tuple[int, slice]]:
        return list(zip(self.parents, self.blocks(), strict=True))

    def realize(self, behavior: Tensor) -> Tensor:
        """Return the realization weights, (*S, n), of the probabilities of each information set, (*S, n)."""
        self._check_width(behavior)
        u = behavior.clone()
        for parent, block in self._sets():
            if parent >= 0:
                u[..., block] *= u[..., parent, None]
        return u

    def behavior(self, u: Tensor) -> Tensor:
        """Return the probabilities of each information set, (*S, n); uniform where the player never comes."""
        self._check_width(u)
        found = torch.empty_like(u)
        for (_, block), size in zip(self._sets(), self.sizes, strict=True):
            mass = u[..., block].sum(-1, keepdim=True)
            found[..., block] = torch.where(mass > 0, u[..., block] / mass, 1 / size)
        return found

    def counterfactual(self, g: Tensor, behavior: Tensor) -> tuple[Tensor, Tensor]:
        """Return (value of each action, value of its information set), (*S, n) each, for a linear gain <g, u>.

        The value of an action adds up what the player gains after it with a behavior, as if it had played to get there.
        """
        self._check_width(g, behavior)
        gains, means = g.clone(), torch.empty_like(g)
        for parent, block in reversed(self._sets()):
            mean = (behavior[..., block] * gains[..., block]).sum(-1)
            means[..., block] = mean.unsqueeze(-1)
            if parent >= 0:
                gains[..., parent] += mean
        return gains, means

    def maximize(self, g: Tensor) -> Tensor:
        self._check_width(g)
        gains, best = g.clone(), torch.zeros_like(g)
        for parent, block in reversed(self._sets()):
            best[..., block] = Simplex().maximize(gains[..., block])
            if parent >= 0:
                gains[..., parent] += gains[..., block].amax(-1)
        return self.realize(best)

    def project(self, point: Tensor) -> Tensor:
        """Return the Euclidean projection, exactly: no iteration.

        The least squared distance of an information set's subtree is a function of the mass t that arrives there. Its
        derivative is increasing and piecewise linear, and follows from those of the sets below by sums and inverses.
        From the root down, the mass of a set is then divided so that all its actions have one derivative.
        """
        self._check_width(point)
        point = self._leveled(point)
        mass_at: dict[int, Curve] = {}  # of a set: the mass that it takes at a derivative λ
        taken: dict[int, Curve] = {}  # of a sequence: the part u that it takes at λ
        below: dict[int, list[int]] = {}
        for j, parent in enumerate(self.parents):
            below.setdefault(parent, []).append(j)
        sets = self._sets()
        alone = {j for j, (parent, block) in enumerate(sets) if parent < 0 and not _meet(block, below)}
        for j in reversed([j for j in range(len(sets)) if j not in alone]):
            for a in range(sets[j][1].start, sets[j][1].stop):
                at = point[..., a, None]
                if a in below:
                    taken[a] = total([mass_at[k].inverse() for k in below[a]], identity=at).inverse()
                else:
                    taken[a] = Curve(-at, torch.zeros_like(at), torch.ones_like(at))
            mass_at[j] = total([taken[a] for a in range(sets[j][1].start, sets[j][1].stop)])
        u = torch.empty_like(point)
        for j, (parent, block) in enumerate(sets):
            if j in alone:  # a simplex of its own
                u[..., block] = Simplex().project(point[..., block])
                continue
            mass = torch.ones_like(point[..., :1]) if parent < 0 else u[..., parent, None]
            level = mass_at[j].inverse()(mass)
            part = torch.cat([taken[a](level) for a in range(block.start, block.stop)], -1).clamp_min(0)
            whole = part.sum(-1, keepdim=True)
            u[..., block] = torch.where(whole > 0, part * (mass / whole), mass / self.sizes[j])  # up to rounding
        return u

    def _leveled(self, point: Tensor) -> Tensor:
        """Return a point with the same projection whose coordinates are small, so large ones lose no digits.

        Its differences from `point` are orthogonal to the set: what is taken from an information set is given to its
        parent sequence. The largest coordinate of each set becomes 0. Below -(J + 2), with J sets, a coordinate is 0 in
        the projection: to move its mass to the sequences with 0 costs at most J + 1.
        """
        wide = point.to(torch.float64, copy=True)
        for parent, block in reversed(self._sets()):
            top = wide[..., block].amax(-1, keepdim=True)
            wide[..., block] = torch.where(wide[..., block] == top, 0, wide[..., block] - top)  # inf - inf is NaN
            if parent >= 0:
                wide[..., parent] += top.squeeze(-1)
        return wide.clamp_min(-(len(self.sizes) + 2.0)).to(point.dtype)

    @property
    def bounds(self) -> tuple[float, float]:
        return 0.0, 1.0

    def sample(self, shape: tuple[int, ...], generator: Generator, dtype: torch.dtype) -> Tensor:
        parts = [Simplex().sample((*shape[:-1], size), generator, dtype) for size in self.sizes]
        return self.realize(torch.cat(parts, -1))


def _meet(block: slice, below: dict[int, list[int]]) -> bool:
    """Return whether a later information set follows one of these sequences."""
    return any(block.start <= parent < block.stop for parent in below)
