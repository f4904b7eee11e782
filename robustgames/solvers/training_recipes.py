"""Solvers of classifier against attacker; part of the table `RECIPES`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal, TypeVar

from robustgames.errors import GameError, unknown
from robustgames.solvers.best_response import BestResponse
from robustgames.solvers.rules import Adam, Sign, Steepest
from robustgames.solvers.schedules import Triangular
from robustgames.solvers.schemes import Alternating, Averaged, Extragradient, Optimistic, Rules, Scheme, Simultaneous
from robustgames.tensors import rebuild

S = TypeVar("S", bound=Scheme)


def adversarial_training(
    lr: float = 3e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    inner_steps: int = 3,
    inner_lr: float = 0.25 / 3,
    norm: Literal["linf", "l2", "l1"] = "linf",
    start: Literal["random", "zero", "keep"] = "random",
    lookahead: Literal["none", "extra", "past"] = "none",
    horizon: int = 0,
    ema: float = 0.99,
    answers: int = 1,
    perturbation: float = 0.0,
    coordinates: int = 1,
) -> Scheme:
    """K steps of steepest ascent on the perturbations of a held minibatch, then one Adam step on the weights.

    Source: Madry et al. 2018; lecture "Stochastic Adversarial Training"; for the look-ahead Gidel et al. 2019,
    algorithm 4; for several answers Latorre et al. 2023; for perturbed weights Wu, Xia and Wang 2020. K = 1
    is FGSM training. The defaults were tuned on a validation split of the digits with eps = 0.1.

    Args:
        lr: Learning rate of the classifier.
        betas: Decay of Adam's moments.
        inner_steps: Steps of the attacker per step of the classifier, K.
        inner_lr: Size of a step in the norm, in units of the image; 2.5 eps / K is usual.
        norm: Norm of the step, that of the game.
        start: Start of the attack: random in the ball, zero, or keep the last perturbations.
        lookahead: Extragradient on the weights: none, extra (ExtraAdam, two attacks a step) or past (one).
        horizon: Oracle calls of the whole run. Over its first quarter the learning rate rises and the attack grows to
            full size; over the rest the rate falls to 0. If 0, both are constant.
        ema: Decay of the exponential average of the weights that is evaluated. 0 evaluates the last weights.
        answers: Attacks on each minibatch, from as many random starts. The weights follow the element of least norm of
            the convex hull of their gradients; with 1 it is the gradient of Danskin's theorem.
        perturbation: Radius of the adversarial weight perturbation (AWP) at which the gradient is taken, as a share of
            the norm of the weights, e.g. 0.005. It costs one more call a step.
        coordinates: Coordinates of an image that share a step in l1. One is steepest ascent, which needs many steps,
            because a pixel has room for a part of the radius only.
    """
    inner: Sign | Steepest = Steepest(inner_lr, norm, coordinates=coordinates)
    inner = Sign(inner_lr) if inner.norm == "linf" else inner
    best = BestResponse(
        Adam(lr, betas), inner, inner_steps, start, lookahead=lookahead, answers=answers, perturbation=perturbation
    )
    solver = _scheduled(best, lr, horizon)
    solver = replace(solver, ramp=horizon // solver.tally().calls // 4)
    return Averaged(solver, ema) if ema else solver


def fast_training(
    lr: float = 3e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    inner_lr: float = 0.125,
    horizon: int = 0,
    ema: float = 0.0,
) -> Scheme:
    """One signed step of 1.25 eps from a random start, then one Adam step on the weights.

    Fast, and prone to catastrophic overfitting: the network learns to mislead this one step, and any other attack
    fools it. Source: Wong, Rice and Kolter 2020.

    Args:
        lr: Learning rate of the classifier.
        betas: Decay of Adam's moments.
        inner_lr: Size of the step, in units of the image; 1.25 eps in the paper.
        horizon: Oracle calls of the whole run, see adversarial_training.
        ema: Decay of the average of the weights that is evaluated. 0 evaluates the last weights.
    """
    return adversarial_training(lr, betas, 1, inner_lr, horizon=horizon, ema=ema)


def free_training(
    lr: float = 3e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    inner_lr: float = 0.1,
    replays: int = 8,
    horizon: int = 0,
    ema: float = 0.0,
) -> Scheme:
    """Both players move at once, `replays` times on each minibatch: one gradient serves weights and perturbations.

    Source: Shafahi et al. 2019, algorithm 1.

    Args:
        lr: Learning rate of the classifier.
        betas: Decay of Adam's moments.
        inner_lr: Size of a signed step, in units of the image; eps in the paper.
        replays: Steps on one minibatch. The perturbations are kept from one to the next.
        horizon: Oracle calls of the whole run, see adversarial_training. The attack has full size from the start.
        ema: Decay of the average of the weights that is evaluated. 0 evaluates the last weights.
    """
    solver = _scheduled(Simultaneous((Adam(lr, betas), Sign(inner_lr)), replays), lr, horizon)
    return Averaged(solver, ema) if ema else solver


def game_training(
    lr: float = 3e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    inner_lr: float = 0.1,
    scheme: Literal["simultaneous", "alternating", "extragradient", "past"] = "extragradient",
    horizon: int = 0,
    ema: float = 0.0,
) -> Scheme:
    """Adam on the weights and signed steps on the perturbations, as the two players of any scheme.

    Meant for games whose attacker remembers one perturbation per image (`--set attacker=remembered`).
    Source: Gidel et al. 2019, algorithms 2 and 3, on the game of Madry et al. 2018.

    Args:
        lr: Learning rate of the classifier.
        betas: Decay of Adam's moments.
        inner_lr: Size of a signed step, in units of the image.
        scheme: Scheme of both players: simultaneous (GDA), alternating, extragradient or past (extrapolation from the
            past).
        horizon: Oracle calls of the whole run, see adversarial_training. The attack has full size from the start.
        ema: Decay of the average of the weights that is evaluated. 0 evaluates the last weights.
    """
    schemes: dict[str, Callable[[Rules], Scheme]] = {
        "simultaneous": Simultaneous,
        "alternating": Alternating,
        "extragradient": Extragradient,
        "past": Optimistic,
    }
    if scheme not in schemes:
        raise unknown("scheme", scheme, schemes)
    solver = _scheduled(schemes[scheme]((Adam(lr, betas), Sign(inner_lr))), lr, horizon)
    return Averaged(solver, ema) if ema else solver


def standard_training(
    lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), horizon: int = 0, ema: float = 0.0
) -> Scheme:
    """Adam on the weights with no attacker (y = 0): empirical risk minimization, the baseline of adversarial training.

    Source: lecture "From empirical risk minimization".

    Args:
        lr: Learning rate of the classifier.
        betas: Decay of Adam's moments.
        horizon: Oracle calls of the whole run, see adversarial_training.
        ema: Decay of the average of the weights that is evaluated. 0 evaluates the last weights.
    """
    solver = _scheduled(BestResponse(Adam(lr, betas), Sign(lr), inner_steps=0, start="zero"), lr, horizon)
    return Averaged(solver, ema) if ema else solver


def ibp_training(
    lr: float = 3e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    ramp: int = 0,
    horizon: int = 0,
    ema: float = 0.99,
) -> Scheme:
    """Certified training: Adam on a bound of the loss over all of each box, whose radius grows to eps.

    For games with attacker=interval, whose payoff mixes the clean loss (weight kappa at radius eps, 1 at radius 0) and
    its bound by interval arithmetic. A step is one oracle call.
    Source: Gowal et al. 2018, "On the effectiveness of interval bound propagation", section 3.

    Args:
        lr: Learning rate of the classifier.
        betas: Decay of Adam's moments.
        ramp: Oracle calls over which the radius grows from 0 to eps. If 0, the first half of the horizon.
        horizon: Oracle calls of the whole run. Over its first quarter the learning rate rises, then it falls to 0. If
            0, it is constant.
        ema: Decay of the average of the weights that is evaluated. 0 evaluates the last weights.
    """
    if ramp < 0:
        raise GameError(f"ramp is {ramp}: the oracle calls over which the radius grows, or 0 for half the horizon")
    solver = _scheduled(BestResponse(Adam(lr, betas), Sign(1.0), inner_steps=0, start="exact"), lr, horizon)
    solver = replace(solver, ramp=ramp or horizon // 2)
    return Averaged(solver, ema) if ema else solver


def _scheduled(solver: S, lr: float, horizon: int) -> S:
    """Return the solver with a triangular learning rate of the classifier over a run; horizon 0 keeps it constant."""
    if horizon < 0:
        raise GameError(f"horizon is {horizon}: the oracle calls of the whole run, or 0 for constant rates")
    if not horizon:
        return solver
    tally = solver.tally()
    rate = Triangular(lr, max(1, horizon // tally.calls * tally.x))  # applications in whole rounds
    return rebuild(solver, lambda node, _: replace(node, lr=rate) if isinstance(node, Adam) else node)


TRAINING: dict[str, Callable[..., Scheme]] = {
    "adversarial_training": adversarial_training,
    "fast_training": fast_training,
    "free_training": free_training,
    "game_training": game_training,
    "ibp_training": ibp_training,
    "standard_training": standard_training,
}
