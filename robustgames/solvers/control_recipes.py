"""Solvers of protagonist against adversary; part of the table in `recipes`."""

from __future__ import annotations

from robustgames.solvers.gan_recipes import mirror_gan
from robustgames.solvers.rules import Adam
from robustgames.solvers.schemes import Scheme, Turns


def turns(
    lr: float = 1e-3, ratio: int = 10, betas: tuple[float, float] = (0.9, 0.999), lr_y: float | None = None
) -> Scheme:
    """N Adam steps of player 0, then one of player 1, each on a sample of its own.

    Source: Tessler, Efroni and Mannor 2019, algorithm 5 (PR-MDP: N = 10; NR-MDP: 1).

    Args:
        lr: learning rate of both players.
        ratio: N, steps of player 0 per step of player 1.
        betas: decay of the first and second moments.
        lr_y: learning rate of player 1, where it differs.
    """
    return Turns((Adam(lr, betas), Adam(lr if lr_y is None else lr_y, betas)), ratio)


def mixed_ne_ld(lr: float = 1e-4, noise: float = 1e-3, inner_steps: int = 15) -> Scheme:
    """MixedNE-LD: both players sample their strategies by growing chains of preconditioned Langevin steps.

    Mirror-GAN with RMSProp's preconditioning (0.999), damping 0.9, and the schedules of the published code. In control
    it goes with `--every-draw`, which teaches the critic in every step of a chain.

    Source: Kamalaruban et al. 2020, algorithm 1, and its code.

    Args:
        lr: learning rate, falling by 1e-5 of itself in every step.
        noise: temperature, falling by 5e-5 of itself (there 1e-2 to 1e-5).
        inner_steps: the longest chain; in step t it has min(inner_steps, floor(1.00001^t)) steps.
    """
    return mirror_gan(lr, noise, inner_steps, damping=0.9, precondition=0.999, growth=1e-5)
