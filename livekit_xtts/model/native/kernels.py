"""The pieces of the step: norms, 8-bit values, attention, the head.

A row's numbers come from instructions that do not depend on how many other rows there are, nor on
the number of threads: whole-number sums are exact, and float sums are taken in one fixed order.
"""

from __future__ import annotations

from livekit_xtts.model.native.assembly import (
    FLOATS,
    HALVES,
    INTS,
    LANES,
    Code,
    Variable,
    constant,
)

BLOCK = 64
"""Weights and activations that share a scale."""

BLOCK_BYTES = BLOCK * LANES + 4 * LANES
"""A tile of 16 outputs over one block: 8-bit weights in fours along the inputs, then scales."""

_POSITIONS_AHEAD = 32
_EPSILON = 1e-5
_LOWEST = -3e38

DECLARATIONS = f"""
declare {FLOATS} @llvm.fma.v16f32({FLOATS}, {FLOATS}, {FLOATS})
declare {FLOATS} @llvm.rint.v16f32({FLOATS})
declare {FLOATS} @llvm.maxnum.v16f32({FLOATS}, {FLOATS})
declare {FLOATS} @llvm.minnum.v16f32({FLOATS}, {FLOATS})
declare {INTS} @llvm.smax.v16i32({INTS}, {INTS})
declare {INTS} @llvm.x86.avx512.mask.cvtps2dq.512({FLOATS}, {INTS}, i16, i32)
declare {INTS} @llvm.x86.avx512.vpdpbusd.512({INTS}, {INTS}, {INTS})
declare float @llvm.vector.reduce.fadd.v16f32(float, {FLOATS})
declare i32 @llvm.vector.reduce.smax.v16i32({INTS})
declare i32 @llvm.vector.reduce.add.v16i32({INTS})
declare float @llvm.sqrt.f32(float)
declare float @llvm.maxnum.f32(float, float)
declare void @llvm.prefetch.p0(ptr, i32, i32, i32)
"""

# exp(f) for |f| <= ln(2) / 2: the polynomial of the Cephes library, highest power first.
_EXP = (
    1.9875691500e-4,
    1.3981999507e-3,
    8.3334519073e-3,
    4.1665795894e-2,
    1.6666665459e-1,
    5.0000001201e-1,
)
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4


def exponential(c: Code, x: str) -> str:
    """e to the x, within two units in the last place; x is clamped to ±87."""
    x = c.binary("minnum", c.binary("maxnum", x, c.number_splat(-87.0)), c.number_splat(87.0))
    whole = c.unary("rint", c.mul(x, c.number_splat(1.4426950408889634)))
    rest = c.fma(whole, c.number_splat(-_LN2_HIGH), x)
    rest = c.fma(whole, c.number_splat(-_LN2_LOW), rest)
    sum_ = c.number_splat(_EXP[0])
    for factor in _EXP[1:]:
        sum_ = c.fma(sum_, rest, c.number_splat(factor))
    sum_ = c.add(c.fma(sum_, c.mul(rest, rest), rest), c.number_splat(1.0))
    # Times a power of two: added to the exponent's bits.
    power = c(f"fptosi {FLOATS} {whole} to {INTS}")
    power = c(f"shl {INTS} {power}, {c.splat('23', 'i32')}")
    bits = c(f"bitcast {FLOATS} {sum_} to {INTS}")
    return c(f"bitcast {INTS} {c.combine('add', bits, power, INTS)} to {FLOATS}")


def gelu(c: Code, x: str) -> str:
    """The tanh form, x / (1 + exp(-2 u))."""
    u = c.mul(c.mul(x, x), c.number_splat(0.044715))
    u = c.mul(c.fma(u, x, x), c.number_splat(-2 * 0.7978845608028654))
    return c.combine("fdiv", x, c.add(exponential(c, u), c.number_splat(1.0)))


