"""`FastVocoder`'s layers, each keeping the end of its inputs (see `carried`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from livekit_xtts.model.carried import Carry
from livekit_xtts.model.fast_vocoder import FINAL_SLOPE, SLOPE, Layer, Stage, shift

if TYPE_CHECKING:
    from livekit_xtts.model.fast_vocoder import FastVocoder


@dataclass(slots=True)
class Kept:
    """What the layers keep of an utterance.

    Attributes:
        kept: What each keeps, in the order of the layers; empty before the first frame.
        started: Inputs that each upsampling has had.
        places: The memory that `kept` lies in.
        spare: Where the next pass keeps things: the memory that the pass before the last one used.
            Small things allocated anew among large ones would keep the heap from shrinking.
    """

    kept: list[Tensor] = field(default_factory=list)
    started: list[int] = field(default_factory=list)
    places: list[Tensor] = field(default_factory=list)
    spare: list[Tensor] = field(default_factory=list)


class _Pass:
    """One pass of frames through the layers.

    Args:
        kept: Not changed.
        last: Whether nothing follows.
    """

    def __init__(self, kept: Kept, last: bool) -> None:
        self._old: Iterator[Tensor] | None = iter(kept.kept) if kept.kept else None
        self._before = iter(kept.started)
        self._spare = iter(kept.spare)
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


def carry_on(
    vocoder: FastVocoder, carry: Carry, frames: Tensor, speaker: Tensor, last: bool
) -> tuple[Tensor, Carry]:
    """See `carried.Layers.carry_on`."""
    count = frames.shape[1]
    if carry.frames + count == 0:
        return frames.new_zeros(0), carry
    kept = Kept() if carry.kept is None else carry.kept
    assert isinstance(kept, Kept)
    going = _Pass(kept, last)
    embedding = speaker[None]
    x = going.convolve(vocoder.pre, vocoder.enter(frames[None]))
    x = x + shift(vocoder.cond, embedding, vocoder.dtype)
    for stage in vocoder.stages:
        x = going.upsample(stage.up, F.leaky_relu(x.to(stage.dtype), SLOPE))
        x = x + shift(stage.cond, embedding, stage.dtype)
        x = going.mean([going.block(x, block) for block in stage.blocks], _most(stage))
    x = going.convolve(vocoder.post, F.leaky_relu(x.float(), FINAL_SLOPE))
    # The memory that this pass read from is free for the next but one.
    ahead = Kept(going.kept, going.started, going.places, spare=kept.places)
    return torch.tanh(x)[0, 0, 0], Carry(carry.frames + count, ahead)
