"""A participant who listens, and what can be measured on what it heard."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from livekit import rtc
from tests.livekit_server.server import LiveKitServer

Audio = npt.NDArray[np.float32]

SAMPLE_RATE = 24_000
ENVELOPE_S = 0.005
SMOOTHING = 4
"""Blocks that the correlated envelopes are smoothed over: 20 ms, the length of an Opus packet."""

BLOCK_S = 0.3
STRETCH_S = 0.06
"""How much earlier or later than the whole a block may come: three packets."""

LOUD = 0.02
"""Amplitude above which a frame carries signal: −34 dB of full scale; Opus leaves far less."""

PATIENCE_S = 30.0


@dataclass
class Listener:
    """Records the first audio track of the room, in frames of 10 ms, silence included.

    Attributes:
        room: Its connection.
        pieces: What arrived, float32, each of shape (240,).
        arrivals: `time.perf_counter()` of each piece.
    """

    room: rtc.Room
    pieces: list[Audio] = field(default_factory=list)
    arrivals: list[float] = field(default_factory=list)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, predicate: Callable[[], bool]) -> None:
        """Wait until the predicate holds after a piece has arrived."""
        async with asyncio.timeout(PATIENCE_S):
            while not predicate():
                self._changed.clear()
                await self._changed.wait()

    async def signal(self) -> None:
        """Wait for the next piece with signal."""
        start = len(self.pieces)
        await self.until(lambda: any(map(is_loud, self.pieces[start:])))

    async def quiet(self, seconds: float = 0.3) -> None:
        """Wait until nothing has been heard for so long."""
        start, count = len(self.pieces), round(seconds * 100)
        await self.until(
            lambda: (
                len(self.pieces) - start >= count and not any(map(is_loud, self.pieces[-count:]))
            )
        )

    async def silence(self, seconds: float) -> None:
        """Wait until so much silence has followed some signal."""
        await self.until(lambda: any(map(is_loud, self.pieces)))
        await self.quiet(seconds)

    @property
    def recording(self) -> Audio:
        """Everything so far, float32 at 24 kHz, shape (samples,)."""
        return np.concatenate(self.pieces) if self.pieces else np.zeros(0, np.float32)

    def first_loud(self, since: float = 0.0) -> float:
        """When the first piece with signal arrived, of those after `since`; NaN without any."""
        for piece, arrival in zip(self.pieces, self.arrivals, strict=True):
            if arrival >= since and is_loud(piece):
                return arrival
        return float("nan")

    def loud_since(self, since: float) -> float:
        """Seconds from `since` to the end of the last piece with signal, by the audio's clock."""
        after = [
            piece
            for piece, arrival in zip(self.pieces, self.arrivals, strict=True)
            if arrival >= since
        ]
        loud = [index for index, piece in enumerate(after) if is_loud(piece)]
        return (loud[-1] + 1) * 0.01 if loud else 0.0

    async def record(self, track: rtc.Track) -> None:
        """Take the track's frames until it ends."""
        stream = rtc.AudioStream(track, sample_rate=SAMPLE_RATE, num_channels=1)
        try:
            async for event in stream:
                samples = np.frombuffer(event.frame.data, dtype=np.int16)
                self.pieces.append(samples.astype(np.float32) / np.float32(32768))
                self.arrivals.append(time.perf_counter())
                self._changed.set()
        finally:
            await stream.aclose()


@asynccontextmanager
async def listener(
    server: LiveKitServer, room_name: str, identity: str = "listener"
) -> AsyncIterator[Listener]:
    """A listener in a room for the length of the block."""
    async with joined(server, room_name, identity) as room:
        heard = Listener(room)
        recording: list[asyncio.Task[None]] = []

        def on_track(track: rtc.Track, *_: object) -> None:
            if track.kind == rtc.TrackKind.KIND_AUDIO and not recording:
                recording.append(asyncio.create_task(heard.record(track)))

        room.on("track_subscribed", on_track)
        for participant in room.remote_participants.values():
            for publication in participant.track_publications.values():
                if publication.track is not None:
                    on_track(publication.track)
        try:
            yield heard
        finally:
            for task in recording:
                task.cancel()
            await asyncio.gather(*recording, return_exceptions=True)


@asynccontextmanager
async def joined(server: LiveKitServer, room_name: str, identity: str) -> AsyncIterator[rtc.Room]:
    """A participant in a room for the length of the block."""
    room = rtc.Room()
    await room.connect(server.url, server.token(identity, room_name))
    try:
        yield room
    finally:
        await room.disconnect()


