"""The programs that run on a GPU, in Triton; `attention` and `convolve` launch them.

A row's result depends on its own numbers alone, whatever the other rows are and however many.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def attend(
    qkv, cache, out, slots, positions,
    slot_stride, head_stride, value_stride, scale,
    heads: tl.constexpr, size: tl.constexpr, block: tl.constexpr, append: tl.constexpr,
):  # fmt: skip
    row, head = tl.program_id(0), tl.program_id(1)
    place = tl.load(positions + row).to(tl.int32)
    channel = tl.arange(0, size)
    width: tl.constexpr = heads * size
    given = qkv + row.to(tl.int64) * (3 * width) + head * size + channel
    keys = cache + tl.load(slots + row).to(tl.int64) * slot_stride + head * head_stride
    values = keys + value_stride
    query = tl.load(given).to(tl.float32) * scale
    own_key, own_value = tl.load(given + width), tl.load(given + 2 * width)
    if append:
        tl.store(keys + place * size + channel, own_key)
        tl.store(values + place * size + channel, own_value)
    # Its own position first: it is at hand, and there is always one to begin with.
    best = tl.sum(query * own_key.to(tl.float32), 0)
    total = best * 0.0 + 1.0
    result = own_value.to(tl.float32)
    for start in range(0, place, block):
        at = start + tl.arange(0, block)
        there = at < place
        where = at[:, None] * size + channel[None, :]
        key = tl.load(keys + where, mask=there[:, None], other=0.0).to(tl.float32)
        value = tl.load(values + where, mask=there[:, None], other=0.0).to(tl.float32)
        scores = tl.where(there, tl.sum(key * query[None, :], 1), -float("inf"))
        better = tl.maximum(best, tl.max(scores, 0))
        weights = tl.exp(scores - better)
        shrink = tl.exp(best - better)
        total = total * shrink + tl.sum(weights, 0)
        result = result * shrink + tl.sum(weights[:, None] * value, 0)
        best = better
    target = out + row.to(tl.int64) * width + head * size + channel
    tl.store(target, (result / total).to(out.dtype.element_ty))


@triton.jit
def append(
    qkv, cache, slots, positions, slot_stride, head_stride, value_stride,
    heads: tl.constexpr, size: tl.constexpr,
):  # fmt: skip
    row, head = tl.program_id(0), tl.program_id(1)
    place = tl.load(positions + row).to(tl.int32)
    channel = tl.arange(0, size)
    width: tl.constexpr = heads * size
    given = qkv + row.to(tl.int64) * (3 * width) + head * size + channel
    keys = cache + tl.load(slots + row).to(tl.int64) * slot_stride + head * head_stride
    target = keys + place * size + channel
    tl.store(target, tl.load(given + width))
    tl.store(target + value_stride, tl.load(given + 2 * width))


@triton.jit
def norm(x, weight, bias, there, width: tl.constexpr, eps: tl.constexpr, channel):
    mean = tl.sum(x, 0) / width
    apart = tl.where(there, x - mean, 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(apart * apart, 0) / width + eps)
    gain = tl.load(weight + channel, mask=there, other=0.0)
    shift = tl.load(bias + channel, mask=there, other=0.0)
    return apart * scale * gain + shift


@triton.jit
def add_norm(
    x, y, weight, bias, weight_2, bias_2, out,
    width: tl.constexpr, block: tl.constexpr, eps: tl.constexpr,
    add: tl.constexpr, twice: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * width
    channel = tl.arange(0, block)
    there = channel < width
    value = tl.load(x + row + channel, mask=there, other=0.0)
    if add:
        value += tl.load(y + row + channel, mask=there, other=0.0).to(tl.float32)
        tl.store(x + row + channel, value, mask=there)
    value = norm(value, weight, bias, there, width, eps, channel)
    if twice:
        value = norm(value, weight_2, bias_2, there, width, eps, channel)
    tl.store(out + row + channel, value.to(out.dtype.element_ty), mask=there)


@triton.jit
def leaky(x, slope: tl.constexpr):
    if slope == 1.0:
        return x
    return tl.where(x > 0, x, x * slope)


@triton.jit
def convolve(
    x, weight, bias, shift, residual, y, firsts, ends, owners, total,
    rate, taps, dilation, reach, up, split, shift_stride,
    inputs: tl.constexpr, outputs: tl.constexpr, columns: tl.constexpr,
    slope_in: tl.constexpr, slope_out: tl.constexpr,
    shifted: tl.constexpr, added: tl.constexpr, summed: tl.constexpr,
    rows_block: tl.constexpr, columns_block: tl.constexpr, depth: tl.constexpr,
):  # fmt: skip
    begin = tl.program_id(0) * rows_block
    rows = tl.load(total) * rate
    if begin >= rows:
        return
    row = begin + tl.arange(0, rows_block)
    frame = row // rate
    here = row < rows
    first = tl.load(firsts + frame, mask=here, other=0) * rate
    end = tl.load(ends + frame, mask=here, other=0) * rate
    column = tl.program_id(1) * columns_block + tl.arange(0, columns_block)
    # Of a transposed convolution the first columns look at the row and the one before it, the
    # others at the row and the one after it (see `Convolution.of_transposed`).
    start = row - reach + tl.where(tl.program_id(1) * columns_block >= split, 1, 0)
    parts: tl.constexpr = (inputs + depth - 1) // depth
    total_sum = tl.zeros((rows_block, columns_block), dtype=tl.float32)
    for index in range(taps * parts):
        tap = index // parts
        channel = (index % parts) * depth + tl.arange(0, depth)
        at = start + tap * dilation
        inside = here & (at >= first) & (at < end)
        values = tl.load(
            x + at.to(tl.int64)[:, None] * inputs + channel[None, :],
            mask=inside[:, None] & (channel < inputs)[None, :],
            other=0.0,
        )
        factors = tl.load(
            weight + (tap * inputs + channel)[:, None] * columns + column[None, :],
            mask=(channel < inputs)[:, None] & (column < columns)[None, :],
            other=0.0,
        )
        total_sum = tl.dot(leaky(values, slope_in), factors, total_sum)
    kept = here[:, None] & (column < columns)[None, :]
    result = total_sum + tl.load(bias + column, mask=column < columns, other=0.0)[None, :]
    if shifted:
        owner = tl.load(owners + frame, mask=here, other=0)
        where = owner[:, None] * shift_stride + (column % outputs)[None, :]
        result += tl.load(shift + where, mask=kept, other=0.0)
    result = leaky(result, slope_out)
    # Columns of a transposed convolution are the positions that come out for a row.
    target = row.to(tl.int64)[:, None] * (up * outputs) + column[None, :]
    if added:
        result += tl.load(residual + target, mask=kept, other=0.0).to(tl.float32)
    if summed:
        result += tl.load(y + target, mask=kept, other=0.0).to(tl.float32)
    tl.store(y + target, result.to(y.dtype.element_ty), mask=kept)


@triton.jit
def sound(
    x, weight, y, firsts, ends, total, rate, taps: tl.constexpr, inputs: tl.constexpr,
    slope: tl.constexpr, block: tl.constexpr, depth: tl.constexpr,
):  # fmt: skip
    begin = tl.program_id(0) * block
    rows = tl.load(total) * rate
    if begin >= rows:
        return
    row = begin + tl.arange(0, block)
    here = row < rows
    first = tl.load(firsts + row // rate, mask=here, other=0) * rate
    end = tl.load(ends + row // rate, mask=here, other=0) * rate
    channel = tl.arange(0, depth)
    result = tl.zeros((block,), dtype=tl.float32)
    for tap in tl.static_range(taps):
        at = row + tap - taps // 2
        inside = here & (at >= first) & (at < end)
        values = tl.load(
            x + at.to(tl.int64)[:, None] * inputs + channel[None, :],
            mask=inside[:, None] & (channel < inputs)[None, :],
            other=0.0,
        )
        factors = tl.load(weight + tap * inputs + channel, mask=channel < inputs, other=0.0)
        result += tl.sum(leaky(values.to(tl.float32), slope) * factors[None, :], 1)
    # tanh, without leaving float32's range.
    small = tl.exp(-2.0 * tl.abs(result))
    size = (1.0 - small) / (1.0 + small)
    tl.store(y + row, tl.where(result < 0, -size, size), mask=here)
