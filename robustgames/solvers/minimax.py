"""Local minimax points: the maximizer answers, so x's loss is max_y Φ(x, y) around the point."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustgames.errors import GameError
from robustgames.games.game import Game, ZeroSumGame
from robustgames.solvers.derivatives import check_tolerance, interior_point, jacobian, symmetric


@dataclass(frozen=True)
class LocalMinimax:
    """First- and second-order conditions of a local minimax point at z; `str` gives the verdict in words.

    Attributes:
        residual: Norm |V(z)|, 0 at critical points.
        concavity: Greatest eigenvalue of Φ_yy; a local minimax point needs <= 0.
        schur: Least eigenvalue of the Schur complement Φ_xx - Φ_xy Φ_yy⁻¹ Φ_yx, the curvature of max_y Φ; a local
            minimax point needs >= 0. None if Φ_yy is singular.
        is_critical: Whether z is a critical point.
        is_minimax: Whether z is a local minimax point, None if a curvature is 0 and second order does not decide.
        verdict: The answers in words.
    """

    residual: float
    concavity: float
    schur: float | None
    is_critical: bool
    is_minimax: bool | None
    verdict: str

    def __str__(self) -> str:
        return self.verdict


def local_minimax(game: Game, z: Tensor, tol: float = 1e-5) -> LocalMinimax:
    """Test the conditions of a local minimax point: V(z) = 0, Φ_yy < 0 and Φ_xx - Φ_xy Φ_yy⁻¹ Φ_yx > 0.

    Strict inequalities are sufficient, weak ones necessary where Φ_yy < 0. Every strict local Nash point is a local
    minimax point; the converse fails, since x moves first and counts with the answer of y. Source: Jin, Netrapalli and
    Jordan 2020, "What is local optimality in nonconvex-nonconcave minimax optimization?", propositions 18 to 20.

    Args:
        game: Zero-sum game. A Noisy one is evaluated without its noise.
        z: One point, in the interior of X × Y.
        tol: Largest absolute value that counts as 0.

    Raises:
        GameError: The game has no payoff, or z is not one interior point.

    Example:
        >>> from robustgames.games.toy import Quadratic
        >>> print(local_minimax(Quadratic(convex=-1.0, concave=1.0, coupling=2.0), torch.zeros(2)))
        a strict local minimax point (least eigenvalue of the Schur complement is +3)
    """
    check_tolerance(tol)
    game = interior_point(game, z, "local_minimax")
    if not isinstance(game, ZeroSumGame):
        raise GameError(f"{game} has no payoff Φ: local_minimax needs a ZeroSumGame, spectrum takes any game")
    derivative, n, at = jacobian(game, z), game.sizes[0], float(game.residual(z))
    of_y = symmetric(derivative[n:, n:])
    values = torch.linalg.eigvalsh(of_y) if len(of_y) else derivative.new_zeros(0)
    concavity = float(values[-1]) if len(values) else float("-inf")
    singular = bool((values.abs() <= tol).any())
    schur = None if singular else _least(symmetric(_schur(derivative, n)))
    minimax: bool | None = True
    if at > tol or concavity > tol or (concavity < -tol and schur is not None and schur < -tol):
        minimax = False
    elif singular or schur is None or schur < tol:
        minimax = None
    verdict = _words(at, concavity, schur, minimax, tol)
    return LocalMinimax(at, concavity, schur, at <= tol, minimax, verdict)


def _schur(derivative: Tensor, n: int) -> Tensor:
    """Return Φ_xx - Φ_xy Φ_yy⁻¹ Φ_yx; the rows of x in DV are -Φ_xx and -Φ_xy."""
    answer = torch.linalg.solve(derivative[n:, n:], derivative[n:, :n])
    return -derivative[:n, :n] + derivative[:n, n:] @ answer


def _least(block: Tensor) -> float:
    return float(torch.linalg.eigvalsh(block)[0]) if block.numel() else float("inf")


def _words(at: float, concavity: float, schur: float | None, minimax: bool | None, tol: float) -> str:
    if at > tol:
        return f"not a critical point: |V| = {at:.3g}"
    if minimax:
        return f"a strict local minimax point (least eigenvalue of the Schur complement is {schur:+.3g})"
    if minimax is None:
        return "a curvature is 0: second order does not decide whether it is a local minimax point"
    if concavity > tol:
        return f"not a local minimax point: y can do better (greatest eigenvalue of Φ_yy is {concavity:+.3g})"
    return f"not a local minimax point: x can do better (least eigenvalue of the Schur complement is {schur:+.3g})"
