"""Solvers that sample by Langevin steps; part of the table `RECIPES`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from robustgames.solvers.chains import LangevinChains
from robustgames.solvers.langevin import Langevin, PreconditionedLangevin
from robustgames.solvers.rules import Rule
from robustgames.solvers.schedules import Exponential
from robustgames.solvers.schemes import Scheme, Simultaneous


def with_settings_of(recipe: Callable[..., Scheme]) -> Callable[[Callable[..., Scheme]], Callable[..., Scheme]]:
    """Give a variant of a recipe the parameters of the recipe and the section `Args` of its docstring."""

    def decorate(variant: Callable[..., Scheme]) -> Callable[..., Scheme]:
        arguments = inspect.cleandoc(recipe.__doc__ or "").partition("\nArgs:\n")[2]
        variant.__doc__ = f"{inspect.cleandoc(variant.__doc__ or '')}\n\nArgs:\n{arguments}\n"
        variant.__annotations__ = recipe.__annotations__
        variant.__dict__.update(__signature__=inspect.signature(recipe))
        return variant

    return decorate


def langevin(lr: float = 1e-2, noise: float = 1e-2, lr_decay: float = 0.0, noise_decay: float = 0.0) -> Scheme:
    """Simultaneous stochastic gradient Langevin dynamics: gradient descent ascent with noise of std noise sqrt(2 lr).

    Source: Welling and Teh 2011.

    Args:
        lr: Learning rate of both players.
        noise: Temperature. On one player's loss f it samples exp(-f / noise²).
        lr_decay: Decay of the learning rate, lr_t = lr (1 - lr_decay)^t.
        noise_decay: Decay of the noise, noise_t = noise (1 - noise_decay)^t.
    """
    return Simultaneous(_rule(lr, noise, lr_decay, noise_decay, 0.0))


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
        lr: Learning rate of the chains.
        noise: Temperature; the noise of a step has std noise sqrt(2 lr).
        inner_steps: Steps of a chain, K.
        damping: Weight of the newest point in both means, b.
        lr_decay: Decay of the learning rate, lr_t = lr (1 - lr_decay)^t in step t.
        noise_decay: Decay of the noise, noise_t = noise (1 - noise_decay)^t.
        precondition: Decay of RMSProp's second moment, which scales steps and noise, e.g. 0.99. 0 disables it.
        growth: Growth of the chains, K_t = min(K, floor((1 + growth)^t)). 0 keeps chains of K steps.
    """
    rule = _rule(lr, noise, lr_decay, noise_decay, precondition)
    return LangevinChains(rule, inner_steps, damping, growth=growth)


@with_settings_of(mirror_gan)
def mirror_prox_gan(*args: Any, **settings: Any) -> Scheme:
    """Mirror-Prox-GAN: the chains of Mirror-GAN run twice, the second time against the mean of the first.

    Source: Hsieh, Liu and Cevher 2019, algorithm 5.
    """
    return replace(mirror_gan(*args, **settings), prox=True)


def mixed_ne_ld(lr: float = 1e-4, noise: float = 1e-3, inner_steps: int = 15, published: bool = False) -> Scheme:
    """MixedNE-LD: both players sample their strategies by growing chains of preconditioned Langevin steps.

    Mirror-GAN with RMSProp's preconditioning (0.999) and damping 0.9. In control it is used with `--every-draw`, which
    trains the critic in every step of a chain.

    With `published` it is the update of the published code: rate and temperature decay with every step of a chain,
    target networks follow the chains after each of their steps, and the constant of the preconditioner is 1e-8. A
    weight whose gradient stays 0 then moves by noise sqrt(2 lr / 1e-8) a step, 141 noise at lr 1e-4. Without it, rate
    and temperature decay with every outer step, target networks follow the means, and the constant is 1e-5. In both
    cases the players act in the states of the minibatch; that code has the next ones, and the critic the states. It
    also draws the start of the means apart from that of the target networks.

    Source: Kamalaruban et al. 2020, algorithm 1, and its code.

    Args:
        lr: Learning rate, which falls by 1e-5 of itself in every step.
        noise: Temperature, which falls by 5e-5 of itself in every step (1e-2 to 1e-5 in the published code).
        inner_steps: Length of the longest chain. In step t a chain has min(inner_steps, floor(1.00001^t)) steps.
        published: Whether to take the update of the published code. Its other settings are `--every-draw --l2 0.01
            --tau 0.001`.
    """
    if published:  # the decays have the exponents 0, 1, …
        rate, std = Exponential(lr / (1 - 1e-5), 1e-5), Exponential(noise / (1 - 5e-5), 5e-5)
        rule = PreconditionedLangevin(rate, std, decay=0.999, eps=1e-8)
        return LangevinChains(rule, inner_steps, damping=0.9, growth=1e-5, published=True)
    return mirror_gan(lr, noise, inner_steps, damping=0.9, precondition=0.999, growth=1e-5)


def _rule(lr: float, noise: float, lr_decay: float, noise_decay: float, precondition: float) -> Rule:
    rate = Exponential(lr, lr_decay) if lr_decay else lr
    std = Exponential(noise, noise_decay) if noise_decay else noise
    return PreconditionedLangevin(rate, std, precondition) if precondition else Langevin(rate, std)


LANGEVIN: dict[str, Callable[..., Scheme]] = {
    "langevin": langevin,
    "mirror_gan": mirror_gan,
    "mirror_prox_gan": mirror_prox_gan,
    "mixed_ne_ld": mixed_ne_ld,
}
