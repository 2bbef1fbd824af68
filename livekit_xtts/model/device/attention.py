"""What lies between the GPT's matrix products on a GPU.

Nothing here reads more of a cache than a sequence has filled. Positions are looked at in blocks
that are counted from the first.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor

from livekit_xtts.model.device import programs

_BLOCK = 64
"""Positions that a program looks at together."""


def attend(
    qkv: Tensor, cache: Tensor, slots: Tensor, positions: Tensor, heads: int, *, append: bool
) -> Tensor:
    """Attention of one position a row over all positions up to it.

    Args:
        qkv: Query, key and value of each row, shape (rows, 3 * width).
        cache: A layer's keys and values, shape (2, slots, heads, length, width / heads).
        slots: Slot of each row, shape (rows,), long.
        positions: Position of each row in its slot, shape (rows,), long; what is before it is in
            the cache.
        heads: Attention heads.
        append: Write keys and values of the rows to their places; only where no two rows have
            the same slot. Else they are there already (`append`).

    Returns:
        Shape (rows, width), in the dtype of `qkv`.
    """
    rows, width = qkv.shape[0], qkv.shape[1] // 3
    size = width // heads
    out = qkv.new_empty(rows, width)
    programs.attend[(rows, heads)](
        qkv, cache, out, slots, positions,
        cache.stride(1), cache.stride(2), cache.stride(0), size**-0.5,
        heads=heads, size=size, block=_BLOCK, append=append,
    )  # fmt: skip
    return out


def append(qkv: Tensor, cache: Tensor, slots: Tensor, positions: Tensor, heads: int) -> None:
    """Write the keys and values of rows to their places; arguments as `attend` has them."""
    rows, width = qkv.shape[0], qkv.shape[1] // 3
    programs.append[(rows, heads)](
        qkv, cache, slots, positions,
        cache.stride(1), cache.stride(2), cache.stride(0),
        heads=heads, size=width // heads,
    )  # fmt: skip


def add_norm(
    x: Tensor,
    y: Tensor | None,
    norm: tuple[Tensor, Tensor],
    dtype: torch.dtype,
    second: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Add to the residual stream and normalise it, in float32.

    Args:
        x: The residual stream, shape (rows, width), float32; `y` is added to it in place.
        y: What comes to it, same shape, any dtype; None for nothing.
        norm: Weight and bias, float32, shape (width,) each.
        dtype: Of the result.
        second: A norm to apply after the first.

    Returns:
        The normalised stream, shape (rows, width).
    """
    rows, width = x.shape
    out = torch.empty(rows, width, dtype=dtype, device=x.device)
    kernel: Any = programs.add_norm
    kernel[(rows,)](
        x, x if y is None else y, *norm, *(second or norm), out,
        width=width, block=triton.next_power_of_2(width), eps=1e-5,
        add=y is not None, twice=second is not None,
    )  # fmt: skip
    return out
