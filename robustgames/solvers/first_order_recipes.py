"""First-order solvers of any game; part of the table `RECIPES`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any, Literal

from robustgames.errors import unknown
from robustgames.solvers.best_response import BestResponse
from robustgames.solvers.rules import SGD, Adam, Entropic, RMSProp, Rule, Sign
from robustgames.solvers.schemes import (
    Alternating,
    Averaged,
    Extragradient,
    Optimistic,
    Scheme,
    Simultaneous,
    Turns,
)

HELPS = {
    "lr": "Learning rate of both players.",
    "betas": "Decays of both moments.",
    "decay": "Decay of the second moment.",
    "eps": "Constant that is added to the root of the second moment.",
    "lr_y": "Learning rate of the maximizer, if it differs.",
}
Betas = tuple[float, float]


def two_rates(recipe: Callable[..., Scheme]) -> Callable[..., Scheme]:
    """Add the parameter `lr_y` to a recipe of one rule, and the section `Args` from `HELPS` to its docstring."""
    signature = inspect.signature(recipe)
    lr_y = inspect.Parameter("lr_y", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None, annotation="float | None")
    extended = signature.replace(parameters=[*signature.parameters.values(), lr_y])

    @wraps(recipe)
    def for_both(*args: Any, **settings: Any) -> Scheme:
        given = extended.bind(*args, **settings).arguments
        rate: float | None = given.pop("lr_y", None)
        solver: Any = recipe(**given)
        if rate is None:
            return solver
        other: Any = recipe(**{**given, "lr": rate})
        return replace(solver, rule=(solver.rule, other.rule))

    helps = "\n".join(f"    {name}: {HELPS[name]}" for name in extended.parameters)
    for_both.__doc__ = f"{inspect.cleandoc(recipe.__doc__ or '')}\n\nArgs:\n{helps}\n"
    for_both.__annotations__ = {**recipe.__annotations__, "lr_y": lr_y.annotation}
    for_both.__dict__.update(__signature__=extended)
    return for_both


@two_rates
def gda(lr: float = 0.1) -> Scheme:
    """Simultaneous gradient descent ascent: z⁺ = z + lr V(z).

    Spirals out on bilinear games. Source: Arrow, Hurwicz and Uzawa 1958.
    """
    return Simultaneous(SGD(lr))


@two_rates
def alt_gda(lr: float = 0.1) -> Scheme:
    """Alternating gradient descent ascent: x first, then y against the new x.

    Bounded on bilinear games for lr < 2. Source: lecture "Difficulties of GAN training", AltGD.
    """
    return Alternating(SGD(lr))


@two_rates
def extragradient(lr: float = 0.1) -> Scheme:
    """Extragradient: look ahead, then step from z with the field seen there.

    Source: Korpelevich 1976; lecture "A deterministic, simple example".
    """
    return Extragradient(SGD(lr))


@two_rates
def optimistic_gda(lr: float = 0.1) -> Scheme:
    """Optimistic gradient descent ascent (past extragradient): one call a step.

    Linear convergence on bilinear games for lr < 1/sqrt(3) over the largest singular value.

    Source: Popov 1980; Daskalakis et al. 2018.
    """
    return Optimistic(SGD(lr))


@two_rates
def adam(lr: float = 1e-3, betas: Betas = (0.9, 0.999), eps: float = 1e-8) -> Scheme:
    """Simultaneous Adam. Source: Kingma and Ba 2015."""
    return Simultaneous(Adam(lr, betas, eps))


@two_rates
def alt_adam(lr: float = 1e-3, betas: Betas = (0.9, 0.999), eps: float = 1e-8) -> Scheme:
    """Alternating Adam: x first, then y against the new x. Source: Kingma and Ba 2015."""
    return Alternating(Adam(lr, betas, eps))


@two_rates
def rmsprop(lr: float = 1e-3, decay: float = 0.99, eps: float = 1e-8) -> Scheme:
    """Simultaneous RMSProp. Source: Tieleman and Hinton 2012."""
    return Simultaneous(RMSProp(lr, decay, eps))


@two_rates
def extra_adam(lr: float = 1e-3, betas: Betas = (0.5, 0.9), eps: float = 1e-8) -> Scheme:
    """ExtraAdam: extragradient whose half steps are Adam steps with shared moments.

    With a constant learning rate it settles at a distance of order lr from a bilinear saddle; average it, or let lr
    decrease. The default betas are the paper's values for GANs.
    Source: Gidel et al. 2019, algorithm 4; lecture "ExtraAdam for GANs".
    """
    return Extragradient(Adam(lr, betas, eps))


@two_rates
def alt_extra_adam(lr: float = 1e-3, betas: Betas = (0.5, 0.9), eps: float = 1e-8) -> Scheme:
    """Alternated ExtraAdam: in both half steps x moves first and y answers the new x; four one-player calls a step.

    Source: the lecture shows "Alternated Extra-Adam" without a formula; this is the Gauss-Seidel reading of
    algorithm 4 of Gidel et al. 2019.
    """
    return Extragradient(Adam(lr, betas, eps), alternating=True)


@two_rates
def optimistic_adam(lr: float = 1e-3, betas: Betas = (0.5, 0.9), eps: float = 1e-8) -> Scheme:
    """Adam with extrapolation from the past: ExtraAdam at one call a step.

    Source: Gidel et al. 2019, algorithm 4, option 2 ("PastExtraAdam"). Daskalakis et al. 2018 instead subtract Adam's
    previous direction.
    """
    return Optimistic(Adam(lr, betas, eps))


def mirror_descent(lr: float = 0.1, lr_y: float | None = None) -> Averaged:
    """Entropic mirror descent on simplices (multiplicative weights), evaluated at the average of its iterates.

    In zero-sum matrix games the last iterate does not converge. The duality gap of the average of z_0 … z_{k-1} is at
    most (log n + log m) / (lr k) + lr max|A|²: with a constant rate it is at last of order lr or less, with a rate of
    order 1 / sqrt(k) it converges to 0. `average=0` evaluates the last iterate.
    Source: Beck and Teboulle 2003; Freund and Schapire 1999 for games.

    Args:
        lr: Learning rate of both players.
        lr_y: Learning rate of the maximizer, if it differs.
    """
    return Averaged(Simultaneous(Entropic(lr) if lr_y is None else (Entropic(lr), Entropic(lr_y))))


@two_rates
def mirror_prox(lr: float = 0.1) -> Scheme:
    """Entropic mirror-prox on simplices: extragradient with multiplicative steps. Source: Nemirovski 2004."""
    return Extragradient(Entropic(lr))


@two_rates
def optimistic_mwu(lr: float = 0.1) -> Scheme:
    """Optimistic multiplicative weights: one call a step; at small rates the last iterate converges in matrix games.

    Source: Rakhlin and Sridharan 2013; Daskalakis and Panageas 2019.
    """
    return Optimistic(Entropic(lr))


def pgd(lr: float = 0.01) -> Scheme:
    """Signed steps of both players: on an attack game, whose classifier is fixed, the attacker's PGD.

    Source: Madry et al. 2018; lecture "Projected gradient ascent".

    Args:
        lr: Size of a step in the ℓ∞ norm, in units of the image.
    """
    return Simultaneous(Sign(lr))


def wgan(
    lr: float = 5e-5,
    lr_y: float | None = None,
    rule: Literal["rmsprop", "adam"] = "rmsprop",
    betas: Betas = (0.5, 0.9),
    inner_steps: int = 5,
    ema: float = 0.0,
) -> Scheme:
    """M steps of the critic, each on a minibatch of its own, then one of the generator.

    The critic keeps its weights between the rounds; the pseudo-code on slides draws new ones in every round, and has
    the generator descend on what it should ascend. Source: Arjovsky et al. 2017, algorithm 1; with rule adam and a
    gradient penalty Gulrajani et al. 2017, algorithm 1.

    Args:
        lr: Learning rate of both players.
        lr_y: Learning rate of the critic, if it differs.
        rule: Rule of both players, rmsprop or adam.
        betas: Decay of Adam's moments.
        inner_steps: Steps of the critic per step of the generator, M.
        ema: Decay of the exponential average of the weights that is evaluated. 0 evaluates the last weights.
    """
    rules: dict[str, Callable[[float], Rule]] = {"rmsprop": RMSProp, "adam": lambda rate: Adam(rate, betas)}
    if rule not in rules:
        raise unknown("rule", rule, rules)
    outer, inner = rules[rule](lr), rules[rule](lr if lr_y is None else lr_y)
    solver = BestResponse(outer, inner, inner_steps, start="keep", hold=False)
    return Averaged(solver, ema) if ema else solver


def turns(lr: float = 1e-3, ratio: int = 10, betas: Betas = (0.9, 0.999), lr_y: float | None = None) -> Scheme:
    """N Adam steps of player 0, then one of player 1, each on a sample of its own.

    Source: Tessler, Efroni and Mannor 2019, algorithm 5 (PR-MDP: N = 10; NR-MDP: 1).

    Args:
        lr: Learning rate of both players.
        ratio: Steps of player 0 per step of player 1, N.
        betas: Decays of both moments.
        lr_y: Learning rate of player 1, if it differs.
    """
    return Turns((Adam(lr, betas), Adam(lr if lr_y is None else lr_y, betas)), ratio)


FIRST_ORDER: dict[str, Callable[..., Scheme]] = {
    "gda": gda,
    "alt_gda": alt_gda,
    "extragradient": extragradient,
    "optimistic_gda": optimistic_gda,
    "adam": adam,
    "alt_adam": alt_adam,
    "rmsprop": rmsprop,
    "extra_adam": extra_adam,
    "alt_extra_adam": alt_extra_adam,
    "optimistic_adam": optimistic_adam,
    "mirror_descent": mirror_descent,
    "mirror_prox": mirror_prox,
    "optimistic_mwu": optimistic_mwu,
    "pgd": pgd,
    "wgan": wgan,
    "turns": turns,
}
