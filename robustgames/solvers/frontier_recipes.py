"""Solvers with guarantees that gradient descent ascent and extragradient lack; part of the table `RECIPES`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor

from robustgames.errors import GameError, unknown
from robustgames.solvers.adaptive import AdaptiveExtragradient, GoldenRatio, TiAda
from robustgames.solvers.anchored import ExtraAnchored, FastExtragradient
from robustgames.solvers.first_order_recipes import Betas, two_rates
from robustgames.solvers.lookahead import HalfTurn, Lookahead
from robustgames.solvers.optimistic_adam import OptimisticAdam
from robustgames.solvers.plus import AdaptiveEGPlus, ApproximateProximal, BiasCorrectedSEGPlus, CurvatureEGPlus
from robustgames.solvers.rules import SGD, Adam
from robustgames.solvers.schemes import Alternating, Extragradient, Scheme, Simultaneous
from robustgames.solvers.second_order import (
    CompetitiveGradient,
    Consensus,
    FollowRidge,
    LeastAction,
    SymplecticAdjustment,
)
from robustgames.solvers.smoothed import RungeKutta, SmoothedGDA
from robustgames.solvers.turning import HalfTurnAround
from robustgames.solvers.whole_derivative import DampedNewton, StayOnRidge


def eg_plus(lr: float = 0.1, ratio: float = 0.5) -> Scheme:
    """EG+: look ahead by lr, then step from z by ratio * lr. Solves weak Minty games with ρ > -(1 - ratio)/2 lr.

    Source: Diakonikolas, Daskalakis and Jordan 2021; with noise Hsieh et al. 2020.

    Args:
        lr: Step of the look-ahead, at most 1/L.
        ratio: Second step in units of lr.
    """
    if not 0 < ratio <= 1:
        raise GameError(f"ratio is {ratio}: it lies in (0, 1]; with 1 this is extragradient")
    _check_number(lr, "the second step is a part of it")
    return Extragradient(SGD(ratio * lr), ahead=SGD(lr))


def adaptive_eg_plus(lr: float = 0.1, delta: float = -0.495, relax: float = 1.0) -> Scheme:
    """EG+ whose second step is found from both fields of a step. Source: Pethick et al. 2022, algorithm 1.

    Args:
        lr: Step of the look-ahead, at most 1/L.
        delta: Smallest ρ that is allowed for, in units of lr, > -0.5.
        relax: Part of the step that is taken, in (0, 2).
    """
    return AdaptiveEGPlus(lr, delta, relax)


def curvature_eg_plus(lr: float = 0.1, nu: float = 0.99, delta: float = -0.495, relax: float = 1.0) -> Scheme:
    """EG+ with look-aheads as long as the local curvature allows: it leaves the cycle of Forsaken with c = 0.45.

    Source: Pethick et al. 2022, algorithm 2.

    Args:
        lr: First look-ahead; the others are found by backtracking, at one call a step.
        nu: Share of the inverse local Lipschitz constant, in (0, 1).
        delta: See adaptive_eg_plus.
        relax: See adaptive_eg_plus.
    """
    return CurvatureEGPlus(lr, nu, delta, relax)


def bc_seg_plus(lr: float = 0.1, alpha: float = 1 / 18, decay: float = 100.0) -> Scheme:
    """Bias-corrected stochastic EG+: weak Minty games under noise, with a look-ahead that keeps its length.

    Source: Pethick et al. 2023, algorithm 2.

    Args:
        lr: Step of the look-ahead, less than 1/L.
        alpha: First second step, in units of lr.
        decay: Steps after which the second step falls like 1/sqrt(k).
    """
    return BiasCorrectedSEGPlus(lr, alpha, decay)


def rapp(lr: float = 0.1, inner_steps: int = 5, relax: float = 0.5) -> Scheme:
    """Relaxed approximate proximal point: inner steps to z + lr V(w) = w, then a part of the way there.

    Source: Pethick, Xie and Cevher 2023, RAPP.

    Args:
        lr: Step of the proximal point, less than 1/L.
        inner_steps: Inner steps, one call each.
        relax: Part of the way, in (0, 2).
    """
    return ApproximateProximal(lr, inner_steps, relax)


def same_sample_extragradient(lr: float = 0.1) -> Scheme:
    """Extragradient with one sample for both half steps, which converges where independent samples diverge.

    Source: Mishchenko et al. 2020, "Revisiting stochastic extragradient".

    Args:
        lr: Learning rate of both players.
    """
    return Extragradient(SGD(lr), same_sample=True)


def eag(lr: float = 0.1) -> Scheme:
    """Extra anchored gradient: |V|² = O(1/k²) at the last iterate of monotone games, lr <= 1/(8 L).

    Source: Yoon and Ryu 2021, EAG-C.

    Args:
        lr: Step.
    """
    return ExtraAnchored(lr)


def anchored_popov(lr: float = 0.1) -> Scheme:
    """Extra anchored gradient with the field of the last look-ahead: one call a step.

    Source: Tran-Dinh and Luo 2021.

    Args:
        lr: Step.
    """
    return ExtraAnchored(lr, past=True)


def feg(lr: float = 0.1, rho: float = 0.0) -> Scheme:
    """Fast extragradient: anchored, |V|² = O(1/k²) also on negatively comonotone games, lr = 1/L.

    Source: Lee and Kim 2021.

    Args:
        lr: Step.
        rho: Comonotonicity, > -lr/2; 0 for monotone games.
    """
    return FastExtragradient(lr, rho)


def agraal(lr: float = 1e-3, phi: float = 1.5) -> Scheme:
    """Adaptive golden ratio algorithm: no step size to choose, one call a step. Source: Malitsky 2020, algorithm 1.

    Args:
        lr: First step, of which only the order matters.
        phi: Ratio in (1, 1.618].
    """
    return GoldenRatio(lr, phi)


def adaptive_extragradient(lr: float = 1.0) -> Scheme:
    """Extragradient with steps from the sum of what the field changed along the look-aheads.

    Source: Antonakopoulos, Belmega and Mertikopoulos 2021.

    Args:
        lr: First step; 1 in the paper.
    """
    return AdaptiveExtragradient(lr)


def tiada(lr: float = 0.1, alpha: float = 0.6, beta: float = 0.4, lr_y: float | None = None) -> Scheme:
    """Two adaptive steps whose ratio finds itself, for games that are strongly concave in y.

    Source: Li, Yang and He 2023, algorithm 1.

    Args:
        lr: Learning rate of both players.
        alpha: Power of the sum in x, > 1/2.
        beta: Power of the sum in y, < 1/2.
        lr_y: Learning rate of the maximizer, if it differs.
    """
    return TiAda(lr, lr_y, alpha, beta)


@two_rates
def omd_adam(lr: float = 1e-3, betas: Betas = (0.5, 0.9), eps: float = 1e-8) -> Scheme:
    """Optimistic Adam: Adam that subtracts its previous direction. Source: Daskalakis et al. 2018, algorithm 1."""
    return Simultaneous(OptimisticAdam(lr, betas, eps))


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


def _steps(period: float, lr: float | Tensor) -> int | Tensor:
    """Return the steps of a period, a number or one per run."""
    if not 0 < period < float("inf"):
        raise GameError(f"period is {period}: it is a positive time, e.g. 4")
    _check_number(lr, "a period is a time")
    return (period / lr).round().clamp_min(1) if isinstance(lr, Tensor) else max(1, round(period / lr))


def _check_number(lr: object, reason: str) -> None:
    if not isinstance(lr, Tensor) and not (isinstance(lr, float | int) and lr > 0):
        raise GameError(f"lr is {lr!r}: it must be a positive number, or one per run, as {reason}")


FRONTIER: dict[str, Callable[..., Scheme]] = {
    "eg_plus": eg_plus,
    "adaptive_eg_plus": adaptive_eg_plus,
    "curvature_eg_plus": curvature_eg_plus,
    "bc_seg_plus": bc_seg_plus,
    "rapp": rapp,
    "same_sample_extragradient": same_sample_extragradient,
    "eag": eag,
    "anchored_popov": anchored_popov,
    "feg": feg,
    "agraal": agraal,
    "adaptive_extragradient": adaptive_extragradient,
    "tiada": tiada,
    "omd_adam": omd_adam,
    "lookahead_gda": lookahead_gda,
    "lookahead_extragradient": lookahead_extragradient,
    "lookahead_adam": lookahead_adam,
    "half_turn": half_turn,
    "half_turn_adam": half_turn_adam,
    "smoothed_gda": smoothed_gda,
    "rk4": rk4,
    "stay_on_ridge": stay_on_ridge,
    "consensus": consensus,
    "sga": sga,
    "competitive_gd": competitive_gd,
    "follow_ridge": follow_ridge,
    "lead": lead,
    "newton": newton,
}
