"""The windows of Square: rectangles of an image or intervals of a table, which shrink with a fixed schedule."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from robustgames.attacks.problem import Problem

# numbers of queries after which the share of the coordinates in a window is halved
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


class Grid(NamedTuple):
    """The layout of the coordinates of an input: channels, height, width."""

    channels: int
    height: int
    width: int

    @classmethod
    def from_shape(cls, shape: tuple[int, ...]) -> Grid:
        """Return the layout of inputs of that shape: the last two dimensions, or one row."""
        if len(shape) < 2:
            return cls(1, 1, math.prod(shape))
        return cls(math.prod(shape[:-2]), *shape[-2:])


class Window(NamedTuple):
    """A rectangle of a grid, in all its channels."""

    top: int
    left: int
    height: int
    width: int

    def of(self, images: Tensor) -> Tensor:
        """Return the view of the window in images (N, c, h, w)."""
        return images[..., self.top : self.top + self.height, self.left : self.left + self.width]


def draw_windows(p: Problem, grid: Grid, queries: int, p_init: float, odd: bool = False) -> Iterator[Window]:
    """Yield one random window per query, with odd sides on request."""
    draws: list[list[float]] = torch.rand(queries, 2, generator=p.generator, device=p.a.device).tolist()
    for k, (down, right) in enumerate(draws):
        height, width = _sides(grid, p_init / 2 ** sum(k > mark for mark in HALVINGS), odd)
        top, left = int(down * (grid.height - height + 1)), int(right * (grid.width - width + 1))
        yield Window(min(top, grid.height - height), min(left, grid.width - width), height, width)


def _sides(grid: Grid, share: float, odd: bool) -> tuple[int, int]:
    """Return the sides of a window with that share of the coordinates: a square, or an interval in one dimension."""
    flat = grid.height == 1
    side = round(share * grid.width) if flat else round(math.sqrt(share * grid.height * grid.width))
    side = max(side, 3) // 2 * 2 + 1 if odd else max(side, 1)  # bumps have a center
    side = min(side, grid.width) if flat else min(side, grid.height, grid.width)
    return 1 if flat else side, side
