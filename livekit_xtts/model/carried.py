"""Streaming of the vocoder without computing anything twice: every layer keeps what it needs again.

A window (see `streaming`) brings the context of its samples with it: some six codes, which for
chunks of twenty are a quarter of the work. Here each layer keeps the end of its inputs, and gives
just those outputs that are final. The same samples come out at the same code counts, and what is
kept is half a megabyte an utterance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from livekit_xtts.model.fast_vocoder import (
    FINAL_SLOPE,
    SLOPE,
    FastVocoder,
    Layer,
    Stage,
    shift,
)
from livekit_xtts.model.streaming import StreamPlan, Window, window_features


@dataclass(slots=True)
class Carry:
    """How far an utterance is in the vocoder.

    Attributes:
        frames: Frames that have gone in.
        kept: What each layer keeps, in the order of the layers; empty before the first frame.
        started: Inputs that each upsampling has had.
        places: The memory that `kept` lies in.
        spare: Where the next pass keeps things: the memory that the pass before the last one used.
            Small things allocated anew among large ones would keep the heap from shrinking.
    """

    frames: int = 0
    kept: list[Tensor] = field(default_factory=list)
    started: list[int] = field(default_factory=list)
    places: list[Tensor] = field(default_factory=list)
    spare: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class CarriedWindow:
    """The frames that come next.

    Attributes:
        carry: Of the utterance.
        window: What latents give the frames, and which samples are wanted.
        finished: Whether they are the last.
    """

    carry: Carry
    window: Window
    finished: bool

    @property
    def code_start(self) -> int:
        """First latent needed."""
        return self.window.code_start

    @property
    def code_stop(self) -> int:
        """End of the latents needed."""
        return self.window.code_stop


class CarriedPlan:
    """What is final when, of one utterance; its windows have to be decoded one after the other.

    Args:
        plan: Of the utterance's speed.
    """

    def __init__(self, plan: StreamPlan) -> None:
        self._plan = plan
        self._carry = Carry()

    def final_samples(self, codes: int, finished: bool) -> int:
        """See `StreamPlan.final_samples`."""
        return self._plan.final_samples(codes, finished)

    def window(self, first: int, last: int, codes: int, finished: bool) -> CarriedWindow:
        """All that is final and was not decoded yet.

        Args:
            first: Samples decoded before.
            last: All samples that are final.
            codes: Latents made so far.
            finished: Whether these are all.
        """
        window = self._plan.frames(self._carry.frames, first, last, codes, finished)
        return CarriedWindow(self._carry, window, finished)


class _Pass:
    """One pass of frames through the layers.

    Args:
        carry: Not changed.
        last: Whether nothing follows.
    """

    def __init__(self, carry: Carry, last: bool) -> None:
        self._old: Iterator[Tensor] | None = iter(carry.kept) if carry.kept else None
        self._before = iter(carry.started or ())
        self._spare = iter(carry.spare)
        self._last = last
        self.places: list[Tensor] = []
        self.kept: list[Tensor] = []
        self.started: list[int] = []

    def _join(self, x: Tensor, zeros: int = 0) -> Tensor:
        """What was kept, or zeros where the signal begins, and what comes."""
        if self._old is None:
            return F.pad(x, (zeros, 0)) if zeros else x
        return torch.cat((next(self._old), x), 3)

    def _keep(self, x: Tensor, most: int) -> None:
        """Keep x, which never has more than `most` positions."""
        place = next(self._spare, None)
        if place is None:
            place = torch.empty(
                (*x.shape[:3], most), dtype=x.dtype, device=x.device, memory_format=_form(x)
            )
        self.places.append(place)
        self.kept.append(place[..., : x.shape[3]].copy_(x))

    def convolve(self, layer: Layer, x: Tensor) -> Tensor:
        """A convolution's outputs for which all inputs are there."""
        x = self._join(x, layer.padding)
        if self._last:
            x = F.pad(x, (0, layer.padding))
        reach = (layer.taps - 1) * layer.dilation
        count = x.shape[3] - reach
        self._keep(x[..., max(0, count) :], reach)
        if count <= 0:
            return x.new_zeros(x.shape[0], layer.outputs, 1, 0)
        return layer(x, 0)

    def upsample(self, layer: Layer, x: Tensor) -> Tensor:
        """A transposed convolution's outputs to which no further input adds."""
        before = next(self._before, 0)
        self.started.append(before + x.shape[3])
        held = (layer.taps - 1) // layer.rate
        x = self._join(x, held)
        inputs = x.shape[3]
        self._keep(x[..., inputs - held :], held)
        first = held * layer.rate + (layer.padding if before == 0 else 0)
        last = inputs * layer.rate
        if self._last:
            last += layer.taps - layer.rate - layer.padding
        if last <= first or (inputs == held and not self._last):
            return x.new_zeros(x.shape[0], layer.outputs, 1, 0)
        return layer(x, 0)[..., first:last]

    def delay(self, x: Tensor, count: int, most: int) -> Tensor:
        """The next of all that has come; what is left has at most `most` positions."""
        x = self._join(x)
        self._keep(x[..., count:], most)
        return x[..., :count]

    def block(self, x: Tensor, pairs: tuple[tuple[Layer, Layer], ...]) -> Tensor:
        """A residual block."""
        for dilated, plain in pairs:
            y = self.convolve(dilated, F.leaky_relu(x, SLOPE))
            y = self.convolve(plain, F.leaky_relu(y, SLOPE))
            x = y + self.delay(x, y.shape[3], dilated.padding + plain.padding)
        return x

    def mean(self, parts: list[Tensor], most: int) -> Tensor:
        """The mean of blocks which look at less and at more of what surrounds a position.

        Args:
            parts: Of each block what has become final.
            most: Positions by which the blocks can differ.
        """
        joined = [self._join(part) for part in parts]
        count = min(part.shape[3] for part in joined)
        total = joined[0][..., :count]
        for part in joined[1:]:
            total = total + part[..., :count]
        for part in joined:
            self._keep(part[..., count:], most)
        return total / len(parts)


