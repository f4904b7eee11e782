"""Solvers whose step is made of several: slow weights, half turns, smoothing, Runge-Kutta; part of `FRONTIER`."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from robustgames.errors import GameError, unknown
from robustgames.solvers.extragradient_recipes import check_number
from robustgames.solvers.first_order_recipes import Betas
from robustgames.solvers.lookahead import HalfTurn, Lookahead
from robustgames.solvers.rules import SGD, Adam
from robustgames.solvers.schemes import Alternating, Extragradient, Scheme, Simultaneous
from robustgames.solvers.smoothed import RungeKutta, SmoothedGDA
from robustgames.solvers.turning import HalfTurnAround


def lookahead_gda(lr: float = 0.1, period: float = 4.0, alpha: float = 0.5) -> Scheme:
    """Lookahead around gradient descent ascent, with a period in units of time.

    Source: Chavdarova et al. 2021, algorithm 1; Arrow, Hurwicz and Uzawa 1958.

    Args:
        lr: Learning rate of both players.
        period: Time between two returns; period / lr steps, at least one.
        alpha: Part of the way that is kept, in (0, 1].
    """
    return Lookahead(Simultaneous(SGD(lr)), _steps(period, lr), alpha)


def lookahead_extragradient(lr: float = 0.1, period: float = 4.0, alpha: float = 0.5) -> Scheme:
    """Lookahead around extragradient, with a period in units of time. Source: Chavdarova et al. 2021, algorithm 1.

    Args:
        lr: Learning rate of both players.
        period: Time between two returns; period / lr steps, at least one.
        alpha: Part of the way that is kept, in (0, 1].
    """
    return Lookahead(Extragradient(SGD(lr)), _steps(period, lr), alpha)


def lookahead_adam(
    lr: float = 2e-4, betas: Betas = (0.0, 0.9), every: int = 5, alpha: float = 0.5, eps: float = 1e-8
) -> Scheme:
    """Lookahead around Adam; the period counts steps, as steps of Adam do not follow the flow.

    Source: Chavdarova et al. 2021, algorithm 1.

    Args:
        lr: Learning rate of both players.
        betas: Decays of both moments.
        every: Steps between two returns.
        alpha: Part of the way that is kept, in (0, 1].
        eps: Constant that is added to the root of the second moment.
    """
    return Lookahead(Simultaneous(Adam(lr, betas, eps)), every, alpha)


def half_turn(
    lr: float = 0.1,
    scheme: Literal["gda", "extragradient", "alt_gda"] = "gda",
    alpha: float | None = None,
    least: int = 2,
    fall: float = 0.0,
) -> Scheme:
    """Lookahead that returns when it has made half a turn around the slow point: no period to choose.

    Source: a finding of this package; kin are Chavdarova et al. 2021 and O'Donoghue and Candès 2015.

    Args:
        lr: Learning rate of both players.
        scheme: Steps that are followed, gda (one call), extragradient (two) or alt_gda (one of each player).
        alpha: Part of the way that is kept, in (0, 1]; if None, that at which a linear field is least, or 1/2 with
            fall.
        least: Least number of steps between two returns; under noise a multiple of 1/lr.
        fall: Share by which the distance from the slow point must have decreased, 0.1 under noise.
    """
    schemes = {"gda": Simultaneous, "extragradient": Extragradient, "alt_gda": Alternating}
    if scheme not in schemes:
        raise unknown("scheme", scheme, schemes)
    if fall or scheme == "alt_gda":
        return HalfTurnAround(schemes[scheme](SGD(lr)), 0.5 if fall and alpha is None else alpha, least, fall)
    return HalfTurn(lr, alpha, least, extragradient=scheme == "extragradient")


def half_turn_adam(
    lr: float = 2e-4,
    betas: Betas = (0.0, 0.9),
    least: int = 20,
    fall: float = 0.0,
    each: bool = False,
    alpha: float = 0.5,
    eps: float = 1e-8,
) -> Scheme:
    """Half turns around Adam: a part of the way back where the weights stop moving away from the slow point.

    Source: a finding of this package; kin are Chavdarova et al. 2021 and O'Donoghue and Candès 2015.

    Args:
        lr: Learning rate of both players.
        betas: Decays of both moments.
        least: Least number of steps between two returns.
        fall: Share by which the distance from the slow point must have decreased, which minibatches do not feign.
        each: Whether each player returns by itself.
        alpha: Part of the way that is kept, in (0, 1].
        eps: Constant that is added to the root of the second moment.
    """
    return HalfTurnAround(Simultaneous(Adam(lr, betas, eps)), alpha, least, fall, each)


def smoothed_gda(lr: float = 0.1, r: float = 1.0, r_y: float | None = None, rate: float = 0.5) -> Scheme:
    """Doubly smoothed gradient descent ascent: both players are drawn to slow anchors.

    Source: Zheng et al. 2023, algorithm 1; with r_y = 0 Zhang et al. 2020.

    Args:
        lr: Learning rate of both players.
        r: Pull of the anchor of x.
        r_y: Pull of the anchor of y, if it differs.
        rate: Rate at which the anchors follow, per unit of time: by lr * rate a step.
    """
    return SmoothedGDA(lr, r, r_y, rate)


def rk4(lr: float = 0.1, order: Literal[2, 4] = 4) -> Scheme:
    """Runge-Kutta steps along the flow. Source: Qin et al. 2020.

    Args:
        lr: Step.
        order: Order, and calls of a step: 2 or 4.
    """
    return RungeKutta(lr, order)


def _steps(period: float, lr: float | Tensor) -> int | Tensor:
    """Return the steps of a period, a number or one per run."""
    if not 0 < period < float("inf"):
        raise GameError(f"period is {period}: it is a positive time, e.g. 4")
    check_number(lr, "a period is a time")
    return (period / lr).round().clamp_min(1) if isinstance(lr, Tensor) else max(1, round(period / lr))
