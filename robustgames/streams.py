"""One stream of random numbers per run, so that a run draws the same numbers whatever runs are next to it."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import torch
from scipy.special import ndtri
from torch import Generator, Tensor

from robustgames.errors import GameError

STEP = -7046029254386353131  # 2^64 / golden ratio, an odd number, as a signed integer
BLOCK, MOST = 8192, 2**18  # numbers that are computed at once: for a run, and for all
LARGE = 2048  # normal numbers of a run, from which on a CPU draws them faster by PyTorch's own generator


class Streams(Generator):
    """S streams that advance together: number c of stream i is mix(mix(c) + mix(seed_i)).

    A number depends on its seed and its count alone. So the state is one count, a stream does not depend on the
    others, and a CPU and a GPU draw the same uniform numbers. `uniform`, `normal` and `integers` of this module draw
    from the streams, or from any other generator. PyTorch's own functions draw from one further stream of the batch.

    Source: Salmon et al. 2011 (generators that are functions of a count); Steele, Lea and Flood 2014 (mix of
    SplitMix64).

    Args:
        seeds: Seed of every run, (S,) whole numbers in [0, 2^63).
        device: Device of the numbers.

    Example:
        >>> uniform((3, 2), Streams([5, 6, 7]), torch.float64)[2].equal(uniform((1, 2), Streams([7]), torch.float64)[0])
        True
    """

    def __new__(cls, seeds: Sequence[int] | Tensor, device: torch.device | str = "cpu") -> Streams:
        return super().__new__(cls, device)  # type: ignore[call-arg]

    def __init__(self, seeds: Sequence[int] | Tensor, device: torch.device | str = "cpu") -> None:
        each = torch.as_tensor(seeds, dtype=torch.int64, device=self.device)
        self.keys, self.runs, self.count = _mix(each), len(each), 0
        self._block, self._first, self._held = torch.empty(len(each), 0), 0, 0  # numbers [first, first + held)
        self._array: tuple[Tensor | None, np.ndarray] = None, np.empty((0, 0))  # the block in NumPy
        self.manual_seed(int(each[0]))

    def take(self, shape: Sequence[int]) -> Tensor:
        """Return the next numbers in (0, 1) in float64, (S, ...), a view of memory that is read by later calls.

        Raises:
            GameError: The shape is not one of S runs.
        """
        n = prod(shape[1:])
        if not shape or shape[0] != self.runs:
            raise GameError(f"a draw of shape {tuple(shape)} from {self.runs} streams: the first dimension is of runs")
        at = self._at(n)
        self.count += n
        taken = self._block.narrow(1, at, n)
        return taken if len(shape) == 2 else taken.view(shape)

    def take_array(self, n: int) -> tuple[np.ndarray, int]:
        """Return the next n numbers of a CPU as (block, at): they are block[:, at : at + n], of a block (S, any)."""
        at = self._at(n)
        self.count += n
        if self._array[0] is not self._block:
            self._array = self._block, self._block.numpy()
        return self._array[1], at

    def skip(self, n: int) -> None:
        """Continue as if n numbers of every run had been drawn."""
        self.count += n

    def _at(self, n: int) -> int:
        """Return the place in the block of the next n numbers, which are computed if it does not hold them."""
        at = self.count - self._first
        if at < 0 or at + n > self._held:
            self._first, at = self.count, 0
            self._held = max(n, min(BLOCK, MOST // self.runs))
            self._block = self._numbers(self._held)
        return at

    def _numbers(self, n: int) -> Tensor:
        with torch.inference_mode(False), torch.no_grad():  # memory that serves in and out of inference mode
            if self.device.type == "cpu":
                return torch.from_numpy(_numbers_of(self.count, n, self.keys.numpy().view(np.uint64)))
            counts = torch.arange(self.count, self.count + n, device=self.device)
            bits = _mix(_mix(counts) + self.keys.unsqueeze(-1))
            return _shifted(bits, 12).double().add_(0.5).mul_(2.0**-52)

    def branch(self, numbers: Tensor) -> Streams:
        """Return the streams number `numbers` (S,) of every run: they depend on these and the seeds, not on counts."""
        return Streams(self.keys ^ _mix(numbers.to(self.keys) + 1), self.device)

    def generators(self) -> list[Generator]:
        """Return a generator of PyTorch for every run, seeded by the next number of its stream."""
        seeds = (self.take((self.runs, 1)) * 2.0**52).long()
        return [Generator(self.device).manual_seed(seed) for seed in seeds.flatten().tolist()]

    def __reduce__(self) -> tuple[Any, ...]:
        return _copied, (self.keys.tolist(), str(self.device), self.get_state())

    def get_state(self) -> Tensor:
        """Return the count, the keys and the state of the further stream, in bytes."""
        own = torch.cat([torch.tensor([self.count]), self.keys.cpu()]).view(torch.uint8)
        return torch.cat([own, super().get_state()])

    def mark(self) -> tuple[int, Tensor]:
        """Return the place to `go_back` to."""
        return self.count, super().get_state()

    def go_back(self, mark: tuple[int, Tensor]) -> None:
        """Draw again what was drawn since `mark`."""
        self.count = mark[0]
        super().set_state(mark[1])

    def fits(self, state: Tensor) -> bool:
        """Return whether a state is one of as many streams."""
        n = 8 * (1 + self.runs)
        return state.dtype == torch.uint8 and len(state) in (n + 16, n + len(super().get_state()))  # 16 of a GPU

    def set_state(self, new_state: Tensor) -> Streams:  # type: ignore[override]
        """Continue where `get_state` was called.

        Raises:
            GameError: The state is one of other streams.
        """
        if not self.fits(new_state):
            raise GameError(f"a state of {len(new_state)} bytes is not one of {self.runs} streams")
        n = 8 * (1 + self.runs)
        numbers = new_state[:n].cpu().clone().view(torch.int64)
        self.count, self.keys = int(numbers[0]), numbers[1:].to(self.device)
        self._held = 0
        if len(rest := new_state[n:]) == len(super().get_state()):  # else it is one of another device
            super().set_state(rest.cpu().clone())
        return self


class Narrowed(Generator):
    """A generator of one of W processes, which hold z = [x | y] with the whole of x and one W-th of y each.

    `normal` draws for the whole z or y, so the generators of all processes stay in one state, and returns the part of
    this process. Everything else is drawn as from the generator itself.

    Args:
        generator: Generator to continue.
        x: Coordinates of x.
        y: Coordinates of the part of y.
        rank: Number of the part.
        world: Number of parts.
    """

    def __new__(cls, generator: Generator, x: int, y: int, rank: int, world: int) -> Narrowed:
        return super().__new__(cls, generator.device)  # type: ignore[call-arg]

    def __init__(self, generator: Generator, x: int, y: int, rank: int, world: int) -> None:
        self.set_state(generator.get_state())
        self.x, self.y, self.rank, self.world = x, y, rank, world

    def normal(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Draw numbers of N(0, 1) for z, for y, or for a tensor of any other last dimension, which all hold."""
        *runs, last = shape
        kept = {self.x + self.y: self.x, self.y: 0}.get(last)
        width = last if kept is None else kept + self.world * self.y
        drawn = torch.randn((*runs, width), generator=self, device=self.device, dtype=dtype)
        if kept is None:
            return drawn
        first = kept + self.rank * self.y
        return torch.cat([drawn[..., :kept], drawn[..., first : first + self.y]], -1)


