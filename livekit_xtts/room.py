"""Speech straight into a room's audio track, without an `AgentSession`.

    async with Speaker(room, TTS()) as speaker:
        speaker.say("Doors are closing.")
        await speaker.wait_for_playout()

Two tasks run side by side: one turns utterance after utterance into frames, one hands the frames
to the track. The next utterance is therefore made while the present one is heard, and only the
track's own short queue lies between the two and the listener.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from livekit.agents.utils import aio, audio

from livekit import rtc
from livekit_xtts.audio import Resampler, to_pcm16
from livekit_xtts.events import AudioPiece, Finished, SegmentStarted
from livekit_xtts.log import logger
from livekit_xtts.speech import SAMPLE_RATE
from livekit_xtts.spoken import SpeakerStats, TrackStats, Utterance

if TYPE_CHECKING:
    from livekit_xtts.pipeline import Pipeline
    from livekit_xtts.tts import TTS

FRAME_S = 0.02

DEFAULT_QUEUE_S = 0.4
"""Seconds of audio that may lie in the track's queue: longer rides out longer stalls of the event
loop; an interruption empties the queue, so it does not delay one."""

TIMEOUT_S = 10.0
"""Longest wait for the next message of an engine that is ready."""

__all__ = ["Speaker", "SpeakerStats", "TrackStats", "Utterance"]

SAMPLE_RATES = (8_000, 16_000, 24_000, 32_000, 44_100, 48_000)


class Speaker:
    """Publishes an audio track and speaks into it, one utterance after the other.

    Use it as an async context manager, or call `start` and `aclose`. All methods belong to the
    event loop of the room.

    Args:
        room: A connected room.
        tts: The voice with its options; it is not closed here.
        track_name: Name of the published track.
        sample_rate: Samples per second of the track, None for the voice's own.
        queue_s: Most seconds of audio in the track's queue, ahead of the listener.
        wait_for_listener: Hold the first utterance until somebody has subscribed to the track, so
            that nobody misses its beginning.
        publish_options: How the track is published; the default is as a microphone.

    Raises:
        ValueError: `sample_rate` or `queue_s` is out of range.
    """

    def __init__(
        self,
        room: rtc.Room,
        tts: TTS,
        *,
        track_name: str = "speech",
        sample_rate: int | None = None,
        queue_s: float = DEFAULT_QUEUE_S,
        wait_for_listener: bool = True,
        publish_options: rtc.TrackPublishOptions | None = None,
    ) -> None:
        self._sample_rate = sample_rate or tts.sample_rate
        if self._sample_rate not in SAMPLE_RATES:
            known = ", ".join(map(str, SAMPLE_RATES))
            raise ValueError(f"sample_rate={self._sample_rate} is not one of a track's: {known}")
        if not 0.04 <= queue_s <= 10.0:
            raise ValueError(f"queue_s={queue_s} is out of range: use 0.04 to 10 seconds")
        self._room = room
        self._tts = tts
        self._track_name = track_name
        self._queue_s = queue_s
        self._wait_for_listener = wait_for_listener
        self._publish_options = publish_options or rtc.TrackPublishOptions(
            source=rtc.TrackSource.SOURCE_MICROPHONE
        )
        self._source: rtc.AudioSource | None = None
        self._publication: rtc.LocalTrackPublication | None = None
        self._to_make: aio.Chan[Utterance] = aio.Chan()
        self._to_play: aio.Chan[Utterance] = aio.Chan()
        self._open: list[Utterance] = []
        self._playing: Utterance | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False
        self.stats = SpeakerStats()

    @property
    def sample_rate(self) -> int:
        """Samples per second of the track."""
        return self._sample_rate

    @property
    def publication(self) -> rtc.LocalTrackPublication | None:
        """The published track; None before `start`."""
        return self._publication

    @property
    def queued_s(self) -> float:
        """Seconds of audio in the track's queue, ahead of the listener."""
        return self._source.queued_duration if self._source else 0.0

    @property
    def speaking(self) -> bool:
        """Whether an utterance is being made, waits or is heard."""
        return bool(self._open)

    async def start(self) -> None:
        """Publish the track and begin loading the voice in the background.

        Raises:
            RuntimeError: The room is not connected, or the speaker is closed.
            livekit.rtc.participant.PublishTrackError: The server refused the track.
        """
        if self._closed:
            raise RuntimeError("the Speaker is closed: make a new one")
        if self._source is not None:
            return
        if not self._room.isconnected():
            raise RuntimeError("the room is not connected: await room.connect(...) before Speaker")
        self._tts.prewarm()
        # The queue is counted in steps of 10 ms.
        source = rtc.AudioSource(self._sample_rate, 1, round(self._queue_s * 100) * 10)
        track = rtc.LocalAudioTrack.create_audio_track(self._track_name, source)
        try:
            self._publication = await self._room.local_participant.publish_track(
                track, self._publish_options
            )
        except BaseException:
            await source.aclose()
            raise
        self._source = source
        self._tasks = [
            asyncio.create_task(self._make_all(), name="speaker-make"),
            asyncio.create_task(self._play_all(source, self._publication), name="speaker-play"),
        ]

    async def __aenter__(self) -> Speaker:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def say(self, text: str | AsyncIterable[str]) -> Utterance:
        """Speak a text, or a text that is still being written, after what was said before.

        Args:
            text: The text, or an async iterable of its pieces.

        Returns:
            A handle to wait for it or to interrupt it.

        Raises:
            RuntimeError: The speaker is closed.
        """
        if self._closed:
            raise RuntimeError("the Speaker is closed: make a new one")
        utterance = Utterance(text, self)
        self._open.append(utterance)
        self._to_make.send_nowait(utterance)
        self._to_play.send_nowait(utterance)
        return utterance

    def interrupt(self) -> None:
        """Fall silent and drop everything that was to be said; returns at once."""
        self._interrupt(list(self._open))

    async def wait_for_playout(self) -> None:
        """Wait until everything said so far has been played, interrupted or has failed.

        Errors stay with their utterances: look at `Utterance.error` or await the utterance.
        """
        waiting = [utterance._finished for utterance in self._open]
        if waiting:
            await asyncio.wait(waiting)

    async def aclose(self) -> None:
        """Interrupt what is being said and take the track back; repeated calls do nothing."""
        if self._closed:
            return
        self._closed = True
        self.interrupt()
        await aio.cancel_and_wait(*self._tasks)
        for utterance in list(self._open):
            self._end(utterance)
        if self._publication is not None and self._room.isconnected():
            await self._room.local_participant.unpublish_track(self._publication.sid)
        if self._source is not None:
            await self._source.aclose()

    def _interrupt(self, utterances: list[Utterance]) -> None:
        for utterance in utterances:
            if utterance.done or utterance.interrupted:
                continue
            played_s = utterance.played_s
            utterance._interrupted = True
            if utterance._cut_off is not None:
                utterance._cut_off(played_s)
            elif utterance._making is not None:
                utterance._making.cancel()
            utterance._frames.close()
            if utterance is self._playing and self._source is not None:
                # Nothing else lies in the queue: the next one waits for this one's playout.
                utterance.playout.played_s = played_s
                utterance._break_off(self._source.queued_duration)
                self._source.clear_queue()
            else:
                self._end(utterance)

    def _end(self, utterance: Utterance, error: BaseException | None = None) -> None:
        if utterance not in self._open:
            return
        self._open.remove(utterance)
        utterance._finish(error)
        self.stats._add(utterance)

    async def _make_all(self) -> None:
        async for utterance in self._to_make:
            if utterance.interrupted:
                continue
            utterance._making = asyncio.create_task(self._make(utterance), name="speaker-utterance")
            try:
                await asyncio.wait([utterance._making])
            except asyncio.CancelledError:
                await aio.cancel_and_wait(utterance._making)
                raise
            utterance._frames.close()

    async def _make(self, utterance: Utterance) -> None:
        """Turn the text into frames of the track's rate, all of the same length."""
        settings = self._tts._options
        pipeline, options = await self._tts._backend.prepare(settings)
        pacing = settings.pacing(TIMEOUT_S, bounded=True)
        pacing = replace(pacing, played=lambda: utterance.played_s)
        resampler = Resampler(SAMPLE_RATE, self._sample_rate)
        step = round(self._sample_rate * FRAME_S)
        frames = audio.AudioByteStream(self._sample_rate, 1, samples_per_channel=step)
        async with aclosing(pipeline.speak(utterance._text, options, pacing)) as events:
            async for event in events:
                if isinstance(event, SegmentStarted):
                    utterance._segments.append((event.start_s, event.text))
                elif isinstance(event, AudioPiece):
                    for frame in frames.push(to_pcm16(resampler.push(event.audio))):
                        utterance._frames.send_nowait(frame)
                elif isinstance(event, Finished):
                    utterance._cut_off = partial(_cut_off, pipeline, event.duration_s)
        if utterance.interrupted:
            return
        rest = to_pcm16(resampler.push(np.zeros(0, np.float32), last=True))
        # The track sends whole steps of 10 ms; a rest would wait there for the next utterance.
        for frame in [*frames.push(rest), *frames.flush()]:
            padded = bytes(frame.data).ljust(step * 2, b"\0")
            utterance._frames.send_nowait(rtc.AudioFrame(padded, self._sample_rate, 1, step))

    async def _play_all(
        self, source: rtc.AudioSource, publication: rtc.LocalTrackPublication
    ) -> None:
        if self._wait_for_listener:
            await publication.wait_for_subscription()
        # Silence first, for as long as there is nothing to say: the listener's jitter buffer would
        # else find its size during the first words, and stretch them.
        silence = round(self._queue_s * self._sample_rate)
        await source.capture_frame(
            rtc.AudioFrame(bytes(2 * silence), self._sample_rate, 1, silence)
        )
        async for utterance in self._to_play:
            if utterance.interrupted:
                continue
            self._playing = utterance
            error: BaseException | None = None
            try:
                await self._play(utterance, source)
            except Exception as failure:
                error = failure
            self._playing = None
            making = utterance._making
            if error is None and not utterance.interrupted and making is not None:
                error = making.exception()
            if error is not None:
                logger.warning("an utterance ended early: %s", error)
            self._end(utterance, error)

    async def _play(self, utterance: Utterance, source: rtc.AudioSource) -> None:
        playout = utterance.playout
        dry_at = float("inf")
        async for frame in utterance._frames:
            if utterance.interrupted:
                break
            now = time.perf_counter()
            if not playout.audio_s:
                source.clear_queue()  # The silence of the beginning, where some is left.
                playout.first_audio_s = now - utterance._said
            playout._frame(frame.duration, source.queued_duration, now - dry_at)
            utterance._handed(frame, self._queue_s)
            await source.capture_frame(frame)
            dry_at = time.perf_counter() + source.queued_duration
        if utterance.interrupted:
            # A frame may have been on its way into the queue while `interrupt` emptied it.
            source.clear_queue()
            if utterance._tail is not None:
                await source.capture_frame(utterance._tail)
            return
        await source.wait_for_playout()
        if not utterance.interrupted:
            playout.played_s = playout.audio_s


def _cut_off(pipeline: Pipeline, made_s: float, heard_s: float) -> None:
    pipeline.cut_off(max(0.0, made_s - heard_s))
