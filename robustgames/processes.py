"""Processes that train one game together, as torchrun starts them: what they exchange, and how they end together."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from robustgames.errors import GameError

T = TypeVar("T")
LONGEST = timedelta(minutes=30)
"""Time for which a process waits for the others; the first one draws the figures meanwhile."""
REPORTED, LEFT = "robustgames/reported", "robustgames/left"
LINGER = 5.0
"""Seconds for which the process that keeps the store waits for the others at its end."""


class LostError(GameError):
    """Another process has ended, so this one cannot continue."""


@dataclass
class Processes:
    """W processes that call the same functions in the same order; a single one exchanges nothing.

    Attributes:
        rank: Number of this process, 0 … W - 1. Process 0 writes the files.
        world: Number W of processes.
        parted: Whether this process has left the others, after an error: then nothing is exchanged any more.
    """

    rank: int = 0
    world: int = 1
    parted: bool = False
    _store: Any = field(default=None, repr=False)

    @property
    def is_first(self) -> bool:
        """Whether this process writes and prints."""
        return self.rank == 0

    def mean(self, parts: Iterable[Tensor], shards: int) -> Tensor:
        """Return the mean of M tensors of one shape, of which each process has M/W: the same bits for every W.

        The sum is taken in the order of the shards. Every process adds up one W-th of the coordinates, so each sends
        and receives n (M/W + 1) (W - 1)/W numbers for n coordinates; with M = W that is the traffic of a ring.

        Args:
            parts: The M/W tensors of this process.
            shards: Number M of tensors of all processes.
        """
        if self.world == 1:
            return _sum(parts) / shards
        own = torch.stack(list(parts))
        n = own[0].numel()
        width = -(-n // self.world)
        sent = own.new_zeros(len(own), self.world * width)
        sent[:, :n] = own.flatten(1)
        sent = sent.view(len(own), self.world, width).transpose(0, 1).contiguous()
        got = torch.empty_like(sent)  # of process s, its parts of the coordinates of this one
        with self._exchanging():
            dist.all_to_all_single(got, sent)
            total = _sum(got.view(shards, width)) / shards
            out = total.new_empty(self.world * width)
            dist.all_gather(list(out.chunk(self.world)), total)
        return out[:n].view(own.shape[1:])

    def gather(self, part: Tensor, dim: int = -1) -> Tensor:
        """Return the parts of all processes, which have one shape, joined along a dimension in the order of ranks."""
        if self.world == 1:
            return part
        parts = [torch.empty_like(part, memory_format=torch.contiguous_format) for _ in range(self.world)]
        with self._exchanging():
            dist.all_gather(parts, part.contiguous())
        return torch.cat(parts, dim)

    def chunk(self, whole: Tensor, dim: int = -1) -> Tensor:
        """Return the part of this process of a tensor that `gather` would join."""
        return whole if self.world == 1 else whole.chunk(self.world, dim)[self.rank]

    def rows(self, count: int) -> slice:
        """Return the rows of this process, of a number that W need not divide."""
        return slice(count * self.rank // self.world, count * (self.rank + 1) // self.world)

    def all(self, mask: Tensor) -> Tensor:
        """Return where a mask is true in all processes."""
        if self.world == 1:
            return mask
        agreed = mask.to(torch.uint8)
        with self._exchanging():
            dist.all_reduce(agreed, dist.ReduceOp.MIN)
        return agreed.bool()

    def merge(self, tensor: Tensor, own: Tensor) -> Tensor:
        """Return a tensor with each row (the first dimension) of the process whose mask `own` has it."""
        if self.world == 1:
            return tensor
        rows = own.view(-1, *(1 for _ in tensor.shape[1:]))
        merged = torch.where(rows, tensor, 0).to(torch.uint8 if tensor.dtype == torch.bool else tensor.dtype)
        return self.add(merged).to(tensor.dtype)

    def add(self, part: Tensor) -> Tensor:
        """Return the sum over the processes of parts whose sum is exact, e.g. of counts."""
        if self.world == 1:
            return part
        total = part.clone()
        with self._exchanging():
            dist.all_reduce(total)
        return total

    def any(self, flag: bool) -> bool:
        """Return whether a flag is true in one of the processes; no GPU is waited for."""
        return bool(flag) if self.world == 1 else not bool(self.all(torch.tensor([not flag])))

    def share(self, make: Callable[[], T]) -> T:
        """Return what the first process makes; the others do not call the function.

        Raises:
            LostError: It raised an error there.
        """
        if self.world == 1:
            return make()
        found = [make() if self.is_first else None]
        with self._exchanging():
            dist.broadcast_object_list(found, 0)
        return found[0]  # type: ignore[return-value]

    def collect(self, value: T) -> list[T]:
        """Return the values of all processes, in the order of ranks."""
        found: list[Any] = [None] * self.world
        if self.world == 1:
            return [value]
        with self._exchanging():
            dist.all_gather_object(found, value)
        return found

    def collect_first(self, value: T) -> list[T]:
        """Return the values of all processes to the first one, and [] to the others."""
        if self.world == 1:
            return [value]
        found: list[Any] | None = [None] * self.world if self.is_first else None
        with self._exchanging():
            dist.gather_object(value, found, 0)
        return found or []

    def wait(self) -> None:
        """Wait until all processes are here."""
        self.any(False)

    def check_same(self, tensors: Sequence[Tensor], what: str) -> None:
        """Check that tensors are equal in all processes, by a digest of each process's.

        Raises:
            GameError: They differ, which all processes find out.
        """
        if self.world == 1:
            return
        digest = hashlib.sha256()
        for tensor in tensors:
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        found = self.collect(digest.hexdigest())
        if others := [rank for rank, other in enumerate(found) if other != found[0]]:
            raise GameError(
                f"{what} of process {others[0]} differs from that of process 0: the processes must run one version of "
                "the code on machines of one kind; resume from the last checkpoint"
            )

    def check_device(self, device: torch.device) -> None:
        """Check that tensors on a device can be exchanged.

        Raises:
            GameError: Two processes of a machine would share a GPU.
        """
        if self.world > 1 and device.type == "cuda" and "nccl" not in str(dist.get_backend_config()):
            local = os.environ.get("LOCAL_WORLD_SIZE", str(self.world))
            raise GameError(
                f"{local} processes share {torch.cuda.device_count()} GPU of this machine: start one per GPU with "
                "--nproc-per-node, or add --device cpu"
            )

    def part(self) -> None:
        """Leave the others, which are elsewhere: they end when they next wait for this process."""
        self.parted = self.world > 1

    def may_report(self) -> bool:
        """Return whether no other process has printed an error; the first one to ask is the one that prints."""
        if self._store is None:
            return True
        with suppress(RuntimeError):  # the process that keeps the store has ended
            return self._store.add(REPORTED, 1) == 1
        return True

    @contextmanager
    def _exchanging(self) -> Iterator[None]:
        """Turn the loss of a process into a `LostError`."""
        if self.parted:
            raise LostError("this process has left the others")
        try:
            yield
        except RuntimeError as error:  # of any backend
            self.parted = True
            raise LostError(f"another of the {self.world} processes has ended or does not answer") from error


_ALONE = Processes()
_current = _ALONE


def current() -> Processes:
    """Return the processes that `start` has joined, or those of a `torch.distributed` that a user has initialized."""
    global _current
    if _current.world == 1 and dist.is_available() and dist.is_initialized():
        _current = Processes(dist.get_rank(), dist.get_world_size())
    return _current


def alone() -> Processes:
    """Return one process that exchanges nothing."""
    return _ALONE


def start() -> Processes:
    """Join the processes that torchrun's variables describe: with NCCL if each has a GPU of its own, and gloo.

    Raises:
        GameError: The variables are wrong, or the others cannot be reached.
    """
    global _current
    local, here = int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    own_gpu = dist.is_nccl_available() and 0 < here <= torch.cuda.device_count()
    if own_gpu:
        torch.cuda.set_device(local)
    try:
        store, rank, world = next(rendezvous("env://", timeout=LONGEST))
        backend = "cpu:gloo,cuda:nccl" if own_gpu else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=LONGEST)
    except (RuntimeError, ValueError, StopIteration) as error:
        reason = " ".join(str(error).split())[:160]
        raise GameError(f"the processes cannot reach each other ({reason}): start them by torchrun") from error
    _current = Processes(rank, world, _store=store)
    return _current


def stop() -> None:
    """Leave the processes that `start` has joined, at the end of a command."""
    global _current
    team, _current = _current, _ALONE
    if team._store is None:
        return
    if not (team.parted and "nccl" in str(dist.get_backend_config())):  # which waits for the others
        dist.destroy_process_group()
    with suppress(RuntimeError):
        left, end = team._store.add(LEFT, 1), time.monotonic() + LINGER
        keeps = team.is_first and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
        while keeps and left < team.world and time.monotonic() < end:  # the others ask it who prints
            time.sleep(0.02)
            left = team._store.add(LEFT, 0)


def _sum(parts: Iterable[Tensor]) -> Tensor:
    """Return the sum in the order given, in new memory."""
    remaining = iter(parts)
    total = next(remaining).clone()
    for part in remaining:
        total += part
    return total
