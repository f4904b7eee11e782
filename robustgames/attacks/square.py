"""Square: random search with the classifier as a black box, forward passes only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from robustgames.attacks.attack import Attack
from robustgames.attacks.corners import coins_of, now, search_corners
from robustgames.attacks.losses import LabelLoss
from robustgames.attacks.passes import stronger
from robustgames.attacks.problem import Bounds, Problem, Radius
from robustgames.attacks.victim import Model, Victim
from robustgames.attacks.windows import Grid, Window, draw_windows
from robustgames.errors import GameError


@dataclass(frozen=True, kw_only=True)
class Square(Attack):
    """Settings of `square`."""

    loss: ClassVar[str] = "margin"

    queries: int = 5000
    p_init: float = 0.8

    def __post_init__(self) -> None:
        if not self.queries >= 1:
            raise GameError(f"queries is {self.queries}: a search takes at least 1 query")
        if not 0 < self.p_init <= 1:
            raise GameError(f"p_init is {self.p_init}: it is a share of the coordinates, in (0, 1], e.g. 0.8")

    def run(self, p: Problem) -> Tensor:
        return (search_corners if p.threat.norm == "linf" else _bumps)(p, self.queries, self.p_init)


def square(
    model: Model | Victim,
    x: Tensor,
    y: Tensor,
    eps: Radius,
    norm: str | float = "linf",
    queries: int = Square.queries,
    p_init: float = Square.p_init,
    *,
    loss: str | LabelLoss = Square.loss,
    targets: Tensor | None = None,
    bounds: Bounds = (0.0, 1.0),
    generator: Generator | None = None,
    eot: int = 1,
) -> Tensor:
    """Square attack: η⁺ = η with a random window redrawn, kept if the loss rises. No gradient is used.

    In ℓ∞ a window moves to a corner of the ball, +eps or -eps per channel. In ℓ2 and ℓ1 it takes the budget of a second
    window, in the form of two bumps of opposite sign. Windows shrink with a fixed schedule. A proposal that would not
    change a row costs it no forward pass (about one in seven in ℓ∞; on a GPU it does). Fooled rows leave the search, on
    a GPU every 20 queries. On a CPU small windows are evaluated as in `robustgames.attacks.local` if the model is a
    chain of layers.

    Inputs of one dimension (tables) have intervals of neighboring coordinates as windows; of inputs with more than
    two, the last two dimensions are height and width. Source: Andriushchenko, Croce, Flammarion and Hein 2020, with
    the schedule of AutoAttack (not rescaled to the number of queries).

    Args:
        model, x, y, eps, norm, loss, targets, bounds, generator, eot: See `robustgames.attacks.gradient`.
        queries: Number of proposals for each row.
        p_init: Share of the coordinates in the first windows, in (0, 1].

    Example:
        >>> model = lambda x: torch.cat([x, 0.5 + 0 * x], 1)
        >>> square(model, torch.tensor([[0.55]]), torch.tensor([0]), eps=0.1, queries=9)
        tensor([[0.4500]])
    """
    attack = Square(queries=queries, p_init=p_init)
    return attack(model, x, y, eps, norm, loss=loss, targets=targets, bounds=bounds, generator=generator, eot=eot)


# -- ℓ2 and ℓ1 --------------------------------------------------------------------------------------------------
def _bumps(p: Problem, queries: int, p_init: float) -> Tensor:
    """Return the perturbations of a search over bumps."""
    grid = Grid.from_shape(p.shape)
    eta = p.project(_tiles(p, grid))
    out, alive = eta.clone(), torch.arange(len(eta), device=eta.device)
    best, fooled = p.losses(eta)
    pairs = zip(*(draw_windows(p, grid, queries, p_init, odd=True) for _ in range(2)), strict=True)
    for window, source in pairs:
        if p.eot == 1 and bool(fooled.any()):
            out[alive[fooled]] = eta[fooled]
            keep = (~fooled).nonzero().squeeze(-1)
            p, eta, best, alive = p.rows(keep), eta[keep], best[keep], alive[keep]
            if len(alive) == 0:
                return out
        trial = _move(p, eta.view(-1, *grid), window, source)
        value, fooled = p.losses(trial)
        better = (value > best) | fooled if p.eot == 1 else stronger(fooled, value, *now(p, p.inputs(eta)))
        eta, best = torch.where(better.unsqueeze(-1), trial, eta), torch.where(better, value, best)
    out[alive] = eta
    return out


def _move(p: Problem, eta: Tensor, window: Window, source: Window) -> Tensor:
    """Return η (N, p) with the budget of the source, and the rest of eps, moved to bumps in the window."""
    order, grid = _order(p), Grid(*eta.shape[1:])
    eps = torch.as_tensor(p.threat.eps, dtype=eta.dtype, device=eta.device).reshape(-1, 1, 1, 1)
    both = torch.zeros(1, 1, *grid[1:], device=eta.device, dtype=eta.dtype)
    window.of(both).fill_(1)
    source.of(both).fill_(1)
    budget = _size(eta * both, order, (-2, -1)) ** order
    spare = (eps**order - _size(eta, order, (-3, -2, -1)) ** order).clamp_min(0)
    length = (spare / grid.channels + budget) ** (1 / order)
    if order == 1:
        length = length * grid.channels  # as in the authors' code; the projection undoes it
    old = window.of(eta)
    signs = _signs(p, len(eta), grid.channels)
    new = _bump(p, window.height, window.width) * signs + old / (_size(old, order, (-2, -1)) + 1e-12)
    moved = eta.clone()
    source.of(moved).zero_()
    window.of(moved).copy_(length * new / (_size(new, order, (-2, -1)) + 1e-12))
    if order == 1:
        return p.project(moved.flatten(1))
    onto = (eps * moved / (_size(moved, 2, (-3, -2, -1)) + 1e-12)).flatten(1)
    return onto.clamp_min(p.threat.low - p.a).clamp_max(p.threat.high - p.a)  # the projection of a point in the ball


def _tiles(p: Problem, grid: Grid) -> Tensor:
    """Return the start: bumps of random signs in tiles, 5 along the shorter side."""
    eta = torch.zeros(len(p.a), *grid, device=p.a.device, dtype=p.a.dtype)
    width = max((grid.width if grid.height == 1 else min(grid.height, grid.width)) // 5, 1)
    height = min(grid.height, width)
    for top in range(grid.height % height // 2, grid.height - height + 1, height):
        for left in range(grid.width % width // 2, grid.width - width + 1, width):
            tile = _bump(p, height, width) * _signs(p, len(eta), grid.channels)
            Window(top, left, height, width).of(eta).copy_(tile)
    order = _order(p)
    eta = eta.flatten(1)
    return p.width * eta if order == 1 else p.threat.eps * torch.nn.functional.normalize(eta, dim=-1)


def _bump(p: Problem, height: int, width: int) -> Tensor:
    """Return two pyramids of opposite sign side by side, (height, width), of norm 1, turned by a coin."""
    order = _order(p)
    across = height > 1 and (width == 1 or bool(torch.rand((), generator=p.generator, device=p.a.device) < 0.5))
    long, other = (height, width) if across else (width, height)
    upper = long // 2
    pair = torch.cat([_pyramid(upper, other, order, p.a), -_pyramid(long - upper, other, order, p.a)])
    pair = pair / _size(pair, order, (-2, -1))
    return pair if across else pair.T


def _pyramid(height: int, width: int, order: int, like: Tensor) -> Tensor:
    """Return sum_{m >= d} 1 / (m + 1)^(2 order) at distance d from the center in the maximum norm, scaled to norm 1."""
    rows, columns = (torch.arange(n, device=like.device) - n // 2 for n in (height, width))
    distance = torch.maximum(rows.abs().unsqueeze(-1), columns.abs().unsqueeze(0))
    count = max(height // 2, width // 2) + 1
    rings = torch.arange(1, count + 1, device=like.device, dtype=like.dtype) ** (-2.0 if order == 2 else -4.0)
    bump = rings.flip(0).cumsum(0).flip(0)[distance]
    return bump / _size(bump, order, (-2, -1)).clamp_min(1e-12)


# -- draws and norms --------------------------------------------------------------------------------------------
def _signs(p: Problem, count: int, channels: int) -> Tensor:
    return 1 - 2 * coins_of(p, count, channels, 1, 1).to(p.a.dtype)


def _order(p: Problem) -> int:
    return 2 if p.threat.norm == "l2" else 1


def _size(t: Tensor, order: int, dim: tuple[int, ...]) -> Tensor:
    return torch.linalg.vector_norm(t, order, dim=dim, keepdim=True)
