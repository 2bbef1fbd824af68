"""One utterance on its way through the pipeline: which segment is made when, and handed on when."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from livekit_xtts.audio import silence, soften_end, soften_start
from livekit_xtts.events import (
    AudioPiece,
    Finished,
    Flush,
    PipelineEvent,
    SegmentFinished,
    SegmentStarted,
    SpeakOptions,
    SpeechTimeoutError,
    TextStream,
    WordsComing,
)
from livekit_xtts.levels import LEAST_S, Leveller
from livekit_xtts.log import logger
from livekit_xtts.pacing import Pacing, Playout, SpeechStats, held_back_s, rate_meter
from livekit_xtts.parts import Part, id_counter, native_segments, speech_events
from livekit_xtts.speech import (
    SAMPLE_RATE,
    Float32,
    SpeechChunk,
    SpeechDone,
    SpeechError,
    SpeechRequest,
)
from livekit_xtts.text.normalize import speakable
from livekit_xtts.text.segment import Segment

if TYPE_CHECKING:
    from livekit_xtts.pipeline import Pipeline

LONG_WHOLE_TEXT = 50
"""From so many characters a segment that is made whole may take its audio's length longer."""

LEVEL_KNOWN_S = 2 * LEAST_S
LEVEL_LEAD_S = 0.5
"""A later segment begins when so much of it is there to tell its level by, or the listener's lead
is down to this."""

_RETRY_S = (0.05, 0.1, 0.2, 0.4)


