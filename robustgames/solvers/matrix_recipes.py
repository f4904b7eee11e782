"""Solvers of matrix games and games in sequence form; part of the table `RECIPES`."""

from __future__ import annotations

from collections.abc import Callable

from robustgames.solvers.double_oracle import DoubleOracle
from robustgames.solvers.magnetic import Magnetic
from robustgames.solvers.pdhg import PDHG
from robustgames.solvers.regret import RegretMatching
from robustgames.solvers.schemes import Averaged, Scheme, Simultaneous


def regret_matching(alternating: bool = False) -> Averaged:
    """Regret matching on simplices, CFR on treeplexes, evaluated at the uniform average of its iterates.

    Source: Hart and Mas-Colell 2000; Zinkevich, Johanson, Bowling and Piccione 2007 for treeplexes.

    Args:
        alternating: Whether y sees the new x.
    """
    return Averaged(RegretMatching(plus=False, alternating=alternating))


def rm_plus(alternating: bool = True, power: int = 1) -> Averaged:
    """Regret matching+ on simplices, CFR+ on treeplexes, evaluated at the linear average of its iterates.

    Source: Tammelin 2014, "Solving large imperfect information games using CFR+".

    Args:
        alternating: Whether y sees the new x.
        power: Power with which the weights of later iterates grow, see `Averaged`.
    """
    return Averaged(RegretMatching(alternating=alternating), power=power)


def predictive_rm_plus(alternating: bool = True, power: int = 2) -> Averaged:
    """Predictive regret matching+ (PCFR+ on treeplexes), evaluated at the quadratic average of its iterates.

    Source: Farina, Kroer and Sandholm 2021, "Faster game solving via predictive Blackwell approachability".

    Args:
        alternating: Whether y sees the new x.
        power: Power with which the weights of later iterates grow, see `Averaged`.
    """
    return Averaged(RegretMatching(predictive=True, alternating=alternating), power=power)


def magnetic(lr: float = 0.1, alpha: float = 0.1, period: int = 0, lr_y: float | None = None) -> Scheme:
    """Magnetic mirror descent on simplices: the last iterate converges to a quantal response equilibrium, or to Nash.

    Source: Sokota et al. 2023.

    Args:
        lr: Learning rate of both players, at most alpha over the square of the largest entry.
        alpha: Weight of the pull to the magnet, the temperature of the equilibrium.
        period: Steps between two moves of the magnet, for Nash equilibria. 0 keeps the uniform magnet.
        lr_y: Learning rate of the maximizer, if it differs.
    """
    other = Magnetic(lr if lr_y is None else lr_y, alpha, period)
    return Simultaneous(other if lr_y is None else (Magnetic(lr, alpha, period), other))


def pdhg(lr: float = 0.1, lr_y: float | None = None, round: int = 10, restart: bool = True) -> Scheme:
    """Primal-dual hybrid gradient with restarts: linear convergence on matrix games and treeplexes.

    The steps must satisfy lr lr_y |A|² < 1 with the largest singular value |A|. Source: Chambolle and Pock 2011;
    Applegate, Hinder, Lu and Lubin 2023.

    Args:
        lr: Learning rate of both players.
        lr_y: Learning rate of the maximizer, if it differs.
        round: Moves of a step, after which the average and the last iterate are compared.
        restart: Whether to restart at the better one.
    """
    return PDHG(lr, lr_y, round, restart)


def double_oracle() -> Scheme:
    """Double oracle: linear programs over the best responses found so far.

    Source: McMahan, Gordon and Blum 2003.

    Args:
        (none): It has no settings.
    """
    return DoubleOracle()


MATRIX: dict[str, Callable[..., Scheme]] = {
    "regret_matching": regret_matching,
    "rm_plus": rm_plus,
    "predictive_rm_plus": predictive_rm_plus,
    "magnetic": magnetic,
    "pdhg": pdhg,
    "double_oracle": double_oracle,
}
