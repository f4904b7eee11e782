"""Matrix products of float32: by tiles in the vectors of the processor, or by BLAS.

A BLAS chooses its code when it is loaded, and those of SciPy and PyTorch do not know every processor: on an AMD EPYC
with AVX-512 both take twice the time of the tiles, which are compiled for the processor at hand.

All matrices are given as one line of memory, row after row.
"""

from __future__ import annotations

import numpy as np

from robustgames.agents.control.kernels.compiling import ZERO, part
from robustgames.agents.control.kernels.tile import FITS, LANES, ROWS, make_tile, turn

WIDE = 2 * LANES
NEAR = 8192  # numbers that the first cache holds next to those of a tile
TURNED = 64 * 64  # largest matrix that is transposed for BLAS, which then takes two thirds of the time

_tile, _narrow_tile = make_tile(ROWS, 2), make_tile(ROWS, 1)
_row, _narrow_row = make_tile(1, 2), make_tile(1, 1)


def room(depth: int) -> int:
    """Return the size of the memory of a product, a sum of at most `depth` terms."""
    return max(TURNED, depth * WIDE + ROWS * LANES)


# -- by tiles ------------------------------------------------------------------------------------------------------
@part
def _pack(b, kb, rb, at, depth, many, wide, panel):
    """Copy columns `at` to at + many of b[k kb + j rb] to rows of `wide` numbers, the rest of which becomes 0."""
    if rb == 1 and many == WIDE:  # the usual case, of a constant length
        for k in range(depth):
            for j in range(WIDE):
                panel[k * WIDE + j] = b[k * kb + at + j]
    elif rb == 1:
        for k in range(depth):
            for j in range(many):
                panel[k * wide + j] = b[k * kb + at + j]
    else:  # kb is 1
        squares = LANES if depth >= LANES and many >= LANES else 0
        for j in range(0, many, squares or 1):
            if squares:
                top = min(j, many - LANES)
                for k in range(0, depth, LANES):
                    first = min(k, depth - LANES)
                    turn(b, (at + top) * rb + first, rb, panel, first * wide + top, wide)  # type: ignore
            else:
                for k in range(depth):
                    panel[k * wide + j] = b[(at + j) * rb + k]
    for k in range(depth if many < wide else 0):
        for j in range(many, wide):
            panel[k * wide + j] = ZERO


@part
def _tiles(a, ra, ka, m, depth, b, kb, rb, n, c, memory):
    """Write c[i n + j] = Σ_k a[i ra + k ka] b[k kb + j rb], i < m, j < n, k < depth.

    The last tile of a row or column begins where it still fits, and computes some numbers again. Tiles of a matrix that
    is narrower than a vector are written elsewhere and copied.
    """
    high, rows, spare = m >= ROWS, ROWS if m >= ROWS else 1, len(memory) - ROWS * LANES
    j = 0
    while j < n:
        wide = WIDE if n >= WIDE and n - j > LANES else LANES
        at = max(0, min(j, n - wide))
        source, b0, step = b, at, kb
        if rb != 1 or n < wide or (high and depth * n > NEAR):  # else b is read where it is
            source, b0, step = memory, 0, wide
            _pack(b, kb, rb, at, depth, min(wide, n), wide, memory)
        for i in range(0, m, rows):
            top = min(i, m - rows)
            to, c0, rc = c, top * n + at, n
            if n < wide:
                to, c0, rc = memory, spare, LANES
            if high and wide == WIDE:
                _tile(a, top * ra, ra, ka, source, b0, step, depth, to, c0, rc)
            elif high:
                _narrow_tile(a, top * ra, ra, ka, source, b0, step, depth, to, c0, rc)
            elif wide == WIDE:
                _row(a, top * ra, ra, ka, source, b0, step, depth, to, c0, rc)
            else:
                _narrow_row(a, top * ra, ra, ka, source, b0, step, depth, to, c0, rc)
            for r in range(rows if n < wide else 0):
                for x in range(n):
                    c[(top + r) * n + x] = memory[spare + r * LANES + x]
        j += wide


@part
def _tiles_forward(h, matrix, rows, p, q, out, memory):
    if q > 4:
        _tiles(h, p, 1, rows, p, matrix, 1, p, q, out, memory)
        return
    for b in range(rows):
        own = h[b * p : b * p + p]
        for i in range(q):
            line, total = matrix[i * p : i * p + p], ZERO
            for j in range(p):
                total += own[j] * line[j]
            out[b * q + i] = total


@part
def _tiles_below(slope, matrix, rows, p, q, out, memory):
    _tiles(slope, q, 1, rows, q, matrix, p, 1, p, out, memory)


@part
def _tiles_in_matrix(slope, h, rows, p, q, out, memory):
    _tiles(slope, 1, q, q, rows, h, p, 1, p, out, memory)


# -- by BLAS -------------------------------------------------------------------------------------------------------
@part
def _blas_forward(h, matrix, rows, p, q, out, memory):
    if rows < 32 or p * q > TURNED:
        np.dot(h.reshape(rows, p), matrix.reshape(q, p).T, out.reshape(rows, q))
        return
    turned = memory[: p * q].reshape(p, q)
    for i in range(p):
        for j in range(q):
            turned[i, j] = matrix[j * p + i]
    np.dot(h.reshape(rows, p), turned, out.reshape(rows, q))


@part
def _blas_below(slope, matrix, rows, p, q, out, memory):
    np.dot(slope.reshape(rows, q), matrix.reshape(q, p), out.reshape(rows, p))


@part
def _blas_in_matrix(slope, h, rows, p, q, out, memory):
    np.dot(slope.reshape(rows, q).T, h.reshape(rows, p), out.reshape(q, p))


# -- the choice ----------------------------------------------------------------------------------------------------
forward = _tiles_forward if FITS else _blas_forward
"""forward(h, matrix, rows, p, q, out, memory): h Wᵀ, (B, p), (q, p) -> (B, q)."""
below = _tiles_below if FITS else _blas_below
"""below(slope, matrix, rows, p, q, out, memory): the gradient in h, slope W, (B, q), (q, p) -> (B, p)."""
in_matrix = _tiles_in_matrix if FITS else _blas_in_matrix
"""in_matrix(slope, h, rows, p, q, out, memory): the gradient in W, slopeᵀ h, (B, q), (B, p) -> (q, p)."""
