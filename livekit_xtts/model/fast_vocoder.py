"""The vocoder laid out for speed: channels last, stages in reduced precision where asked.

The same network as `HifiGan`, from its weights. Convolutions run as two-dimensional ones over a
height of 1 with channels last, which the processors' kernels take without reordering. The last
stage and the output stay in float32: they are a fifth of the work, and half of the error that
reduced precision would make.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from livekit_xtts.model.vocoder import HifiGan, ResBlock

if TYPE_CHECKING:
    from livekit_xtts.model.carried import Carry

SLOPE = 0.1
FINAL_SLOPE = 0.01


@dataclass(frozen=True, slots=True)
class Layer:
    """A one-dimensional convolution as a two-dimensional one over a height of 1.

    Attributes:
        weight: Shape (out, in, 1, taps), or (in, out, 1, taps) of a transposed one.
        bias: Shape (out,), or None.
        outputs: Channels that come out.
        taps: Of the kernel.
        padding: Zeros that the whole signal has at either end; of a transposed one, the outputs
            that are cut off there.
        dilation: Distance of the taps.
        rate: Outputs per input.
        transposed: Whether it is a transposed convolution.
    """

    weight: Tensor
    bias: Tensor | None
    outputs: int
    taps: int
    padding: int
    dilation: int
    rate: int
    transposed: bool

    @classmethod
    def of(cls, layer: nn.Module, dtype: torch.dtype, *, laid_out: bool = True) -> Layer:
        """The layer of a module.

        Args:
            layer: A `Conv1d` or `ConvTranspose1d`.
            dtype: Of the weights.
            laid_out: Whether the weights are channels last; else, in their own dtype, they are
                shared with the module.
        """
        assert isinstance(layer, nn.Conv1d | nn.ConvTranspose1d)
        weight = layer.weight.detach().to(dtype)[:, :, None]
        if laid_out:
            weight = weight.contiguous(memory_format=torch.channels_last)
        bias = None if layer.bias is None else layer.bias.detach().to(dtype)
        assert isinstance(layer.padding[0], int)
        return cls(
            weight,
            bias,
            layer.out_channels,
            layer.kernel_size[0],
            layer.padding[0],
            layer.dilation[0],
            layer.stride[0],
            isinstance(layer, nn.ConvTranspose1d),
        )

    def __call__(self, x: Tensor, padding: int | None = None) -> Tensor:
        """Shapes: (batch, in, 1, time) to (batch, out, 1, time · rate).

        Args:
            x: The inputs.
            padding: In place of the layer's own.
        """
        pad = (0, self.padding if padding is None else padding)
        if self.transposed:
            return F.conv_transpose2d(x, self.weight, self.bias, stride=(1, self.rate), padding=pad)
        return F.conv2d(x, self.weight, self.bias, padding=pad, dilation=(1, self.dilation))


@dataclass(frozen=True, slots=True)
class Stage:
    """One upsampling with its residual blocks.

    Attributes:
        dtype: What it is computed in.
        up: The transposed convolution.
        cond: Of the speaker embedding.
        blocks: For each block its pairs of a dilated and a plain convolution.
    """

    dtype: torch.dtype
    up: Layer
    cond: nn.Module
    blocks: tuple[tuple[tuple[Layer, Layer], ...], ...]


class FastVocoder:
    """A drop-in for `HifiGan` where windows are decoded (`decode_windows`).

    Attributes:
        config: Sizes.
        dtype: Of all but the last stage and the output.
        laid_out: Whether signals are channels last.
    """

    def __init__(
        self, vocoder: HifiGan, dtype: torch.dtype = torch.bfloat16, *, laid_out: bool = True
    ) -> None:
        """Lay out the weights, on the vocoder's device.

        Args:
            vocoder: The original; not changed.
            dtype: Of all but the last stage and the output.
            laid_out: Whether to copy the weights channels last. Without, in float32, they are
                shared with the original.
        """
        self.config = vocoder.config
        self.dtype = dtype
        self.laid_out = laid_out
        kernels = len(self.config.decoder_resblock_kernel_sizes)
        self.pre = Layer.of(vocoder.conv_pre, dtype, laid_out=laid_out)
        self.post = Layer.of(vocoder.conv_post, torch.float32, laid_out=laid_out)
        self.cond = vocoder.cond_layer
        self.stages: list[Stage] = []
        for index, (up, cond) in enumerate(zip(vocoder.ups, vocoder.conds, strict=True)):
            kind = torch.float32 if index == len(vocoder.ups) - 1 else dtype
            blocks = [
                _pairs(block, kind, laid_out)
                for block in list(vocoder.resblocks)[index * kernels : (index + 1) * kernels]
            ]
            layer = Layer.of(up, kind, laid_out=laid_out)
            self.stages.append(Stage(kind, layer, cond, tuple(blocks)))

    def enter(self, features: Tensor) -> Tensor:
        """Features (batch, width, frames) as the first layer takes them."""
        form = torch.channels_last if self.laid_out else torch.contiguous_format
        return features[:, :, None].to(self.dtype, memory_format=form)

    @torch.inference_mode()
    def __call__(self, features: Tensor, speaker_embedding: Tensor) -> Tensor:
        """Frames to samples; shapes as `HifiGan.forward`, float32 in and out."""
        x = self.pre(self.enter(features)) + shift(self.cond, speaker_embedding, self.dtype)
        for stage in self.stages:
            x = stage.up(F.leaky_relu(x.to(stage.dtype), SLOPE))
            x = x + shift(stage.cond, speaker_embedding, stage.dtype)
            total = _block(x, stage.blocks[0])
            for block in stage.blocks[1:]:
                total = total + _block(x, block)
            x = total / len(stage.blocks)
        return torch.tanh(self.post(F.leaky_relu(x.float(), FINAL_SLOPE)))[:, 0, 0]

    def carry_on(
        self, carry: Carry, frames: Tensor, speaker: Tensor, last: bool
    ) -> tuple[Tensor, Carry]:
        """See `carried.Layers.carry_on`."""
        from livekit_xtts.model.fast_carried import carry_on

        return carry_on(self, carry, frames, speaker, last)


def shift(layer: nn.Module, speaker_embedding: Tensor, dtype: torch.dtype) -> Tensor:
    """What a speaker embedding (batch, d_vector_dim) adds to each position: (batch, out, 1, 1)."""
    result: Tensor = layer(speaker_embedding.float()[:, :, None])
    return result[:, :, None].to(dtype)


def _pairs(block: nn.Module, dtype: torch.dtype, laid_out: bool) -> tuple[tuple[Layer, Layer], ...]:
    assert isinstance(block, ResBlock)
    return tuple(
        (Layer.of(a, dtype, laid_out=laid_out), Layer.of(b, dtype, laid_out=laid_out))
        for a, b in zip(block.convs1, block.convs2, strict=True)
    )


def _block(x: Tensor, pairs: tuple[tuple[Layer, Layer], ...]) -> Tensor:
    for dilated, plain in pairs:
        x = plain(F.leaky_relu(dilated(F.leaky_relu(x, SLOPE)), SLOPE)) + x
    return x
