"""Distributionally robust least squares: an adversary reweighs the rows of real data."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import torch
from torch import Tensor

from robustgames.errors import GameError
from robustgames.games.closed_form import ClosedForm
from robustgames.games.game import Sample
from robustgames.games.sets import Simplex, Space

NEWTON_STEPS, BACKTRACKS = 100, 40
FALL = 4.0  # factor by which the penalty falls to its value
ROUNDING = 1e-15  # relative error of a value of Φ


@cache
def diabetes() -> tuple[Tensor, Tensor]:
    """Return scikit-learn's diabetes data, standardized: features (442, 10) and the progression after a year (442,).

    Source: Efron, Hastie, Johnstone and Tibshirani 2004, "Least angle regression".
    """
    from sklearn.datasets import load_diabetes

    features, target = (torch.from_numpy(part).double() for part in load_diabetes(return_X_y=True))
    features, target = ((part - part.mean(0)) / part.std(0, correction=0) for part in (features, target))
    return features, target


class RobustRegression(ClosedForm):
    """Φ(w, q) = Σ_i q_i ½(a_iᵀw - b_i)² - (λ/2N) Σ_i (N q_i - 1)²: least squares against the worst weights q of N rows.

    x = w are the coefficients, the last one of a constant, and y = q weighs the rows of the data, in a simplex. Φ is
    convex in w and strongly concave in q, so it has a saddle, which Newton's method on max_q Φ finds. `solution` is
    None if rounding hides the weights, for λ below about 1e-11 of the losses. As λ grows, w becomes the least-squares
    fit. By default the data are those of `diabetes`, and 140 of 442 rows keep a weight. Source: Namkoong and Duchi
    2016, "Stochastic gradient methods for distributionally robust optimization with f-divergences" (χ² divergence).

    Args:
        penalty: Weight λ > 0 of the χ² divergence from equal weights.
        features: Features a_i, shape (N, p). A constant is added.
        target: Values b_i, shape (N,).

    Example:
        >>> game = RobustRegression(features=torch.tensor([[-1.0], [1.0]]), target=torch.tensor([-2.0, 2.0]))
        >>> game.solution()[[0, 2, 3]]
        tensor([2.0000, 0.5000, 0.5000])
    """

    players = ("coefficients", "weights")
    _computed = ("saddle",)

    def __init__(self, penalty: float = 0.1, features: Any = None, target: Any = None) -> None:
        if not 0 < penalty < float("inf"):
            raise GameError(f"penalty is {penalty}: it must be a positive number, e.g. penalty=1.0")
        if (features is None) != (target is None):
            raise GameError("features and target belong together: pass both, or none for the diabetes data")
        given = diabetes() if features is None else (features, target)
        a, b = (torch.as_tensor(part, dtype=torch.float64).cpu() for part in given)
        if a.dim() != 2 or b.shape != a.shape[:1] or not len(b):
            raise GameError(
                f"features and target have shapes {tuple(a.shape)}, {tuple(b.shape)}: expected (N, p), (N,), N >= 1"
            )
        if not bool(torch.isfinite(a).all() and torch.isfinite(b).all()):
            raise GameError("features and target must be finite: leave out rows with missing values")
        self.penalty = penalty
        self.features, self.target = torch.cat([a, torch.ones(len(a), 1).double()], -1), b.clone()
        self.sizes = (self.features.shape[1], len(b))
        self.sets = (Space(), Simplex())
        self.saddle = self._saddle()

    def _errors(self, w: Tensor) -> Tensor:
        return w @ self.features.to(w).mT - self.target.to(w)

    def payoff(self, x: Tensor, y: Tensor, sample: Sample = None) -> Tensor:
        count = self.sizes[1]
        fit = 0.5 * (y * self._errors(x).square()).sum(-1)
        return fit - self.penalty / (2 * count) * (count * y - 1).square().sum(-1)

    def gradient(self, x: Tensor, y: Tensor, player: int) -> Tensor:
        errors = self._errors(x)
        if player:
            return 0.5 * errors.square() - self.penalty * (self.sizes[1] * y - 1)
        return (y * errors) @ self.features.to(x)

    def best_response(self, z: Tensor, player: int) -> Tensor:
        """Return the weighted least-squares fit, or the weights: a projection of the losses onto the simplex."""
        x, y = self.split(z)
        if player:
            count = self.sizes[1]
            return self.sets[1].project((self._errors(x).square() / (2 * self.penalty) + 1) / count)
        length = column_lengths(self.features)
        root = y.clamp_min(0).sqrt().unsqueeze(-1)  # no normal equations, which square the condition
        fit = torch.linalg.pinv(root * (self.features / length).to(z)) @ (root * self.target.to(z).unsqueeze(-1))
        return fit.squeeze(-1) / length.to(z)

    def _saddle(self) -> Tensor | None:
        """Minimize max_q Φ(w, q); None if a gap is left, as if the weights of a tiny penalty are lost to rounding.

        For a small penalty max_q Φ is nearly a maximum of N parabolas, where Newton's method stalls. So the penalty
        falls to its value by factors, each from the solution of the last; columns of the features have length 1.
        """
        easy, length = copy.copy(self), column_lengths(self.features)
        easy.features = self.features / length
        w = torch.linalg.lstsq(easy.features, self.target.unsqueeze(-1), driver="gelsd").solution.squeeze(-1)
        easy.penalty = max(self.penalty, float(easy._errors(w).square().max()))
        w = easy._newton(w)
        while easy.penalty > self.penalty:
            easy.penalty = max(self.penalty, easy.penalty / FALL)
            w = easy._newton(w)
        (z, value), small = self._answered(w / length), 1e-12 * float(self.target.square().mean())
        gap = value - self.payoff(self.best_response(z, 0), self.split(z)[1])
        return z if abs(float(gap)) <= 1e-8 * float(value) + small else None

    def _answered(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """Return (z, Φ(z)) with the best weights against w."""
        z = torch.cat([w, self.best_response(torch.cat([w, self.target]), 1)])
        return z, self.payoff(*self.split(z))

    def _newton(self, w: Tensor) -> Tensor:
        """Return argmin max_q Φ(w, q) from a start: it is smooth, with curvature from w and from the answer q(w)."""
        a = self.features
        z, value = self._answered(w)
        for _ in range(NEWTON_STEPS):
            w, q = self.split(z)
            turn = ((q > 0) * self._errors(w)).unsqueeze(-1) * a  # dℓ/dw of the rows with weight, which share their sum
            turn = turn - (q > 0).unsqueeze(-1) * turn.sum(0) / (q > 0).sum()
            hessian = a.mT @ (q.unsqueeze(-1) * a) + turn.mT @ turn / (self.penalty * len(q))
            slope = self.gradient(w, q, 0).unsqueeze(-1)
            step = -torch.linalg.lstsq(hessian, slope, driver="gelsd", rcond=1e-13).solution.squeeze(-1)
            size = 1.0
            following, below = self._answered(w + step)
            for _ in range(BACKTRACKS):
                if below <= value + ROUNDING * value.abs():
                    break
                size /= 2
                following, below = self._answered(w + size * step)
            if float((size * step).abs().max()) <= 1e-14 * float(w.abs().max()):
                break
            z, value = following, below
        return self.split(z)[0]

    def solution(self) -> Tensor | None:
        return None if self.saddle is None else self.saddle.to(self.device, self.dtype)


def column_lengths(matrix: Tensor) -> Tensor:
    """Return the Euclidean lengths of the columns, and 1 for columns of zeros."""
    length = torch.linalg.vector_norm(matrix, dim=0)
    return torch.where(length > 0, length, 1.0)