def _form(x: Tensor) -> torch.memory_format:
    """The memory format of a signal, which one of a single position or channel does not show."""
    laid_out = x.stride(1) == 1 and x.shape[1] > 1
    return torch.channels_last if laid_out else torch.contiguous_format


def _most(stage: Stage) -> int:
    """Positions by which the blocks of a stage can differ."""
    return max(sum(a.padding + b.padding for a, b in block) for block in stage.blocks)


def _carry_on(
    vocoder: FastVocoder, carry: Carry, frames: Tensor, speaker: Tensor, last: bool
) -> tuple[Tensor, Carry]:
    """The samples (n,) that frames (width, n) make final, and how far the utterance is then."""
    count = frames.shape[1]
    if carry.frames + count == 0:
        return frames.new_zeros(0), carry
    going = _Pass(carry, last)
    embedding = speaker[None]
    x = going.convolve(vocoder.pre, vocoder.enter(frames[None]))
    x = x + shift(vocoder.cond, embedding, vocoder.dtype)
    for stage in vocoder.stages:
        x = going.upsample(stage.up, F.leaky_relu(x.to(stage.dtype), SLOPE))
        x = x + shift(stage.cond, embedding, stage.dtype)
        x = going.mean([going.block(x, block) for block in stage.blocks], _most(stage))
    x = going.convolve(vocoder.post, F.leaky_relu(x.float(), FINAL_SLOPE))
    # The memory that this pass read from is free for the next but one.
    ahead = Carry(carry.frames + count, going.kept, going.started, going.places, spare=carry.places)
    return torch.tanh(x)[0, 0, 0], ahead


@torch.inference_mode()
def decode_carried(
    vocoder: FastVocoder, items: Sequence[tuple[Tensor, Tensor, CarriedWindow]]
) -> list[Tensor]:
    """Decode the next windows of any utterances, each alone, so that its bits are its own.

    Args:
        vocoder: The layers.
        items: Latents of the window (codes, width), speaker embedding (d_vector_dim,), window.

    Returns:
        The samples of each that have become final, shape (samples,). The utterances are moved on
        when all went well, so that a failed call can be made again.
    """
    results, moved = [], []
    for latents, speaker, due in items:
        frames = window_features(vocoder.config, latents, due.window)
        samples, carry = _carry_on(vocoder, due.carry, frames, speaker, due.finished)
        results.append(samples)
        moved.append((due.carry, carry))
    for carry, ahead in moved:
        for name in ("frames", "kept", "started", "places", "spare"):
            setattr(carry, name, getattr(ahead, name))
    return results
