"""Relatives of extragradient: other second steps, anchors and adaptive rates; part of the table `FRONTIER`."""

from __future__ import annotations

from torch import Tensor

from robustgames.errors import GameError
from robustgames.solvers.adaptive import AdaptiveExtragradient, GoldenRatio, TiAda
from robustgames.solvers.anchored import ExtraAnchored, FastExtragradient
from robustgames.solvers.first_order_recipes import Betas, two_rates
from robustgames.solvers.optimistic_adam import OptimisticAdam
from robustgames.solvers.plus import AdaptiveEGPlus, ApproximateProximal, BiasCorrectedSEGPlus, CurvatureEGPlus
from robustgames.solvers.rules import SGD
from robustgames.solvers.schemes import Extragradient, Scheme, Simultaneous


def eg_plus(lr: float = 0.1, ratio: float = 0.5) -> Scheme:
    """EG+: look ahead by lr, then step from z by ratio * lr. Solves weak Minty games with ρ > -(1 - ratio)/2 lr.

    Source: Diakonikolas, Daskalakis and Jordan 2021; with noise Hsieh et al. 2020.

    Args:
        lr: Step of the look-ahead, at most 1/L.
        ratio: Second step in units of lr.
    """
    if not 0 < ratio <= 1:
        raise GameError(f"ratio is {ratio}: it lies in (0, 1]; with 1 this is extragradient")
    check_number(lr, "the second step is a part of it")
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


def check_number(lr: object, reason: str) -> None:
    """Refuse a rate that is neither a positive number nor a tensor, such as a schedule, for the given reason."""
    if not isinstance(lr, Tensor) and not (isinstance(lr, float | int) and lr > 0):
        raise GameError(f"lr is {lr!r}: it must be a positive number, or one per run, as {reason}")
