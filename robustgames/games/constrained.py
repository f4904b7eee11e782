"""Games on a square whose one inner critical point is not a local Nash point, or is shielded from most starts."""

from __future__ import annotations

import torch
from torch import Tensor

from robustgames.games.closed_form import ClosedForm
from robustgames.games.game import Sample
from robustgames.games.sets import Box


class RidgeBox(ClosedForm):
    """Φ(x, y) = (4x² - (y - 3x + x³/20)² - y⁴/10) exp(-(x² + y²)/100) on [-1, 1]²: y answers x along a ridge.

    At the critical point 0 x can do better alone (Φ_xx = -10), but not once y answers (Φ_xx - Φ_xy²/Φ_yy = 8): a local
    minimax point that is not a local Nash point. The flow leaves it (eigenvalues 4, 4)
    for the corners (1, 1) and (-1, -1). Source: Wang, Zhang and Ba
    2020, "On solving minimax optimization locally"; Daskalakis, Golowich, Skoulakis and Zampetakis 2023,
    "STay-ON-the-Ridge", appendix E, example f1.

    Example:
        >>> RidgeBox().payoff(torch.tensor([1.0]), torch.tensor([1.0]))
        tensor(0.0956)
    """

    sizes = (1, 1)
    sets = (Box(-1.0, 1.0), Box(-1.0, 1.0))

    def payoff(self, x: Tensor, y: Tensor, sample: Sample = None) -> Tensor:
        value, fade, _ = self._parts(x, y)
        return (value * fade).squeeze(-1)

    @staticmethod
    def _parts(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        s, t = x * x, y * y
        away = y - x * (3 - s / 20)
        return 4 * s - away * away - t * t / 10, torch.exp(-(s + t) / 100), away

    def gradient(self, x: Tensor, y: Tensor, player: int) -> Tensor:
        value, fade, away = self._parts(x, y)
        if player:
            return fade * (-2 * away - 0.4 * y * y * y - value * y / 50)
        return fade * (8 * x + 2 * away * (3 - 0.15 * x * x) - value * x / 50)

    def solution(self) -> Tensor:
        return torch.zeros(2, device=self.device, dtype=self.dtype)


class StepBox(ClosedForm):
    """Φ(x, y) = -x y - y²/20 + (y²/10) S((x² + y²)/2) on [-1, 1]², S(t) = 3t² - 2t³: concave in y only near 0.

    The one critical point 0 is stable (eigenvalues -0.05 ± i). Farther out y's payoff becomes convex, and runs from
    |z| > 1 end on a cycle that touches the walls (period 6.34 for extragradient, γ = 0.05). Source: Daskalakis,
    Golowich, Skoulakis and Zampetakis 2023, "STay-ON-the-Ridge", appendix E, example f2.

    Example:
        >>> StepBox().field(torch.tensor([0.0, 1.0]))
        tensor([1.0000, 0.1500])
    """

    sizes = (1, 1)
    sets = (Box(-1.0, 1.0), Box(-1.0, 1.0))

    @staticmethod
    def _step(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return S and S' at (x² + y²)/2, clipped to [0, 1]."""
        t = (0.5 * (x * x + y * y)).clamp(0, 1)
        return t * t * (3 - 2 * t), 6 * t * (1 - t)

    def payoff(self, x: Tensor, y: Tensor, sample: Sample = None) -> Tensor:
        return (y * (y * (0.1 * self._step(x, y)[0] - 0.05) - x)).squeeze(-1)

    def gradient(self, x: Tensor, y: Tensor, player: int) -> Tensor:
        step, slope = self._step(x, y)
        turn = 0.1 * y * y * slope
        return y * (0.2 * step - 0.1 + turn) - x if player else x * turn - y

    def solution(self) -> Tensor:
        return torch.zeros(2, device=self.device, dtype=self.dtype)
