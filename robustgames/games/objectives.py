"""Losses of generator and discriminator, given the discriminator's scores of real and generated points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import relu, softplus


@dataclass(frozen=True)
class Objective:
    """Losses of one score each; a player's loss is the mean over the minibatch.

    The discriminator minimizes mean real(D(a)) + mean fake(D(G(w))). The generator minimizes mean generator(D(G(w))),
    or minus the discriminator's loss if `generator` is None: then the game is zero-sum.
    """

    real: Callable[[Tensor], Tensor]
    fake: Callable[[Tensor], Tensor]
    generator: Callable[[Tensor], Tensor] | None = None


OBJECTIVES: dict[str, Objective] = {
    # Φ = E log σ(D(a)) + E log(1 - σ(D(G(w)))), zero-sum: saturates if D is sure. Goodfellow et al. 2014, eq. (1)
    "vanilla": Objective(lambda s: softplus(-s), softplus),
    # the same discriminator; the generator maximizes E log σ(D(G(w))). Goodfellow et al. 2014, section 3
    "nonsaturating": Objective(lambda s: softplus(-s), softplus, lambda s: softplus(-s)),
    # Φ = E D(a) - E D(G(w)), zero-sum: W1 if D ranges over 1-Lipschitz functions. Arjovsky et al. 2017, eq. (2)
    "wasserstein": Objective(lambda s: -s, lambda s: s),
    # Lim and Ye 2017; Miyato et al. 2018, eqs. (16) and (17)
    "hinge": Objective(lambda s: relu(1 - s), lambda s: relu(1 + s), lambda s: -s),
}
