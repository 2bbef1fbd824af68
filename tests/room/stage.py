"""A room without a server: a track whose queue is played when the test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from livekit import rtc

PATIENCE_S = 20.0


class StagedSource:
    """Stands in for `rtc.AudioSource`.

    Attributes:
        played: Samples that the listener has heard, in order.
        cleared: Samples that were thrown away unheard.
        most_queued_s: Most seconds that lay in the queue.
        playing: Play what comes at once; False waits for `play`.
    """

    def __init__(self, sample_rate: int, num_channels: int, queue_size_ms: int) -> None:
        self.sample_rate = sample_rate
        self.queue_s = queue_size_ms / 1000
        self.played: list[int] = []
        self.cleared = 0
        self.most_queued_s = 0.0
        self.playing = True
        self.closed = False
        self.error: Exception | None = None
        self._queue: list[int] = []
        self._changed = asyncio.Condition()

    @property
    def queued_duration(self) -> float:
        return len(self._queue) / self.sample_rate

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        if self.error is not None:
            raise self.error
        self._queue += np.frombuffer(frame.data, np.int16).tolist()
        self.most_queued_s = max(self.most_queued_s, self.queued_duration)
        await self.tell()
        if self.playing:
            await self.play(self.queued_duration)
        await self.until(lambda: self.queued_duration <= self.queue_s)

    async def play(self, seconds: float) -> None:
        """Let the listener hear so much of the queue."""
        count = round(seconds * self.sample_rate)
        self.played += self._queue[:count]
        del self._queue[:count]
        await self.tell()

    async def until(self, predicate: Callable[[], bool]) -> None:
        """Wait until the predicate holds after a change of the queue."""
        async with asyncio.timeout(PATIENCE_S), self._changed:
            await self._changed.wait_for(predicate)

    async def tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def clear_queue(self) -> None:
        self.cleared += len(self._queue)
        self._queue.clear()
        self._telling = asyncio.ensure_future(self.tell())

    async def wait_for_playout(self) -> None:
        await self.until(lambda: not self._queue)

    async def aclose(self) -> None:
        self.closed = True


class StagedTrack:
    """A publication; `subscribe` is the listener's coming."""

    sid = "TR_staged"

    def __init__(self) -> None:
        self._subscribed = asyncio.Event()

    def subscribe(self) -> None:
        self._subscribed.set()

    async def wait_for_subscription(self) -> None:
        await self._subscribed.wait()


class StagedRoom:
    """A connected room, its local participant as well."""

    def __init__(self) -> None:
        self.local_participant = self
        self.connected = True
        self.track = StagedTrack()
        self.published: list[tuple[Any, rtc.TrackPublishOptions]] = []
        self.unpublished: list[str] = []
        self.refusal: Exception | None = None

    def isconnected(self) -> bool:
        return self.connected

    async def publish_track(self, track: Any, options: rtc.TrackPublishOptions) -> StagedTrack:
        if self.refusal is not None:
            raise self.refusal
        self.published.append((track, options))
        return self.track

    async def unpublish_track(self, sid: str) -> None:
        self.unpublished.append(sid)


def samples(audio: npt.NDArray[np.float32]) -> npt.NDArray[np.int16]:
    """Float audio as the track gets it."""
    return np.rint(np.clip(audio, -1, 1) * 32767).astype(np.int16)
