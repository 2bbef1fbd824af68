"""The vocoder on a GPU: windows of many utterances, packed, by kernels that know their ends."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor, nn

from livekit_xtts.model.device.convolve import Bounds, Convolution, sound
from livekit_xtts.model.device.packing import Tables, plain_bounds
from livekit_xtts.model.streaming import Window
from livekit_xtts.model.vocoder import HifiGan, ResBlock

if TYPE_CHECKING:
    pass

Capture: TypeAlias = Callable[[Callable[[], Tensor]], tuple[Callable[[], None], Tensor]]
"""See `engine.graphs.Capture`."""

logger = logging.getLogger(__name__)

SLOPE, FINAL_SLOPE = 0.1, 0.01

SIZES = (32, 64, 128, 256, 512, 1024, 2048, 4096)
"""Frames of the batches that are captured; more go through one after another."""

WINDOWS = 64
"""Windows of one batch at most."""


class _Batch:
    """What a batch of one size works on, in memory that never moves.

    Args:
        vocoder: Decodes.
        frames: The size.
    """

    transient = True

    def __init__(self, vocoder: DeviceVocoder, frames: int) -> None:
        config, device = vocoder.config, vocoder.device
        self._vocoder = vocoder
        self.tables = Tables(config, frames, device)
        self._latents = torch.zeros(self.tables.room, config.decoder_input_dim, device=device)
        self._speakers = torch.zeros(WINDOWS, config.d_vector_dim, device=device)
        self._replay: Callable[[], None] | None = None
        self._audio: Tensor | None = None

    def _work(self) -> Tensor:
        x = self._latents
        for left, right, weight in self.tables.steps:
            share = weight[:, None]
            x = x.index_select(0, left) * (1 - share) + x.index_select(0, right) * share
        return self._vocoder.network(x[: self.tables.frames], self._speakers, self.tables.bounds)

    def capture(self, capture: Capture) -> None:
        """Have the work replayed from now on."""
        self._work()  # Once outside: kernels are compiled at their first launch.
        self._replay, self._audio = capture(self._work)

    def run(self, items: Sequence[tuple[Tensor, Tensor, Window]]) -> Tensor:
        """Decode; the frames' samples one after another."""
        windows = [window for _, _, window in items]
        codes = sum(len(latents) for latents, _, _ in items)
        torch.cat([latents for latents, _, _ in items], out=self._latents[:codes])
        torch.stack([speaker for _, speaker, _ in items], out=self._speakers[: len(items)])
        self.tables.fill(windows)
        samples = self._vocoder.config.output_hop_length * sum(w.frames for w in windows)
        if self._replay is None:
            return self._work()[:samples]
        self._replay()
        assert self._audio is not None
        # In order on the stream: copied before the next replay overwrites it.
        return self._audio[:samples].clone()