def is_loud(piece: Audio) -> bool:
    """Whether the piece carries signal."""
    return bool(np.abs(piece).max(initial=0.0) > LOUD)


def envelope(audio: Audio, seconds: float = ENVELOPE_S) -> npt.NDArray[np.float64]:
    """Root mean square of consecutive blocks, shape (blocks,)."""
    step = round(seconds * SAMPLE_RATE)
    blocks = audio[: audio.size // step * step].astype(np.float64).reshape(-1, step)
    level: npt.NDArray[np.float64] = np.sqrt((blocks**2).mean(axis=1))
    return level


@dataclass(frozen=True)
class Heard:
    """How a recording compares with what was spoken.

    Attributes:
        correlation: Of the envelopes, after alignment; 1 for the same.
        offset_s: Where in the recording the speech begins.
        hole_s: Longest stretch without signal where the source has signal all along.
    """

    correlation: float
    offset_s: float
    hole_s: float


def compare(source: Audio, recording: Audio) -> Heard:
    """Align the recording's envelope with the source's and compare them.

    First as a whole, then block by block within what a jitter buffer may stretch time.

    Args:
        source: What was spoken, at 24 kHz.
        recording: What arrived, at 24 kHz; longer than the source.
    """
    said, arrived = envelope(source), envelope(recording)
    margin = round(STRETCH_S / ENVELOPE_S)
    padded = np.pad(arrived, (margin, said.size + margin))
    pattern, level = smoothed(said), smoothed(padded)
    windows = np.lib.stride_tricks.sliding_window_view(level, said.size)
    best = margin + int(np.argmax(likeness(windows[margin : margin + arrived.size], pattern)))
    aligned, holes = np.empty_like(pattern), np.empty_like(said)
    step = round(BLOCK_S / ENVELOPE_S)
    for start in range(0, said.size, step):
        part = slice(start, min(start + step, said.size))
        near = windows[best - margin : best + margin + 1, part]
        shift = best - margin + int(np.argmin(((near - pattern[part]) ** 2).sum(axis=1)))
        aligned[part] = windows[shift, part]
        holes[part] = padded[shift + part.start : shift + part.stop]
    return Heard(
        correlation=float(np.corrcoef(pattern, aligned)[0, 1]),
        offset_s=(best - margin) * ENVELOPE_S,
        hole_s=longest_hole(said, holes),
    )


def smoothed(level: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """A running mean over an Opus packet."""
    return np.convolve(level, np.full(SMOOTHING, 1 / SMOOTHING), "same")


def likeness(
    windows: npt.NDArray[np.float64], pattern: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Correlation of each window, shape (windows, blocks), with the pattern, shape (blocks,)."""
    centred = pattern - pattern.mean()
    spread = windows.std(axis=1) * pattern.std() * pattern.size
    scores: npt.NDArray[np.float64] = (windows @ centred) / np.maximum(spread, 1e-12)
    return scores


def longest_hole(
    said: npt.NDArray[np.float64], arrived: npt.NDArray[np.float64], slack: int = 4
) -> float:
    """Longest run of silent blocks where the source is not silent, in seconds.

    The source counts at its quietest within `slack` blocks on both sides: the jitter buffer may
    stretch or squeeze time by some milliseconds, and a pause must not become a hole by that.
    """
    around = np.pad(said, slack, mode="edge")
    quietest = np.lib.stride_tricks.sliding_window_view(around, 2 * slack + 1).min(axis=1)
    silent = (quietest > LOUD) & (arrived < 0.1 * quietest)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], silent, [False]]).astype(int)))
    runs = edges[1::2] - edges[::2]
    return float(runs.max(initial=0)) * ENVELOPE_S


def tone_level(audio: Audio, hertz: float) -> float:
    """Amplitude of a tone in the loudest tenth of the audio.

    Measured in blocks of 0.1 s, each by itself: a jitter buffer stretches time and the phase jumps.
    """
    size = SAMPLE_RATE // 10
    blocks = audio[: audio.size // size * size].reshape(-1, size)
    term = np.exp(-2j * np.pi * hertz * np.arange(size) / SAMPLE_RATE) * np.hanning(size)
    return float(np.quantile(np.abs(blocks @ term) * 4 / size, 0.9))
