"""How fast speech is made here, how far it runs ahead of the listener, and what that cost."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from livekit_xtts.engine.engine import Engine
from livekit_xtts.speech import SAMPLE_RATE, SpeechDone

SECONDS_PER_CHARACTER = 0.07
WHOLE_BELOW = 50
"""Texts of fewer characters are better made whole where the wait for it can be borne."""

WHOLE_WAIT_S = 0.05
"""A wait that nobody hears. Streamed audio has no seams, so a listener who has nothing to hear yet
does not wait longer for a whole text than this."""

_DENSE_SCRIPTS = {"zh-cn": 0.22, "ja": 0.15, "ko": 0.16, "hi": 0.08, "ar": 0.09}
_WEIGHT = 0.3
_SHORTEST_MEASURED_S = 0.4
_ON_ITS_WAY_S = 0.04
"""Audio that a real queue may not have taken yet: a frame's rest, and what a resampler keeps."""


class RateMeter:
    """What an engine has shown: its real-time factor, and how long a text becomes.

    The real-time factor is seconds of work for a second of audio: below 1 the engine is faster
    than the listener. Kept per engine, since every voice on it shares the hardware.
    """

    def __init__(self, calibrated: float | None = None) -> None:
        self.real_time_factor = calibrated
        self._character_s: dict[str, float] = {}
        self.told = False

    @property
    def slow(self) -> bool:
        """Whether speech is made slower than it is heard, or so nearly that holes threaten."""
        return self.real_time_factor is not None and self.real_time_factor > 0.95

    def seconds(self, text: str, language: str, speed: float) -> float:
        """Estimated length of a text's audio in seconds."""
        usual = _DENSE_SCRIPTS.get(language, SECONDS_PER_CHARACTER)
        return len(text.strip()) * self._character_s.get(language, usual) / speed

    def add(self, done: SpeechDone, text: str, language: str, speed: float) -> None:
        """Learn from a request that was spoken to its end."""
        seconds = done.samples / SAMPLE_RATE
        if done.cancelled or seconds < _SHORTEST_MEASURED_S or not text.strip():
            return
        work = max(0.0, done.total_s - done.queued_s) / seconds
        known = self.real_time_factor
        self.real_time_factor = work if known is None else known + _WEIGHT * (work - known)
        pace = seconds * speed / len(text.strip())
        before = self._character_s.get(language, pace)
        self._character_s[language] = before + _WEIGHT * (pace - before)


_meters: weakref.WeakKeyDictionary[Engine, RateMeter] = weakref.WeakKeyDictionary()


def rate_meter(engine: Engine) -> RateMeter:
    """The one meter of an engine; begins with the factor that the engine measured at load."""
    meter = _meters.get(engine)
    if meter is None:
        meter = _meters.setdefault(engine, RateMeter())
    if meter.real_time_factor is None:
        calibrated = getattr(engine, "real_time_factor", None)
        if isinstance(calibrated, float) and math.isfinite(calibrated):
            meter.real_time_factor = calibrated
    return meter


def held_back_s(factor: float, rest_s: float, lead_s: float, chunk_s: float) -> float:
    """Audio that must be ready before a playback starts that shall not break.

    With b seconds ready and a lead of l seconds, the rest up to d seconds is there after
    (d - b) * factor; the listener gets there after l + d. A chunk is handed out when all of it is
    made, so its own work is added.

    Args:
        factor: Seconds of work for a second of audio.
        rest_s: Seconds of audio up to the end, what is ready included.
        lead_s: Seconds that the listener already has ahead.
        chunk_s: Seconds of audio in a chunk.

    Returns:
        Seconds; 0 where the engine is faster than the listener.
    """
    if factor <= 1.0:
        return 0.0
    needed = (rest_s * (factor - 1.0) + chunk_s * factor - lead_s) / factor
    return min(max(0.0, needed), rest_s)


