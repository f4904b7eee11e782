"""Solvers that use the derivative of the field; part of the table `FRONTIER`."""

from __future__ import annotations

from robustgames.solvers.rules import SGD
from robustgames.solvers.schemes import Scheme
from robustgames.solvers.second_order import (
    CompetitiveGradient,
    Consensus,
    FollowRidge,
    LeastAction,
    SymplecticAdjustment,
)
from robustgames.solvers.whole_derivative import DampedNewton, StayOnRidge


def stay_on_ridge(lr: float = 0.005, radius: float = 2.0) -> Scheme:
    """STay-ON-the-Ridge: from a corner of the box to a min-max critical point, for small games with exact fields.

    Source: Daskalakis, Golowich, Skoulakis and Zampetakis 2023.

    Args:
        lr: Length of a step in units of the side of the box.
        radius: Half the width of the box around 0 for games without constraints.
    """
    return StayOnRidge(lr, radius=radius)


def consensus(lr: float = 0.1, weight: float = 1.0, lr_y: float | None = None) -> Scheme:
    """Consensus optimization: the field minus the gradient of weight |V|²/2. Source: Mescheder et al. 2017.

    Args:
        lr: Learning rate of both players.
        weight: Weight of |V|²/2.
        lr_y: Learning rate of the maximizer, if it differs.
    """
    return Consensus(SGD(lr) if lr_y is None else (SGD(lr), SGD(lr_y)), weight)


def sga(lr: float = 0.1, weight: float = 1.0, align: bool = True) -> Scheme:
    """Symplectic gradient adjustment. Source: Balduzzi et al. 2018, algorithm 1.

    Args:
        lr: Learning rate of both players.
        weight: Weight of the adjustment.
        align: Whether its sign draws to stable points and away from unstable ones.
    """
    return SymplecticAdjustment(SGD(lr), weight, align)


def competitive_gd(lr: float = 0.1, inner_steps: int = 5) -> Scheme:
    """Competitive gradient descent: the Nash point of the local bilinear game, by conjugate gradients.

    Source: Schäfer and Anandkumar 2019, algorithm 1.

    Args:
        lr: Learning rate of both players.
        inner_steps: Conjugate gradients; as many as x has coordinates are exact.
    """
    return CompetitiveGradient(lr, inner_steps)


def follow_ridge(lr: float = 0.1, damping: float = 1e-6, inner_steps: int = 5) -> Scheme:
    """Follow the ridge: only local minimax points are stable. Source: Wang, Zhang and Ba 2020, algorithm 1.

    Args:
        lr: Learning rate of both players.
        damping: Added to the square of the second derivative in y.
        inner_steps: Conjugate gradients; as many as y has coordinates are exact.
    """
    return FollowRidge(lr, damping, inner_steps)


def lead(lr: float = 0.1, alpha: float = 1.0, beta: float = 0.0) -> Scheme:
    """Least action dynamics: the other player's last move acts through the mixed derivatives.

    Source: Hemmat et al. 2023, algorithm 1.

    Args:
        lr: Learning rate of both players.
        alpha: Weight of that force, in units of lr.
        beta: Momentum.
    """
    return LeastAction(lr, alpha, beta)


def newton(lr: float = 1.0, damping: float = 1e-3) -> Scheme:
    """Damped Newton steps on V = 0, for small games. Source: Levenberg 1944; Marquardt 1963.

    Args:
        lr: Part of the step that is taken.
        damping: Added to the square of the derivative.
    """
    return DampedNewton(lr, damping)
