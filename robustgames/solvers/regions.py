"""Constants of a game on a box: Lipschitz, monotonicity, comonotonicity and weak Minty."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

from robustgames.errors import GameError
from robustgames.games.game import Game
from robustgames.solvers.derivatives import jacobian, symmetric

STARTS = 4  # best sampled points from which each constant is improved
LEAST = -1e9  # a ratio below it counts as -inf
LARGEST = 64  # dimension n + m up to which derivatives are formed
POLISH_STEPS, ROUNDED = 3, 1e-4  # Newton steps on a given solution, and how far, relative to it, they may lead


@dataclass(frozen=True)
class RegionConstants:
    """Constants of F = -V on a box, each the most extreme value found by a search; `str` lists them.

    Attributes:
        lipschitz: L = max |DF(z)|_2: |F(z) - F(w)| <= L |z - w|.
        monotonicity: μ = min over z of the least eigenvalue of the symmetric part of DF: <F(z) - F(w), z - w> >= μ |z -
            w|². Monotone if >= 0.
        comonotonicity: min <F(z) - F(w), z - w> / |F(z) - F(w)|² over pairs; -inf if F takes one value at two points
            that a negative product connects.
        weak_minty: ρ = min <F(z), z - z*> / |F(z)|²; None without a solution z*. Extragradient with a reduced second
            step converges if ρ > -1/(2L).
        worst: Point at which weak_minty is attained, (n + m,); None without a solution.
    """

    lipschitz: float
    monotonicity: float
    comonotonicity: float
    weak_minty: float | None
    worst: Tensor | None

    def __str__(self) -> str:
        bound = -0.5 / self.lipschitz if self.lipschitz else -np.inf  # L = 0: a constant field
        minty = "unknown (no solution)" if self.weak_minty is None else f"{self.weak_minty:.5g}"
        return (
            f"Lipschitz {self.lipschitz:.5g}, monotonicity {self.monotonicity:.5g}, comonotonicity "
            f"{self.comonotonicity:.5g}, weak Minty {minty}; -1/(2L) = {bound:.5g}"
        )


def region_constants(
    game: Game,
    low: float,
    high: float,
    solution: Tensor | None = None,
    points: int = 4096,
    seed: int = 0,
) -> RegionConstants:
    """Return the constants of F = -V on the box [low, high]^(n + m), without its constraints.

    The constants are searched for: at random points, and by Nelder-Mead from the most extreme ones. So L is a lower
    bound of the true constant, and the three others are upper bounds. In few dimensions both agree to many digits.
    Source of the conditions: Diakonikolas, Daskalakis and Jordan 2021; Pethick et al. 2022; Lee and Kim 2021 for
    comonotonicity.

    Args:
        game: Game. A Noisy one is evaluated without its noise.
        low: Least value of every coordinate.
        high: Greatest value of every coordinate.
        solution: Point z*, (n + m,), by default that of the game. If it is critical up to rounding, Newton steps end
            the rounding.
        points: Number of random points, and of random pairs.
        seed: Seed of the points.

    Raises:
        GameError: The box is empty or unbounded, the game has more than 64 coordinates, the solution has the wrong
            shape, or there is no point.

    Example:
        >>> from robustgames.games import WeakMinty
        >>> print(region_constants(WeakMinty(rho=-0.2, lipschitz=2.0), -1, 1, points=64))
        Lipschitz 2, monotonicity -0.8, comonotonicity -0.2, weak Minty -0.2; -1/(2L) = -0.25
    """
    game = game.exact.to("cpu", torch.float64)
    d = sum(game.sizes)
    if not -np.inf < low < high < np.inf:
        raise GameError(f"the box [{low}, {high}] is empty or unbounded: low must be below high, e.g. -1, 1")
    if points < 1:
        raise GameError(f"points is {points}: the search starts from at least one, e.g. points=4096")
    if solution is not None and solution.shape != (d,):
        raise GameError(f"solution has shape {tuple(solution.shape)}: one point of {game} has shape ({d},)")
    if d > LARGEST:
        raise GameError(f"{game} has {d} coordinates: region_constants forms DV, for at most {LARGEST} of them")
    star = game.solution() if solution is None else _polished(game, solution.cpu().double())
    search = _Search(low, high, points, Generator().manual_seed(seed))

    def norm(z: Tensor) -> Tensor:
        return -torch.linalg.matrix_norm(jacobian(game, z), 2)

    def bend(z: Tensor) -> Tensor:
        return torch.linalg.eigvalsh(symmetric(-jacobian(game, z)))[..., 0]

    def near(z: Tensor) -> Tensor:  # pairs at a point: <u, J u> / |J u|² is least at an eigenvector of J⁻¹
        inverse, info = torch.linalg.inv_ex(-jacobian(game, z))
        least = torch.linalg.eigvalsh(symmetric(inverse.nan_to_num()))[..., 0]
        return torch.where(info == 0, least, torch.inf)

    def pairs(zw: Tensor) -> Tensor:
        z, w = zw.split(d, -1)
        return _ratio(game.field(w) - game.field(z), z - w)

    def minty(z: Tensor) -> Tensor:
        assert star is not None
        return _ratio(-game.field(z), z - star)

    worst, weak = (None, None) if star is None else search(minty, d)
    comonotone = min(search(near, d)[1], search(pairs, 2 * d)[1])
    return RegionConstants(-search(norm, d)[1], search(bend, d)[1], comonotone, weak, worst)


def _polished(game: Game, z: Tensor) -> Tensor:
    """Return the critical point that z is up to rounding, else z: at a root of F other than z* ρ is infinite."""
    root = z
    for _ in range(POLISH_STEPS):
        step, info = torch.linalg.solve_ex(jacobian(game, root), -game.field(root))
        root = root + step if int(info) == 0 else root
    near = float((root - z).abs().max()) <= ROUNDED * max(1.0, float(z.abs().max()))
    return root if near else z


def _ratio(f: Tensor, away: Tensor) -> Tensor:
    """Return <F, z - w> / |F|²: the value of a difference; infinite where both are 0."""
    product, square = (f * away).sum(-1), f.square().sum(-1)
    return torch.where(square > 1e-24, product / square, torch.where(product < -1e-12, -torch.inf, torch.inf))


@dataclass(frozen=True)
class _Search:
    """The least value of a function on a box: random points, then Nelder-Mead from the best."""

    low: float
    high: float
    points: int
    generator: Generator

    def __call__(self, function: Callable[[Tensor], Tensor], d: int) -> tuple[Tensor, float]:
        from scipy.optimize import minimize

        uniform = torch.rand(self.points, d, generator=self.generator, dtype=torch.float64)
        starts = self.low + (self.high - self.low) * uniform
        values = function(starts)
        best, least = starts[values.argmin()], float(values.min())
        for i in values.argsort()[:STARTS].tolist():
            if not LEAST < float(values[i]) < np.inf or least <= LEAST:
                continue
            found = minimize(
                lambda z: max(LEAST, float(function(torch.from_numpy(np.asarray(z))))),
                starts[i].numpy(),
                method="Nelder-Mead",
                bounds=[(self.low, self.high)] * d,
                options={"xatol": 1e-8, "fatol": 1e-11, "maxiter": 200 * d, "adaptive": d > 4},
            )
            if found.fun < least:
                best, least = torch.from_numpy(found.x), float(found.fun)
        return best, least + 0.0 if least > LEAST else -np.inf  # no -0
