"""An utterance on its way to a room's listener, and what is counted of it."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterable, Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from livekit.agents.utils import aio

from livekit import rtc
from livekit_xtts.audio import FADE_OUT_S, fade_out

if TYPE_CHECKING:
    from livekit_xtts.room import Speaker


@dataclass(slots=True)
class TrackStats:
    """What happened between the voice and the track.

    Attributes:
        first_audio_s: From `say()` to the first frame handed to the track; NaN before it.
        audio_s: Seconds of audio handed to the track.
        played_s: Seconds of it that have been played; less than `audio_s` after an interruption.
        underruns: How often the track ran dry in the middle of an utterance, be it that the voice
            or that the text was late.
        underrun_s: For how long in total; what the listener hears as holes.
        least_lead_s: Least audio that was left in the track's queue when more arrived, after the
            first frame; infinity with one frame or none.
    """

    first_audio_s: float = float("nan")
    audio_s: float = 0.0
    played_s: float = 0.0
    underruns: int = 0
    underrun_s: float = 0.0
    least_lead_s: float = float("inf")

    def _frame(self, seconds: float, lead_s: float, dry_s: float) -> None:
        """Count a frame that finds `lead_s` in the queue, after `dry_s` seconds without any."""
        if self.audio_s:
            self.least_lead_s = min(self.least_lead_s, lead_s)
        if dry_s > 0:
            self.underruns += 1
            self.underrun_s += dry_s
        self.audio_s += seconds


@dataclass(slots=True)
class SpeakerStats(TrackStats):
    """Totals over the utterances that have ended; `first_audio_s` is the latest one's.

    Attributes:
        utterances: How many have ended.
        interrupted: How many of them were interrupted.
        failed: How many of them failed.
    """

    utterances: int = 0
    interrupted: int = 0
    failed: int = 0

    def _add(self, utterance: Utterance) -> None:
        playout = utterance.playout
        self.utterances += 1
        self.interrupted += utterance.interrupted
        self.failed += utterance.error is not None
        self.first_audio_s = playout.first_audio_s
        self.least_lead_s = min(self.least_lead_s, playout.least_lead_s)
        for name in ("audio_s", "played_s", "underruns", "underrun_s"):
            setattr(self, name, getattr(self, name) + getattr(playout, name))


class Utterance:
    """A text on its way to the listener; what `Speaker.say` returns. Awaiting it waits for its end.

    An interruption ends it without an error.
    """

    def __init__(self, text: str | AsyncIterable[str], speaker: Speaker) -> None:
        self._text = text
        self._speaker = speaker
        self._said = time.perf_counter()
        self._frames: aio.Chan[rtc.AudioFrame] = aio.Chan()
        self._segments: list[tuple[float, str]] = []
        self._making: asyncio.Task[None] | None = None
        self._finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Read even where nobody awaits, so that asyncio does not report it once more.
        self._finished.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._interrupted = False
        self._cut_off: Callable[[float], None] | None = None  # once all of it is made
        self._recent: deque[rtc.AudioFrame] = deque()
        self._tail: rtc.AudioFrame | None = None
        self.playout = TrackStats()

    @property
    def interrupted(self) -> bool:
        """Whether `interrupt()` came before the end."""
        return self._interrupted

    @property
    def done(self) -> bool:
        """Whether it was heard to its end, interrupted, or has failed."""
        return self._finished.done()

    @property
    def error(self) -> BaseException | None:
        """What ended it early: a failure of the voice or of the text stream, or None."""
        return self._finished.exception() if self._finished.done() else None

    @property
    def played_s(self) -> float:
        """Seconds of it that the listener has been sent, by the track's queue."""
        if self is self._speaker._playing and not self._interrupted:
            return max(0.0, self.playout.audio_s - self._speaker.queued_s)
        return self.playout.played_s

    @property
    def heard(self) -> str:
        """The text up to and including the segment that was being heard last."""
        return "".join(text for start_s, text in self._segments if start_s < self.played_s)

    def interrupt(self) -> None:
        """Fall silent and stop making speech; returns at once. The next utterance follows."""
        self._speaker._interrupt([self])

    async def wait_for_playout(self) -> None:
        """Wait until the last sample has been played.

        Raises:
            SpeechError: Speech could not be made; what was made before has been played.
            Exception: The text stream raised this.
        """
        await asyncio.shield(self._finished)

    def __await__(self) -> Generator[Any, None, None]:
        return self.wait_for_playout().__await__()

    def _handed(self, frame: rtc.AudioFrame, queue_s: float) -> None:
        """Remember a frame for as long as it may lie in the track's queue."""
        self._recent.append(frame)
        while len(self._recent) * frame.duration > queue_s + 2 * frame.duration:
            self._recent.popleft()

    def _break_off(self, queued_s: float) -> None:
        """Make the end of it: what would be heard next, fading, where so much lies unheard."""
        if not self._recent:
            return
        rate = self._recent[-1].sample_rate
        heard = np.concatenate([np.frombuffer(frame.data, np.int16) for frame in self._recent])
        step = rate // 100  # the track plays steps of 10 ms
        unheard = heard[max(0, heard.size - round(queued_s * 100) * step) :][:step]
        if unheard.size == step:
            faded = np.zeros(step, np.float32)
            size = round(FADE_OUT_S * rate)
            faded[:size] = fade_out(unheard[:size].astype(np.float32), FADE_OUT_S, rate)
            self._tail = rtc.AudioFrame(faded.astype(np.int16).tobytes(), rate, 1, step)

    def _finish(self, error: BaseException | None = None) -> None:
        if self._finished.done():
            return
        if error is None:
            self._finished.set_result(None)
        else:
            self._finished.set_exception(error)
