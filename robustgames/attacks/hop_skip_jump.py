"""HopSkipJump: the nearest misclassified input, from the predicted labels alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from robustgames.attacks.boundary_walk import Walk, sources
from robustgames.attacks.minimum_norm import MinimumNorm
from robustgames.attacks.problem import Bounds, Problem
from robustgames.attacks.victim import Model, Victim
from robustgames.errors import GameError

EACH, MOST = 80, 20  # queries for which one more start is brought to the boundary; most starts
RESERVE = 32  # queries that are kept for the step and the bisection after the draws of an iteration
FIRST = 10  # share of the size at which the first directions are drawn is one in so many
FEWEST = 8  # draws for which an iteration is worth its step


@dataclass(frozen=True, kw_only=True)
class HopSkipJump(MinimumNorm):
    """Settings of `hop_skip_jump`."""

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")

    queries: int = 5000
    draws: int = 100
    tries: int = 1000

    def __post_init__(self) -> None:
        for name, least in (("queries", 1), ("draws", 1), ("tries", 0)):
            if not getattr(self, name) >= least:
                raise GameError(f"{name} is {getattr(self, name)}: at least {least} is needed")

    def run(self, p: Problem) -> Tensor:
        walk = Walk(p, self.queries)
        rows = walk.every[~walk.ask(walk.every, torch.zeros_like(p.a))]  # the others are misclassified as they are
        eta = self._start(walk, rows)
        best, k = eta.clone(), 0
        while True:
            k += 1
            rows = rows[(eta[rows] != 0).any(-1) & (walk.left[rows] >= RESERVE + FEWEST)]
            if len(rows) == 0:
                return best
            here, draws = eta[rows], (walk.left[rows] - RESERVE).clamp_max(int(self.draws * k**0.5))
            size = p.threat.size(here).unsqueeze(-1)
            d = walk.direction(rows, here, size / (p.a.shape[1] if k > 1 else FIRST), draws)
            moved = walk.step(rows, here, d, size / k**0.5)
            eta[rows] = walk.to_boundary(rows, moved)
            nearer = p.threat.size(eta[rows]) < p.threat.size(best[rows])
            best[rows[nearer]] = eta[rows[nearer]]

    def _start(self, walk: Walk, rows: Tensor) -> Tensor:
        """Return points on the boundary, (N, p); 0 in rows for which none is found."""
        p, eta = walk.p, torch.zeros_like(walk.p.a)
        best = torch.full_like(eta[:, 0], float("inf"))
        starts = min(max(self.queries // EACH, 1), MOST)
        for goal, some in sources(p, rows, starts, self.tries, best):
            some = some[walk.left[some] > 0]
            if len(some) == 0:
                continue
            fooled = walk.ask(some, goal)
            some, goal = some[fooled], goal[fooled]
            goal = walk.to_boundary(some, goal)
            size = p.threat.size(goal)
            nearer = size < best[some]
            eta[some[nearer]], best[some[nearer]] = goal[nearer], size[nearer]
        return eta


def hop_skip_jump(
    model: Model | Victim,
    x: Tensor,
    y: Tensor,
    norm: str | float = "l2",
    queries: int = HopSkipJump.queries,
    draws: int = HopSkipJump.draws,
    *,
    tries: int = HopSkipJump.tries,
    targets: Tensor | None = None,
    bounds: Bounds = (0.0, 1.0),
    generator: Generator | None = None,
    eot: int = 1,
) -> Tensor:
    """HopSkipJump: the nearest misclassified input, from predicted labels alone, in ℓ2 or ℓ∞.

    A start that fools the classifier moves toward x until bisection has brought it to the boundary. Iteration k
    estimates the normal there from the labels of draws sqrt(k) points around it (v_j uniform on a sphere of radius
    |η| / p; the signs of the decisions minus their mean, times v_j), steps by |η| / sqrt(k) along it, or along its sign
    in ℓ∞, halved until the point fools, and returns to the boundary. Source: Chen, Jordan and Wainwright 2020.

    Up to 20 starts are brought to the boundary (one for every 80 queries), and the nearest one is taken: the nearest
    input of each of the five nearest other classes in the batch (of the target's class with `targets`), then x with a
    random share of its coordinates replaced by uniform draws. So the result for a row depends on the inputs that it is
    attacked with. With a single input all starts are random.

    Args:
        model, x, y, targets, bounds, generator, eot: See `robustgames.attacks.minimum_norm`.
        norm: "l2" or "linf".
        queries: Largest number of forward passes for each row (with `eot`, of that many each).
        draws: Points for the normal in the first iteration.
        tries: Random starts that are tried in rows that nothing else fools.

    Example:
        >>> model = lambda x: torch.stack([x[:, 0] + x[:, 1], 0.8 + 0 * x[:, 0]], 1)
        >>> x_adv = hop_skip_jump(model, torch.tensor([[0.6, 0.6]]), torch.tensor([0]), queries=10_000)
        >>> bool((x_adv - 0.4).abs().max() < 0.02)    # the nearest point of the line x_0 + x_1 = 0.8
        True
    """
    attack = HopSkipJump(queries=queries, draws=draws, tries=tries)
    return attack(model, x, y, 0.0, norm, targets=targets, bounds=bounds, generator=generator, eot=eot)
