"""The named table of solvers. A new one is one function here: its signature becomes flags of the command line.

Every recipe takes `lr`, the learning rate of both players (or of player 0 where `lr_y` is given). A rate may also be
a tensor of shape (runs, 1) with one rate per run, or a schedule `k -> rate`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Literal

from robustgames.errors import GameError, unknown
from robustgames.solvers.annealing import annealed
from robustgames.solvers.control_recipes import mixed_ne_ld, turns
from robustgames.solvers.gan_recipes import langevin, mirror_gan, mirror_prox_gan, wgan
from robustgames.solvers.rules import SGD, Adam, Entropic, RMSProp, Rule, Sign, Steepest, Triangular
from robustgames.solvers.schemes import (
    Alternating,
    Averaged,
    BestResponse,
    Extragradient,
    Optimistic,
    Rules,
    Scheme,
    Simultaneous,
)


def _players(rule: Callable[..., Rule], lr: float, lr_y: float | None, *settings: Any) -> Rules:
    return rule(lr, *settings) if lr_y is None else (rule(lr, *settings), rule(lr_y, *settings))


def _horizon(calls: int) -> int:
    if calls < 0:
        raise GameError(f"horizon is {calls}: the oracle calls of the whole run, or 0 for constant rates")
    return calls


def gda(lr: float = 0.1, lr_y: float | None = None) -> Scheme:
    """Simultaneous gradient descent ascent: z⁺ = z + lr V(z).

    Spirals out on bilinear games. Source: Arrow, Hurwicz and Uzawa 1958.

    Args:
        lr: learning rate of both players.
        lr_y: learning rate of the maximizer, where it differs.
    """
    return Simultaneous(_players(SGD, lr, lr_y))


def alt_gda(lr: float = 0.1, lr_y: float | None = None) -> Scheme:
    """Alternating gradient descent ascent: x first, then y against the new x.

    Bounded on bilinear games for lr < 2. Source: lecture "Difficulties of GAN training", AltGD.

    Args:
        lr: learning rate of both players.
        lr_y: learning rate of the maximizer, where it differs.
    """
    return Alternating(_players(SGD, lr, lr_y))


def extragradient(lr: float = 0.1, lr_y: float | None = None) -> Scheme:
    """Extragradient: look ahead, then step from z with the field seen there.

    Source: Korpelevich 1976; lecture "A deterministic, simple example".

    Args:
        lr: learning rate of both players and both half steps.
        lr_y: learning rate of the maximizer, where it differs.
    """
    return Extragradient(_players(SGD, lr, lr_y))


def optimistic_gda(lr: float = 0.1, lr_y: float | None = None) -> Scheme:
    """Optimistic gradient descent ascent (past extragradient): one call a step.

    Linear convergence on bilinear games for lr < 1/sqrt(3) over the largest singular value.

    Source: Popov 1980; Daskalakis et al. 2018.

    Args:
        lr: learning rate of both players.
        lr_y: learning rate of the maximizer, where it differs.
    """
    return Optimistic(_players(SGD, lr, lr_y))


def adam(
    lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, lr_y: float | None = None
) -> Scheme:
    """Simultaneous Adam. Source: Kingma and Ba 2015.

    Args:
        lr: learning rate of both players.
        betas: decay of the first and second moments.
        eps: added to the root of the second moment.
        lr_y: learning rate of the maximizer, where it differs.
    """
    return Simultaneous(_players(Adam, lr, lr_y, betas, eps))


def alt_adam(
    lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, lr_y: float | None = None
) -> Scheme:
    """Alternating Adam: x first, then y against the new x. Source: Kingma and Ba 2015.

    Args:
        lr: learning rate of both players.
        betas: decay of the first and second moments.
        eps: added to the root of the second moment.
        lr_y: learning rate of the maximizer, where it differs.
    """
    return Alternating(_players(Adam, lr, lr_y, betas, eps))


def rmsprop(lr: float = 1e-3, decay: float = 0.99, eps: float = 1e-8, lr_y: float | None = None) -> Scheme:
    """Simultaneous RMSProp. Source: Tieleman and Hinton 2012.

    Args:
        lr: learning rate of both players.
        decay: decay of the second moment.
        eps: added to the root of the second moment.
        lr_y: learning rate of the maximizer, where it differs.
    """
    return Simultaneous(_players(RMSProp, lr, lr_y, decay, eps))


def extra_adam(
    lr: float = 1e-3, betas: tuple[float, float] = (0.5, 0.9), eps: float = 1e-8, lr_y: float | None = None
) -> Scheme:
    """ExtraAdam: extragradient whose half steps are Adam steps with shared moments.

    With a constant learning rate it settles at a distance of order lr from a bilinear saddle; average it, or let lr
    decrease.
    Source: Gidel et al. 2019, algorithm 4; lecture "ExtraAdam for GANs".

    Args:
        lr: learning rate of both players.
        betas: decay of the first and second moments (the paper's values for GANs).
        eps: added to the root of the second moment.
        lr_y: learning rate of the maximizer, where it differs.
    """
    return Extragradient(_players(Adam, lr, lr_y, betas, eps))


def alt_extra_adam(
    lr: float = 1e-3, betas: tuple[float, float] = (0.5, 0.9), eps: float = 1e-8, lr_y: float | None = None
) -> Scheme:
    """Alternated ExtraAdam: in both half steps x moves first and y answers the new x; four one-player calls a step.

    Source: the lecture shows "Alternated Extra-Adam" without a formula; this is the Gauss-Seidel reading of
    algorithm 4 of Gidel et al. 2019.

    Args:
        lr: learning rate of both players.
        betas: decay of the first and second moments.
        eps: added to the root of the second moment.
        lr_y: learning rate of the maximizer, where it differs.
    """
    return Extragradient(_players(Adam, lr, lr_y, betas, eps), alternating=True)


def optimistic_adam(
    lr: float = 1e-3, betas: tuple[float, float] = (0.5, 0.9), eps: float = 1e-8, lr_y: float | None = None
) -> Scheme:
    """Adam with extrapolation from the past: ExtraAdam at one call a step.

    Source: Gidel et al. 2019, algorithm 4, option 2 ("PastExtraAdam"). Daskalakis et al. 2018 instead subtract Adam's
    previous direction.

    Args:
        lr: learning rate of both players.
        betas: decay of the first and second moments.
        eps: added to the root of the second moment.
        lr_y: learning rate of the maximizer, where it differs.
    """
    return Optimistic(_players(Adam, lr, lr_y, betas, eps))


def mirror_descent(lr: float = 0.1, lr_y: float | None = None) -> Scheme:
    """Entropic mirror descent on simplices (multiplicative weights): its average converges, its last iterate does not.

    Source: Beck and Teboulle 2003; Freund and Schapire 1999 for games.

    Args:
        lr: learning rate of both players.
        lr_y: learning rate of the maximizer, where it differs.
    """
    return Simultaneous(_players(Entropic, lr, lr_y))


def mirror_prox(lr: float = 0.1, lr_y: float | None = None) -> Scheme:
    """Entropic mirror-prox on simplices: extragradient with multiplicative steps. Source: Nemirovski 2004.

    Args:
        lr: learning rate of both players.
        lr_y: learning rate of the maximizer, where it differs.
    """
    return Extragradient(_players(Entropic, lr, lr_y))


def optimistic_mwu(lr: float = 0.1, lr_y: float | None = None) -> Scheme:
    """Optimistic multiplicative weights: one call a step, and the last iterate converges in matrix games.

    Source: Rakhlin and Sridharan 2013; Daskalakis and Panageas 2019.

    Args:
        lr: learning rate of both players.
        lr_y: learning rate of the maximizer, where it differs.
    """
    return Optimistic(_players(Entropic, lr, lr_y))


def pgd(lr: float = 0.01) -> Scheme:
    """Signed steps of both players: on an attack game, whose classifier is fixed, the attacker's PGD.

    Source: Madry et al. 2018; lecture "Projected gradient ascent".

    Args:
        lr: size of a step in the ℓ∞ norm, in units of the image.
    """
    return Simultaneous(Sign(lr))


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
) -> Scheme:
    """K steps of steepest ascent on the perturbations of a held minibatch, then one Adam step on the weights.

    Source: Madry et al. 2018; lecture "Stochastic Adversarial Training"; for the look-ahead Gidel et al. 2019,
    algorithm 4. K = 1 is FGSM training. The defaults were tuned on a validation split of the digits with eps = 0.1.

    Args:
        lr: learning rate of the classifier.
        betas: decay of Adam's moments.
        inner_steps: K, steps of the attacker per step of the classifier.
        inner_lr: size of a step in the norm, in units of the image; 2.5 eps / K is usual.
        norm: of the step; that of the game.
        start: where the attack begins: random in the ball, zero, or keep the last perturbations.
        lookahead: extragradient on the weights: none, extra (ExtraAdam, two attacks a step) or past (one).
        horizon: oracle calls of the whole run, over the first quarter of which the learning rate rises and the attack
            grows to full size, and over the rest of which the rate falls to 0; 0: both constant.
        ema: decay of the exponential average of the weights that is evaluated (0: the last weights).
    """
    halves = 1 if lookahead == "none" else 2  # applications of Adam in a step
    steps = _horizon(horizon) // ((max(inner_steps, 0) + 1) * (2 if lookahead == "extra" else 1))
    rate = Triangular(lr, max(1, halves * steps)) if horizon else lr
    inner = Sign(inner_lr) if norm == "linf" else Steepest(inner_lr, norm)
    solver = BestResponse(Adam(rate, betas), inner, inner_steps, start, lookahead=lookahead, ramp=steps // 4)
    return Averaged(solver, ema) if ema else solver


def fast_training(
    lr: float = 3e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    inner_lr: float = 0.125,
    horizon: int = 0,
    ema: float = 0.0,
) -> Scheme:
    """One signed step of 1.25 eps from a random start, then one Adam step on the weights.

    Fast, and prone to catastrophic overfitting: the network learns to mislead this one step and falls to any other.
    Source: Wong, Rice and Kolter 2020.

    Args:
        lr: learning rate of the classifier.
        betas: decay of Adam's moments.
        inner_lr: size of the step, in units of the image; 1.25 eps in the paper.
        horizon: see adversarial_training.
        ema: decay of the average of the weights that is evaluated (0: the last weights).
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
        lr: learning rate of the classifier.
        betas: decay of Adam's moments.
        inner_lr: size of a signed step, in units of the image; eps in the paper.
        replays: steps on one minibatch; the perturbations are kept from one to the next.
        horizon: see adversarial_training; the attack has full size from the start.
        ema: decay of the average of the weights that is evaluated (0: the last weights).
    """
    rate = Triangular(lr, horizon) if _horizon(horizon) else lr
    solver = Simultaneous((Adam(rate, betas), Sign(inner_lr)), replays)
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
        lr: learning rate of the classifier.
        betas: decay of Adam's moments.
        inner_lr: size of a signed step, in units of the image.
        scheme: simultaneous (GDA), alternating, extragradient or past (extrapolation from the past).
        horizon: see adversarial_training; the attack has full size from the start.
        ema: decay of the average of the weights that is evaluated (0: the last weights).
    """
    schemes = {
        "simultaneous": Simultaneous,
        "alternating": Alternating,
        "extragradient": Extragradient,
        "past": Optimistic,
    }
    if scheme not in schemes:
        raise unknown("scheme", scheme, schemes)
    calls = 2 if scheme in ("alternating", "extragradient") else 1  # of a step; Adam is applied twice by the last two
    applied = _horizon(horizon) // calls * (2 if scheme in ("extragradient", "past") else 1)
    rate = Triangular(lr, max(1, applied)) if horizon else lr
    solver = schemes[scheme]((Adam(rate, betas), Sign(inner_lr)))
    return Averaged(solver, ema) if ema else solver


def standard_training(
    lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), horizon: int = 0, ema: float = 0.0
) -> Scheme:
    """Adam on the weights with no attacker (y = 0): empirical risk minimization, the baseline of adversarial training.

    Source: lecture "From empirical risk minimization".

    Args:
        lr: learning rate of the classifier.
        betas: decay of Adam's moments.
        horizon: see adversarial_training.
        ema: decay of the average of the weights that is evaluated (0: the last weights).
    """
    rate = Triangular(lr, horizon) if _horizon(horizon) else lr
    solver = BestResponse(Adam(rate, betas), Sign(lr), inner_steps=0, start="zero")
    return Averaged(solver, ema) if ema else solver