def _copied(keys: list[int], device: str, state: Tensor) -> Streams:
    """Return streams in the middle of their numbers: copies and pickles."""
    return Streams(keys, device).set_state(state)


def uniform(shape: Sequence[int], generator: Generator, dtype: torch.dtype) -> Tensor:
    """Draw numbers in [0, 1], (S, ...)."""
    if isinstance(generator, Streams):
        return generator.take(shape).to(dtype, copy=True)
    return torch.rand(tuple(shape), generator=generator, device=generator.device, dtype=dtype)


def normal(shape: Sequence[int], generator: Generator, dtype: torch.dtype) -> Tensor:
    """Draw numbers of N(0, 1), (S, ...)."""
    if isinstance(generator, Narrowed):
        return generator.normal(shape, dtype)
    if isinstance(generator, Streams):
        if generator.device.type == "cpu" and prod(shape[1:]) >= LARGE:
            return torch.stack(
                [torch.randn(tuple(shape[1:]), generator=g, dtype=dtype) for g in generator.generators()]
            )
        return torch.special.ndtri(generator.take(shape)).to(dtype)
    return torch.randn(tuple(shape), generator=generator, device=generator.device, dtype=dtype)


def normal_array(shape: tuple[int, ...], generator: Streams) -> np.ndarray:
    """Draw the numbers of `normal` on a CPU, in float32, as an array: in a third of the time of its calls."""
    if (n := prod(shape[1:])) >= LARGE:
        return normal(shape, generator, torch.float32).numpy()
    block, at = generator.take_array(n)
    return ndtri(block[:, at : at + n]).astype(np.float32).reshape(shape)


def integers(high: int, shape: Sequence[int], generator: Generator) -> Tensor:
    """Draw whole numbers in 0 … high - 1, (S, ...)."""
    if isinstance(generator, Streams):
        taken = generator.take(shape)
        if taken.device.type == "cpu":  # a minibatch of every update: NumPy's calls take a third of the time
            return torch.from_numpy((taken.numpy() * high).astype(np.int64))
        return torch.mul(taken, high).long()
    return torch.randint(high, tuple(shape), generator=generator, device=generator.device)


def branch(generator: Generator, numbers: Tensor) -> Generator:
    """Return the generator of the numbers `numbers` (S,) of every run, see `Streams.branch`; any other as it is."""
    return generator.branch(numbers) if isinstance(generator, Streams) else generator


def _numbers_of(count: int, n: int, keys: np.ndarray) -> np.ndarray:
    """Return the numbers count … count + n - 1 of every stream, (S, n), as PyTorch's calls compute them."""
    bits = _mix_words(_mix_words(np.arange(count, count + n, dtype=np.uint64)) + keys[:, None])
    numbers = (bits >> np.uint64(12)).astype(np.float64)
    numbers += 0.5
    numbers *= 2.0**-52
    return numbers


def _mix_words(x: np.ndarray) -> np.ndarray:
    """Return `_mix` of words without a sign, which are shifted in one call."""
    x = (x + np.uint64(1)) * np.uint64(STEP % 2**64)
    for by, factor in ((30, -4658895280553007687), (27, -7723592293110705685)):
        x ^= x >> np.uint64(by)
        x *= np.uint64(factor % 2**64)
    x ^= x >> np.uint64(31)
    return x


def _mix(x: Tensor) -> Tensor:
    """Return bits that pass for random ones, of a count or a key: a bijection of 64 bits."""
    x = (x + 1) * STEP
    for by, factor in ((30, -4658895280553007687), (27, -7723592293110705685)):
        x.bitwise_xor_(_shifted(x, by)).mul_(factor)
    return x.bitwise_xor_(_shifted(x, 31))


def _shifted(x: Tensor, by: int) -> Tensor:
    return (x >> by).bitwise_and_(2 ** (64 - by) - 1)  # PyTorch copies the sign into the bits in front
