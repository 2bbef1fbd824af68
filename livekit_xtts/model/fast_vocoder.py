"""The vocoder laid out for speed: channels last, stages in reduced precision where asked.

The same network as `HifiGan`, from its weights. Convolutions run as two-dimensional ones over a
height of 1 with channels last, which the processors' kernels take without reordering. The last
stage and the output stay in float32: they are a fifth of the work, and half of the error that
reduced precision would make.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from livekit_xtts.model.vocoder import HifiGan, ResBlock

Convolution: TypeAlias = Callable[[Tensor], Tensor]

_SLOPE = 0.1
_FINAL_SLOPE = 0.01


def _convolution(layer: nn.Module, dtype: torch.dtype) -> Convolution:
    """A one-dimensional layer as a two-dimensional one, channels last."""
    assert isinstance(layer, nn.Conv1d | nn.ConvTranspose1d)
    weight = layer.weight.detach().to(dtype)[:, :, None]
    weight = weight.contiguous(memory_format=torch.channels_last)
    bias = None if layer.bias is None else layer.bias.detach().to(dtype)
    padding = (0, int(layer.padding[0]))
    if isinstance(layer, nn.ConvTranspose1d):
        stride = (1, layer.stride[0])
        return lambda x: F.conv_transpose2d(x, weight, bias, stride=stride, padding=padding)
    dilation = (1, layer.dilation[0])
    return lambda x: F.conv2d(x, weight, bias, padding=padding, dilation=dilation)


class FastVocoder:
    """A drop-in for `HifiGan` where windows are decoded (`decode_windows`).

    Attributes:
        config: Sizes.
        dtype: Of all but the last stage and the output.
    """

    def __init__(self, vocoder: HifiGan, dtype: torch.dtype = torch.bfloat16) -> None:
        """Lay out the weights, on the vocoder's device.

        Args:
            vocoder: The original; not changed.
            dtype: Of all but the last stage and the output.
        """
        self.config = vocoder.config
        self.dtype = dtype
        kernels = len(self.config.decoder_resblock_kernel_sizes)
        self._pre = _convolution(vocoder.conv_pre, dtype)
        self._post = _convolution(vocoder.conv_post, torch.float32)
        self._cond = vocoder.cond_layer
        self._stages = []
        for index, (up, cond) in enumerate(zip(vocoder.ups, vocoder.conds, strict=True)):
            last = index == len(vocoder.ups) - 1
            kind = torch.float32 if last else dtype
            blocks = [
                _pairs(block, kind)
                for block in list(vocoder.resblocks)[index * kernels : (index + 1) * kernels]
            ]
            self._stages.append((kind, _convolution(up, kind), cond, blocks))

    @torch.inference_mode()
    def __call__(self, features: Tensor, speaker_embedding: Tensor) -> Tensor:
        """Frames to samples; shapes as `HifiGan.forward`, float32 in and out."""
        speaker = speaker_embedding.float()[:, :, None]

        def condition(layer: nn.Module, dtype: torch.dtype) -> Tensor:
            shift: Tensor = layer(speaker)
            return shift[:, :, None].to(dtype)

        x = features[:, :, None].to(self.dtype, memory_format=torch.channels_last)
        x = self._pre(x) + condition(self._cond, self.dtype)
        for dtype, up, cond, blocks in self._stages:
            x = up(F.leaky_relu(x.to(dtype), _SLOPE)) + condition(cond, dtype)
            total = _block(x, blocks[0])
            for block in blocks[1:]:
                total = total + _block(x, block)
            x = total / len(blocks)
        return torch.tanh(self._post(F.leaky_relu(x.float(), _FINAL_SLOPE)))[:, 0, 0]


def _pairs(block: nn.Module, dtype: torch.dtype) -> list[tuple[Convolution, Convolution]]:
    assert isinstance(block, ResBlock)
    pairs = zip(block.convs1, block.convs2, strict=True)
    return [(_convolution(a, dtype), _convolution(b, dtype)) for a, b in pairs]


def _block(x: Tensor, pairs: list[tuple[Convolution, Convolution]]) -> Tensor:
    for dilated, plain in pairs:
        x = plain(F.leaky_relu(dilated(F.leaky_relu(x, _SLOPE)), _SLOPE)) + x
    return x
