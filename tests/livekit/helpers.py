"""What the tests of the LiveKit face share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from livekit.agents import APIConnectOptions
from livekit.agents import tts as agents_tts
from livekit.agents.voice import io

from livekit import rtc
from livekit_xtts.audio import from_pcm16
from livekit_xtts.engine.engine import Engine, Sink, SpeechTask
from livekit_xtts.speech import SpeechRequest

ONCE = APIConnectOptions(max_retry=0, timeout=60.0)
LONG = (
    "The quick brown fox jumps over the lazy dog, and then it rests for a while in the shade."
    " Nobody had expected that. The dog looks up, yawns, and goes back to sleep; it has seen a"
    " good many foxes in its time, and most of them were quicker than this one. In the evening"
    " they both walk home along the river."
)


class Watched:
    """Collects a TTS's metrics, errors and stats."""

    def __init__(self, tts: agents_tts.TTS) -> None:
        self.metrics: list[Any] = []
        self.errors: list[Any] = []
        self.stats: list[Any] = []
        tts.on("metrics_collected", self.metrics.append)
        tts.on("error", self.errors.append)
        tts.on("speech_stats", self.stats.append)


async def spoken(
    stream: agents_tts.SynthesizeStream, *pieces: str
) -> list[agents_tts.SynthesizedAudio]:
    """All events of a stream into which these pieces are pushed."""
    async with stream:
        for piece in pieces:
            stream.push_text(piece)
        stream.end_input()
        return [event async for event in stream]


def samples(events: list[Any]) -> npt.NDArray[np.float32]:
    """The audio of events or frames, joined."""
    frames = [getattr(event, "frame", event) for event in events]
    return np.concatenate([from_pcm16(frame.data) for frame in frames] or [np.zeros(0)])


def timed(events: list[agents_tts.SynthesizedAudio]) -> list[tuple[str, float]]:
    """The timed transcripts that rode on the events: text and start."""
    return [
        (str(text), text.start_time)
        for event in events
        for text in event.frame.userdata.get("lk.timed_transcripts", [])
    ]


class Capped:
    """An engine with a small budget of codes: random weights never stop by themselves.

    Args:
        engine: The real one.
        codes: Most codes of a request.
    """

    def __init__(self, engine: Engine, codes: int = 8) -> None:
        self._engine = engine
        self._codes = codes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def submit(self, request: SpeechRequest, sink: Sink) -> SpeechTask:
        return self._engine.submit(replace(request, max_codes=self._codes), sink)


async def words(*pieces: str) -> AsyncIterator[str]:
    """A text stream."""
    for piece in pieces:
        yield piece


class Output(io.AudioOutput):
    """An audio output that plays at once, or as slowly as the test wants.

    Args:
        hold: Playback finishes only when it is interrupted, or by `finish`.
    """

    def __init__(self, *, hold: bool = False) -> None:
        super().__init__(
            label="test",
            capabilities=io.AudioOutputCapabilities(pause=True),
            sample_rate=24_000,
        )
        self.hold = hold
        self.segments: list[list[rtc.AudioFrame]] = []
        self.interrupted: list[bool] = []
        self.paused = 0
        self._capturing = False
        self._running = asyncio.Event()
        self._running.set()
        self._news = asyncio.Event()

    async def until(self, seconds: float) -> None:
        """Wait until the current segment has so much audio."""
        async with asyncio.timeout(20):
            while not self.segments or _seconds(self.segments[-1]) < seconds:
                self._news.clear()
                await self._news.wait()

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        await self._running.wait()
        if not self._capturing:
            self._capturing = True
            self.segments.append([])
            self.on_playback_started(created_at=time.time())
        self.segments[-1].append(frame)
        self._news.set()

    def flush(self) -> None:
        super().flush()
        if self._capturing and not self.hold:
            self.finish()

    def finish(self, *, interrupted: bool = False) -> None:
        if not self._capturing:
            return
        self._capturing = False
        self.interrupted.append(interrupted)
        self.on_playback_finished(
            playback_position=_seconds(self.segments[-1]), interrupted=interrupted
        )

    def clear_buffer(self) -> None:
        self.finish(interrupted=True)

    def pause(self) -> None:
        super().pause()
        self.paused += 1
        self._running.clear()

    def resume(self) -> None:
        super().resume()
        self._running.set()


def _seconds(frames: list[rtc.AudioFrame]) -> float:
    return sum(frame.duration for frame in frames)