class Playout:
    """The listener's position, as far as it can be known.

    Args:
        clock: Seconds, ever rising.
        played: Seconds of this utterance that have been heard, where a real queue can tell.
            Without it the clock tells: audio is heard as soon as, and as fast as, it can be.
    """

    def __init__(
        self, clock: Callable[[], float], played: Callable[[], float] | None = None
    ) -> None:
        self._clock = clock
        self._played = played
        self._end = -math.inf
        self.pushed_s = 0.0
        self.most_lead_s = 0.0
        self.underruns = 0
        self.underrun_s = 0.0

    @property
    def lead_s(self) -> float:
        """Seconds of audio that the listener has ahead."""
        if self._played is not None:
            return max(0.0, self.pushed_s - self._played())
        return max(0.0, self._end - self._clock())

    @property
    def played_s(self) -> float:
        """Seconds of audio that have been heard."""
        return self.pushed_s - self.lead_s

    def push(self, seconds: float, *, expected_since: float | None = None) -> None:
        """Audio has been handed on.

        Args:
            seconds: Its length.
            expected_since: When the engine began to owe it. A listener who was waiting already
                was waiting for the text, which is no underrun.
        """
        now = self._clock()
        if self._played is not None and self.lead_s > _ON_ITS_WAY_S:
            # Still being heard, or not begun: a track may be paused, or busy with what came before.
            self._end = now + self.lead_s
        if expected_since is not None and expected_since <= self._end < now - 0.001:
            self.underruns += 1
            self.underrun_s += now - self._end
        self._end = max(self._end, now) + seconds
        self.pushed_s += seconds
        self.most_lead_s = max(self.most_lead_s, self.lead_s)


@dataclass(slots=True)
class SpeechStats:
    """What was spoken, and how it went. Of one utterance, or summed over many.

    Attributes:
        utterances: Utterances that ended in any way.
        interrupted: Of those, cancelled before their end.
        failed: Of those, ended by an error.
        segments: Pieces of text spoken.
        characters: Characters of text spoken.
        audio_s: Seconds of audio handed on, gaps included.
        first_audio_s: Seconds from the first segment's start to its first audio; the latest.
        lead_s: Most seconds that the listener has had ahead.
        overfill_s: Most seconds that this was above the bound asked for.
        underruns: Times that the listener ran dry while speech was being made.
        underrun_s: Seconds of those.
        held_back_s: Seconds of audio held back on slow hardware before starting; the latest.
        wasted_s: Seconds of audio made and never heard. A session does not tell of an interruption
            that comes when all audio is with it; a `room.Speaker` does, and that interruption is
            counted when it comes.
        cached_s: Seconds of audio that came from the cache.
        real_time_factor: Seconds of work for a second of audio; None before the first measure.
    """

    utterances: int = 0
    interrupted: int = 0
    failed: int = 0
    segments: int = 0
    characters: int = 0
    audio_s: float = 0.0
    first_audio_s: float = math.nan
    lead_s: float = 0.0
    overfill_s: float = 0.0
    underruns: int = 0
    underrun_s: float = 0.0
    held_back_s: float = 0.0
    wasted_s: float = 0.0
    cached_s: float = 0.0
    real_time_factor: float | None = None

    def add(self, other: SpeechStats) -> None:
        """Sum counts and seconds; keep the largest lead and the latest of the rest."""
        for item in fields(self):
            mine, theirs = getattr(self, item.name), getattr(other, item.name)
            setattr(self, item.name, _JOIN.get(item.name, _total)(mine, theirs))

    def as_dict(self) -> dict[str, Any]:
        """The values by name, for logs and JSON."""
        return asdict(self)


def _total(mine: Any, theirs: Any) -> Any:
    return mine + theirs


def _latest(mine: Any, theirs: Any) -> Any:
    return mine if theirs is None or theirs != theirs else theirs


_JOIN: dict[str, Callable[[Any, Any], Any]] = {
    "first_audio_s": _latest,
    "held_back_s": _latest,
    "real_time_factor": _latest,
    "lead_s": max,
    "overfill_s": max,
}


@dataclass(frozen=True, slots=True)
class Pacing:
    """How far ahead of the listener speech is made.

    Attributes:
        most_lead_s: The next segment waits until the listener has less than this ahead;
            infinity makes everything as soon as possible.
        ahead: Segments that may be in the making beside the one that is being heard.
        played: See `Playout`.
        whole_below: Texts of fewer characters are made whole before they are handed on.
        whole_wait_s: ... but only where making one is estimated to take no longer than this, or
            than the listener has ahead; infinity where the caller asked for it.
        timeout_s: Longest wait for the engine's next message once it is ready; None for no end.
        load_timeout_s: Longest wait for the engine to become ready.
    """

    most_lead_s: float = math.inf
    ahead: int = 1
    played: Callable[[], float] | None = field(default=None, compare=False)
    whole_below: float = WHOLE_BELOW
    whole_wait_s: float = WHOLE_WAIT_S
    timeout_s: float | None = 10.0
    load_timeout_s: float = 330.0
