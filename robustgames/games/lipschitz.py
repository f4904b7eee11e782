"""Keeping a critic Lipschitz: penalties on its slope, and spectral normalization inside the network."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import torch
from torch import Generator, Tensor

from robustgames.errors import GameError
from robustgames.games.curves import Curve
from robustgames.games.networks import MLP, Network
from robustgames.tensors import Movable

ScoreFunction = Callable[[Tensor, Tensor], Tensor]
"""critic(y, points) -> scores, (*S, m), (*S, B, p) -> (*S, B)."""


def squared_slope(critic: ScoreFunction, y: Tensor, points: Tensor) -> Tensor:
    """Return |∇_a D_y(a)|² at every point, (*S, B), differentiable in y.

    Args:
        critic: Critic D.
        y: Weights of D, (*S, m).
        points: Points, (*S, B, p).
    """
    if torch.compiler.is_compiling():
        slope = torch.func.grad(lambda a: critic(y, a).sum())(points)
    else:
        with torch.enable_grad():
            a = points.detach().requires_grad_()
            (slope,) = torch.autograd.grad(critic(y, a).sum(), a, create_graph=y.requires_grad)
    return slope.square().sum(-1)


def two_sided(squared: Tensor) -> Tensor:
    """Return (|∇D| - 1)²: Gulrajani et al. 2017, eq. (3)."""
    return (_root(squared) - 1).square()


def one_sided(squared: Tensor) -> Tensor:
    """Return max(|∇D| - 1, 0)², which lets the critic be flatter: Petzka et al. 2018, section 5."""
    return (_root(squared) - 1).clamp_min(0).square()


def _root(squared: Tensor) -> Tensor:
    return (squared + 1e-12).sqrt()  # a finite derivative at 0, the slope of a dead ReLU network


def r1(squared: Tensor) -> Tensor:
    """Return |∇D|²/2: Mescheder et al. 2018, eq. (9)."""
    return squared / 2


# the penalty as a function of |∇D|², and its place: between real and generated points, or at the real ones
PENALTIES: dict[str, tuple[Curve, str]] = {
    "gp": (Curve(two_sided, lambda q: 1 - 1 / _root(q)), "between"),
    "gp_one_sided": (Curve(one_sided, lambda q: (1 - 1 / _root(q)).clamp_min(0)), "between"),
    "r1": (Curve(r1, lambda q: torch.full_like(q, 0.5)), "real"),
}
LIPSCHITZ = ("none", "clip", "spectral", *PENALTIES)


class Spectral(Movable):
    """A network whose weight matrices W are divided by their largest singular value: h with W / σ(W).

    Its flat weights are [those of the network | one vector u per matrix]. A call refines u by one step of power
    iteration, v = Wᵀu / |Wᵀu|, u⁺ = Wv / |Wv|, and divides by σ = u⁺ᵀWv, in which u⁺ and v are held constant for the
    gradient. `settle` keeps u⁺: the oracle calls it after each move. The vectors are stored in z, one set per run, so a
    checkpoint holds them. Kernels of convolutions count as matrices (output channels, all others), as
    in the paper; that bounds the norm of the convolution only up to a factor.

    With 1-Lipschitz activations and no convolutions the network is 1-Lipschitz. Source: Miyato et al. 2018, algorithm
    1.

    Example:
        >>> net = Spectral(MLP((2, 8, 1)))
        >>> net.size - net.network.size    # u of the 8 x 2 and of the 1 x 8 matrix
        9
    """

    def __init__(self, network: MLP | Network) -> None:
        if not isinstance(network, MLP | Network):
            raise GameError(f"spectral normalization takes an MLP or a Network, got {type(network).__name__}")
        if isinstance(network, Network) and network.frozen:
            raise GameError(
                f"spectral normalization divides trained matrices, {network.frozen[0]!r} has requires_grad=False: "
                "train it, or use another setting of lipschitz, e.g. 'gp'"
            )
        self.network = network
        self._shapes = network.parameter_shapes
        self._parts = [prod(shape) for shape in self._shapes]
        self._vectors = [shape[0] for shape in self._shapes if len(shape) > 1]
        if not self._vectors:
            raise GameError("spectral normalization divides weight matrices: the network has none")
        self.size = network.size + sum(self._vectors)

    def __call__(self, weights: Tensor, inputs: Tensor) -> Tensor:
        """Return h(inputs) with normalized matrices: (*S, size), (*S, B, ...) -> (*S, B, ...)."""
        return self.network(self.normalized(weights), inputs)

    def normalized(self, weights: Tensor) -> Tensor:
        """Return the network's flat weights, its matrices divided by σ: (*S, size) -> (*S, network.size)."""
        parts, vectors = self._split(weights)
        out, k = [], 0
        for part, shape in zip(parts, self._shapes, strict=True):
            if len(shape) > 1:
                matrix = part.unflatten(-1, (shape[0], -1))
                u, v = _refine(matrix.detach(), vectors[k].detach())
                sigma = torch.einsum("...i,...ij,...j->...", u, matrix, v)
                part, k = part / sigma.unsqueeze(-1), k + 1
            out.append(part)
        return torch.cat(out, -1)

    @torch.no_grad()
    def pull_back(self, weights: Tensor, gradient: Tensor) -> Tensor:
        """Return the gradient in the weights of a function of `normalized(weights)`, given its gradient there.

        That of a matrix is (g - <g, W / σ> u⁺ vᵀ) / σ, as σ = u⁺ᵀWv, and that of the vectors u is 0.

        Args:
            weights: Weights, (*S, size).
            gradient: Gradient in the normalized weights of the network, (*S, network.size).
        """
        parts, vectors = self._split(weights)
        out, k = [], 0
        for g, part, shape in zip(gradient.split(self._parts, -1), parts, self._shapes, strict=True):
            if len(shape) > 1:
                matrix = part.unflatten(-1, (shape[0], -1))
                u, v = _refine(matrix, vectors[k])
                sigma = torch.einsum("...i,...ij,...j->...", u, matrix, v).unsqueeze(-1)
                along = (g * part).sum(-1, keepdim=True) / sigma
                g, k = (g - along * (u.unsqueeze(-1) * v.unsqueeze(-2)).flatten(-2)) / sigma, k + 1
            out.append(g)
        return torch.cat([*out, *(torch.zeros_like(u) for u in vectors)], -1)

    @torch.no_grad()
    def settle(self, weights: Tensor, steps: int = 1) -> Tensor:
        """Return the weights with every u refined by steps of power iteration."""
        parts, vectors = self._split(weights)
        matrices = self._matrices(parts)
        for _ in range(steps):
            vectors = [_refine(matrix, u)[0] for matrix, u in zip(matrices, vectors, strict=True)]
        return torch.cat([*parts, *vectors], -1)

    @torch.no_grad()
    def settle_fully(self, weights: Tensor) -> Tensor:
        """Return the weights with every u the left singular vector of the largest singular value; NaN stays NaN."""
        parts, _ = self._split(weights)
        return torch.cat([*parts, *(_leading(matrix) for matrix in self._matrices(parts))], -1)

    def initial(self, shape: tuple[int, ...], generator: Generator, dtype: torch.dtype) -> Tensor:
        """Draw weights as the network does, and u from N(0, I), refined by 20 steps."""
        weights = self.network.initial(shape, generator, dtype)
        u = torch.randn((*shape, sum(self._vectors)), generator=generator, device=generator.device, dtype=dtype)
        return self.settle(torch.cat([weights, u], -1), steps=20)

    def _matrices(self, parts: list[Tensor]) -> list[Tensor]:
        return [p.unflatten(-1, (s[0], -1)) for p, s in zip(parts, self._shapes, strict=True) if len(s) > 1]

    def _split(self, weights: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        parts = weights.split([*self._parts, *self._vectors], -1)
        return list(parts[: len(self._parts)]), list(parts[len(self._parts) :])


def _leading(matrix: Tensor) -> Tensor:
    """Return the left singular vector of the largest singular value, (*S, q, p) -> (*S, q)."""
    finite = torch.isfinite(matrix).all(-1).all(-1)[..., None, None]
    u = torch.linalg.svd(torch.where(finite, matrix, 0), full_matrices=False).U[..., 0]  # raises at NaN
    return torch.where(finite[..., 0], u, torch.nan)


def _refine(matrix: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Return (u⁺, v) of one step of power iteration: (*S, q, p), (*S, q) -> (*S, q), (*S, p)."""
    normalize = torch.nn.functional.normalize
    v = normalize((u.unsqueeze(-2) @ matrix).squeeze(-2), dim=-1, eps=1e-12)
    return normalize((matrix @ v.unsqueeze(-1)).squeeze(-1), dim=-1, eps=1e-12), v
