"""Certificates: the kind of a point z, its distance from a solution, and the cycle of a trajectory."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustgames.errors import GameError
from robustgames.games.game import Game, Sample, ZeroSumGame
from robustgames.solvers.cycles import LimitCycle, limit_cycle

__all__ = [
    "LimitCycle",
    "LocalNash",
    "duality_gap",
    "flow",
    "jacobian",
    "limit_cycle",
    "local_nash",
    "residual",
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


def jacobian(game: Game, z: Tensor, sample: Sample = None) -> Tensor:
    """Return DV(z), shape (*S, n + m, n + m): row i is the gradient of V_i."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        v = game.field(z, sample)
        if not v.requires_grad:  # a constant field
            return z.new_zeros((*z.shape, z.shape[-1]))
        rows = [
            torch.autograd.grad(v[..., i].sum(), z, retain_graph=True, materialize_grads=True)[0]
            for i in range(z.shape[-1])
        ]
    return torch.stack(rows, -2)


def spectrum(game: Game, z: Tensor, sample: Sample = None) -> Tensor:
    """Return the complex eigenvalues of DV(z), shape (*S, n + m), largest real part first.

    If all real parts are negative, the flow z' = V(z) converges to a critical point z; if one is positive, it leaves.

    Example:
        >>> from robustgames.games.toy import Quadratic
        >>> spectrum(Quadratic(), torch.zeros(2)).real
        tensor([-2., -2.])
    """
    values = torch.linalg.eigvals(jacobian(game, z, sample))
    return values.gather(-1, values.real.argsort(dim=-1, descending=True))


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
    if z.dim() != 1:
        raise GameError(f"local_nash takes one point of shape (n + m,), got {tuple(z.shape)}: pass z[i]")
    game = game.exact
    around = z + 1e-3 * torch.cat([torch.eye(len(z)), -torch.eye(len(z))]).to(z)
    if not torch.allclose(game.project(around), around, atol=1e-6):
        raise GameError("local_nash needs an interior point, this one lies at the edge of X × Y: use duality_gap")
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
    return float(torch.linalg.eigvalsh((block + block.mT) / 2)[-1])


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


def duality_gap(game: Game, z: Tensor) -> Tensor:
    """Return max_y' Φ(x, y') - min_x' Φ(x', y), shape (*S,): 0 exactly at saddles, an upper bound of both regrets.

    Raises:
        GameError: The game does not define its best responses.

    Example:
        >>> from robustgames.games import MatrixGame
        >>> duality_gap(MatrixGame("matching_pennies"), torch.tensor([1.0, 0.0, 0.5, 0.5]))
        tensor(1.)
    """
    game = game.exact
    x_best, y_best = (game.best_response(z, player) for player in (0, 1))
    if not isinstance(game, ZeroSumGame) or x_best is None or y_best is None:
        raise GameError(
            f"the duality gap of {game} is not known: it needs a zero-sum game whose best_response(z, player) is "
            "exact and finite, e.g. a bilinear game with radius=1.0"
        )
    x, y = game.split(z)
    return game.payoff(x, y_best, None) - game.payoff(x_best, y, None)


@torch.no_grad()
def flow(game: Game, z: Tensor, time: float, dt: float = 0.02) -> Tensor:
    """Return the solution of z' = V(z) at times 0, |dt|, 2|dt| … up to `time` by classical Runge-Kutta, (T, *S, n + m).

    A negative dt follows the flow backwards, which makes unstable cycles attracting.
    """
    points = [z]
    for _ in range(round(time / abs(dt))):
        k1 = game.field(z)
        k2 = game.field(z + dt / 2 * k1)
        k3 = game.field(z + dt / 2 * k2)
        k4 = game.field(z + dt * k3)
        z = z + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        points.append(z)
    return torch.stack(points)
