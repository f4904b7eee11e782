"""Finite sums of bilinear games: a minibatch is a game whose noise grows with the distance from the saddle."""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator, Tensor

from robustgames.errors import GameError
from robustgames.games.game import Sample, ZeroSumGame, join


class FiniteSumBilinear(ZeroSumGame):
    """Φ(x, y) = mean_i (xᵀA_i y + xᵀb_i + c_iᵀy), of which a sample ζ holds the terms of a minibatch.

    By default A_i = e_i e_iᵀ and b_i, c_i ~ N(0, I/n) for i = 1 … n, on which extragradient with one term a call
    diverges at every learning rate though it converges with all terms. The saddle solves Ā y = -b̄, Āᵀx = -c̄.
    Source: Chavdarova, Gidel, Fleuret and Lacoste-Julien 2019, "Reducing noise in GAN training with variance reduced
    extragradient".

    Args:
        n: Dimension of each player and number of terms by default.
        batch_size: Terms B of a sample, drawn with replacement. If None, every call uses all terms.
        matrices: Matrices A_i, shape (N, n, m), whose mean has full rank.
        seed: Seed of b_i and c_i.

    Example:
        >>> FiniteSumBilinear(n=2, batch_size=None).residual(FiniteSumBilinear(n=2).solution()).round(decimals=3)
        tensor(0.)
    """

    _computed = ("mean", "saddle")

    def __init__(self, n: int = 10, batch_size: int | None = 1, matrices: Any = None, seed: int = 0) -> None:
        terms = torch.diag_embed(torch.eye(n, dtype=torch.float64)) if matrices is None else matrices
        self.matrices = torch.as_tensor(terms, dtype=torch.float64).clone()
        if self.matrices.dim() != 3 or not bool(torch.isfinite(self.matrices).all()):
            raise GameError(f"matrices has shape {tuple(self.matrices.shape)}: it must be finite, of shape (N, n, m)")
        if batch_size is not None and batch_size < 1:
            raise GameError(f"batch_size is {batch_size}: it must be at least 1, or None for all terms")
        count, rows, columns = self.matrices.shape
        self.sizes, self.batch_size, self.seed = (rows, columns), batch_size, seed
        generator = Generator().manual_seed(seed)
        normal = torch.randn(count, rows + columns, generator=generator, dtype=torch.float64)
        self.b, self.c = (normal / torch.tensor([rows] * rows + [columns] * columns).sqrt()).split(self.sizes, -1)
        mean = self.matrices.mean(0)
        if rows != columns or int(torch.linalg.matrix_rank(mean)) < rows:
            raise GameError("the mean of matrices must be square and have full rank, or there is no unique saddle")
        y, x = torch.linalg.solve(mean, -self.b.mean(0)), torch.linalg.solve(mean.mT, -self.c.mean(0))
        self.saddle = torch.cat([x, y])
        self.mean = (mean, self.b.mean(0), self.c.mean(0))

    def draw(self, shape: tuple[int, ...], generator: Generator) -> Tensor | None:
        """Return the numbers of B terms, (*shape, B)."""
        if self.batch_size is None:
            return None
        size = (*shape, self.batch_size)
        return torch.randint(len(self.matrices), size, generator=generator, device=generator.device)

    def _terms(self, sample: Sample, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the averages of A_i, b_i and c_i over a sample, or over all terms."""
        if sample is None:
            matrix, b, c = (part.to(z) for part in self.mean)
            return matrix, b, c
        matrix = self.matrices.to(z)[sample].mean(-3)
        return matrix, self.b.to(z)[sample].mean(-2), self.c.to(z)[sample].mean(-2)

    def payoff(self, x: Tensor, y: Tensor, sample: Sample = None) -> Tensor:
        matrix, b, c = self._terms(sample, x)
        return (x * ((matrix @ y.unsqueeze(-1)).squeeze(-1) + b)).sum(-1) + (c * y).sum(-1)

    def field(self, z: Tensor, sample: Sample = None, player: int | None = None) -> Tensor:
        x, y = self.split(z)
        matrix, b, c = self._terms(sample, z)
        blocks = [
            -((matrix @ y.unsqueeze(-1)).squeeze(-1) + b) if player != 1 else x,
            (x.unsqueeze(-2) @ matrix).squeeze(-2) + c if player != 0 else y,
        ]
        return join(blocks, z) if player is None else blocks[player]

    def evaluate(self, z: Tensor, sample: Sample = None) -> tuple[tuple[Tensor, Tensor], Tensor]:
        value = self.payoff(*self.split(z), sample)
        return (-value, value), self.field(z, sample)

    def metrics(self, z: Tensor, sample: Sample = None) -> dict[str, Tensor]:
        """Return the metrics of the whole sum, which do not depend on the minibatch."""
        return super().metrics(z)

    def solution(self) -> Tensor:
        return self.saddle.to(self.device, self.dtype)