class Utterance:
    """One call of `Pipeline.speak`."""

    def __init__(
        self,
        pipeline: Pipeline,
        options: SpeakOptions,
        pacing: Pacing,
        on_start: Callable[[], None] | None,
    ) -> None:
        self._engine = pipeline.engine
        self._cache = pipeline.cache
        self._cuts = pipeline.cuts
        self._clock = pipeline.clock
        self._options = options
        self._pacing = pacing
        self._on_start = on_start
        self._meter = rate_meter(self._engine)
        self._loop = asyncio.get_running_loop()
        self._playout = Playout(self._clock, pacing.played)
        self._leveller = Leveller() if self._options.even_level else None
        self._changed = asyncio.Event()
        self._parts: list[Part] = []
        self._next = 0
        self._current = 0
        self._text_done = False
        self._text_error: Exception | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._began_at: float | None = None
        self._ready_at = -math.inf
        self._holding = False
        self._closed = False
        self._position = 0
        self._stats = SpeechStats(utterances=1)

    # Text in.

    async def read(self, text: str | TextStream) -> None:
        """Cut the text, as it comes where it is still being written."""
        options = self._options
        try:
            if isinstance(text, str) and options.segments is None:
                for segment in self._cuts.segments(text, options.language, options.pronunciations):
                    self._take(segment)
                return
            cut = options.segments or self._native
            async for segment in cut(_pieces(text) if isinstance(text, str) else text):
                self._take(segment)
        except Exception as error:
            self._text_error = error
        finally:
            self._text_done = True
            self._changed.set()

    def _take(self, segment: Segment) -> None:
        if segment.text:
            self._parts.append(self._part(segment))
            self._changed.set()
            self._admit()

    def _native(self, text: TextStream) -> AsyncIterator[Segment]:
        info, language = self._engine.info, self._options.language
        return native_segments(
            text,
            language,
            char_limit=dict(info.char_limits).get(language),
            ids_limit=info.max_text_ids,
            count_ids=id_counter(self._engine, language, self._options.pronunciations),
            protected=self._options.pronunciations or (),
        )

    def _part(self, segment: Segment) -> Part:
        mute = not speakable(segment.text)
        language = self._options.language
        estimate = self._meter.seconds(segment.text, language, self._options.speed)
        self._stats.segments += 1
        self._stats.characters += len(segment.text)
        return Part(segment, len(self._parts), estimate, language, mute)

    # Starting segments.

    def _admit(self) -> None:
        """Start every segment whose time has come."""
        while self._next < len(self._parts) and not self._closed:
            part = self._parts[self._next]
            if not part.ended:
                live = [other for other in self._going() if not other.ended]
                # The one that is being heard comes first: its first audio, and all of it on
                # hardware that can only just keep up.
                if live and (
                    self._meter.slow
                    or len(live) > self._pacing.ahead
                    or any(not other.made_s for other in live)
                ):
                    return
                if (early := self._early_s()) > 0:
                    self._wake_in(early)
                    return
                self._start(part)
            self._next += 1

    def _early_s(self) -> float:
        """Seconds until the listener's lead, what is being made included, is down to the bound."""
        if self._holding or self._meter.slow:
            return 0.0
        coming = sum(part.rest_s for part in self._going())
        return self._playout.lead_s + coming - self._pacing.most_lead_s

    def _going(self) -> list[Part]:
        return self._parts[self._current : self._next]

    def _ready_s(self) -> float:
        return sum(part.ready_s for part in self._going())

    def _wake_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(max(seconds, 0.02), self._admit)

    def _start(self, part: Part) -> None:
        if self._began_at is None:
            self._began_at = self._clock()
            if self._on_start is not None:
                self._on_start()
        part.whole = self._makes_whole(part)
        part.started_at = self._clock()
        part.heard_at = self._loop.time()
        self._changed.set()
        part.task = asyncio.create_task(self._make(part), name="xtts-segment")

    def _makes_whole(self, part: Part) -> bool:
        if len(part.segment.text.strip()) >= self._pacing.whole_below:
            return False
        factor = self._meter.real_time_factor
        # Unmeasured hardware is taken to be as fast as speech.
        wait = part.estimated_s * (1.0 if factor is None else factor)
        return wait <= max(self._pacing.whole_wait_s, self._playout.lead_s + self._ready_s())

    async def _make(self, part: Part) -> None:
        request = self._options.request(part.segment.text, streaming=not part.whole)
        if part.index:
            request = replace(request, max_wait_s=math.inf)
        retries = iter(_RETRY_S if part.index else ())
        try:
            while True:
                try:
                    await self._receive(part, request)
                    return
                except SpeechError as error:
                    # A full engine must not cut a speech that has begun; the first segment fails
                    # at once, since the caller can still go elsewhere.
                    pause = next(retries, None)
                    if pause is None or part.made_s or not error.retryable:
                        raise
                    await asyncio.sleep(pause)
        except Exception as error:
            part.error = error
            self._closed = True  # what follows could not be heard in its place
        finally:
            part.ended = True
            self._changed.set()
            self._admit()

    async def _receive(self, part: Part, request: SpeechRequest) -> None:
        events = speech_events(self._engine, self._cache, request)
        try:
            async for event in events:
                part.heard_at = self._loop.time()
                if self._meter.real_time_factor is None:
                    rate_meter(self._engine)  # measured at a load that may have been under way
                if isinstance(event, SpeechDone):
                    language, speed = self._options.language, self._options.speed
                    part.learn(event, request.text, language, speed)
                    if event.total_s:
                        self._meter.add(event, part.segment.text, language, speed)
                    else:
                        self._stats.cached_s += part.made_s
                elif isinstance(event, SpeechChunk) and event.audio.size:
                    audio = event.audio if part.made_s else soften_start(event.audio)
                    part.add(soften_end(audio) if event.final else audio)
                    self._changed.set()
                    self._admit()
        finally:
            await events.aclose()

    # Audio out.

    async def events(self) -> AsyncGenerator[PipelineEvent]:
        previous: Part | None = None
        while (part := await self._part_at(self._current)) is not None:
            await self._until_ready(part)
            if previous is not None and previous.segment.pause_s > 0:
                yield self._hand_on(silence(previous.segment.pause_s), part)
            start_s = self._position / SAMPLE_RATE
            yield SegmentStarted(part.index, part.segment.text, start_s)
            if self._leveller is not None:
                self._leveller.begin()
            while True:
                while part.pieces:
                    audio = part.take()
                    if self._leveller is not None:
                        audio = self._leveller.even(audio, part.pieces, whole=part.ended)
                    now_s, size_s = self._position / SAMPLE_RATE, audio.size / SAMPLE_RATE
                    if words := part.words_before(start_s, now_s, now_s + size_s):
                        yield WordsComing(words)
                    yield self._hand_on(audio, part)
                if part.error is not None:
                    raise part.error
                if part.ended:
                    break
                await self._change(part)
            end_s = self._position / SAMPLE_RATE
            if words := part.words_before(start_s, end_s, math.inf):
                yield WordsComing(words)
            text, words = part.segment.text, part.timed(start_s)
            aligned = bool(part.begins)
            yield SegmentFinished(part.index, text, start_s, end_s, part.done, words, aligned)
            previous = part
            self._current += 1
            self._admit()
        if self._text_error is not None:
            raise self._text_error
        yield Finished(self._position / SAMPLE_RATE, self.stats())

    async def _part_at(self, index: int) -> Part | None:
        while index >= len(self._parts):
            if self._text_done:
                return None
            await self._change(None)
        return self._parts[index]

    async def _until_ready(self, part: Part) -> None:
        """Wait until the segment can begin to be heard."""
        while True:
            if part.error is not None and not self._position:
                raise part.error  # nothing was handed on: the caller can still begin again
            later = self._parts[self._current :]
            if all(other.ended for other in later):
                break
            if part.ended or (part.pieces and not part.whole):
                rest = [part] if self._position else later
                needed = self._held_back_s(rest)
                if sum(other.ready_s for other in rest) >= needed:
                    if not self._level_unknown(part):
                        break
                else:
                    self._hold(needed)
            await self._change(next((other for other in later if not other.ended), part))
        self._holding = False

    def _level_unknown(self, part: Part) -> bool:
        """Whether a segment's level is not known yet, and the listener has time to wait for it."""
        if self._leveller is None or not self._position or part.ended:
            return False
        spare_s = self._playout.lead_s - LEVEL_LEAD_S
        if part.ready_s >= LEVEL_KNOWN_S or spare_s <= 0:
            return False
        self._loop.call_later(spare_s, self._changed.set)
        return True

    def _held_back_s(self, rest: list[Part]) -> float:
        return held_back_s(
            self._meter.real_time_factor or 0.0,
            sum(part.rest_s for part in rest),
            self._playout.lead_s,
            max(part.chunk_s for part in rest),
        )

    def _hold(self, seconds: float) -> None:
        if not self._holding:
            self._holding = True
            self._stats.held_back_s = max(self._stats.held_back_s, seconds)
            if not self._meter.told:
                self._meter.told = True
                logger.warning(
                    "speech takes %.2f times its own length to make on this hardware: holding"
                    " back %.1f s before the start, so that playback does not break",
                    self._meter.real_time_factor,
                    seconds,
                )
        self._admit()

    def _hand_on(self, audio: Float32, part: Part) -> AudioPiece:
        if not self._position and self._began_at is not None:
            self._stats.first_audio_s = self._clock() - self._began_at
        piece = AudioPiece(audio, self._position)
        self._position += audio.size
        self._playout.push(audio.size / SAMPLE_RATE, expected_since=part.started_at)
        return piece

    async def _change(self, part: Part | None) -> None:
        """Wait for news; of a segment in the making, no longer than its time-out."""
        if part is None or part.started_at is None or self._pacing.timeout_s is None:
            await self._changed.wait()
            self._changed.clear()
            return
        ready = self._engine.ready
        patience = self._pacing.timeout_s
        if part.whole and len(part.segment.text) >= LONG_WHOLE_TEXT:
            patience += part.estimated_s * max(1.0, self._meter.real_time_factor or 1.0)
        try:
            async with asyncio.timeout_at(max(part.heard_at, self._ready_at) + patience):
                await self._changed.wait()
                self._changed.clear()
        except TimeoutError:
            if ready:
                message = f"the engine has sent nothing for {self._pacing.timeout_s:g} s"
                raise SpeechTimeoutError(message) from None
            # Loading has a budget of its own; the request's begins when the engine is ready.
            self._ready_at = self._loop.time()
            if self._ready_at - part.heard_at > self._pacing.load_timeout_s:
                raise SpeechTimeoutError("the engine has not finished loading") from None

    # The end.

    def cancel(self) -> list[asyncio.Task[None]]:
        """Flag everything that is in the making; returns the tasks that end by it."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        tasks = [part.task for part in self._parts if part.task is not None]
        for task in tasks:
            task.cancel()
        return tasks

    def stats(self, *, interrupted: bool = False, failed: bool = False) -> SpeechStats:
        """The utterance's figures up to now."""
        stats, playout = self._stats, self._playout
        made = sum(part.made_s for part in self._parts)
        stats.interrupted = int(interrupted)
        stats.failed = int(failed)
        stats.audio_s = playout.pushed_s
        stats.lead_s = playout.most_lead_s
        stats.overfill_s = max(0.0, playout.most_lead_s - self._pacing.most_lead_s)
        stats.underruns = playout.underruns
        stats.underrun_s = playout.underrun_s
        stats.real_time_factor = self._meter.real_time_factor
        if interrupted or failed:
            heard = playout.played_s if interrupted else playout.pushed_s
            # What came from the cache cost nothing.
            stats.wasted_s = min(max(0.0, made - heard), max(0.0, made - stats.cached_s))
        return stats


async def _pieces(text: str) -> AsyncGenerator[str | Flush]:
    yield text
