"""Toy games: each a formula with a known saddle, cycle or rate.

Payoffs are polynomials in Horner form: `u ** 4` is several times slower than a product in eager torch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustgames.errors import GameError
from robustgames.games.closed_form import ClosedForm
from robustgames.games.game import Game, Sample
from robustgames.games.matrix import as_matrix
from robustgames.games.sets import Set, Space, linf_ball


def _finite(name: str, value: float) -> float:
    if not -float("inf") < value < float("inf"):
        raise GameError(f"{name} is {value}: it must be a finite number")
    return value


def _bounded(radius: float | None) -> tuple[Set, Set]:
    return (Space(), Space()) if radius is None else (linf_ball(radius), linf_ball(radius))


class Bilinear(ClosedForm):
    """Φ(x, y) = xᵀA y, the game on which simultaneous gradient steps spiral out.

    Saddle: 0. With step a and a singular value s of A the per-step factors are those of the scalar game with
    step a*s: GDA sqrt(1 + a²), extragradient sqrt(1 - a² + a⁴), alternating GDA 1 (for a < 2).

    Args:
        matrix: Matrix A, shape (n, m); the identity by default.
        n: Size of the identity if no matrix is given.
        radius: Bound on every coordinate of x and y, unbounded if None; the duality gap needs one.

    Example:
        >>> Bilinear().field(torch.tensor([1.0, 2.0]))
        tensor([-2.,  1.])
    """

    def __init__(self, matrix: Any = None, n: int = 1, radius: float | None = None) -> None:
        self.matrix = as_matrix(torch.eye(n) if matrix is None else matrix)
        self.sizes = (self.matrix.shape[0], self.matrix.shape[1])
        self.sets = _bounded(radius)

    def payoff(self, x: Tensor, y: Tensor, sample: Sample = None) -> Tensor:
        return ((x @ self.matrix.to(x)) * y).sum(-1)

    def gradient(self, x: Tensor, y: Tensor, player: int) -> Tensor:
        return x @ self.matrix.to(x) if player else y @ self.matrix.to(y).mT

    def solution(self) -> Tensor:
        return torch.zeros(sum(self.sizes), device=self.device, dtype=self.dtype)

    def best_response(self, z: Tensor, player: int) -> Tensor | None:
        if isinstance(self.sets[player], Space):
            return None
        x, y = self.split(z)
        matrix = self.matrix.to(z)
        return self.sets[0].maximize(-(y @ matrix.mT)) if player == 0 else self.sets[1].maximize(x @ matrix)


class Quadratic(ClosedForm):
    """Φ(x, y) = ½ xᵀP x + xᵀA y - ½ yᵀQ y; the default is x² - y², whose saddle 0 is a strict Nash point.

    Strongly monotone if P and Q are positive definite; any symmetric P and Q are allowed.

    Args:
        convex: Matrix P, a number (times the identity) or a symmetric matrix.
        concave: Matrix Q, a number (times the identity) or a symmetric matrix.
        coupling: Matrix A, a number (times the identity) or an (n, m) matrix.
        n: Dimension of each player if only numbers are given.

    Example:
        >>> float(Quadratic().payoff(torch.tensor([2.0]), torch.tensor([1.0])))
        3.0
    """

    def __init__(self, convex: Any = 2.0, concave: Any = 2.0, coupling: Any = 0.0, n: int = 1) -> None:
        self.convex, self.concave = self._square(convex, n, "convex"), self._square(concave, n, "concave")
        sizes = (self.convex.shape[0], self.concave.shape[0])
        scalar = isinstance(coupling, int | float)
        self.coupling = as_matrix(coupling * torch.eye(*sizes, dtype=torch.float64) if scalar else coupling)
        if tuple(self.coupling.shape) != sizes:
            raise GameError(f"coupling has shape {tuple(self.coupling.shape)}: expected {sizes} for these P and Q")
        self.sizes = sizes

    @staticmethod
    def _square(value: Any, n: int, name: str) -> Tensor:
        scalar = isinstance(value, int | float)
        matrix = as_matrix(value * torch.eye(n, dtype=torch.float64) if scalar else value)
        if not torch.equal(matrix, matrix.mT):
            raise GameError(f"{name} must be a number or a symmetric matrix, got {value!r}")
        return matrix

    def payoff(self, x: Tensor, y: Tensor, sample: Sample = None) -> Tensor:
        bowl = (x @ self.convex.to(x) * x).sum(-1) - (y @ self.concave.to(y) * y).sum(-1)
        return 0.5 * bowl + (x @ self.coupling.to(x) * y).sum(-1)

    def gradient(self, x: Tensor, y: Tensor, player: int) -> Tensor:
        coupling = self.coupling.to(x)
        return x @ coupling - y @ self.concave.to(y) if player else x @ self.convex.to(x) + y @ coupling.mT

    def solution(self) -> Tensor:
        return torch.zeros(sum(self.sizes), device=self.device, dtype=self.dtype)

    def best_response(self, z: Tensor, player: int) -> Tensor | None:
        x, y = self.split(z)
        curvature = (self.convex, self.concave)[player].to(z)
        values = torch.linalg.eigvalsh(curvature)
        if values[0] <= 4 * len(values) * torch.finfo(values.dtype).eps * values[-1].abs():  # 0 up to rounding
            return None  # the payoff is unbounded in this player's direction
        slope = -(y @ self.coupling.to(z).mT) if player == 0 else x @ self.coupling.to(z)
        return torch.linalg.solve(curvature, slope.unsqueeze(-1)).squeeze(-1)


class AlmostBilinear(ClosedForm):
    """Φ(x, y) = x y + ε φ(y), φ(u) = u²/2 - u⁴/4: a stable cycle around an unstable critical point.

    Critical point 0 with eigenvalues ε/2 ± i sqrt(1 - ε²/4). With u = sqrt(3) y the flow is the Van der Pol
    oscillator; the cycle has max |y| = 1.1548. Source: lecture "A deterministic, simple example", eq. (16);
    Hsieh, Mertikopoulos and Cevher 2020.

    Example:
        >>> AlmostBilinear(eps=0.5).field(torch.tensor([0.0, 2.0]))
        tensor([-2., -3.])
    """

    sizes = (1, 1)

    def __init__(self, eps: float = 0.1) -> None:
        self.eps = _finite("eps", eps)

    def payoff(self, x: Tensor, y: Tensor, sample: Sample = None) -> Tensor:
        s = y * y
        return (x * y + self.eps * (s * (0.5 - 0.25 * s))).squeeze(-1)

    def gradient(self, x: Tensor, y: Tensor, player: int) -> Tensor:
        return x + self.eps * (y * (1 - y * y)) if player else y

    def solution(self) -> Tensor:
        return torch.zeros(2, device=self.device, dtype=self.dtype)


class Forsaken(ClosedForm):
    """Φ(x, y) = x (y - c) + φ(x) - φ(y), φ(u) = u²/4 - u⁴/2 + u⁶/6: two cycles around one critical point.

    The outer cycle is stable and holds no critical point; the inner one is unstable and shields the critical
    point. For c = 0.45 (default; the authors' later papers) the point is stable but *not* a local Nash point;
    for c = 0.1 (the lecture, eq. (17)) it is one, with a wider basin.

    Source: Hsieh, Mertikopoulos and Cevher 2020.

    Example:
        >>> Forsaken(offset=0.0).solution()
        tensor([0., 0.])
    """

    sizes = (1, 1)
    _computed = ("critical",)

    def __init__(self, offset: float = 0.45) -> None:
        self.offset = _finite("offset", offset)
        self.critical = self._critical_point()
        self.turn = torch.tensor([-1.0, 1.0], dtype=torch.float64)
        self.pull = torch.tensor([offset, 0.0], dtype=torch.float64)

    @staticmethod
    def _phi(u: Tensor) -> Tensor:
        s = u * u
        return s * (0.25 + s * (-0.5 + s * (1 / 6)))

    def payoff(self, x: Tensor, y: Tensor, sample: Sample = None) -> Tensor:
        return (x * (y - self.offset) + self._phi(x) - self._phi(y)).squeeze(-1)

    def gradient(self, x: Tensor, y: Tensor, player: int) -> Tensor:
        own = y if player else x
        s = own * own
        pull = own * (0.5 + s * (s - 2))
        return x - pull if player else y - self.offset + pull

    def field(self, z: Tensor, sample: Sample = None, player: int | None = None) -> Tensor:
        """Return V = (-(y - c) - φ'(x), x - φ'(y)) as a quarter turn of z minus φ'(z): one pass, no graph."""
        s = z * z
        v = z.flip(-1) * self.turn.to(z) + self.pull.to(z) - z * (0.5 + s * (s - 2))
        return v if player is None else self.split(v)[player]

    def _critical_point(self) -> Tensor:
        """Solve x = φ'(y), y - c + φ'(x) = 0: the real root y of least size of one polynomial, polished by Newton."""
        slope = np.poly1d([1.0, 0.0, -2.0, 0.0, 0.5, 0.0])
        function = slope(slope) + np.poly1d([1.0, -self.offset])
        roots = function.roots
        y = min(np.real(roots[abs(np.imag(roots)) < 1e-6 * (1 + abs(roots))]), key=abs)
        for _ in range(4):
            y -= function(y) / function.deriv()(y)
        return torch.tensor([slope(y), y], dtype=torch.float64)

    def solution(self) -> Tensor:
        return self.critical.to(self.device, self.dtype)


class DiracGAN(ClosedForm):
    """Φ(x, y) = f(x y) + f(0) - (r1/2) y², f(t) = -log(1 + exp(-t)): the smallest GAN.

    The generator places a point mass at x, the data is a point mass at 0, the discriminator is the slope y.
    Saddle 0 with eigenvalues -r1/2 ± sqrt(r1²/4 - 1/4): without the penalty a center, no convergence.

    Source: Mescheder, Geiger and Nowozin 2018, definition 2.1 and lemma 2.3.

    Args:
        r1: Weight of the R1 gradient penalty of the discriminator, >= 0.

    Example:
        >>> DiracGAN().field(torch.tensor([0.0, 1.0]))
        tensor([-0.5000,  0.0000])
    """

    players = ("generator", "discriminator")
    sizes = (1, 1)

    def __init__(self, r1: float = 0.0) -> None:
        if _finite("r1", r1) < 0:
            raise GameError(f"r1 is {r1}: the weight of a penalty is >= 0, e.g. r1=0.3")
        self.r1 = r1

    def payoff(self, x: Tensor, y: Tensor, sample: Sample = None) -> Tensor:
        f = torch.nn.functional.logsigmoid
        return (f(x * y) + f(torch.zeros_like(x)) - 0.5 * self.r1 * y * y).squeeze(-1)

    def gradient(self, x: Tensor, y: Tensor, player: int) -> Tensor:
        slope = torch.sigmoid(-x * y)  # f'
        return slope * x - self.r1 * y if player else slope * y

    def solution(self) -> Tensor:
        return torch.zeros(2, device=self.device, dtype=self.dtype)


class Polar(Game):
    """A field that is not a gradient: V = (y - a x ψ, -x - a y ψ), ψ = (r² - 1)(16 r² - 9)/16, r² = x² + y².

    In polar coordinates r' = -a r (r² - 1)(r² - 9/16): stable cycles at r = 0 (a point) and r = 1, an unstable one
    at r = 3/4. Source: Pethick et al. 2022, "polar game".

    Example:
        >>> Polar().field(torch.tensor([1.0, 0.0]))
        tensor([ 0., -1.])
    """

    sizes = (1, 1)

    def __init__(self, a: float = 1.0 / 3.0) -> None:
        self.a = _finite("a", a)

    def field(self, z: Tensor, sample: Sample = None, player: int | None = None) -> Tensor:
        x, y = self.split(z)
        s = x * x + y * y
        pull = self.a * ((s - 1) * (s - 9 / 16))
        blocks = y - pull * x, -x - pull * y
        return torch.cat(blocks, -1) if player is None else blocks[player]

    def solution(self) -> Tensor:
        return torch.zeros(2, device=self.device, dtype=self.dtype)
