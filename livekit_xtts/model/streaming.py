"""Exact streaming of the vocoder: windows whose samples equal those of the one-shot decode.

An output sample depends on few codes to either side. So with some codes made, all samples but the
last ones are final, and a stretch of them can be decoded from a window of latents that holds all
that they depend on. Positions of every interpolation are counted from the start of the utterance.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from livekit_xtts.model.config import XttsConfig
from livekit_xtts.model.vocoder import HifiGan, Stretch, frame_count, stretches

_ENDLESS = 1 << 40
_KEPT = 4096
"""Windows whose tables are kept: requests of one speed mostly ask for the same ones."""


@dataclass(frozen=True, slots=True)
class Window:
    """What must be decoded to get samples first … last.

    Attributes:
        code_start: First latent needed.
        code_stop: End of the latents needed.
        first: First sample wanted, counted from the start of the utterance.
        last: End of the samples wanted.
        ranges: For each interpolation: first output, end of the outputs, and the inputs of the
            whole utterance (far more than there can be while that is not known).
        skip: Samples decoded before `first`.
        speed: Above 1 is faster.
    """

    code_start: int
    code_stop: int
    first: int
    last: int
    ranges: tuple[tuple[int, int, int], ...]
    skip: int
    speed: float

    @property
    def frames(self) -> int:
        """Frames to decode: what the window costs."""
        start, stop, _ = self.ranges[-1] if self.ranges else (self.code_start, self.code_stop, 0)
        return stop - start


@dataclass(frozen=True, slots=True)
class _Reach:
    """What one upsampling stage and its residual blocks look at.

    Attributes:
        rate: Outputs per input.
        kernel: Taps of the transposed convolution.
        padding: Outputs cut off at its start.
        context: Positions to either side that the residual blocks look at.
    """

    rate: int
    kernel: int
    padding: int
    context: int


class StreamPlan:
    """What is final when, and what decodes it, at one speed: whole numbers only, cheap calls."""

    def __init__(self, config: XttsConfig, speed: float = 1.0, spare: int = 0) -> None:
        """Prepare the tables.

        Args:
            config: Sizes and rates.
            speed: 0.5 … 2.0; above 1 is faster.
            spare: Frames to leave out of (negative) or add to (positive) every window's left side;
                0 is the least that is exact.
        """
        self.config = config
        self.speed = speed
        self.hop = config.output_hop_length
        self._spare = spare
        self._windows: dict[tuple[int, int, int, bool], Window] = {}
        self._stretches: tuple[Stretch, ...] = stretches(config, speed)
        self._left = [part.left.tolist() for part in self._stretches]
        self._right = [(part.left + (part.weight > 0)).tolist() for part in self._stretches]
        context = max(
            sum((kernel - 1) * (dilation + 1) // 2 for dilation in dilations)
            for kernel, dilations in zip(
                config.decoder_resblock_kernel_sizes,
                config.decoder_resblock_dilation_sizes,
                strict=True,
            )
        )
        self._stages = [
            _Reach(rate, kernel, (kernel - rate) // 2, context)
            for rate, kernel in zip(
                config.decoder_upsample_rates, config.decoder_upsample_kernel_sizes, strict=True
            )
        ]

    def samples(self, codes: int) -> int:
        """Length of the one-shot decode of `codes` codes, in samples."""
        return self.hop * frame_count(self.config, codes, self.speed)

    def _frames(self, codes: int) -> int:
        """Frames that no later code can change."""
        count = codes
        for part, right in zip(self._stretches, self._right, strict=True):
            # The utterance may end here: then outputs beyond its length never come to be.
            count = min(bisect_right(right, count - 1), int(count * part.scale))
        return count

    def final_samples(self, codes: int, finished: bool) -> int:
        """Samples that no later latent can change.

        Args:
            codes: Latents made so far.
            finished: Whether these are all.
        """
        if finished:
            return self.samples(codes)
        count = self._frames(codes) - 3
        for stage in self._stages:
            count = stage.rate * count - stage.padding - stage.context
        return max(0, count - 3)

    def window(self, first: int, last: int, codes: int, finished: bool) -> Window:
        """The least window that gives samples first … last exactly.

        Args:
            first: First sample wanted, counted from the start of the utterance.
            last: End of the samples wanted.
            codes: Latents made so far.
            finished: Whether these are all.

        Raises:
            ValueError: Some of these samples are not final yet, or the range is not one.
        """
        key = (first, last, codes, finished)
        window = self._windows.get(key)
        if window is None:
            window = self._window(*key)
            if len(self._windows) >= _KEPT:
                self._windows.clear()
            self._windows[key] = window
        return window

    def _window(self, first: int, last: int, codes: int, finished: bool) -> Window:
        final = self.final_samples(codes, finished)
        if not 0 <= first <= last <= final:
            raise ValueError(f"samples {first} to {last} are not among the {final} final ones")
        if first == last:
            nothing = tuple((0, 0, 0) for _ in self._stretches)
            return Window(0, 0, first, last, nothing, 0, self.speed)
        low, high = first - 3, last - 1 + 3
        for stage in reversed(self._stages):
            low, high = low - stage.context, high + stage.context
            low = -((stage.kernel - 1 - stage.padding - low) // stage.rate)
            high = (high + stage.padding) // stage.rate
        low = max(0, low - 3 - self._spare)
        return self._span(low, high + 3, first, last, codes, finished)

    def frames(self, start: int, first: int, last: int, codes: int, finished: bool) -> Window:
        """The frames from `start` on that no later latent can change.

        Args:
            start: First frame wanted.
            first: As `Window` will say; the samples that such frames end in are known to whoever
                decodes them.
            last: As `first`.
            codes: Latents made so far.
            finished: Whether these are all.
        """
        if finished:
            stop = frame_count(self.config, codes, self.speed)
        else:
            # Before anything is final it is not known whether a stretch copies (see `Stretch`).
            stop = self._frames(codes) if self.final_samples(codes, False) else 0
        if stop <= start:
            nothing = tuple((0, 0, 0) for _ in self._stretches)
            return Window(codes, codes, first, last, nothing, 0, self.speed)
        return self._span(start, stop - 1, first, last, codes, finished)

    def _span(
        self, low: int, high: int, first: int, last: int, codes: int, finished: bool
    ) -> Window:
        """The window of frames low … high, as far as there are so many."""
        totals = [codes if finished else _ENDLESS]
        for part in self._stretches:
            totals.append(part.length(totals[-1]) if finished else _ENDLESS)
        high = min(totals[-1] - 1, high)
        frame = low
        ranges = []
        for index in reversed(range(len(self._stretches))):
            inputs = totals[index]
            ranges.append((low, high + 1, inputs))
            part = self._stretches[index]
            if not (part.copies and totals[index + 1] == inputs < _ENDLESS):
                low = self._left[index][low]
                high = min(self._right[index][high], inputs - 1)
        return Window(
            code_start=low,
            code_stop=high + 1,
            first=first,
            last=last,
            ranges=tuple(reversed(ranges)),
            skip=first - frame * self.hop,
            speed=self.speed,
        )


@lru_cache(maxsize=64)
def stream_plan(config: XttsConfig, speed: float = 1.0) -> StreamPlan:
    """The plan of a speed, kept.

    Args:
        config: Sizes and rates.
        speed: 0.5 … 2.0; above 1 is faster.
    """
    return StreamPlan(config, speed)


def window_features(config: XttsConfig, latents: Tensor, window: Window) -> Tensor:
    """Frames of a window.

    Args:
        config: Rates.
        latents: Those of the window alone, shape (code_stop - code_start, width).
        window: Which it is.

    Returns:
        Shape (width, frames).
    """
    x, origin = latents.T, window.code_start
    for part, (start, stop, inputs) in zip(
        stretches(config, window.speed), window.ranges, strict=True
    ):
        x = part.apply(x, start, stop, origin, inputs)
        origin = start
    return x


def decode_windows(
    vocoder: HifiGan, items: Sequence[tuple[Tensor, Tensor, Window]]
) -> list[Tensor]:
    """Decode windows of any requests.

    On a CPU each is decoded alone, so that its bits do not depend on the others; elsewhere windows
    of the same number of frames go through together.

    Args:
        vocoder: The vocoder.
        items: Latents of the window (codes, width), speaker embedding (d_vector_dim,), window.

    Returns:
        Samples first … last of each, shape (last - first,).
    """
    results: list[Tensor] = [latents.new_zeros(0) for latents, _, _ in items]
    groups: dict[int, list[int]] = defaultdict(list)
    for index, (latents, _, window) in enumerate(items):
        if window.last > window.first:
            groups[window.frames if latents.device.type != "cpu" else -1 - index].append(index)
    for members in groups.values():
        features = torch.stack(
            [window_features(vocoder.config, items[i][0], items[i][2]) for i in members]
        )
        audio = vocoder(features, torch.stack([items[i][1] for i in members]))
        for row, index in zip(audio, members, strict=True):
            window = items[index][2]
            results[index] = row[window.skip : window.skip + window.last - window.first]
    return results


class VocoderStream:
    """One utterance, decoded as its latents come."""

    def __init__(self, vocoder: HifiGan, speaker_embedding: Tensor, speed: float = 1.0) -> None:
        """Start an utterance.

        Args:
            vocoder: The vocoder.
            speaker_embedding: Shape (d_vector_dim,).
            speed: 0.5 … 2.0; above 1 is faster.
        """
        self.plan = stream_plan(vocoder.config, speed)
        self._vocoder = vocoder
        self._speaker = speaker_embedding
        self._latents: list[Tensor] = []
        self._sent = 0

    def push(self, latents: Tensor) -> None:
        """Add latents.

        Args:
            latents: Those that follow, shape (codes, width).
        """
        self._latents.extend(latents.unbind(0))

    def pull(self, final: bool = False) -> Tensor:
        """All samples that are final and were not pulled before.

        Args:
            final: Whether all latents have been pushed.

        Returns:
            Shape (samples,); empty where nothing new is final.
        """
        codes = len(self._latents)
        last = self.plan.final_samples(codes, final)
        if last <= self._sent:
            return self._speaker.new_zeros(0)
        window = self.plan.window(self._sent, last, codes, final)
        latents = torch.stack(self._latents[window.code_start : window.code_stop])
        self._sent = last
        return decode_windows(self._vocoder, [(latents, self._speaker, window)])[0]
