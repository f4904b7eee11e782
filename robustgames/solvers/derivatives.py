"""The derivative of a field, its spectrum and its flow: what the certificates are computed from."""

from __future__ import annotations

import torch
from torch import Tensor

from robustgames.errors import GameError
from robustgames.games.game import Game, Sample


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


@torch.no_grad()
def flow(game: Game, z: Tensor, time: float, dt: float = 0.02) -> Tensor:
    """Return the solution of z' = V(z) at times 0, |dt|, 2|dt| … up to `time` by classical Runge-Kutta, (T, *S, n + m).

    A negative dt follows the flow backwards, which makes unstable cycles attracting.

    Raises:
        GameError: time is negative or not finite, or dt is 0 or not finite.
    """
    if not 0 <= time < float("inf"):
        raise GameError(f"time is {time}: a finite number >= 0 is needed, e.g. time=40; dt < 0 goes backwards")
    if not 0 < abs(dt) < float("inf"):
        raise GameError(f"dt is {dt}: a finite step other than 0 is needed, e.g. dt=0.02")
    points = [z]
    for _ in range(round(time / abs(dt))):
        k1 = game.field(z)
        k2 = game.field(z + dt / 2 * k1)
        k3 = game.field(z + dt / 2 * k2)
        k4 = game.field(z + dt * k3)
        z = z + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        points.append(z)
    return torch.stack(points)


def check_tolerance(tol: float) -> None:
    """Raise GameError unless a tolerance is a finite number >= 0: within NaN nothing fails, within -1 nothing holds."""
    if not 0 <= tol < float("inf"):
        raise GameError(f"tol is {tol}: a finite number >= 0 is needed, e.g. tol=1e-3")


def symmetric(matrix: Tensor) -> Tensor:
    """Return the symmetric part of a matrix, (*S, d, d)."""
    return (matrix + matrix.mT) / 2


def interior_point(game: Game, z: Tensor, name: str) -> Game:
    """Return the game without its noise; raise unless z is one point in the interior of X × Y.

    Args:
        game: Game.
        z: Point.
        name: Name of the diagnostic that asks, for the message.
    """
    if z.shape != (sum(game.sizes),):
        raise GameError(f"{name} takes one point of shape (n + m,), got {tuple(z.shape)}: pass z[i]")
    if not bool(torch.isfinite(z).all()):
        raise GameError(f"{name} takes a point of finite numbers, got {z.tolist()[:4]}: the run has diverged")
    game = game.exact
    width = 1e-3 * max(1.0, float(z.abs().max()))
    around = z + width * torch.cat([torch.eye(len(z)), -torch.eye(len(z))]).to(z)
    if not torch.allclose(game.project(around), around, rtol=0, atol=1e-3 * width):
        raise GameError(f"{name} needs an interior point, this one lies at the edge of X × Y: use duality_gap")
    return game
