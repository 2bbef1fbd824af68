"""Convolutions of packed signals on a GPU, in Triton.

Signals of several utterances lie one after another in one matrix, a row a position. Tables tell,
for each frame, where its signal begins and ends; what a convolution reaches for beyond that is
zero, as at the ends of a signal by itself. So windows of any lengths go through in one launch, and
none is padded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton
from torch import Tensor

from livekit_xtts.model.device import programs

_ROWS = 128
_MOST_COLUMNS = 128
_MOST_DEPTH = 64
_POST_ROWS = 128


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where the signals lie, as tables over frames.

    Attributes:
        firsts: First frame of the signal that a frame belongs to, shape (frames,), int32.
        ends: Its end.
        owners: Index of the signal.
        total: Frames that are used, shape (1,), int32.
    """

    firsts: Tensor
    ends: Tensor
    owners: Tensor
    total: Tensor

    @property
    def frames(self) -> int:
        """Frames that there is room for."""
        return self.firsts.shape[0]


@dataclass(frozen=True, slots=True)
class Convolution:
    """A convolution's weights as the kernel takes them.

    Attributes:
        weight: Shape (taps, inputs, columns).
        bias: Float32, shape (columns,).
        outputs: Channels that come out; a transposed one has `up` times as many columns.
        dilation: Distance of the taps.
        reach: Rows before its own that the first tap looks at.
        up: Positions that come out for each.
        split: Column from which the taps look one row further.
    """

    weight: Tensor
    bias: Tensor
    outputs: int
    dilation: int = 1
    reach: int = 0
    up: int = 1
    split: int = 1 << 30

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor, dilation: int, dtype: torch.dtype) -> Convolution:
        """A plain convolution that keeps the length.

        Args:
            weight: Shape (outputs, inputs, taps), taps odd.
            bias: Shape (outputs,).
            dilation: Distance of the taps.
            dtype: Of the weights.
        """
        outputs, _, taps = weight.shape
        laid = weight.detach().permute(2, 1, 0).to(dtype).contiguous()
        return cls(laid, bias.detach().float(), outputs, dilation, dilation * (taps // 2))

    @classmethod
    def of_transposed(
        cls, weight: Tensor, bias: Tensor, rate: int, dtype: torch.dtype
    ) -> Convolution:
        """A transposed convolution with twice as many taps as its rate, which it cuts evenly.

        Output `rate · m + p` of the uncut signal has, with `d = p + cut`, the inputs m (tap d) and
        m - 1 (tap d + rate) where d < rate, else m + 1 (tap d - rate) and m (tap d).

        Args:
            weight: Shape (inputs, outputs, 2 · rate).
            bias: Shape (outputs,).
            rate: Positions that come out for each.
            dtype: Of the weights.

        Raises:
            ValueError: The kernel has another size.
        """
        inputs, outputs, taps = weight.shape
        cut = (taps - rate) // 2
        if taps != 2 * rate or 2 * cut != rate:
            raise ValueError(f"a transposed convolution by {rate} with {taps} taps")
        weight = weight.detach().permute(2, 0, 1)
        laid = weight.new_empty(2, inputs, rate, outputs)
        for place in range(rate):
            tap = place + cut
            before, after = (tap + rate, tap) if tap < rate else (tap, tap - rate)
            laid[0, :, place], laid[1, :, place] = weight[before], weight[after]
        return cls(
            laid.reshape(2, inputs, rate * outputs).to(dtype).contiguous(),
            bias.detach().float().repeat(rate),
            outputs,
            reach=1,
            up=rate,
            split=(rate - cut) * outputs,
        )

    def __call__(
        self,
        x: Tensor,
        bounds: Bounds,
        rate: int,
        *,
        slope_in: float = 1.0,
        slope_out: float = 1.0,
        shift: Tensor | None = None,
        residual: Tensor | None = None,
        into: Tensor | None = None,
    ) -> Tensor:
        """Convolve.

        Args:
            x: Shape (frames · rate, inputs).
            bounds: Of the signals.
            rate: Positions of `x` for each frame.
            slope_in: Of the leaky ReLU before; 1 for none.
            slope_out: Of the one after.
            shift: What is added to each position, by signal; shape (signals, outputs), float32.
            residual: Added to the result, which it has the shape of.
            into: The result is added to this.

        Returns:
            Shape (frames · rate · up, outputs), in the dtype of `x`.
        """
        taps, inputs, columns = self.weight.shape
        y = into
        if y is None:
            y = x.new_empty(bounds.frames * rate * self.up, self.outputs)
        block = min(_MOST_COLUMNS, max(16, triton.next_power_of_2(columns)))
        if self.up > 1:
            # No program may have columns of both kinds.
            block = min(block, self.split & -self.split)
        grid = (triton.cdiv(bounds.frames * rate, _ROWS), triton.cdiv(columns, block))
        kernel: Any = programs.convolve
        kernel[grid](
            x, self.weight, self.bias, x if shift is None else shift,
            x if residual is None else residual, y,
            bounds.firsts, bounds.ends, bounds.owners, bounds.total,
            rate, taps, self.dilation, self.reach, self.up, self.split,
            0 if shift is None else shift.stride(0),
            inputs=inputs, outputs=self.outputs, columns=columns,
            slope_in=slope_in, slope_out=slope_out, shifted=shift is not None,
            added=residual is not None, summed=into is not None,
            rows_block=_ROWS, columns_block=block,
            depth=min(_MOST_DEPTH, max(16, triton.next_power_of_2(inputs))),
            num_warps=8 if block >= 64 else 4, num_stages=3,
        )  # fmt: skip
        return y


def sound(x: Tensor, weight: Tensor, bounds: Bounds, rate: int, slope: float) -> Tensor:
    """The last layer: a leaky ReLU, a convolution to one channel, and tanh.

    Args:
        x: Shape (frames · rate, inputs).
        weight: Shape (taps, inputs), float32.
        bounds: Of the signals.
        rate: Positions for each frame.
        slope: Of the leaky ReLU.

    Returns:
        Samples, shape (frames · rate,), float32.
    """
    taps, inputs = weight.shape
    y = torch.empty(len(x), device=x.device)
    kernel: Any = programs.sound
    kernel[(triton.cdiv(len(x), _POST_ROWS),)](
        x, weight, y, bounds.firsts, bounds.ends, bounds.total, rate,
        taps=taps, inputs=inputs, slope=slope, block=_POST_ROWS,
        depth=triton.next_power_of_2(inputs),
    )  # fmt: skip
    return y
