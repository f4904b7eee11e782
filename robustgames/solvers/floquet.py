"""Floquet multipliers: whether nearby orbits approach a closed orbit of the flow, from its derivative alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustgames.errors import GameError
from robustgames.games.game import Game
from robustgames.solvers.cycles import LimitCycle
from robustgames.solvers.derivatives import check_tolerance, jacobian

NEWTON_STEPS, LARGEST_STEP = 12, 0.5  # in units of the size of the orbit


@dataclass(frozen=True)
class ClosedOrbit:
    """A closed orbit of z' = V(z) and its Floquet multipliers; `str` gives the verdict in words.

    Attributes:
        start: Point on the orbit, (d,).
        period: Time of one turn.
        multipliers: Complex eigenvalues of the derivative of one turn at `start`, (d - 1,), largest modulus first,
            without the one along the orbit, which is 1.
        error: Distance |φ_T(start) - start| after one turn.
        is_isolated: Whether it is a limit cycle: False if a multiplier is 1, as for the orbits of a center.
        is_stable: Whether nearby orbits approach it; None if a multiplier has modulus 1.
    """

    start: Tensor
    period: float
    multipliers: Tensor
    error: float
    is_isolated: bool
    is_stable: bool | None

    def __str__(self) -> str:
        kind = {True: "stable limit cycle", False: "unstable limit cycle", None: "closed orbit, neutral to first order"}
        name = kind[self.is_stable] if self.is_isolated else "closed orbit of a center, one of many"
        shown = ", ".join(f"{_clean(value):.4g}" for value in self.multipliers.tolist())
        return f"{name}; period {self.period:.6g}, Floquet multipliers {shown}"


def _clean(value: complex) -> complex | float:
    return value.real if abs(value.imag) < 1e-12 else value


def closed_orbit(game: Game, cycle: LimitCycle | None, steps: int = 400, tol: float = 1e-3) -> ClosedOrbit:
    """Return the closed orbit of the flow next to a cycle, and its Floquet multipliers.

    Newton's method finds a start and a period with φ_T(z) = z, from a point and the period of the cycle; the turn and
    its derivative M' = DV(z) M are integrated by classical Runge-Kutta. So a trajectory need not have settled, and
    unstable cycles are found too, from a flow backwards. In the plane the multiplier is exp ∫ div V dt. Source:
    Kuznetsov 2004, "Elements of applied bifurcation theory", sections 1.5 and 10.1.

    Args:
        game: Game. A Noisy one is evaluated without its noise, and its constraints are left out.
        cycle: Cycle of a flow or of small steps, see `limit_cycle`, with dt such that its period is a time.
        steps: Number of integration steps of a turn.
        tol: Distance of a multiplier from 1 (and of its modulus) that counts as 0.

    Raises:
        GameError: No closed orbit of the flow is found near the cycle, or the cycle is None: `limit_cycle` found none.

    Example:
        >>> from robustgames.games.toy import Bilinear
        >>> from robustgames.solvers.cycles import limit_cycle
        >>> from robustgames.solvers.derivatives import flow
        >>> path = flow(Bilinear(), torch.tensor([1.0, 0.0], dtype=torch.float64), 40, 0.05)
        >>> print(closed_orbit(Bilinear(), limit_cycle(path, 0.05, torch.zeros(2))))
        closed orbit of a center, one of many; period 6.28319, Floquet multipliers 1
    """
    if cycle is None:
        raise GameError("cycle is None: limit_cycle found none; pass it a longer trajectory, or one with another start")
    check_tolerance(tol)
    if steps < 1:
        raise GameError(f"steps is {steps}: a turn has at least one step, e.g. steps=400")
    game = game.exact.to("cpu", torch.float64)
    z, period = cycle.points[0].cpu().double(), torch.tensor(cycle.period, dtype=torch.float64)
    anchor, normal = z, game.field(z)
    size, error = cycle.amplitude, float("inf")
    derivative = torch.eye(len(z), dtype=torch.float64)
    for _ in range(NEWTON_STEPS):
        end, derivative = _turn(game, z, float(period), steps)
        error = float((end - z).norm())
        if error < 1e-11 * max(1.0, size):
            break
        step = _newton(derivative, end - z, game.field(end), normal, z - anchor)
        step = step * min(1.0, LARGEST_STEP * size / max(float(step[:-1].norm()), 1e-300))
        z, period = z + step[:-1], period + step[-1]
    if not error < 1e-6 * max(1.0, size) or not 0.5 < float(period) / cycle.period < 2:
        raise GameError(
            f"no closed orbit of the flow of {game} lies near this cycle of period {cycle.period:.4g} (one turn misses "
            f"its start by {error:.2g}): pass the cycle of a flow, or of smaller steps with dt = lr"
        )
    multipliers = _others(derivative, game.field(z))
    isolated = bool(((multipliers - 1).abs() > tol).all())
    modulus = multipliers.abs()
    neutral = bool(((modulus - 1).abs() <= tol).any())
    stable = None if neutral else bool((modulus < 1).all())
    return ClosedOrbit(z, float(period), multipliers, error, isolated, stable)


def _turn(game: Game, z: Tensor, period: float, steps: int) -> tuple[Tensor, Tensor]:
    """Return (φ_T(z), Dφ_T(z))."""
    h, m = period / steps, torch.eye(len(z), dtype=z.dtype)

    def slope(z: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        return game.field(z), jacobian(game, z) @ m

    for _ in range(steps):
        v1, m1 = slope(z, m)
        v2, m2 = slope(z + h / 2 * v1, m + h / 2 * m1)
        v3, m3 = slope(z + h / 2 * v2, m + h / 2 * m2)
        v4, m4 = slope(z + h * v3, m + h * m3)
        z, m = z + h / 6 * (v1 + 2 * v2 + 2 * v3 + v4), m + h / 6 * (m1 + 2 * m2 + 2 * m3 + m4)
    return z, m


def _newton(derivative: Tensor, miss: Tensor, velocity: Tensor, normal: Tensor, away: Tensor) -> Tensor:
    """Return (dz, dT) with (M - I) dz + V dT = -miss and <normal, dz> = -<normal, away>; the least one for a center."""
    d = len(miss)
    left = torch.zeros(d + 1, d + 1, dtype=miss.dtype)
    left[:d, :d], left[:d, d], left[d, :d] = derivative - torch.eye(d, dtype=miss.dtype), velocity, normal
    right = torch.cat([-miss, -(normal @ away).reshape(1)])
    return torch.linalg.pinv(left, rtol=1e-8) @ right


def _others(derivative: Tensor, velocity: Tensor) -> Tensor:
    """Return the multipliers across the orbit: the eigenvalues of M on the space modulo the velocity, largest first."""
    basis, _ = torch.linalg.qr(torch.cat([velocity.unsqueeze(-1), torch.eye(len(velocity)).to(velocity)], -1))
    across = basis[:, 1:]
    values = torch.linalg.eigvals(across.mT @ derivative @ across)
    return values[values.abs().argsort(descending=True)]
