"""Means over several passes of a stochastic classifier (expectation over transformation, EOT).

Source: Athalye, Engstrom, Ilyas and Kwok 2018.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Generator, Tensor

from robustgames.errors import GameError

T = TypeVar("T", bound=tuple[Tensor, ...])


def check_passes(eot: int) -> None:
    """Refuse a number of passes below 1."""
    if isinstance(eot, bool) or not isinstance(eot, int) or eot < 1:
        raise GameError(f"eot is {eot!r}: it is the number of passes of a stochastic model, at least 1, e.g. eot=20")


def mean_over(passes: int, once: Callable[[], T]) -> T:
    """Return the means of what `once` returns over several passes; a mask becomes the share of the passes.

    Example:
        >>> mean_over(2, lambda: (torch.tensor([True]),))
        (tensor([1.]),)
    """
    if passes == 1:
        return once()
    total = [part.to(torch.get_default_dtype()) if part.dtype == torch.bool else part for part in once()]
    for _ in range(passes - 1):
        total = [one + part for one, part in zip(total, once(), strict=True)]
    return tuple(part / passes for part in total)  # pyright: ignore[reportReturnType]


@contextmanager
def common_noise(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the global generators, so points are compared under the same noise; restore their states afterwards."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        _seed(seed, device)
        yield


@contextmanager
def seeded(generator: Generator, passes: int) -> Iterator[None]:
    """Seed the global generators from one, if a model takes several passes; restore them afterwards."""
    if passes == 1:
        yield
        return
    device = generator.device
    with common_noise(draw_seed(generator), device):
        yield


def draw_seed(generator: Generator) -> int:
    """Return a random seed."""
    return int(torch.randint(2**62, (), generator=generator, device=generator.device))


def _seed(seed: int, device: torch.device) -> None:
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def stronger(share: Tensor, loss: Tensor, best_share: Tensor, best_loss: Tensor) -> Tensor:
    """Return the mask of the points that fool more passes than the best ones, or as many with a higher loss."""
    return (share > best_share) | (share == best_share) & (loss > best_loss)
