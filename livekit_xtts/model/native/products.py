"""The products of the step: 8-bit weights with rows of 8-bit values.

Whole-number sums are exact and float sums are taken block by block, so a row's numbers do not
depend on how many rows there are, nor on which kernel takes it.
"""

from __future__ import annotations

from livekit_xtts.model.native.assembly import FLOATS, INTS, LANES, Code
from livekit_xtts.model.native.kernels import BLOCK, BLOCK_BYTES, gelu

ROWS = (8, 4, 2, 1)
"""Rows that one kernel takes; other counts are put together from these."""

TILES = 2
"""Tiles that are dealt out together. Where there are many rows, a value is read once for both."""

_MANY = ROWS[0]

# One row is fastest as the processor itself reads ahead; more need to be asked for in time.
_AHEAD = 4 * BLOCK_BYTES
_AHEAD_FROM_ROWS = 2
# More at once, and LLVM puts one row's whole chain of sums after another's.
_QUADS_AT_ONCE = 2
_LOOPED_FROM_ROWS = 4


def tile(rows: int, activated: bool, beside: int = 1) -> str:
    """16 outputs of some rows: the tile's weights, its blocks, rows of values with their stride,
    of scales and corrections with theirs, outputs with theirs, bias, how far ahead weights are
    asked for.

    Args:
        rows: How many.
        activated: Whether GELU follows.
        beside: Tiles, one behind the other in memory, that are taken side by side.
    """
    c = Code(
        f"tile_{rows}_{int(activated)}_{beside}",
        "ptr %w, i64 %blocks, ptr %q, i64 %qs, ptr %s, ptr %c, i64 %ss, ptr %out, i64 %os,"
        " ptr %bias, i64 %ahead",
    )
    results = [[c.variable(FLOATS, "zeroinitializer") for _ in range(beside)] for _ in range(rows)]
    tile_bytes = c.times("%blocks", BLOCK_BYTES)
    with c.loop("0", "%blocks") as block:
        weights = [c.at("%w", c.times(block, BLOCK_BYTES), "i8")]
        for _ in range(beside - 1):
            weights.append(c.at(weights[-1], tile_bytes, "i8"))
        if rows >= _AHEAD_FROM_ROWS:
            for one in weights:
                there = c.at(one, "%ahead", "i8")
                for line in range(BLOCK_BYTES // 64):
                    place = c.at(there, 64 * line, "i8")
                    c.do(f"call void @llvm.prefetch.p0(ptr {place}, i32 0, i32 3, i32 1)")
        values, starts = [], []
        for row in range(rows):
            place = c.plus(c.times("%qs", row), c.times(block, BLOCK))
            values.append(c.at("%q", place, "i8"))
            correction = c.at("%c", c.plus(c.times("%ss", row), block), "i32")
            starts.append(c.splat(c.load(correction, "i32"), "i32"))
        sums = _products(c, weights, values, starts)
        scales = [c.load(c.at(one, BLOCK * LANES, "i8"), FLOATS, 64) for one in weights]
        for row, totals in enumerate(sums):
            scale = c.splat(c.load(c.at("%s", c.plus(c.times("%ss", row), block)), "float"))
            for result, total, one in zip(results[row], totals, scales, strict=True):
                exact = c(f"sitofp {INTS} {total} to {FLOATS}")
                result.set(c.fma(exact, c.mul(scale, one), result.get()))
    for index in range(beside):
        bias = c.load(c.at("%bias", LANES * index))
        for row in range(rows):
            y = c.add(results[row][index].get(), bias)
            place = c.at("%out", c.plus(c.times("%os", row), LANES * index))
            c.store(gelu(c, y) if activated else y, place)
    return c.text()


def _products(c: Code, weights: list[str], values: list[str], starts: list[str]) -> list[list[str]]:
    """Whole-number products of a block of each row with each tile, added to the starts."""
    quads = BLOCK // 4

    def dot(total: str, w: str, a: str) -> str:
        return c(
            f"call {INTS} @llvm.x86.avx512.vpdpbusd.512({INTS} {total}, {INTS} {w}, {INTS} {a})"
        )

    def four(value: str, index: str | int) -> str:
        return c.splat(c.load(c.at(value, index, "i8"), "i32"), "i32")

    if len(values) < _LOOPED_FROM_ROWS:
        # Several sums a row, or each product would wait for the one before it.
        parts = max(1, 4 // len(values))
        sums = [[start] + ["zeroinitializer"] * (parts - 1) for start in starts]
        for index in range(quads):
            w = c.load(c.at(weights[0], 64 * index, "i8"), INTS, 64)
            for row, value in enumerate(values):
                part = index % parts
                sums[row][part] = dot(sums[row][part], w, four(value, 4 * index))
        totals = []
        for mine in sums:
            total = mine[0]
            for other in mine[1:]:
                total = c.combine("add", total, other, INTS)
            totals.append([total])
        return totals
    at_once = _QUADS_AT_ONCE * len(weights)
    kept = [[c.variable(INTS, start) for _ in weights] for start in starts]
    with c.loop("0", str(quads), at_once) as quad:
        now = [[variable.get() for variable in row] for row in kept]
        lines = [c.at(one, c.times(quad, 64), "i8") for one in weights]
        places = [c.at(value, c.times(quad, 4), "i8") for value in values]
        for k in range(at_once):
            vectors = [c.load(c.at(line, 64 * k, "i8"), INTS, 64) for line in lines]
            for row, place in enumerate(places):
                a = four(place, 4 * k)
                now[row] = [dot(t, w, a) for t, w in zip(now[row], vectors, strict=True)]
        for variables, mine in zip(kept, now, strict=True):
            for variable, total in zip(variables, mine, strict=True):
                variable.set(total)
    return [[variable.get() for variable in row] for row in kept]


def tiles(activated: bool) -> list[str]:
    """All that `tile_rows` calls."""
    return [tile(rows, activated) for rows in ROWS] + [tile(_MANY, activated, TILES)]


def tile_rows(activated: bool) -> str:
    """`TILES` tiles of any number of rows."""
    kind = int(activated)
    c = Code(
        f"tile_rows_{kind}",
        "ptr %w, i64 %blocks, ptr %q, i64 %qs, ptr %s, ptr %c, i64 %ss, ptr %out, i64 %os,"
        " ptr %bias, i64 %rows",
    )
    tile_bytes = c.times("%blocks", BLOCK_BYTES)
    done, ahead = c.variable("i64", "0"), c.variable("i64", str(_AHEAD))

    def call(size: int, beside: int, first: int, row: str) -> None:
        at = c.times("%ss", row)
        out = c.at("%out", c.plus(c.times("%os", row), LANES * first))
        c.call(
            f"tile_{size}_{kind}_{beside}",
            f"ptr {c.at('%w', c.times(tile_bytes, first), 'i8')}",
            "i64 %blocks",
            f"ptr {c.at('%q', c.times('%qs', row), 'i8')}",
            "i64 %qs",
            f"ptr {c.at('%s', at)}",
            f"ptr {c.at('%c', at, 'i32')}",
            "i64 %ss",
            f"ptr {out}",
            "i64 %os",
            f"ptr {c.at('%bias', LANES * first)}",
            f"i64 {ahead.get()}",
        )

    number = c.number()
    c.branch(c(f"icmp sgt i64 %rows, {_MANY}"), f"many{number}", f"few{number}")
    c.label(f"many{number}")
    many = c(f"sub i64 %rows, {c(f'urem i64 %rows, {_MANY}')}")
    with c.loop("0", many, _MANY) as row:
        call(_MANY, TILES, 0, row)
        # While the next rows go over the same weights, those of the next tiles can come.
        ahead.set(c.times(tile_bytes, TILES))
    done.set(many)
    c.do(f"br label %few{number}")
    c.label(f"few{number}")
    for size in ROWS:
        number = c.number()
        c.do(f"br label %again{number}")
        c.label(f"again{number}")
        row = done.get()
        after = c.plus(row, size)
        c.branch(c(f"icmp sle i64 {after}, %rows"), f"some{number}", f"next{number}")
        c.label(f"some{number}")
        for first in range(TILES):
            call(size, 1, first, row)
        done.set(after)
        c.do(f"br label %again{number}")
        c.label(f"next{number}")
    return c.text()
