"""The first call of the next step, made by a log: what a learning curve measures costs no call of its own."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Generator, Tensor

from robustgames.games.game import Game, Sample


class Foresight:
    """The sample that a step will draw next, and V(z; ζ) on it.

    A log measures the field at z, and most schemes ask for it at z next, on a new sample. So a log measures on that
    one, drawn from the generator, whose state stays as it was. The step takes sample and value if it draws from this
    state, and asks at this point.

    Args:
        game: Game.
        shape: Shape S of the independent runs.
        generator: Randomness of the run.
        z: Joint strategies, (*S, n + m).
    """

    def __init__(self, game: Game, shape: tuple[int, ...], generator: Generator, z: Tensor) -> None:
        self._game, self._z, self._version = game, z, _version(z)
        self._before = generator.get_state()
        self.sample: Sample = game.draw(shape, generator)
        self._after = generator.get_state()
        generator.set_state(self._before)
        self._v: Tensor | None = None

    def metrics(self) -> dict[str, Tensor]:
        """Return `Game.metrics` at z on the sample, and keep V."""
        watched: Any = copy.copy(self._game)
        watched.evaluate = self._evaluate
        return watched.metrics(self._z, self.sample)

    def _evaluate(self, z: Tensor, sample: Sample = None) -> tuple[tuple[Tensor, Tensor], Tensor]:
        rewards, v = self._game.evaluate(z, sample)
        if z is self._z and sample is self.sample and _has_one_source(self._game):
            self._v = v
        return rewards, v

    def draw(self, generator: Generator) -> bool:
        """Return whether the sample is what the generator draws now, and then move it behind that."""
        if not torch.equal(generator.get_state(), self._before):
            return False
        generator.set_state(self._after)
        return True

    def value(self, z: Tensor, sample: Sample, player: int | None) -> Tensor | None:
        """Return V(z; ζ) if it is the kept one, unchanged since; else None."""
        same = z is self._z and _version(z) == self._version and sample is self.sample
        return self._v if same and player is None else None


def _version(z: Tensor) -> int | None:
    """Return how often z was changed in place; None of an inference tensor, which does not count it."""
    return None if z.is_inference() else z._version


def _has_one_source(game: Game) -> bool:
    """Return whether one class defines both `field` and `evaluate`, so V has the same bits in both."""
    names = ("field", "evaluate")
    first, second = (next(c for c in type(game).__mro__ if name in vars(c)) for name in names)
    return first is second and not any(name in vars(game) for name in names)
