"""Certificates: the kind of a point z, its distance from a solution, cycles and basins, constants of a region."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustgames.games.game import Game, Sample
from robustgames.solvers.basins import Basins, basins
from robustgames.solvers.cycles import LimitCycle, limit_cycle
from robustgames.solvers.derivatives import check_tolerance, flow, interior_point, jacobian, spectrum, symmetric
from robustgames.solvers.floquet import ClosedOrbit, closed_orbit
from robustgames.solvers.gaps import duality_gap, restricted_gap
from robustgames.solvers.minimax import LocalMinimax, local_minimax
from robustgames.solvers.regions import RegionConstants, region_constants

__all__ = [
    "Basins",
    "ClosedOrbit",
    "LimitCycle",
    "LocalMinimax",
    "LocalNash",
    "RegionConstants",
    "basins",
    "closed_orbit",
    "duality_gap",
    "flow",
    "jacobian",
    "limit_cycle",
    "local_minimax",
    "local_nash",
    "region_constants",
    "residual",
    "restricted_gap",
    "spectrum",
]


def residual(game: Game, z: Tensor, sample: Sample = None) -> Tensor:
    """Return |P(z + V(z)) - z|_2, shape (*S,): 0 exactly at critical points; |V(z)| without constraints.

    Example:
        >>> from robustgames.games.toy import Bilinear
        >>> residual(Bilinear(), torch.tensor([3.0, 4.0]))
        tensor(5.)
    """
    return game.residual(z, sample)


@dataclass(frozen=True)
class LocalNash:
    """First- and second-order conditions of a local Nash point at z; `str` gives the verdict in words.

    Attributes:
        residual: Norm |V(z)|, 0 at critical points.
        convexity: Least eigenvalue of the Hessian of x's own loss (Φ_xx); a Nash point needs >= 0.
        concavity: Greatest eigenvalue of the Hessian of y's own gain (Φ_yy); a Nash point needs <= 0.
        growth: Greatest real part of the spectrum of DV(z); the flow is stable if it is < 0.
        is_critical: Whether z is a critical point.
        is_nash: Whether z is a local Nash point, None if a curvature is 0 and second order does not decide.
        is_stable: Whether the flow is stable at z, None if the greatest real part is 0.
        kind: The answers in words, without numbers: equal for points of one kind.
        verdict: The answers in words.
    """

    residual: float
    convexity: float
    concavity: float
    growth: float
    is_critical: bool
    is_nash: bool | None
    is_stable: bool | None
    kind: str
    verdict: str

    def __str__(self) -> str:
        return self.verdict


def local_nash(game: Game, z: Tensor, tol: float = 1e-5) -> LocalNash:
    """Test the local-Nash conditions V(z) = 0, Φ_xx >= 0 >= Φ_yy at an interior point z of shape (n + m,).

    Strict inequalities are sufficient, weak ones necessary. Source: lecture "Solution concept".

    Args:
        game: Game. A Noisy one is evaluated without its noise.
        z: One point, in the interior of X × Y.
        tol: Largest absolute value that counts as 0.

    Example:
        >>> from robustgames.games.toy import Quadratic
        >>> print(local_nash(Quadratic(), torch.zeros(2)))
        a strict local Nash point; stable: the flow converges to it (greatest real part -2)
    """
    check_tolerance(tol)
    game = interior_point(game, z, "local_nash")
    derivative, n = jacobian(game, z), game.sizes[0]
    convexity = -_greatest(derivative[:n, :n])  # the block of DV is -Φ_xx
    concavity = _greatest(derivative[n:, n:])
    growth = float(torch.linalg.eigvals(derivative).real.max())
    at = float(game.residual(z))
    nash: bool | None = True
    if at > tol or convexity < -tol or concavity > tol:
        nash = False
    elif convexity < tol or concavity > -tol:
        nash = None
    stable = None if abs(growth) <= tol else growth < 0
    kind, verdict = _words(at, convexity, concavity, growth, nash, stable, tol)
    return LocalNash(at, convexity, concavity, growth, at <= tol, nash, stable, kind, verdict)


def _greatest(block: Tensor) -> float:
    if block.numel() == 0:
        return float("-inf")
    return float(torch.linalg.eigvalsh(symmetric(block))[-1])


def _words(
    at: float, convexity: float, concavity: float, growth: float, nash: bool | None, stable: bool | None, tol: float
) -> tuple[str, str]:
    """Return (kind, verdict): the answers in words, without and with the numbers behind them."""
    if at > tol:
        return "not a critical point", f"not a critical point: |V| = {at:.3g}"
    number = ""
    if nash:
        first = "a strict local Nash point"
    elif nash is None:
        first = (
            "the necessary conditions of a local Nash point hold, but a curvature is 0: second order does not decide"
        )
    elif convexity < -tol:
        first = "not a local Nash point: x can do better"
        number = f" (least eigenvalue of Φ_xx is {convexity:+.3g})"
    else:
        first = "not a local Nash point: y can do better"
        number = f" (greatest eigenvalue of Φ_yy is {concavity:+.3g})"
    second = {
        True: "stable: the flow converges to it",
        False: "unstable: the flow leaves it",
        None: "neither attracting nor repelling to first order",
    }[stable]
    return f"{first}; {second}", f"{first}{number}; {second} (greatest real part {growth:.3g})"
