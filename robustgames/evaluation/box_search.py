"""Minimization of a function of which only values are known, over a box, with a budget of evaluations."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np

from robustgames.errors import GameError

SIGMA = 0.25
"""Standard deviation of the first generation, in units of the width of the box."""
RESOLUTION = 1e-3
"""Step, in the same units, below which a search has converged and another one starts."""
CORNERS = 0.25
"""Largest share of the budget that is spent on the corners of the box."""


class BoxSearch:
    """A search for the minimum over [0, 1]^d: points of the user, the corners, and CMA-ES from the best of them.

    Returns of episodes are often monotone in a parameter, so their minimum often is a corner. The corners are evaluated
    if all of them fit in a quarter of the budget. CMA-ES evaluates the nearest point of the box in place of one
    outside and continues from there, so it reaches the boundary itself. When it has converged, it starts again at a
    uniform point with twice the population, until the budget is spent.

    The same values give the same points: there is no other randomness than `seed`.

    Args:
        dimension: d.
        budget: Number of evaluations, >= 1.
        seed: Seed, or a sequence of whole numbers.
        first: Points to evaluate first, (k, d).

    Raises:
        GameError: pycma is not installed.

    Example:
        >>> search = BoxSearch(2, budget=60, seed=0)
        >>> while points := search.ask():
        ...     search.tell(points, [(x - 0.3) ** 2 + y for x, y in points])
        >>> search.best.round(1).tolist()
        [0.3, 0.0]

    Source: Hansen and Ostermeier 2001 (CMA-ES); Auger and Hansen 2005 (restarts); pycma.
    """

    def __init__(
        self, dimension: int, budget: int, seed: int | Sequence[int] = 0, first: Sequence[np.ndarray] = ()
    ) -> None:
        self._cma, self._rng = _library(), np.random.default_rng(seed)
        self.dimension, self.left = dimension, budget
        corners = [np.array(corner, float) for corner in product((0, 1), repeat=dimension)]
        self._waiting = list(first)
        self._waiting += corners if len(corners) <= CORNERS * budget else []
        self.points: list[np.ndarray] = []
        self.values: list[float] = []
        self._strategy: Any = None
        self._population = 4 + int(3 * np.log(dimension))

    @property
    def best(self) -> np.ndarray:
        """The first of the points with the least value, (d,)."""
        return self.points[int(np.argmin(self.values))]

    def ask(self) -> list[np.ndarray]:
        """Return the next points, which can be evaluated side by side; none if the budget is spent."""
        if self._waiting:
            points, self._waiting = self._waiting, []
        else:
            self._renew()
            points = self._strategy.ask() if self.left else []
        points = [np.clip(point, 0.0, 1.0) for point in points[: self.left]]
        self.left -= len(points)
        return points

    def tell(self, points: Sequence[np.ndarray], values: Sequence[float]) -> None:
        """Continue from the values of the points that `ask` returned last."""
        self.points += list(points)
        self.values += [float(value) for value in values]
        if self._strategy is not None and len(points) == self._strategy.popsize:  # else the budget is spent
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # pycma remarks on equal values, and on points that were moved
                self._strategy.tell(list(points), list(values))

    def _renew(self) -> None:
        """Start a strategy if there is none, or another one if it has converged."""
        if self._strategy is not None and not self._strategy.stop():
            return
        if self._strategy is None:
            start = self.best if self.points else np.full(self.dimension, 0.5)
        else:
            start, self._population = self._rng.uniform(size=self.dimension), 2 * self._population
        options = {
            "popsize": self._population,
            "randn": lambda count, size: self._rng.standard_normal((count, size)),
            "seed": np.nan,  # the global generator is left alone
            "tolx": RESOLUTION,
            "verbose": -9,
        }
        self._strategy = self._cma.CMAEvolutionStrategy(start, SIGMA, options)


def _library() -> Any:
    try:
        import cma
    except ImportError as error:
        raise GameError("a worst-case search needs pycma: pip install 'robustgames[search]', or use a grid") from error
    return cma
