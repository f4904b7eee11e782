"""A game whose Lipschitz, weak Minty and comonotonicity constants are its parameters."""

from __future__ import annotations

from robustgames.errors import GameError
from robustgames.games.toy import Quadratic


class WeakMinty(Quadratic):
    """Φ(x, y) = a xᵀy + (b/2)(|x|² - |y|²), a = L sqrt(1 - L²ρ²), b = L²ρ: a game with these constants.

    With F = -V, |F(z)| = L|z| and <F(z), z> = ρ |F(z)|² for all z. So L is its Lipschitz constant, and ρ both its weak
    Minty constant and its comonotonicity. Saddle 0 with eigenvalues -b ± ia: for ρ < 0 the flow leaves it. The step z +
    α γ V(z + γ V(z)) with γ = 1/L converges if and only if 0 < α < 1 + 2ρL, so no such α exists for ρ <= -1/(2L).
    Source: Pethick, Latafat, Patrinos, Fercoq and Cevher 2022, "Escaping limit cycles".

    Args:
        rho: Constant ρ in (-1/L, 1/L).
        lipschitz: Constant L > 0.
        n: Dimension of each player.

    Example:
        >>> game = WeakMinty(rho=-0.6)
        >>> game.field(torch.tensor([1.0, 0.0]))
        tensor([0.6000, 0.8000])
    """

    def __init__(self, rho: float = -0.1, lipschitz: float = 1.0, n: int = 1) -> None:
        if not 0 < lipschitz < float("inf"):
            raise GameError(f"lipschitz is {lipschitz}: it must be a positive number, e.g. lipschitz=1.0")
        if not -1 < rho * lipschitz < 1:
            raise GameError(
                f"rho is {rho}: it must lie in (-1/L, 1/L) with L = {lipschitz}, e.g. rho={-0.1 / lipschitz}"
            )
        self.rho, self.lipschitz, self.n = rho, lipschitz, n
        bend = lipschitz**2 * rho
        super().__init__(bend, bend, lipschitz * (1 - (lipschitz * rho) ** 2) ** 0.5, n)
