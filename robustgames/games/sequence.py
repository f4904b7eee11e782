"""Zero-sum games of several moves in sequence form, and Kuhn's poker."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustgames.errors import GameError
from robustgames.games.closed_form import ClosedForm
from robustgames.games.game import Sample
from robustgames.games.matrix import as_matrix
from robustgames.games.treeplex import Treeplex


class SequenceGame(ClosedForm):
    """Φ(x, y) = xᵀA y on two treeplexes: a zero-sum game with perfect recall, in realization weights.

    A_ab sums, over the ends of the game after the sequences a of x and b of y, the probability of the chance moves
    times what x pays. The solution is a Nash equilibrium by linear programming. Best responses are exact, so
    `duality_gap` is the exploitability (the sum over both players). Source: von Stengel 1996; Koller, Megiddo and von
    Stengel 1996.

    Args:
        matrix: Matrix A, shape (n, m).
        x: Treeplex of x, with n coordinates.
        y: Treeplex of y, with m coordinates.

    Example:
        >>> pennies = SequenceGame([[1.0, -1.0], [-1.0, 1.0]], Treeplex((-1,), (2,)), Treeplex((-1,), (2,)))
        >>> pennies.solution()
        tensor([0.5000, 0.5000, 0.5000, 0.5000])
    """

    _computed = ("equilibrium",)

    def __init__(self, matrix: Any, x: Treeplex, y: Treeplex) -> None:
        self.matrix = as_matrix(matrix)
        if tuple(self.matrix.shape) != (x.width, y.width):
            raise GameError(f"matrix has shape {tuple(self.matrix.shape)}: these sets need ({x.width}, {y.width})")
        self.sizes, self.sets = (x.width, y.width), (x, y)
        matrix = self.matrix.numpy()
        self.equilibrium = torch.from_numpy(np.concatenate([_optimal(matrix, x, y), _optimal(-matrix.T, y, x)]))

    def payoff(self, x: Tensor, y: Tensor, sample: Sample = None) -> Tensor:
        return ((x @ self.matrix.to(x)) * y).sum(-1)

    def gradient(self, x: Tensor, y: Tensor, player: int) -> Tensor:
        return x @ self.matrix.to(x) if player else y @ self.matrix.to(y).mT

    def solution(self) -> Tensor:
        return self.equilibrium.to(self.device, self.dtype)

    def best_response(self, z: Tensor, player: int) -> Tensor:
        return self.sets[player].maximize(self.field(z, None, player))

    @property
    def value(self) -> float:
        """The value of the game: what x pays to y in equilibrium."""
        x, y = self.equilibrium.split(self.sizes)
        return float(x @ self.matrix.to(x) @ y)


class KuhnPoker(SequenceGame):
    """Kuhn's poker: three cards, one each, an ante of 1 and one bet of 1; y opens, x deals, Φ is what y wins.

    y checks or bets. After a check x checks or bets, and y folds or calls; after a bet x folds or calls. The value is
    -1/18. In the equilibria y bets the jack with a probability α in [0, 1/3], and the king with 3α. Each player has 12
    sequences in 6 information sets. Source: Kuhn 1950, "A simplified two-person poker".

    Example:
        >>> round(KuhnPoker().value * 18, 9)
        -1.0
    """

    players = ("dealer", "opener")
    CARDS = ("jack", "queen", "king")

    def __init__(self) -> None:
        matrix = np.zeros((12, 12))
        for i in range(3):  # the opener's card: sequences check, bet, check-fold, check-call
            for j in range(3):  # the dealer's card: sequences check, bet (after a check), fold, call (after a bet)
                if i == j:
                    continue
                check, bet, check_fold, check_call = range(4 * i, 4 * i + 4)
                after_check, after_bet = 4 * j, 4 * j + 2
                best = 1 if i > j else -1
                for dealer, opener, won in (
                    (after_check, check, best),
                    (after_check + 1, check_fold, -1),
                    (after_check + 1, check_call, 2 * best),
                    (after_bet, bet, 1),
                    (after_bet + 1, bet, 2 * best),
                ):
                    matrix[dealer, opener] += won / 6
        opener = Treeplex(parents=(-1, 0, -1, 4, -1, 8), sizes=(2,) * 6)
        super().__init__(matrix, Treeplex(parents=(-1,) * 6, sizes=(2,) * 6), opener)


def _optimal(matrix: np.ndarray, own: Treeplex, other: Treeplex) -> np.ndarray:
    """Return argmin over `own` of max over `other` of xᵀ matrix y, by the dual of the inner linear program.

    The tolerances of the linear program are absolute, so the largest payoff is scaled to 1.
    """
    from scipy.optimize import linprog

    matrix = matrix / (np.abs(matrix).max() or 1.0)
    n, m, sets = own.width, other.width, len(other.parents)
    flow, root = np.zeros((m, sets)), np.zeros(sets)  # v_j of the set of b, minus those of the sets below b
    for j, (parent, block) in enumerate(zip(other.parents, other.blocks(), strict=True)):
        flow[block, j] = 1
        if parent >= 0:
            flow[parent, j] -= 1
        else:
            root[j] = 1
    own_flow, own_root = np.zeros((len(own.parents), n)), np.zeros(len(own.parents))
    for j, (parent, block) in enumerate(zip(own.parents, own.blocks(), strict=True)):
        own_flow[j, block] = 1
        if parent >= 0:
            own_flow[j, parent] = -1
        else:
            own_root[j] = 1
    solved = linprog(
        c=np.concatenate([np.zeros(n), root]),
        A_ub=np.hstack([matrix.T, -flow]),
        b_ub=np.zeros(m),
        A_eq=np.hstack([own_flow, np.zeros((len(own.parents), sets))]),
        b_eq=own_root,
        bounds=[(0, None)] * n + [(None, None)] * sets,
    )
    return solved.x[:n]
