"""Games on which small steps cycle: their one critical point repels, or is shielded by a cycle."""

from __future__ import annotations

import torch
from torch import Tensor

from robustgames.games.closed_form import ClosedForm
from robustgames.games.game import GeneralSumGame, Sample
from robustgames.games.sets import L2Ball


class Letcher(ClosedForm):
    """Φ(x, y) = x y - x²/2 + y²/2 + x⁴/4 - y⁴/4: runs stay bounded, and the one critical point repels them.

    Critical point 0 with eigenvalues 1 ± i, a strict maximum of x's loss and of y's. Since d|z|²/dt = 2 (|z|² - x⁴ -
    y⁴) along the flow, every run but the one at 0 ends in the ring 1 <= |z|² <= 2, on a stable cycle of period 6.8513.
    At small learning rates the usual gradient methods do not converge from almost any start. Source: Letcher 2021, "On
    the impossibility of global convergence in multi-loss optimization", the zero-sum game of the author's code.

    Example:
        >>> Letcher().field(torch.tensor([1.0, 2.0]))
        tensor([-2., -5.])
    """

    sizes = (1, 1)

    def payoff(self, x: Tensor, y: Tensor, sample: Sample = None) -> Tensor:
        s, t = x * x, y * y
        return (x * y - s * (0.5 - 0.25 * s) + t * (0.5 - 0.25 * t)).squeeze(-1)

    def gradient(self, x: Tensor, y: Tensor, player: int) -> Tensor:
        return x + y * (1 - y * y) if player else y - x * (1 - x * x)

    def solution(self) -> Tensor:
        return torch.zeros(2, device=self.device, dtype=self.dtype)


class LetcherMarket(GeneralSumGame):
    """ℓx = x⁶/6 - x²/2 + x y + g/4, ℓy = y⁶/6 - y²/2 - x y - g/4, g = y⁴/(1 + x²) - x⁴/(1 + y²): no good point exists.

    Both losses are coercive and analytic, and what one player gains by interaction the other loses. The one critical
    point 0 is a strict maximum of both losses (eigenvalues 1 ± i), so a method that avoids strict maxima cannot
    converge: the flow ends on a cycle of period 13.5810. Source: Letcher 2021, "On the impossibility of global
    convergence in multi-loss optimization", the market of the author's code.

    Example:
        >>> LetcherMarket().field(torch.tensor([1.0, 1.0]))
        tensor([-0.3750,  1.6250])
    """

    sizes = (1, 1)

    def __init__(self) -> None:
        self.turn = torch.tensor([-1.0, 1.0], dtype=torch.float64)

    def losses(self, x: Tensor, y: Tensor, sample: Sample = None) -> tuple[Tensor, Tensor]:
        s, t = x * x, y * y
        shared = x * y + 0.25 * (t * t / (1 + s) - s * s / (1 + t))
        own = [u * (u * u / 6 - 0.5) for u in (s, t)]
        return (own[0] + shared).squeeze(-1), (own[1] - shared).squeeze(-1)

    def field(self, z: Tensor, sample: Sample = None, player: int | None = None) -> Tensor:
        """Return V = -(∇x ℓx, ∇y ℓy), written out: no graph."""
        own, other = z, z.flip(-1)
        s, t = own * own, other * other
        # up to its sign, g is the same function of both players: ∂g/∂x = -2x y⁴/(1 + x²)² - 4x³/(1 + y²)
        pull = own * (0.5 * (t / (1 + s)).square() + s / (1 + t))
        v = own * (1 - s * s) + other * self.turn.to(z) + pull
        return v if player is None else self.split(v)[player]

    def solution(self) -> Tensor:
        return torch.zeros(2, device=self.device, dtype=self.dtype)


class GlobalForsaken(ClosedForm):
    """Φ(x, y) = x y + φ(x) - φ(y), φ(u) = u²/3 - u⁴/3 + 2u⁶/21: Forsaken whose point is a weak Minty solution.

    Critical point 0, a strict local Nash point with eigenvalues -2/3 ± i. A stable and an unstable cycle surround it
    as in `Forsaken`, but on the square of the default radius <V(z), z> <= 0.1197 |V(z)|²: the weak Minty constant
    -0.1197 is above -1/(2L), L = 3.0224, so extragradient with a reduced second step converges.
    Source: Pethick, Fercoq, Latafat, Patrinos and Cevher 2023, "Solving stochastic weak Minty variational inequalities
    without increasing batch size".

    Args:
        radius: Bound on each player's strategy, unbounded if None.

    Example:
        >>> GlobalForsaken().field(torch.tensor([1.0, 1.0]))
        tensor([-0.9048,  1.0952])
    """

    sizes = (1, 1)

    def __init__(self, radius: float | None = 4 / 3) -> None:
        self.radius = radius
        if radius is not None:
            self.sets = (L2Ball(radius), L2Ball(radius))

    @staticmethod
    def _phi(u: Tensor) -> Tensor:
        s = u * u
        return s * (1 / 3 + s * (-1 / 3 + s * (2 / 21)))

    def payoff(self, x: Tensor, y: Tensor, sample: Sample = None) -> Tensor:
        return (x * y + self._phi(x) - self._phi(y)).squeeze(-1)

    def gradient(self, x: Tensor, y: Tensor, player: int) -> Tensor:
        own = y if player else x
        s = own * own
        pull = own * (2 / 3 + s * (s * (4 / 7) - 4 / 3))
        return x - pull if player else y + pull

    def solution(self) -> Tensor:
        return torch.zeros(2, device=self.device, dtype=self.dtype)
