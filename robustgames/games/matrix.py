"""Finite zero-sum games in mixed strategies."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from robustgames.errors import GameError
from robustgames.games.closed_form import ClosedForm
from robustgames.games.game import Sample
from robustgames.games.sets import Simplex


def as_matrix(value: Any) -> Tensor:
    """Return a copy of constants in float64, which keeps all digits until a payoff rounds them to the dtype of z."""
    message = f"the matrix {value!r} must have two dimensions and finite entries, e.g. [[1, 2], [0, 1]]"
    try:
        matrix = torch.as_tensor(value, dtype=torch.float64).clone()  # solutions are computed once: an array may change
    except (TypeError, ValueError) as error:  # rows of different lengths, or words
        raise GameError(message) from error
    if matrix.dim() != 2 or not bool(torch.isfinite(matrix).all()):
        raise GameError(message)
    return matrix


class MatrixGame(ClosedForm):
    """Φ(x, y) = xᵀA y on two simplices: mixed strategies of a finite zero-sum game.

    Row i of A holds the payments of x for its action i. The solution is a Nash equilibrium found by linear programming.

    Args:
        matrix: Matrix A, or one of the names "matching_pennies" and "rock_paper_scissors".
        solve: Whether to solve the linear programs. Large games need not: the duality gap is exact without a solution.

    Example:
        >>> MatrixGame("rock_paper_scissors").solution()
        tensor([0.3333, 0.3333, 0.3333, 0.3333, 0.3333, 0.3333])
    """

    NAMED: ClassVar[dict[str, list[list[float]]]] = {
        "matching_pennies": [[1.0, -1.0], [-1.0, 1.0]],
        "rock_paper_scissors": [[0.0, 1.0, -1.0], [-1.0, 0.0, 1.0], [1.0, -1.0, 0.0]],
    }

    _computed = ("equilibrium",)

    def __init__(self, matrix: Any = "matching_pennies", solve: bool = True) -> None:
        if isinstance(matrix, str) and matrix not in self.NAMED:
            raise GameError(f"matrix is {matrix!r}: a list of rows or one of {', '.join(self.NAMED)}")
        self.matrix = as_matrix(self.NAMED[matrix] if isinstance(matrix, str) else matrix)
        self.sizes = (self.matrix.shape[0], self.matrix.shape[1])
        if min(self.sizes) < 1:
            raise GameError(f"matrix has shape {self.sizes}: each player has at least one action")
        self.sets = (Simplex(), Simplex())
        self.equilibrium = self._equilibrium() if solve else None

    def __repr__(self) -> str:
        rows = self.matrix.tolist()
        name = next((name for name, matrix in self.NAMED.items() if matrix == rows), None)
        shown = repr(name) if name else f"{[[f'{value:g}' for value in row] for row in rows]}".replace("'", "")
        return f"MatrixGame({shown if max(self.sizes) <= 4 else f'{self.sizes[0]} x {self.sizes[1]}'})"

    def payoff(self, x: Tensor, y: Tensor, sample: Sample = None) -> Tensor:
        return ((x @ self.matrix.to(x)) * y).sum(-1)

    def gradient(self, x: Tensor, y: Tensor, player: int) -> Tensor:
        return x @ self.matrix.to(x) if player else y @ self.matrix.to(y).mT

    def _equilibrium(self) -> Tensor:
        """Solve min_x max_j (xᵀA)_j and max_y min_i (A y)_i."""
        matrix = self.matrix.cpu().numpy()
        return torch.from_numpy(np.concatenate([minimax(matrix), minimax(-matrix.T)]))

    def solution(self) -> Tensor | None:
        return None if self.equilibrium is None else self.equilibrium.to(self.device, self.dtype)

    def best_response(self, z: Tensor, player: int) -> Tensor:
        x, y = self.split(z)
        matrix = self.matrix.to(z)
        return self.sets[0].maximize(-(y @ matrix.mT)) if player == 0 else self.sets[1].maximize(x @ matrix)


class RandomMatrixGame(MatrixGame):
    """Φ(x, y) = xᵀA y on two simplices, A_ij ~ N(0, 1): a random zero-sum game.

    Its equilibria are mixed, with about half of the actions each.

    Args:
        rows: Number of actions of x.
        columns: Number of actions of y, as many as rows if None.
        seed: Seed of the entries.
        solve: Whether to solve the linear programs; see `MatrixGame`.

    Example:
        >>> RandomMatrixGame(20).sizes
        (20, 20)
    """

    def __init__(self, rows: int = 10, columns: int | None = None, seed: int = 0, solve: bool = True) -> None:
        columns = rows if columns is None else columns
        if min(rows, columns) < 1:
            raise GameError(f"rows and columns are {rows}, {columns}: each player has at least one action")
        generator = torch.Generator().manual_seed(seed)
        super().__init__(torch.randn(rows, columns, generator=generator, dtype=torch.float64), solve)


def minimax(matrix: np.ndarray) -> np.ndarray:
    """Return argmin over the simplex of max_j (xᵀ matrix)_j, by linear programming in (x, value).

    The tolerances of the linear program are absolute, so the payoffs are moved and scaled to [0, 1].
    """
    from scipy.optimize import linprog

    (n, m), low = matrix.shape, matrix.min()
    matrix = (matrix - low) / (matrix.max() - low or 1.0)
    solved = linprog(
        c=[0.0] * n + [1.0],
        A_ub=np.hstack([matrix.T, -np.ones((m, 1))]),
        b_ub=np.zeros(m),
        A_eq=[[1.0] * n + [0.0]],
        b_eq=[1.0],
        bounds=[(0, None)] * n + [(None, None)],
    )
    return solved.x[:n]
