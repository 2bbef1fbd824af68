"""Convolutions over time in bfloat16 or float32 with float32 sums, as machine code.

Signals lie position by position, the channels of a position side by side. A tile of outputs, 12
positions of 32 channels, stays in registers while all that it depends on is added up: the
processor does nothing else in that time, measured at its full rate of products. An output's
numbers depend on its inputs alone: not on where it lies in a tile, nor on the number of threads.
"""

from __future__ import annotations

from livekit_xtts.model.native import compiler, team
from livekit_xtts.model.native.assembly import (
    FLOATS,
    INTS,
    LANES,
    PAIRS,
    SHORTS,
    Code,
)
from livekit_xtts.model.native.team import Table

NEEDED = frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl"})
"""Processor flags, as Linux names them, that the code is written for."""

NEEDED_BF16 = NEEDED | {"avx512_bf16"}
"""The same for inputs in bfloat16."""

POSITIONS = 12
"""Positions of a tile: 24 sums with two vectors of channels, and registers left for the rest."""

CHANNELS = 2 * LANES
"""Channels of a tile."""

TABLE = (*team.FIELDS, "phases", "ops", "bias", "state_in", "state_out", "scratch")
"""Entries of the table; `phases` counts them, `ops` is where the first one's operations lie."""

SCRATCH_BYTES = 4096
"""What each thread has for a tile's sums."""

OP = (
    *("run", "units", "last", "chain", "groups", "tiles", "each"),
    *("before", "core", "after"),
    *("input", "input_stride", "taps", "tap_step", "weights", "block_bytes", "bias"),
    *("floats", "floats_stride", "inputs", "inputs_stride", "residual", "residual_stride", "bytes"),
)
"""What describes an operation, 64 bits each: `run` is the address of one of `RUNS`, `last` is 1 for
the last of a phase, `chain` counts the operations whose sums are added (1 in the others, whose
units are none of their own), `before` to `after` are addresses of the parts of a convolution.
"""

RUNS = ("convolve", "load", "save", "clear", "finish")
BEFORE = ("plain", "residual", "more")
AFTER = ("keep", "next", "both", "mean", "output")

_DECLARED_BF16 = f"""
declare {FLOATS} @llvm.x86.avx512bf16.dpbf16ps.512({FLOATS}, {PAIRS}, {PAIRS})
"""

DECLARATIONS = f"""
declare {FLOATS} @llvm.fma.v16f32({FLOATS}, {FLOATS}, {FLOATS})
declare {FLOATS} @llvm.maxnum.v16f32({FLOATS}, {FLOATS})
declare float @llvm.vector.reduce.fadd.v16f32(float, {FLOATS})
declare void @llvm.prefetch.p0(ptr, i32, i32, i32)
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
"""

