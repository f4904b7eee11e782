"""Basins of attraction: which starts of a solver end where."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustgames.errors import GameError
from robustgames.games.game import Game
from robustgames.games.oracle import Oracle
from robustgames.solvers.fitting import adapted
from robustgames.solvers.schemes import Scheme

DIVERGED = -1
FAR = 1e6  # distance from its start, in units of the spread of the starts, beyond which a run has diverged


@dataclass(frozen=True)
class Basins:
    """The ends of many runs, grouped; `str` lists the groups with their shares.

    Attributes:
        starts: First iterates, (S, d).
        ends: Last iterates, (S, d).
        labels: Number of the group of each run, (S,); -1 if it diverged.
        names: Name of each group: "point (x, y)", or "cycle of size r" for runs that still move.
        paths: Last steps of one run of each group, (G, window, d).
    """

    starts: Tensor
    ends: Tensor
    labels: Tensor
    names: tuple[str, ...]
    paths: Tensor

    def share(self, label: int) -> float:
        """Return the share of the starts in a group, -1 for those that diverge."""
        return float((self.labels == label).double().mean())

    def __str__(self) -> str:
        groups = [f"{self.share(i):.1%} end at {name}" for i, name in enumerate(self.names)]
        return "; ".join([*groups, f"{self.share(DIVERGED):.1%} diverge"] if self.share(DIVERGED) else groups)


@torch.no_grad()
def basins(
    game: Game, solver: Scheme, starts: Tensor, steps: int = 2000, window: int = 500, tol: float = 0.02, seed: int = 0
) -> Basins:
    """Run a solver from many starts, and group the runs by where they are over the last `window` steps.

    Two runs end at the same place if the boxes that hold their last steps agree to `tol` times the spread of the
    starts. A box smaller than that is a point, a larger one a cycle (or a run that has not settled). Groups are in the
    order of their sizes.

    Args:
        game: Game.
        solver: Solver, e.g. `make_solver("extragradient", lr=0.05)`.
        starts: Starts, (S, n + m), projected onto the sets of the game first.
        steps: Number of steps.
        window: Number of last steps that are compared. It should hold a turn of a cycle.
        tol: Relative tolerance of the comparison.
        seed: Seed of the samples ζ.

    Raises:
        GameError: The starts are not a list of points, there are fewer steps than the window holds, tol is negative, or
            the solver does not fit the game.

    Example:
        >>> from robustgames.games import RidgeBox
        >>> from robustgames.solvers.recipes import make_solver
        >>> starts = torch.tensor([[0.5, 0.0], [0.2, 0.1], [-0.5, 0.0]])
        >>> print(basins(RidgeBox(), make_solver("gda", lr=0.05), starts, steps=300, window=50))
        66.7% end at point (1, 1); 33.3% end at point (-1, -1)
    """
    if starts.dim() != 2 or starts.shape[-1] != sum(game.sizes) or len(starts) == 0:
        raise GameError(f"starts has shape {tuple(starts.shape)}: expected points (S, {sum(game.sizes)})")
    if not bool(torch.isfinite(starts).all()):
        raise GameError("starts has entries that are not finite: the spread of the starts is the unit of length")
    if not 0 < window <= steps:
        raise GameError(f"window is {window}: it must be at least 1 and at most steps = {steps}")
    if not tol >= 0:  # else no run would end where it ends itself
        raise GameError(f"tol is {tol}: a share >= 0 of the spread of the starts is needed, e.g. 0.02")
    game = game.to(starts.device, starts.dtype)
    oracle = Oracle(game, (len(starts),), torch.Generator(starts.device).manual_seed(seed))
    z = starts = game.project(starts)
    spread = float((starts.amax(0) - starts.amin(0)).max()) or 1.0
    solver = adapted(solver, oracle)
    state, last = solver.init(oracle, z), []
    for k in range(steps):
        z, state = solver.step(oracle, z, state)
        if k >= steps - window:
            last.append(z)
    paths = torch.stack(last, 1)
    low, high = paths.amin(1), paths.amax(1)
    bounded = torch.isfinite(z).all(-1) & ((z - starts).abs().amax(-1) < FAR * spread)
    labels, groups = _group(low, high, bounded, tol * spread)
    names = tuple(_name(low[i], high[i], tol * spread) for i in groups)
    return Basins(starts, z, labels, names, paths[groups])


def _group(low: Tensor, high: Tensor, bounded: Tensor, tol: float) -> tuple[Tensor, list[int]]:
    """Return (label of each run, one run of each group), the largest group first."""
    labels = torch.full_like(bounded, DIVERGED, dtype=torch.long)
    boxes, found = torch.cat([low, high], -1), []
    left = bounded.clone()
    while bool(left.any()):
        i = int(left.nonzero()[0])
        alike = left & ((boxes - boxes[i]).abs().amax(-1) <= tol)
        found.append((i, alike))
        left = left & ~alike
    found.sort(key=lambda group: -int(group[1].sum()))
    for label, (_, alike) in enumerate(found):
        labels[alike] = label
    return labels, [i for i, _ in found]


def _name(low: Tensor, high: Tensor, tol: float) -> str:
    size = float((high - low).max())
    if size > tol:
        return f"cycle of size {size / 2:.3g}"
    middle = ((low + high) / 2).tolist()
    shown = ", ".join(f"{0.0 if abs(value) < tol / 10 else value:.3g}" for value in middle[:4])
    return f"point ({shown}{', …' if len(middle) > 4 else ''})"
