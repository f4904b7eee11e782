"""Losses of generator and discriminator, given the discriminator's scores of real and generated points."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import relu, softplus

from robustgames.games.curves import Curve


@dataclass(frozen=True)
class Objective:
    """Losses of one score each; a player's loss is the mean over the minibatch.

    The discriminator minimizes mean real(D(a)) + mean fake(D(G(w))). The generator minimizes mean generator(D(G(w))),
    or minus the discriminator's loss if `generator` is None: then the game is zero-sum.
    """

    real: Curve
    fake: Curve
    generator: Curve | None = None


RAISE = Curve(lambda s: -s, lambda s: torch.full_like(s, -1.0))
LOWER = Curve(lambda s: s, torch.ones_like)
RAISE_LOGISTIC = Curve(lambda s: softplus(-s), lambda s: -torch.sigmoid(-s))
LOWER_LOGISTIC = Curve(softplus, torch.sigmoid)
RAISE_HINGE = Curve(lambda s: relu(1 - s), lambda s: -(s < 1).to(s))
LOWER_HINGE = Curve(lambda s: relu(1 + s), lambda s: (s > -1).to(s))

OBJECTIVES: dict[str, Objective] = {
    # Φ = E log σ(D(a)) + E log(1 - σ(D(G(w)))), zero-sum: saturates if D is sure. Goodfellow et al. 2014, eq. (1)
    "vanilla": Objective(RAISE_LOGISTIC, LOWER_LOGISTIC),
    # the same discriminator; the generator maximizes E log σ(D(G(w))). Goodfellow et al. 2014, section 3
    "nonsaturating": Objective(RAISE_LOGISTIC, LOWER_LOGISTIC, RAISE_LOGISTIC),
    # Φ = E D(a) - E D(G(w)), zero-sum: W1 if D ranges over 1-Lipschitz functions. Arjovsky et al. 2017, eq. (2)
    "wasserstein": Objective(RAISE, LOWER),
    # Lim and Ye 2017; Miyato et al. 2018, eqs. (16) and (17)
    "hinge": Objective(RAISE_HINGE, LOWER_HINGE, RAISE),
}
