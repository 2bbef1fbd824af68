"""Even level across segments: each is a draw of its own, and may come out louder or softer.

The first segment sets the level and is never touched. A later one whose level, as far as it is
known when it begins, is out of step by more than a listener takes for expression gets one gain in
the pause before it. What is learned of it later moves the gain too slowly to be heard.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from livekit_xtts.speech import SAMPLE_RATE, Float32

FRAME = SAMPLE_RATE // 50
"""Samples that are measured together: 20 ms."""

ACTIVE_DB = 25.0
"""What is that much below the loudest 20 ms is a pause, and has no part in a level."""

LEAST_S = 0.3
"""Speech from which on a level says something of all of its segment: the error is about 1 dB."""

LEAST_WHOLE_S = 0.1
"""The same for a segment that is known to its end."""

TOLERANCE_DB = 1.5
"""A step of up to this much is left: a voice's own sentences differ as much."""

MOST_DB = 9.0
SLOPE_DB_S = 3.0
_FULL_SCALE = 0.98
_SILENT = 1e-7


class Level:
    """The level of speech, as far as it has been seen."""

    def __init__(self) -> None:
        self._new: list[Float32] = []
        self._powers = np.zeros(0, np.float32)
        self._peak = 0.0

    def add(self, audio: Float32) -> None:
        """See more of it; shape (samples,). Costs nothing before somebody asks."""
        self._new.append(audio)

    def _look(self) -> None:
        if not self._new:
            return
        audio = np.concatenate(self._new)
        frames = audio.size // FRAME
        self._new = [audio[frames * FRAME :]]
        if frames:
            self._peak = max(self._peak, float(np.abs(audio).max()))
            new = (audio[: frames * FRAME].reshape(frames, FRAME) ** 2).mean(axis=1)
            self._powers = np.concatenate((self._powers, new))

    @property
    def peak(self) -> float:
        """Its largest sample."""
        self._look()
        return self._peak

    @property
    def measured(self) -> tuple[float, float]:
        """Mean power of what is not a pause, and its seconds."""
        self._look()
        powers = self._powers
        if not powers.size or (loudest := float(powers.max())) < _SILENT:
            return 0.0, 0.0
        active = powers[powers > loudest * 10 ** (-ACTIVE_DB / 10)]
        return float(active.mean()), active.size * FRAME / SAMPLE_RATE


def level_db(audio: Float32) -> float:
    """Level of speech without its pauses, in dB below full scale; -infinity for silence."""
    level = Level()
    level.add(audio)
    power, _ = level.measured
    return 10 * math.log10(power) if power else -math.inf


class Leveller:
    """Gains for the segments of one utterance, in the order of their audio."""

    def __init__(self) -> None:
        self._spoken: list[tuple[float, float]] = []
        self._segment = Level()
        self._seen = 0
        self._gain_db = 0.0
        self._made = Level()
        self._fresh = True

    def begin(self) -> None:
        """The next segment follows."""
        power, seconds = self._made.measured
        if seconds >= LEAST_WHOLE_S:
            self._spoken.append((power, seconds))
        self._segment, self._made = Level(), Level()
        self._seen = 0
        self._gain_db = 0.0
        self._fresh = True

    def even(
        self, audio: Float32, ahead: Iterable[Float32] = (), *, whole: bool = False
    ) -> Float32:
        """The segment's next audio at the level of the segments before.

        Args:
            audio: Shape (samples,).
            ahead: What of the segment is known to follow it.
            whole: Whether that is all of it.

        Returns:
            The same shape; the very array where nothing is out of step.
        """
        self._learn([audio, *ahead])
        before, self._gain_db = self._gain_db, self._next(audio.size / SAMPLE_RATE, whole)
        if self._fresh:
            before = self._gain_db  # it begins in a pause, where no step can be heard
        self._fresh = False
        self._seen -= 1
        if before or self._gain_db:
            ramp = np.linspace(before, self._gain_db, audio.size, dtype=np.float32)
            audio = (audio * 10 ** (ramp / 20)).astype(np.float32)
        self._made.add(audio)
        return audio

    def _learn(self, pieces: list[Float32]) -> None:
        for piece in pieces[self._seen :]:
            self._segment.add(piece)
        self._seen = len(pieces)

    def _next(self, seconds: float, whole: bool) -> float:
        """The gain in dB at the end of the next so many seconds."""
        if not self._spoken:
            return 0.0
        power, known_s = self._segment.measured
        if known_s < (LEAST_WHOLE_S if whole else LEAST_S):
            return self._gain_db
        total_s = sum(seconds for _, seconds in self._spoken)
        usual = sum(power * seconds for power, seconds in self._spoken) / total_s
        step = 10 * math.log10(usual / power)
        if abs(step) <= TOLERANCE_DB and not self._gain_db:
            return 0.0
        room = 20 * math.log10(_FULL_SCALE / max(self._segment.peak, 1e-6))
        wanted = max(-MOST_DB, min(MOST_DB, step, max(0.0, room)))
        if self._fresh:
            return wanted
        most = SLOPE_DB_S * seconds
        return self._gain_db + max(-most, min(most, wanted - self._gain_db))