def norm() -> str:
    """Layer norm of one row: x, weight, bias, out, n; n a multiple of 64."""
    c = Code("norm", "ptr %x, ptr %w, ptr %b, ptr %out, i64 %n")
    sums = [c.variable(FLOATS, "zeroinitializer") for _ in range(4)]

    def whole() -> str:
        a, b, d, e = (part.get() for part in sums)
        return c.total(c.add(c.add(a, b), c.add(d, e)))

    def each(i: str) -> list[tuple[Variable, str]]:
        return [(s, c.load(c.at("%x", c.plus(i, LANES * k)))) for k, s in enumerate(sums)]

    with c.loop("0", "%n", 4 * LANES) as i:
        for part, x in each(i):
            part.set(c.add(part.get(), x))
    count = c("sitofp i64 %n to float")
    mean = c.splat(c(f"fdiv float {whole()}, {count}"))
    for part in sums:
        part.set("zeroinitializer")
    with c.loop("0", "%n", 4 * LANES) as i:
        for part, x in each(i):
            away = c.combine("fsub", x, mean)
            part.set(c.fma(away, away, part.get()))
    variance = c(f"fdiv float {whole()}, {count}")
    variance = c(f"fadd float {variance}, {constant(_EPSILON)}")
    root = c(f"call float @llvm.sqrt.f32(float {variance})")
    inverse = c.splat(c(f"fdiv float 1.0, {root}"))
    with c.loop("0", "%n", LANES) as i:
        x = c.mul(c.combine("fsub", c.load(c.at("%x", i)), mean), inverse)
        c.store(c.fma(x, c.load(c.at("%w", i)), c.load(c.at("%b", i))), c.at("%out", i))
    return c.text()


