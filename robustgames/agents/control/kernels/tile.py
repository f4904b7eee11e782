"""Tiles of a matrix product in the vectors of the processor, which Numba's loops do not become by themselves."""

from __future__ import annotations

from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

FEATURES = binding.get_host_cpu_features()
LANES, ROWS = (16, 8) if FEATURES.get("avx512f") else (8, 6)
"""Numbers in a vector, and rows of a tile: its ROWS x 2 sums, and what they add, are all in registers."""
FITS = bool(FEATURES.get("fma") and FEATURES.get("avx2"))
"""Whether the processor is one that the tiles are made for."""


WORD, VECTOR = ir.IntType(64), ir.VectorType(ir.FloatType(), LANES)
WHOLE, PLACES = types.intp, ir.VectorType(ir.IntType(32), LANES)


def make_tile(rows: int, wide: int) -> Any:
    """Return tile(a, a0, ra, ka, b, b0, kb, n, c, c0, rc) for `rows` rows and `wide` vectors of columns:

    c[c0 + i rc + j] = Σ_{k < n} a[a0 + i ra + k ka] · b[b0 + k kb + j], n >= 1.

    All arrays are float32, and their memory is addressed as one line.
    """

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        _, a0, ra, ka, _, b0, kb, n, _, c0, rc = arguments
        a, b, c = (_memory(context, builder, signature, arguments, i) for i in (0, 4, 8))
        function = ir.FunctionType(VECTOR, [VECTOR] * 3)
        multiply_add = cgutils.get_or_insert_function(builder.module, function, f"llvm.fmuladd.v{LANES}f32")
        undefined, first = ir.Constant(VECTOR, ir.Undefined), ir.Constant(PLACES, None)
        begins = [builder.gep(a, [_place(builder, a0, ra, i)]) for i in range(rows)]
        before, loop, done = builder.block, builder.append_basic_block("loop"), builder.append_basic_block("done")
        builder.branch(loop)

        builder.position_at_end(loop)
        k = builder.phi(WORD)
        sums = [[builder.phi(VECTOR) for _ in range(wide)] for _ in range(rows)]
        line = builder.gep(b, [builder.add(b0, builder.mul(k, kb))])
        columns = [_load(builder, line, w) for w in range(wide)]
        place, added = builder.mul(k, ka), []
        for begin, own in zip(begins, sums, strict=True):
            one = builder.load(builder.gep(begin, [place]), align=4)
            one = builder.insert_element(undefined, one, ir.Constant(ir.IntType(32), 0))
            factor = builder.shuffle_vector(one, undefined, first)
            added.append([builder.call(multiply_add, (factor, *two)) for two in zip(columns, own, strict=True)])
        following = builder.add(k, ir.Constant(WORD, 1))
        k.add_incoming(ir.Constant(WORD, 0), before)
        k.add_incoming(following, loop)
        for own, new in zip(sums, added, strict=True):
            for old, found in zip(own, new, strict=True):
                old.add_incoming(ir.Constant(VECTOR, None), before)
                old.add_incoming(found, loop)
        builder.cbranch(builder.icmp_signed("<", following, n), loop, done)

        builder.position_at_end(done)
        for i, new in enumerate(added):
            line = builder.gep(c, [_place(builder, c0, rc, i)])
            for w, found in enumerate(new):
                _store(builder, found, line, w)
        return context.get_dummy_value()

    @intrinsic
    def tile(typing, a, a0, ra, ka, b, b0, kb, n, c, c0, rc):  # type: ignore[no-untyped-def]
        return types.void(a, WHOLE, WHOLE, WHOLE, b, WHOLE, WHOLE, WHOLE, c, WHOLE, WHOLE), generate

    return tile


@intrinsic
def turn(typing, b, b0, rb, c, c0, rc):  # type: ignore[no-untyped-def]
    """Write c[c0 + k rc + j] = b[b0 + j rb + k], j, k < LANES: a square, transposed in registers."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        _, b0, rb, _, c0, rc = arguments
        b, c = (_memory(context, builder, signature, arguments, i) for i in (0, 3))
        rows = [_load(builder, builder.gep(b, [_place(builder, b0, rb, i)]), 0) for i in range(LANES)]
        half = LANES // 2
        while half:  # exchange the off-diagonal quarters of all squares of 2 half rows
            low = ir.Constant(PLACES, [LANES + i - half if i & half else i for i in range(LANES)])
            high = ir.Constant(PLACES, [LANES + i if i & half else i + half for i in range(LANES)])
            for i in range(LANES):
                if not i & half:
                    pair = rows[i], rows[i + half]
                    rows[i], rows[i + half] = (builder.shuffle_vector(*pair, places) for places in (low, high))
            half //= 2
        for i, row in enumerate(rows):
            _store(builder, row, builder.gep(c, [_place(builder, c0, rc, i)]), 0)
        return context.get_dummy_value()

    return types.void(b, WHOLE, WHOLE, c, WHOLE, WHOLE), generate


def _memory(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any, i: int) -> Any:
    """Return the address of the memory of an argument, an array."""
    return context.make_array(signature.args[i])(context, builder, arguments[i]).data


def _place(builder: ir.IRBuilder, begin: Any, step: Any, i: int) -> Any:
    return builder.add(begin, builder.mul(step, ir.Constant(WORD, i)))


def _load(builder: ir.IRBuilder, line: Any, number: int) -> Any:
    """Return vector number 0, 1 … of a line."""
    return builder.load(_vector(builder, line, number), align=4)


def _store(builder: ir.IRBuilder, value: Any, line: Any, number: int) -> None:
    builder.store(value, _vector(builder, line, number), align=4)


def _vector(builder: ir.IRBuilder, line: Any, number: int) -> Any:
    return builder.bitcast(builder.gep(line, [ir.Constant(WORD, number * LANES)]), VECTOR.as_pointer())
