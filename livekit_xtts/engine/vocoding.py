"""The vocoder of a model, as the scheduler wants it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from livekit_xtts.engine.ownthread import OwnThread
from livekit_xtts.engine.schedule import CONTEXT_CODES
from livekit_xtts.model.carried import CarriedPlan, Layers, decode_carried
from livekit_xtts.model.cuda import exact_convolutions
from livekit_xtts.model.fast_vocoder import FastVocoder
from livekit_xtts.model.makers import BatchVocoder, Vocoder
from livekit_xtts.model.native_vocoder import NativeVocoder, missing
from livekit_xtts.model.streaming import StreamPlan, decode_windows, stream_plan
from livekit_xtts.model.vocoder import HifiGan
from livekit_xtts.speech import ModelError

logger = logging.getLogger(__name__)

WINDOW_BATCH = 64
"""Vocoder windows that go through together where they are not decoded layer by layer."""


class ModelVocoder:
    """The vocoder of a model, as the scheduler wants it.

    On a CPU every layer keeps what it needs again. Elsewhere windows with all their context go
    through together, so that many of them are one call.

    Args:
        vocoder: Decodes windows.
        layers: Keep what they need again, and decode in its place; None on other devices.
        own: Where to decode; None for the calling thread.

    Attributes:
        carries: Whether layers keep what they need again.
        context_codes: Codes around a window that are computed besides the window's own.
        batch: Windows that are decoded together at most.
    """

    def __init__(
        self, vocoder: Vocoder, layers: Layers | None = None, own: OwnThread | None = None
    ) -> None:
        self._vocoder = vocoder
        self._layers = layers
        self._own = own
        self.carries = layers is not None
        self.context_codes = 0 if self.carries else CONTEXT_CODES
        self.batch = 1 if self.carries else WINDOW_BATCH

    @property
    def decoder(self) -> object:
        """What decodes."""
        return self._layers or self._vocoder

    def plan(self, speed: float) -> StreamPlan | CarriedPlan:
        """The plan of an utterance at that speed."""
        plan = stream_plan(self._vocoder.config, speed)
        return plan if self._layers is None else CarriedPlan(plan)

    def decode(self, items: Sequence[tuple[Tensor, Tensor, Any]]) -> list[Tensor]:
        """See `model.streaming.decode_windows` and `model.carried.decode_carried`."""
        if self._own is None:
            return self._decode(items)
        return self._own(lambda: self._decode(items))

    @torch.no_grad()
    def _decode(self, items: Sequence[tuple[Tensor, Tensor, Any]]) -> list[Tensor]:
        if self._layers is not None:
            return decode_carried(self._layers, items)
        if isinstance(self._vocoder, BatchVocoder):
            return self._vocoder.decode(items)
        with exact_convolutions():
            return decode_windows(cast(HifiGan, self._vocoder), items)

    def release(self) -> None:
        """Give up what knows addresses of weights."""
        if isinstance(self._vocoder, BatchVocoder):
            self._vocoder.release()


def carrying(vocoder: Vocoder, threads: int | None) -> Layers:
    """A vocoder whose layers keep what they need again.

    Args:
        vocoder: On the CPU.
        threads: Of a compiled one; None where torch's threads are at work beside it.
    """
    if isinstance(vocoder, NativeVocoder | FastVocoder):
        return vocoder
    plain = cast(HifiGan, vocoder)
    if threads is not None and not missing(torch.float32):
        try:
            return NativeVocoder(plain, threads, torch.float32)
        except ModelError as error:
            logger.info("the vocoder is not compiled: %s", error)
    return FastVocoder(plain, torch.float32, laid_out=False)
