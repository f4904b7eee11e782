"""Matrix products of layers, in memory that is given: torch's own, or those of oneDNN where they are faster.

On a CPU torch multiplies by MKL, which uses half of the width of an AMD processor with AVX-512. There oneDNN takes 0.5
to 0.9 of the time of a large product in float32, with bias and ReLU included. Which one multiplies is a rule of shapes
and of the processor, not a timing, so a resumed run has the same bits.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor

Calls = list[Callable[[], object]]

LEAST = 2**21  # multiplications below which the call around oneDNN's product takes what the product saves
LEAST_WIDTH = 64
NARROW = 16  # gᵀh with fewer columns in h takes MKL up to four times as long as (hᵀg)ᵀ


@cache
def _is_slow_for_mkl() -> bool:
    """Return whether the processor is one of AMD with AVX-512, and torch has oneDNN."""
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or not torch.backends.mkldnn.is_available():
        return False
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):  # it is internal to torch, so a version may lack it
        return False
    try:
        return "AuthenticAMD" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return "AuthenticAMD" in platform.processor()


def by_onednn(rows: int, p: int, q: int, like: Tensor) -> bool:
    """Return whether oneDNN multiplies (rows, p) by (p, q)."""
    large = rows * p * q >= LEAST and min(p, q) >= LEAST_WIDTH
    return large and like.dtype == torch.float32 and like.device.type == "cpu" and _is_slow_for_mkl()


def product(h: Tensor, w: Tensor, b: Tensor | None = None, relu: bool = False) -> Tensor:
    """Return h wᵀ + b by oneDNN, 0 where it is negative if `relu`: h (rows, p), w (q, p), b (q,), without a graph."""
    return torch.ops.mkldnn._linear_pointwise(h, w, b, "relu" if relu else "none", [], "")


def linear(h: Tensor, w: Tensor, b: Tensor, out: Tensor, relu: bool = False) -> Calls:
    """Return the calls of h wᵀ + b -> out of R runs: h (R, rows, p), w (R, q, p), b (R, 1, q), out (R, rows, q)."""
    if len(h) == 1 and by_onednn(h.shape[1], h.shape[2], w.shape[1], h):
        return [partial(_write, out[0], h[0], w[0], b[0, 0], relu)]
    calls: Calls = [partial(torch.baddbmm, b, h, w.mT, out=out)]
    return [*calls, partial(torch.relu_, out)] if relu else calls


def times(g: Tensor, w: Tensor, out: Tensor) -> Calls:
    """Return the calls of g w -> out of R runs: g (R, rows, q), w (R, q, p), out (R, rows, p)."""
    if len(g) == 1 and by_onednn(g.shape[1], g.shape[2], w.shape[-1], g):
        return [partial(_write, out[0], g[0], w[0].mT)]
    return [partial(torch.bmm, g, w, out=out)]


def outer(g: Tensor, h: Tensor, out: Tensor) -> Calls:
    """Return the calls of gᵀ h -> out of R runs: g (R, rows, q), h (R, rows, p), out (R, q, p)."""
    if len(g) == 1 and by_onednn(g.shape[1], g.shape[-1], h.shape[-1], g):
        return [partial(_write, out[0], g[0].mT, h[0].mT)]
    return [partial(torch.bmm, g.mT, h, out=out)]


def _write(out: Tensor, h: Tensor, w: Tensor, b: Tensor | None = None, relu: bool = False) -> None:
    out.copy_(product(h, w, b, relu))