def quantise() -> str:
    """One row to 8 bits: x, values, scale of each block, -128 times the values' sum, blocks.

    The products take weights as unsigned values (128 more than they are); the sums take that back.
    A value that is not finite makes its block's scale so, and with it all that is computed.
    """
    c = Code("quantise", "ptr %x, ptr %q, ptr %s, ptr %c, i64 %blocks")
    with c.loop("0", "%blocks") as block:
        base = c.times(block, BLOCK)
        places = [c.plus(base, LANES * k) for k in range(BLOCK // LANES)]
        xs = [c.load(c.at("%x", place)) for place in places]
        # Without the sign, floats are in the order of their bits, and NaN comes after all.
        unsigned = c.splat(str(0x7FFFFFFF), "i32")
        most = "zeroinitializer"
        for x in xs:
            size = c.combine("and", c(f"bitcast {FLOATS} {x} to {INTS}"), unsigned, INTS)
            most = c(f"call {INTS} @llvm.smax.v16i32({INTS} {most}, {INTS} {size})")
        bits = c(f"call i32 @llvm.vector.reduce.smax.v16i32({INTS} {most})")
        top = c(f"bitcast i32 {bits} to float")
        c.store(c(f"fmul float {top}, {constant(1 / 127)}"), c.at("%s", block), "float")
        inverse = c(f"fdiv float {constant(127.0)}, {top}")
        some = c(f"fcmp ogt float {top}, {constant(1e-30)}")
        inverse = c.splat(c(f"select i1 {some}, float {inverse}, float 0.0"))
        total = "zeroinitializer"
        for place, x in zip(places, xs, strict=True):
            # To the nearest; what is not a number becomes some value.
            whole = c(
                f"call {INTS} @llvm.x86.avx512.mask.cvtps2dq.512({FLOATS} {c.mul(x, inverse)},"
                f" {INTS} zeroinitializer, i16 -1, i32 4)"
            )
            total = c.combine("add", total, whole, INTS)
            small = c(f"trunc {INTS} {whole} to <16 x i8>")
            c.store(small, c.at("%q", place, "i8"), "<16 x i8>", 1)
        whole = c(f"call i32 @llvm.vector.reduce.add.v16i32({INTS} {total})")
        c.store(c(f"mul i32 {whole}, -128"), c.at("%c", block, "i32"), "i32")
    return c.text()


def _come(c: Code, held: str, head_dim: int) -> None:
    """Ask for what is held of a later position: the processor's own reading ahead ends at pages."""
    for line in range(max(1, head_dim // 32)):
        place = c.at(held, _POSITIONS_AHEAD * head_dim + 32 * line, "half")
        c.do(f"call void @llvm.prefetch.p0(ptr {place}, i32 0, i32 3, i32 1)")


def attend(head_dim: int) -> str:
    """One head of all rows, in order: stores each row's key and value, then attends to its slot.

    Keys and values are float16, shape (slots, heads, length, head_dim) from `%k` and `%v` on.
    """
    c = Code(
        "attend",
        "ptr %qkv, i64 %rows, ptr %k, ptr %v, ptr %slots, ptr %positions, i64 %slot, i64 %length,"
        " i64 %head, i64 %width, ptr %scores, ptr %out",
    )
    parts = range(head_dim // LANES)
    column = c.times("%head", head_dim)
    with c.loop("0", "%rows") as row:
        slot = c.times(c.load(c.at("%slots", row, "i64"), "i64", 8), "%slot")
        position = c.load(c.at("%positions", row, "i64"), "i64", 8)
        start = c.plus(slot, c.times(column, "%length"))
        keys, values = c.at("%k", start, "half"), c.at("%v", start, "half")
        first = c.plus(c.times(row, c.times("%width", 3)), column)
        scale = c.number_splat(head_dim**-0.5)
        query = []
        for part in parts:
            place = c.plus(first, LANES * part)
            query.append(c.mul(c.load(c.at("%qkv", place)), scale))
            target = c.plus(c.times(position, head_dim), LANES * part)
            for index, memory in ((1, keys), (2, values)):
                x = c.load(c.at("%qkv", c.plus(place, c.times("%width", index))))
                small = c(f"fptrunc {FLOATS} {x} to {HALVES}")
                c.store(small, c.at(memory, target, "half"), HALVES, 2)
        count = c.plus(position, 1)
        highest = c.variable("float", constant(_LOWEST))
        with c.loop("0", count) as other:
            key = c.at(keys, c.times(other, head_dim), "half")
            _come(c, key, head_dim)
            score = c.mul(query[0], c.half(key))
            for part in parts[1:]:
                score = c.fma(query[part], c.half(c.at(key, LANES * part, "half")), score)
            total = c.total(score)
            top = c(f"call float @llvm.maxnum.f32(float {highest.get()}, float {total})")
            highest.set(top)
            c.store(total, c.at("%scores", other), "float")
        # The last vector is filled up with what weighs nothing.
        c.store(c.number_splat(_LOWEST), c.at("%scores", count))
        peak = c.splat(highest.get())
        sums = c.variable(FLOATS, "zeroinitializer")
        with c.loop("0", count, LANES) as other:
            score = c.load(c.at("%scores", other))
            weight = exponential(c, c.combine("fsub", score, peak))
            void = c(f"fcmp oeq {FLOATS} {score}, {c.number_splat(_LOWEST)}")
            weight = c(f"select <16 x i1> {void}, {FLOATS} zeroinitializer, {FLOATS} {weight}")
            c.store(weight, c.at("%scores", other))
            sums.set(c.add(sums.get(), weight))
        # A score beyond all bounds must not end as an ordinary number.
        inverse = c.splat(c(f"fdiv float 1.0, {c.total(sums.get())}"))
        inverse = c.add(inverse, c.combine("fsub", peak, peak))
        results = [c.variable(FLOATS, "zeroinitializer") for _ in parts]
        with c.loop("0", count) as other:
            weight = c.splat(c.load(c.at("%scores", other), "float"))
            value = c.at(values, c.times(other, head_dim), "half")
            _come(c, value, head_dim)
            for part, result in enumerate(results):
                x = c.half(c.at(value, LANES * part, "half"))
                result.set(c.fma(weight, x, result.get()))
        place = c.plus(c.times(row, "%width"), column)
        for part, result in enumerate(results):
            target = c.at("%out", c.plus(place, LANES * part))
            c.store(c.mul(result.get(), inverse), target)
    return c.text()


def head() -> str:
    """16 logits of one row in float32: weights (n, 16), row, n, bias, out."""
    c = Code("head", "ptr %w, ptr %x, i64 %n, ptr %bias, ptr %out")
    sums = [c.variable(FLOATS, "zeroinitializer") for _ in range(4)]
    with c.loop("0", "%n", len(sums)) as i:
        for k, part in enumerate(sums):
            index = c.plus(i, k)
            w = c.load(c.at("%w", c.times(index, LANES)), FLOATS, 64)
            x = c.splat(c.load(c.at("%x", index), "float"))
            part.set(c.fma(w, x, part.get()))
    a, b, d, e = (part.get() for part in sums)
    y = c.add(c.add(a, b), c.add(d, e))
    c.store(c.add(y, c.load("%bias")), "%out")
    return c.text()
