"""A stochastic oracle for any game."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from robustgames.errors import GameError
from robustgames.games.game import Game, Sample


class Noisy(Game):
    """V(z; ζ) = V(z) + bias + std * ζ with ζ ~ N(0, I), the oracle of generalized Robbins-Monro schemes.

    Residuals, metrics and certificates are those of the exact game. Source: lecture "Generalized Robbins-Monro
    schemes", U(z, ζ) = bias + std * ζ.

    Args:
        game: Game to disturb.
        std: Standard deviation of each coordinate, >= 0.
        bias: Error added to the field: a number, or a list of n + m numbers.

    Example:
        >>> from robustgames.games.toy import Bilinear
        >>> from robustgames.games.oracle import Oracle
        >>> oracle = Oracle(Noisy(Bilinear(), std=0.0, bias=1.0))
        >>> oracle.draw()
        >>> oracle(torch.zeros(2))
        tensor([1., 1.])
    """

    def __init__(self, game: Game, std: float = 0.1, bias: float | list[float] = 0.0) -> None:
        if not 0 <= std < float("inf"):
            raise GameError(f"the noise has standard deviation {std}: it must be a finite number >= 0, e.g. noise=0.1")
        self.game, self.std = game, std
        self.bias = torch.as_tensor(bias, dtype=torch.float64).clone()
        if not bool(torch.isfinite(self.bias).all()):
            raise GameError(f"bias is {bias}: it must be finite")
        if self.bias.dim() > 0 and self.bias.shape != (sum(game.sizes),):
            raise GameError(f"bias has shape {tuple(self.bias.shape)}: a number or {sum(game.sizes)} numbers")
        self.players, self.sizes, self.sets = game.players, game.sizes, game.sets
        self.sets_follow_sample = game.sets_follow_sample
        self.device, self.dtype = game.device, game.dtype

    @property
    def exact(self) -> Game:
        return self.game.exact

    def draw(self, shape: tuple[int, ...], generator: Generator) -> Sample:
        noise = torch.randn((*shape, sum(self.sizes)), generator=generator, device=generator.device, dtype=self.dtype)
        return self.game.draw(shape, generator), self.std * noise + self.bias.to(noise)

    def field(self, z: Tensor, sample: Sample = None, player: int | None = None) -> Tensor:
        inner, error = sample or (None, torch.zeros_like(z))
        error = error if player is None else self.split(error)[player]
        return self.game.field(z, inner, player) + error

    def evaluate(self, z: Tensor, sample: Sample = None) -> tuple[tuple[Tensor, Tensor], Tensor]:
        inner, error = sample or (None, torch.zeros_like(z))
        rewards, v = self.game.evaluate(z, inner)
        return rewards, v + error

    def start(self, player: int, shape: tuple[int, ...], generator: Generator) -> Tensor:
        return self.game.start(player, shape, generator)

    def initial(self, shape: tuple[int, ...], generator: Generator) -> Tensor:
        return self.game.initial(shape, generator)

    def project(self, z: Tensor, sample: Sample = None) -> Tensor:
        return self.game.project(z, None if sample is None else sample[0])

    def settle(self, z: Tensor) -> Tensor:
        return self.game.settle(z)

    def settle_fully(self, z: Tensor) -> Tensor:
        return self.game.settle_fully(z)

    def solution(self) -> Tensor | None:
        return self.game.solution()

    def best_response(self, z: Tensor, player: int) -> Tensor | None:
        return self.game.best_response(z, player)

    def residual(self, z: Tensor, sample: Sample = None) -> Tensor:
        return self.game.residual(z, None if sample is None else sample[0])

    def metrics(self, z: Tensor, sample: Sample = None) -> dict[str, Tensor]:
        return self.game.metrics(z, None if sample is None else sample[0])

    def __repr__(self) -> str:
        return f"Noisy({self.game!r}, std={self.std}, bias={self.bias.tolist()})"
