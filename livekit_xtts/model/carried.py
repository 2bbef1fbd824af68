"""Streaming of the vocoder without computing anything twice: every layer keeps what it needs again.

A window (see `streaming`) brings the context of its samples with it: some six codes, which for
chunks of twenty are a quarter of the work. Here each layer keeps the end of its inputs, and gives
just those outputs that are final. The same samples come out at the same code counts, and what is
kept is half a megabyte an utterance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from livekit_xtts.model.streaming import StreamPlan, Window, window_features

if TYPE_CHECKING:
    from livekit_xtts.model.config import XttsConfig


@dataclass(slots=True)
class Carry:
    """How far an utterance is in the vocoder.

    Attributes:
        frames: Frames that have gone in.
        kept: What the layers keep, as the vocoder that decodes wants it; None before the first
            frame.
    """

    frames: int = 0
    kept: object | None = None


class Layers(Protocol):
    """A vocoder whose layers keep what they need again."""

    config: XttsConfig

    def carry_on(
        self, carry: Carry, frames: Tensor, speaker: Tensor, last: bool
    ) -> tuple[Tensor, Carry]:
        """The next frames of an utterance.

        Args:
            carry: How far it is; stays as it is, so that the call can be made again.
            frames: Shape (width, frames).
            speaker: Shape (d_vector_dim,).
            last: Whether nothing follows.

        Returns:
            The samples that have become final, shape (samples,), and how far it is then. The
            memory that `carry` keeps things in is used again by the call after the next.
        """
        ...


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


@torch.inference_mode()
def decode_carried(
    vocoder: Layers, items: Sequence[tuple[Tensor, Tensor, CarriedWindow]]
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
        samples, carry = vocoder.carry_on(due.carry, frames, speaker, due.finished)
        results.append(samples)
        moved.append((due.carry, carry))
    for carry, ahead in moved:
        carry.frames, carry.kept = ahead.frames, ahead.kept
    return results