_TILE = [(p, v) for p in range(POSITIONS) for v in range(CHANNELS // LANES)]


def _place(c: Code, pointer: str, index: int) -> str:
    """A vector of the tile's sums."""
    return c.at(pointer, LANES * index)


def core(channels: int, size: int) -> str:
    """Adds to a tile's sums the products of so many channels at all taps.

    Weights lie in the order in which they are used: for each tap, for each channel, or two of them
    in bfloat16, those of 32 outputs.

    Args:
        channels: Of the inputs.
        size: Bytes of an input: 2 for bfloat16, 4 for float32.
    """
    c = Code(
        f"core_{channels}",
        "ptr %x, ptr %w, i64 %taps, i64 %step, ptr %sums",
        exported=True,
    )
    kind = PAIRS if size == 2 else FLOATS
    sums = [c.variable(FLOATS, c.load(_place(c, "%sums", i), align=64)) for i in range(len(_TILE))]
    weights = c.variable("ptr", "%w")
    with c.loop("0", "%taps") as tap:
        base = c.at("%x", c.times(tap, "%step"), "i8")
        # Four bytes at once: two values in bfloat16.
        with c.loop("0", str(channels * size // 4)) as four:
            w, x = weights.get(), c.at(base, four, "i32")
            vectors = [c.load(c.at(w, LANES * v), kind, 64) for v in range(CHANNELS // LANES)]
            for position in range(POSITIONS):
                value = c.load(c.at(x, size * channels * position, "i8"), "i32")
                value = c(f"bitcast {INTS} {c.splat(value, 'i32')} to {kind}")
                for v, vector in enumerate(vectors):
                    part = sums[position * len(vectors) + v]
                    part.set(_add_products(c, part.get(), value, vector, size))
            weights.set(c.at(w, CHANNELS))
    for i, part in enumerate(sums):
        c.store(part.get(), _place(c, "%sums", i), align=64)
    return c.text()


def _add_products(c: Code, sums: str, a: str, b: str, size: int) -> str:
    if size == 4:
        return c.fma(a, b, sums)
    return c(
        f"call {FLOATS} @llvm.x86.avx512bf16.dpbf16ps.512({FLOATS} {sums},"
        f" {PAIRS} {a}, {PAIRS} {b})"
    )


def _side(name: str) -> tuple[Code, Table]:
    """A function of a tile, before or after its products: table, operation, sums, first position,
    block of channels.
    """
    c = Code(name, "ptr %table, ptr %op, ptr %sums, i64 %row, i64 %block", exported=True)
    return c, Table(c, OP, "%op")


def _rows(c: Code, op: Table, name: str, stride: str, size: int) -> list[str]:
    """Where a tile's vectors lie in a signal of values of so many bytes."""
    step = op.number(stride)
    base = c.at(op.pointer(name), c.times("%row", step), "i8")
    base = c.at(base, c.times("%block", CHANNELS * size), "i8")
    rows = [base]
    for _ in range(POSITIONS - 1):
        rows.append(c.at(rows[-1], step, "i8"))
    return [c.at(rows[position], LANES * size * v, "i8") for position, v in _TILE]


def before(name: str, size: int) -> str:
    """What a tile's sums begin with: "plain": the bias; "residual": also what the block goes round;
    "more": both are added to what is there.

    Args:
        name: Of these.
        size: Bytes of an input.
    """
    c, op = _side(name)
    bias = c.at(Table(c, TABLE).pointer("bias"), op.number("bias"))
    bias = c.at(bias, c.times("%block", CHANNELS))
    biases = [c.load(c.at(bias, LANES * v)) for v in range(CHANNELS // LANES)]
    places = None if name == "plain" else _rows(c, op, "residual", "residual_stride", 4)
    for i, (_, v) in enumerate(_TILE):
        value = biases[v]
        if places is not None:
            value = c.add(value, c.load(places[i]))
        if name == "more":
            value = c.add(value, c.load(_place(c, "%sums", i), align=64))
        c.store(value, _place(c, "%sums", i), align=64)
    # What is needed after the products, and for the next tile, comes while they are made.
    _fetch(c, op, "floats", "floats_stride", 4, written=True)
    _fetch(c, op, "inputs", "inputs_stride", size, written=True)
    if name != "plain":
        _fetch(c, op, "residual", "residual_stride", 4, written=False)
    return c.text()


def _fetch(c: Code, op: Table, name: str, stride: str, size: int, *, written: bool) -> None:
    """Ask for a tile's lines of a signal, if there is one; those that are read are the next's."""
    with c.when(c(f"icmp ne ptr {op.pointer(name)}, null")):
        places = _rows(c, op, name, stride, size)
        ahead = 0 if written else POSITIONS
        distance = c.times(op.number(stride), ahead)
        for place in places[:: max(1, 64 // (LANES * size))]:
            line = c.at(place, distance, "i8")
            c.do(f"call void @llvm.prefetch.p0(ptr {line}, i32 {int(written)}, i32 3, i32 1)")


def after(name: str, size: int, blocks: int, slopes: tuple[float, float]) -> str:
    """Where a tile's sums go: "keep": nowhere; "next": into the next layer's inputs; "both": also
    as they are; "mean": their part of so many blocks, into the next stage's inputs; "output": the
    same in float32, for the last layer.

    Args:
        name: Of these.
        size: Bytes of an input.
        blocks: Residual blocks of a stage.
        slopes: Of the leaky ReLU of the layers, and of the last one.
    """
    c, op = _side(name)
    if name == "keep":
        return c.text()
    floats = _rows(c, op, "floats", "floats_stride", 4) if name in ("both", "output") else None
    inputs = _rows(c, op, "inputs", "inputs_stride", size) if name != "output" else None
    slope = c.number_splat(slopes[name == "output"])
    part = c.number_splat(1 / blocks) if name in ("mean", "output") else None
    for i in range(len(_TILE)):
        value = c.load(_place(c, "%sums", i), align=64)
        if part is not None:
            value = c.mul(value, part)
        if name == "both" and floats is not None:
            c.store(value, floats[i])
        value = c.binary("maxnum", value, c.mul(value, slope))
        if name == "output" and floats is not None:
            c.store(value, floats[i])
        if inputs is not None and size == 4:
            c.store(value, inputs[i])
        elif inputs is not None:
            c.store(c(f"fptrunc {FLOATS} {value} to {SHORTS}"), inputs[i], SHORTS, 2)
    return c.text()


def _run(name: str) -> tuple[Code, Table]:
    """A unit of an operation: table, operation, which unit, the thread's scratch."""
    c = Code(name, "ptr %table, ptr %op, i64 %unit, ptr %sums", exported=True)
    return c, Table(c, OP, "%op")


def convolve() -> str:
    """Some tiles of one block of channels; those of a chain are added up."""
    c, op = _run("convolve")
    groups, each = op.number("groups"), op.number("each")
    block = c(f"sdiv i64 %unit, {groups}")
    first = c.times(c(f"srem i64 %unit, {groups}"), each)
    last = c(f"call i64 @llvm.smin.i64(i64 {c.plus(first, each)}, i64 {op.number('tiles')})")
    chain = op.number("chain")
    with c.loop(first, last) as tile, c.loop("0", chain) as link:
        one = c.at("%op", c.times(link, len(OP)), "i64")
        part = Table(c, OP, one)
        row = c.times(tile, POSITIONS)
        side = f"(ptr %table, ptr {one}, ptr %sums, i64 {row}, i64 {block})"
        c.do(f"call void {part.pointer('before')}{side}")
        x = c.at(part.pointer("input"), c.times(row, part.number("input_stride")), "i8")
        w = c.at(part.pointer("weights"), c.times(block, part.number("block_bytes")), "i8")
        taps, step = part.number("taps"), part.number("tap_step")
        c.do(
            f"call void {part.pointer('core')}(ptr {x}, ptr {w}, i64 {taps}, i64 {step}, ptr %sums)"
        )
        c.do(f"call void {part.pointer('after')}{side}")
    return c.text()


def move(name: str) -> str:
    """Bytes: "load" from what is kept, "save" to what is kept next, "clear"."""
    c, op = _run(name)
    table, size = Table(c, TABLE), op.number("bytes")
    if name == "clear":
        target = op.pointer("floats")
        c.do(f"call void @llvm.memset.p0.i64(ptr {target}, i8 0, i64 {size}, i1 false)")
        return c.text()
    if name == "load":
        source = c.at(table.pointer("state_in"), op.number("input"), "i8")
        target = op.pointer("floats")
    else:
        source = op.pointer("input")
        target = c.at(table.pointer("state_out"), op.number("floats"), "i8")
    c.do(f"call void @llvm.memcpy.p0.p0.i64(ptr {target}, ptr {source}, i64 {size}, i1 false)")
    return c.text()


def finish(channels: int) -> str:
    """The last layer, of one channel, in float32: `tiles` samples in units of `each`."""
    c, op = _run("finish")
    each, stride = op.number("each"), op.number("input_stride")
    first = c.times("%unit", each)
    last = c(f"call i64 @llvm.smin.i64(i64 {c.plus(first, each)}, i64 {op.number('tiles')})")
    source, weights, taps = op.pointer("input"), op.pointer("weights"), op.number("taps")
    with c.loop(first, last) as sample:
        x = c.at(source, c.times(sample, stride), "i8")
        sums = [c.variable(FLOATS, "zeroinitializer") for _ in range(channels // LANES)]
        with c.loop("0", taps) as tap:
            row = c.at(x, c.times(tap, stride), "i8")
            w = c.at(weights, c.times(tap, channels))
            for v, part in enumerate(sums):
                value = c.load(c.at(row, LANES * v))
                part.set(c.fma(value, c.load(c.at(w, LANES * v)), part.get()))
        total = sums[0].get()
        for part in sums[1:]:
            total = c.add(total, part.get())
        c.store(c.total(total), c.at(op.pointer("floats"), sample), "float")
    return c.text()


def run() -> str:
    """Thread `%t`'s part: phase by phase, the units of its operations as they come."""
    c = Code("run", "ptr %table, i64 %t")
    table = Table(c, TABLE)
    scratch = c.at(table.pointer("scratch"), c.times("%t", SCRATCH_BYTES), "i8")
    place = c.variable("ptr", table.pointer("ops"))
    with c.loop("0", table.number("phases")) as phase:
        # Every thread counts for itself what there is to do.
        first = place.get()
        count, at = c.variable("i64", "0"), c.variable("ptr", first)
        number = c.number()
        c.do(f"br label %count{number}")
        c.label(f"count{number}")
        op = Table(c, OP, at.get())
        count.set(c.plus(count.get(), op.number("units")))
        last = op.number("last")
        at.set(c.at(at.get(), len(OP), "i64"))
        c.branch(c(f"icmp eq i64 {last}, 0"), f"count{number}", f"counted{number}")
        c.label(f"counted{number}")
        place.set(at.get())
        with team.dealt(c, table, phase, count.get()) as unit:
            _find_and_run(c, first, unit, scratch)
    return c.text()


def _find_and_run(c: Code, first: str, unit: str, scratch: str) -> None:
    """The operation that a unit of the phase belongs to."""
    number = c.number()
    left, at = c.variable("i64", "0"), c.variable("ptr", "null")
    left.set(unit)
    at.set(first)
    c.do(f"br label %find{number}")
    c.label(f"find{number}")
    op = Table(c, OP, at.get())
    units = op.number("units")
    c.branch(c(f"icmp slt i64 {left.get()}, {units}"), f"found{number}", f"next{number}")
    c.label(f"next{number}")
    left.set(c(f"sub i64 {left.get()}, {units}"))
    at.set(c.at(at.get(), len(OP), "i64"))
    c.do(f"br label %find{number}")
    c.label(f"found{number}")
    arguments = f"(ptr %table, ptr {at.get()}, i64 {left.get()}, ptr {scratch})"
    c.do(f"call void {op.pointer('run')}{arguments}")


def source(channels: tuple[int, ...], size: int, blocks: int, slopes: tuple[float, float]) -> str:
    """The module as LLVM's text.

    Args:
        channels: Of all inputs; the last are the last layer's.
        size: Bytes of an input: 2 for bfloat16, 4 for float32.
        blocks: See `after`.
        slopes: See `after`.
    """
    parts = [DECLARATIONS, _DECLARED_BF16 if size == 2 else "", team.DECLARATIONS]
    parts += [core(count, size) for count in sorted(set(channels))]
    parts += [before(name, size) for name in BEFORE]
    parts += [after(name, size, blocks, slopes) for name in AFTER]
    parts += [convolve(), move("load"), move("save"), move("clear"), finish(channels[-1]), run()]
    return "\n\n".join([*parts, team.frame(TABLE), compiler.ATTRIBUTES])
