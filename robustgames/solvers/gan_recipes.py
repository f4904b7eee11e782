"""Solvers of generator against discriminator; part of the table in `recipes`."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from robustgames.errors import unknown
from robustgames.solvers.chains import LangevinChains
from robustgames.solvers.rules import Adam, Exponential, Langevin, PreconditionedLangevin, RMSProp, Rule
from robustgames.solvers.schemes import Averaged, BestResponse, Scheme, Simultaneous


def wgan(
    lr: float = 5e-5,
    lr_y: float | None = None,
    rule: Literal["rmsprop", "adam"] = "rmsprop",
    betas: tuple[float, float] = (0.5, 0.9),
    inner_steps: int = 5,
    ema: float = 0.0,
) -> Scheme:
    """M steps of the critic, each on a minibatch of its own, then one of the generator.

    The critic stays where it is between the rounds; the pseudo-code on slides draws it anew in every round, and has the
    generator descend on what it should ascend. Source: Arjovsky et al. 2017, algorithm 1; with rule adam and a
    gradient penalty Gulrajani et al. 2017, algorithm 1.

    Args:
        lr: learning rate of both players.
        lr_y: learning rate of the critic, where it differs.
        rule: rmsprop or adam.
        betas: decay of Adam's moments.
        inner_steps: M, steps of the critic per step of the generator.
        ema: decay of the exponential average of the weights that is evaluated (0: the last weights).
    """
    rules: dict[str, type[Rule]] = {"rmsprop": RMSProp, "adam": Adam}
    if rule not in rules:
        raise unknown("rule", rule, rules)
    rest = (betas,) if rule == "adam" else ()
    outer, inner = rules[rule](lr, *rest), rules[rule](lr if lr_y is None else lr_y, *rest)  # type: ignore[call-arg]
    solver = BestResponse(outer, inner, inner_steps, start="keep", hold=False)
    return Averaged(solver, ema) if ema else solver


def langevin(lr: float = 1e-2, noise: float = 1e-2, lr_decay: float = 0.0, noise_decay: float = 0.0) -> Scheme:
    """Simultaneous stochastic gradient Langevin dynamics: gradient descent ascent with noise of std noise sqrt(2 lr).

    Source: Welling and Teh 2011.

    Args:
        lr: learning rate of both players.
        noise: temperature: on one player's loss f it samples exp(-f / noise²).
        lr_decay: lr_t = lr (1 - lr_decay)^t.
        noise_decay: noise_t = noise (1 - noise_decay)^t.
    """
    return Simultaneous(_langevin(lr, noise, lr_decay, noise_decay, 0.0))


def mirror_gan(
    lr: float = 1e-2,
    noise: float = 1e-2,
    inner_steps: int = 5,
    damping: float = 0.9,
    lr_decay: float = 1e-5,
    noise_decay: float = 5e-5,
    precondition: float = 0.0,
    growth: float = 0.0,
) -> LangevinChains:
    """Mirror-GAN: each player samples its answer to the other by K Langevin steps, and moves to the chain's mean.

    Source: Hsieh, Liu and Cevher 2019, algorithm 3; schedules and preconditioning as in Kamalaruban et al. 2020 (code).

    Args:
        lr: learning rate of the chains.
        noise: temperature; noise of a step has std noise sqrt(2 lr).
        inner_steps: K, steps of a chain.
        damping: b, weight of the newest point in both means.
        lr_decay: lr_t = lr (1 - lr_decay)^t in step t.
        noise_decay: noise_t = noise (1 - noise_decay)^t.
        precondition: decay of RMSProp's second moment, which scales steps and noise, e.g. 0.99 (0: none).
        growth: 0: chains of K steps; else K_t = min(K, floor((1 + growth)^t)).
    """
    return LangevinChains(
        _langevin(lr, noise, lr_decay, noise_decay, precondition), inner_steps, damping, False, growth
    )


def mirror_prox_gan(
    lr: float = 1e-2,
    noise: float = 1e-2,
    inner_steps: int = 5,
    damping: float = 0.9,
    lr_decay: float = 1e-5,
    noise_decay: float = 5e-5,
    precondition: float = 0.0,
    growth: float = 0.0,
) -> Scheme:
    """Mirror-Prox-GAN: the chains of Mirror-GAN run twice, the second time against the mean of the first.

    Source: Hsieh, Liu and Cevher 2019, algorithm 5.

    Args:
        lr: learning rate of the chains.
        noise: temperature; noise of a step has std noise sqrt(2 lr).
        inner_steps: K, steps of a chain.
        damping: b, weight of the newest point in both means.
        lr_decay: lr_t = lr (1 - lr_decay)^t in step t.
        noise_decay: noise_t = noise (1 - noise_decay)^t.
        precondition: decay of RMSProp's second moment, which scales steps and noise, e.g. 0.99 (0: none).
        growth: 0: chains of K steps; else K_t = min(K, floor((1 + growth)^t)).
    """
    solver = mirror_gan(lr, noise, inner_steps, damping, lr_decay, noise_decay, precondition, growth)
    return replace(solver, prox=True)


def _langevin(lr: float, noise: float, lr_decay: float, noise_decay: float, precondition: float) -> Rule:
    rate = Exponential(lr, lr_decay) if lr_decay else lr
    std = Exponential(noise, noise_decay) if noise_decay else noise
    return PreconditionedLangevin(rate, std, precondition) if precondition else Langevin(rate, std)