class DeviceVocoder:
    """Takes `HifiGan`'s place where windows are decoded on a GPU.

    Attributes:
        config: Sizes.
        device: Where it runs.
        dtype: Of weights and signals; sums are float32.
    """

    def __init__(self, vocoder: HifiGan, dtype: torch.dtype = torch.float16) -> None:
        """Lay out the weights, on the vocoder's device.

        Args:
            vocoder: The original; not changed.
            dtype: Of weights and signals.

        Raises:
            ValueError: The network has layers that the kernels do not know.
        """
        self.config = vocoder.config
        self.device = vocoder.conv_pre.weight.device
        self.dtype = dtype
        self._batches: dict[int, _Batch] = {}
        self._capture: Capture | None = None
        self._pre = _plain(vocoder.conv_pre, dtype)
        kernels = len(self.config.decoder_resblock_kernel_sizes)
        self._stages: list[tuple[Convolution, list[list[tuple[Convolution, Convolution]]]]] = []
        for index, up in enumerate(vocoder.ups):
            assert isinstance(up, nn.ConvTranspose1d) and up.bias is not None
            # The stage before gives the sum of its blocks: their mean is made here, where a leaky
            # ReLU comes between that leaves factors as they are.
            weight = up.weight / (kernels if index else 1)
            made = Convolution.of_transposed(weight, up.bias, up.stride[0], dtype)
            blocks = vocoder.resblocks[index * kernels : (index + 1) * kernels]
            self._stages.append((made, [_pairs(block, dtype) for block in blocks]))
        self._post = (vocoder.conv_post.weight.detach()[0].T / kernels).float().contiguous()
        conds = [vocoder.cond_layer, *vocoder.conds]
        self._cond = (
            torch.cat([layer.weight.detach()[:, :, 0] for layer in conds]).float().T.contiguous(),
            torch.cat([layer.bias.detach() for layer in conds]).float(),
        )
        self._channels = [layer.weight.shape[0] for layer in conds]

    def network(self, x: Tensor, speakers: Tensor, bounds: Bounds) -> Tensor:
        """Frames to samples.

        Args:
            x: Frames of all signals, shape (frames, width).
            speakers: Speaker embedding of each signal, shape (signals, d_vector_dim).
            bounds: Where the signals lie.

        Returns:
            Shape (frames * 256,), float32.
        """
        weight, bias = self._cond
        shifts = torch.split(torch.addmm(bias, speakers, weight), self._channels, dim=1)
        x = self._pre(x.to(self.dtype).contiguous(), bounds, 1, shift=shifts[0])
        rate = 1
        for (up, blocks), shift in zip(self._stages, shifts[1:], strict=True):
            x = up(x, bounds, rate, slope_in=SLOPE, shift=shift)
            rate *= up.up
            total: Tensor | None = None
            for pairs in blocks:
                total = _block(x, pairs, bounds, rate, total)
            assert total is not None
            x = total
        return sound(x, self._post, bounds, rate, FINAL_SLOPE)

    def try_out(self) -> None:
        """Run every kernel once; raises whatever compilers and drivers do."""
        config = self.config
        frames = torch.zeros(1, config.decoder_input_dim, 2, device=self.device)
        speaker = torch.zeros(1, config.d_vector_dim, device=self.device)
        self(frames, speaker).sum().item()

    @torch.inference_mode()
    def __call__(self, features: Tensor, speaker_embedding: Tensor) -> Tensor:
        """Frames to samples; shapes as `HifiGan.forward`, float32 in and out."""
        batch, _, frames = features.shape
        x = features.transpose(1, 2).flatten(0, 1)
        bounds = plain_bounds(batch, frames, self.device)
        return self.network(x, speaker_embedding.float(), bounds).view(batch, -1)

    @torch.inference_mode()
    def capture(self, capture: Capture, sizes: Sequence[int] = SIZES) -> None:
        """Have batches replayed from captured graphs.

        Args:
            capture: How; `engine.graphs.cuda_capture()` on a GPU.
            sizes: Frames of the batches.
        """
        self._capture = capture
        # The largest first: the smaller ones then fit into its memory.
        for size in sorted(sizes, reverse=True):
            self._batch(size)

    def release(self) -> None:
        """Give up graphs and what they work on; made again when used."""
        self._batches.clear()

    def _batch(self, frames: int) -> _Batch:
        if frames not in self._batches:
            self._batches[frames] = batch = _Batch(self, frames)
            if self._capture is not None:
                try:
                    batch.capture(self._capture)
                except RuntimeError as error:
                    logger.warning(
                        "windows are decoded without CUDA graphs: capturing failed (%s)", error
                    )
                    self._capture = None
        return self._batches[frames]

    @torch.inference_mode()
    def decode(self, items: Sequence[tuple[Tensor, Tensor, Window]]) -> list[Tensor]:
        """Decode windows of any requests; see `model.streaming.decode_windows`."""
        results = [latents.new_zeros(0) for latents, _, _ in items]
        waiting = [
            (index, item) for index, item in enumerate(items) if item[2].last > item[2].first
        ]
        while waiting:
            count, batch = self._fitting([item[2] for _, item in waiting])
            taken, waiting = waiting[:count], waiting[count:]
            audio = batch.run([item for _, item in taken])
            hop = self.config.output_hop_length
            parts = torch.split(audio, [hop * item[2].frames for _, item in taken])
            for (index, (_, _, window)), part in zip(taken, parts, strict=True):
                results[index] = part[window.skip : window.skip + window.last - window.first]
        return results

    def _fitting(self, windows: Sequence[Window]) -> tuple[int, _Batch]:
        """How many of the windows go together next, and the smallest batch that holds them."""
        count = frames = 0
        for window in windows[:WINDOWS]:
            if count and frames + window.frames > SIZES[-1]:
                break
            count, frames = count + 1, frames + window.frames
        for size in SIZES:
            if size >= frames and self._batch(size).tables.fits(windows[:count]):
                return count, self._batch(size)
        if count > 1:
            return self._fitting(windows[: count // 2])
        # A window longer than any batch is rare, and decoded in one of its own.
        long = _Batch(self, max(frames, windows[0].code_stop - windows[0].code_start))
        return 1, long


def _plain(layer: nn.Module, dtype: torch.dtype) -> Convolution:
    assert isinstance(layer, nn.Conv1d) and layer.bias is not None
    return Convolution.of(layer.weight, layer.bias, layer.dilation[0], dtype)


def _pairs(block: nn.Module, dtype: torch.dtype) -> list[tuple[Convolution, Convolution]]:
    assert isinstance(block, ResBlock)
    return [
        (_plain(a, dtype), _plain(b, dtype))
        for a, b in zip(block.convs1, block.convs2, strict=True)
    ]


def _block(
    x: Tensor,
    pairs: list[tuple[Convolution, Convolution]],
    bounds: Bounds,
    rate: int,
    total: Tensor | None,
) -> Tensor:
    """A residual block; what it gives is added to `total` where there is one."""
    for index, (dilated, plain) in enumerate(pairs):
        inner = dilated(x, bounds, rate, slope_in=SLOPE, slope_out=SLOPE)
        into = total if index == len(pairs) - 1 else None
        x = plain(inner, bounds, rate, residual=x, into=into)
    return x
