"""The HiFi-GAN vocoder: latents of the GPT and a speaker embedding to a waveform."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import weight_norm as add_weight_norm

from livekit_xtts.model.config import XttsConfig
from livekit_xtts.model.cuda import moved

_SLOPE = 0.1
_FINAL_SLOPE = 0.01


class Stretch(NamedTuple):
    """A linear interpolation along time, as tables over output positions.

    Attributes:
        scale: Output positions per input position.
        left: Left input of each output position.
        weight: Share of the input right of it; 0 takes the left one alone.
        copies: Whether an utterance whose length it leaves the same is copied, not interpolated.
    """

    scale: float
    left: npt.NDArray[np.int64]
    weight: npt.NDArray[np.float32]
    copies: bool

    def length(self, inputs: int) -> int:
        """Output positions that `inputs` whole inputs give: at least one for at least one."""
        return max(int(inputs * self.scale), min(inputs, 1))

    def apply(self, x: Tensor, start: int, stop: int, origin: int, inputs: int) -> Tensor:
        """Interpolate a range of the outputs from a slice of the inputs.

        Args:
            x: Inputs from position `origin` on, shape (channels, slice).
            start: First output position, counted from the start of the utterance.
            stop: End of the output positions.
            origin: Position of the first input in `x`.
            inputs: Inputs of the whole utterance: the right neighbour of the last is itself.

        Returns:
            Shape (channels, stop - start).
        """
        if self.copies and self.length(inputs) == inputs:
            return x[:, start - origin : stop - origin]
        left = moved(torch.from_numpy(self.left[start:stop]), x.device)
        right = (left + 1).clamp(max=inputs - 1)
        # A position that coincides with an input needs no neighbour, which may not be there yet.
        weight = moved(torch.from_numpy(self.weight[start:stop]), x.device)
        right = torch.where(weight == 0, left, right)
        before, after = (1 - weight).to(x.dtype), weight.to(x.dtype)
        return x[:, left - origin] * before + x[:, right - origin] * after


@lru_cache(maxsize=128)
def stretch(scale: float, inputs: int, copies: bool = True) -> Stretch:
    """Tables of the interpolation that the reference's `interpolate(scale_factor=…)` computes.

    Positions are float32 whatever the tensors are, with one rounding of `(i + 0.5) / scale - 0.5`:
    at 27 s that rounding is 1e-4 of a position, so it is part of the definition.

    Args:
        scale: Output positions per input position.
        inputs: Most inputs that the tables must serve.
        copies: As the attribute of `Stretch`.
    """
    outputs = np.arange(max(int(inputs * scale), 1), dtype=np.float64)
    step = np.float64(np.float32(1.0 / scale))
    position = np.maximum((step * (outputs + 0.5) - 0.5).astype(np.float32), np.float32(0.0))
    index = position.astype(np.int64)
    weight = np.clip(position - index.astype(np.float32), 0.0, 1.0).astype(np.float32)
    return Stretch(scale, index, weight, copies)


@lru_cache(maxsize=128)
def stretches(config: XttsConfig, speed: float) -> tuple[Stretch, ...]:
    """The interpolations between latents and the convolutions, in order.

    Args:
        config: Rates and longest utterance.
        speed: Above 1 is faster. At 1 nothing is interpolated for it.

    Returns:
        Two stretches, three where speed is not 1.
    """
    # The reference copies where a stretch leaves the length the same. That is known in time for
    # the rates (two codes at speed 1), but not for the speed: at 0.99 it holds up to 99 codes,
    # and nothing could be played before the hundredth. So the speed always interpolates here.
    scales = [
        (config.gpt_code_stride_len / config.output_hop_length, True),
        (config.output_sample_rate / config.input_sample_rate, True),
    ]
    if speed != 1.0:
        scales.insert(0, (1.0 / speed, False))
    result = []
    # The step that draws the stop code gives a latent too.
    longest = config.max_codes + 1
    for scale, copies in scales:
        if scale == 1.0:
            continue
        result.append(stretch(scale, longest, copies))
        longest = result[-1].length(longest)
    return tuple(result)


def frame_count(config: XttsConfig, codes: int, speed: float = 1.0) -> int:
    """Frames (of 256 samples) of an utterance of `codes` codes, as the one-shot decode has them.

    Where the stretch by a high speed leaves less than one latent (one code above speed 1), one is
    kept: the reference implementation fails there, here the utterance is one code long.
    """
    for part in stretches(config, speed):
        codes = part.length(codes)
    return codes


class ResBlock(nn.Module):
    """Three pairs of a dilated and a plain convolution, each round a shortcut."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...]) -> None:
        """Make a block.

        Args:
            channels: Channels in and out.
            kernel: Taps of every convolution; odd.
            dilations: Dilation of the first convolution of each pair.
        """
        super().__init__()
        self.convs1 = nn.ModuleList(
            nn.Conv1d(channels, channels, kernel, dilation=d, padding=(kernel - 1) * d // 2)
            for d in dilations
        )
        self.convs2 = nn.ModuleList(
            nn.Conv1d(channels, channels, kernel, padding=(kernel - 1) // 2) for _ in dilations
        )

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (batch, channels, time) to the same."""
        for dilated, plain in zip(self.convs1, self.convs2, strict=True):
            y = dilated(F.leaky_relu(x, _SLOPE))
            x = plain(F.leaky_relu(y, _SLOPE)) + x
        return x


class HifiGan(nn.Module):
    """HiFi-GAN, conditioned on the speaker embedding before each of its stages."""

    def __init__(self, config: XttsConfig, weight_norm: bool = False) -> None:
        """Make the vocoder.

        Args:
            config: Sizes.
            weight_norm: Keep the weight norm of the upsampling and residual convolutions as
                parametrisations (for training); otherwise weights are plain.
        """
        super().__init__()
        self.config = config
        channels, speaker = config.decoder_upsample_initial_channel, config.d_vector_dim
        self.conv_pre = nn.Conv1d(config.decoder_input_dim, channels, 7, padding=3)
        self.cond_layer = nn.Conv1d(speaker, channels, 1)
        self.ups, self.resblocks, self.conds = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for rate, kernel in zip(
            config.decoder_upsample_rates, config.decoder_upsample_kernel_sizes, strict=True
        ):
            padding = (kernel - rate) // 2
            self.ups.append(
                nn.ConvTranspose1d(channels, channels // 2, kernel, stride=rate, padding=padding)
            )
            channels //= 2
            self.conds.append(nn.Conv1d(speaker, channels, 1))
            for taps, dilations in zip(
                config.decoder_resblock_kernel_sizes,
                config.decoder_resblock_dilation_sizes,
                strict=True,
            ):
                self.resblocks.append(ResBlock(channels, taps, dilations))
        self.conv_post = nn.Conv1d(channels, 1, 7, padding=3, bias=False)
        if weight_norm:
            for convolution in self._normed():
                add_weight_norm(convolution)

    def _normed(self) -> list[nn.Module]:
        kinds = (nn.Conv1d, nn.ConvTranspose1d)
        return [
            module
            for part in (self.ups, self.resblocks)
            for module in part.modules()
            if isinstance(module, kinds)
        ]

    def fold_weight_norm(self) -> None:
        """Replace weight-norm parametrisations by the weights they stand for."""
        for convolution in self._normed():
            if parametrize.is_parametrized(convolution, "weight"):
                parametrize.remove_parametrizations(convolution, "weight")

    def forward(self, features: Tensor, speaker_embedding: Tensor) -> Tensor:
        """Frames to samples.

        Args:
            features: Shape (batch, width, frames); what `features` gives.
            speaker_embedding: Shape (batch, d_vector_dim).

        Returns:
            Shape (batch, frames * 256), in -1 … 1.
        """
        speaker = speaker_embedding[:, :, None]
        kernels = len(self.config.decoder_resblock_kernel_sizes)
        x = self.conv_pre(features) + self.cond_layer(speaker)
        for stage, (up, cond) in enumerate(zip(self.ups, self.conds, strict=True)):
            x = up(F.leaky_relu(x, _SLOPE)) + cond(speaker)
            blocks = self.resblocks[stage * kernels : (stage + 1) * kernels]
            total = blocks[0](x)
            for block in blocks[1:]:
                total = total + block(x)
            x = total / kernels
        return torch.tanh(self.conv_post(F.leaky_relu(x, _FINAL_SLOPE)))[:, 0]

    def features(self, latents: Tensor, speed: float = 1.0) -> Tensor:
        """Latents interpolated to frames of 256 samples.

        Args:
            latents: Shape (codes, width).
            speed: Above 1 is faster.

        Returns:
            Shape (width, frames).
        """
        x = latents.T
        for part in stretches(self.config, speed):
            inputs = x.shape[1]
            x = part.apply(x, 0, part.length(inputs), 0, inputs)
        return x

    def decode(self, latents: Tensor, speaker_embedding: Tensor, speed: float = 1.0) -> Tensor:
        """One-shot decode of a whole utterance.

        Args:
            latents: Final-normed hidden states, shape (codes, width); at most 603.
            speaker_embedding: Shape (d_vector_dim,).
            speed: 0.5 … 2.0; above 1 is faster.

        Returns:
            Samples at 24 kHz, shape (256 * frames,), in -1 … 1; empty for no codes.
        """
        if latents.shape[0] == 0:
            return latents.new_zeros(0)
        features = self.features(latents, speed)
        audio: Tensor = self(features[None], speaker_embedding[None])
        return audio[0]
