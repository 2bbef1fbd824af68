"""The one way from text to speech: text stream → segments → engine → joined audio with timings.

    pipeline = Pipeline(engine)
    async with aclosing(pipeline.speak("Hello there.")) as events:
        async for event in events:
            if isinstance(event, AudioPiece):
                play(event.audio)

The next segment is started ahead while one is heard, and audio stays in order. Closing the
generator, or cancelling the task that reads it, cancels everything at once: it sets flags and waits
for no engine.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from livekit_xtts.cache import SpeechCache
from livekit_xtts.cuts import KnownCuts
from livekit_xtts.engine.engine import Engine
from livekit_xtts.events import (
    FLUSH,
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
from livekit_xtts.pacing import Pacing, SpeechStats
from livekit_xtts.utterance import Utterance

__all__ = [
    "FLUSH",
    "AudioPiece",
    "Finished",
    "Flush",
    "Pacing",
    "Pipeline",
    "PipelineEvent",
    "SegmentFinished",
    "SegmentStarted",
    "SpeakOptions",
    "SpeechStats",
    "SpeechTimeoutError",
    "TextStream",
    "WordsComing",
]


class Pipeline:
    """Speaks texts through one engine; any number at once.

    Args:
        engine: Makes the speech.
        cache: Keeps spoken segments for reuse; None makes everything anew.
        clock: Seconds, for the listener's position; for tests.
        on_stats: Called with the stats of each utterance when it ends, however it ends, and with
            those of `cut_off`.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        cache: SpeechCache | None = None,
        clock: Callable[[], float] = time.perf_counter,
        on_stats: Callable[[SpeechStats], None] | None = None,
    ) -> None:
        self.engine = engine
        self.cache = cache
        self.clock = clock
        self.stats = SpeechStats()
        self._on_stats = on_stats
        self.cuts = KnownCuts(engine)

    def cut_off(self, unheard_s: float) -> None:
        """Count an utterance that was interrupted after all of it had been made.

        Args:
            unheard_s: Seconds of its audio that nobody heard.
        """
        held_back_s = self.stats.held_back_s  # the latest stays
        self._count(SpeechStats(interrupted=1, wasted_s=unheard_s, held_back_s=held_back_s))

    def _count(self, stats: SpeechStats) -> None:
        self.stats.add(stats)
        if self._on_stats is not None:
            self._on_stats(stats)

    async def speak(
        self,
        text: str | TextStream,
        options: SpeakOptions | None = None,
        pacing: Pacing | None = None,
        *,
        on_start: Callable[[], None] | None = None,
    ) -> AsyncGenerator[PipelineEvent]:
        """Speak a text, or a text that is still being written.

        Args:
            text: The text or its stream; blank text gives no segment and no audio.
            options: How it is to be spoken.
            pacing: How far ahead of the listener.
            on_start: Called when the first segment is handed to the engine.

        Yields:
            `SegmentStarted`, its `WordsComing` and `AudioPiece`s, `SegmentFinished`, …, at last
            `Finished`.

        Raises:
            SpeechError: Speech could not be made; what was made before has been yielded.
            Exception: The text stream raised it, after what came before was spoken.
        """
        utterance = Utterance(self, options or SpeakOptions(), pacing or Pacing(), on_start)
        reading = asyncio.create_task(utterance.read(text), name="xtts-text")
        finished = False
        failed = False
        try:
            async with aclosing(utterance.events()) as events:
                async for event in events:
                    yield event
            finished = True
        except Exception:
            failed = True
            raise
        finally:
            reading.cancel()
            tasks = [reading, *utterance.cancel()]
            stats = utterance.stats(interrupted=not finished and not failed, failed=failed)
            self._count(stats)
            # They end at once: cancelling an engine's request only sets a flag.
            await asyncio.gather(*tasks, return_exceptions=True)