RECIPES: dict[str, Callable[..., Scheme]] = {
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
    "adversarial_training": adversarial_training,
    "fast_training": fast_training,
    "free_training": free_training,
    "game_training": game_training,
    "standard_training": standard_training,
    "wgan": wgan,
    "langevin": langevin,
    "mirror_gan": mirror_gan,
    "mirror_prox_gan": mirror_prox_gan,
    "turns": turns,
    "mixed_ne_ld": mixed_ne_ld,
}


def make_solver(
    name: str, average: Literal["uniform"] | float | None = None, anneal: int = 0, **settings: Any
) -> Scheme:
    """Return the solver of that name.

    Args:
        name: a key of `RECIPES`.
        average: also keep an average of the iterates: "uniform", or the decay of an exponential one, e.g. 0.999.
        anneal: oracle calls of one run, over which all learning rates fall linearly to 0; 0: as the recipe has them.
        **settings: arguments of the recipe.

    Raises:
        GameError: unknown name (close matches are shown) or setting (the allowed ones are listed).

    Example:
        >>> make_solver("extra_adam", lr=0.1)
        Extragradient(rule=Adam(lr=0.1, betas=(0.5, 0.9), eps=1e-08), alternating=False)
    """
    if name not in RECIPES:
        raise unknown("agent", name, RECIPES)
    allowed = inspect.signature(RECIPES[name]).parameters
    for setting in settings:
        if setting not in allowed:
            raise unknown(f"setting of {name}", setting, allowed)
    solver = RECIPES[name](**settings)
    if anneal:
        solver = annealed(solver, anneal)
    if average is None:
        return solver
    if isinstance(average, str) and average != "uniform":
        raise GameError(f"average is {average!r}: None, 'uniform' or a decay such as 0.999")
    solver = solver.scheme if isinstance(solver, Averaged) else solver  # one average, the one that was asked for
    return Averaged(solver, None if isinstance(average, str) else average)
