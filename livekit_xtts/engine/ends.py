"""Clean ends: no run-on, no long silence after the speech, no click where it is cut.

All of it is decided by the request's own codes and audio, window by window, so it is the same in
any company. What is sent equals the one-shot decode up to where it ends.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from livekit_xtts.engine.length import PAUSES_SECONDS, Reading
from livekit_xtts.speech import SAMPLE_RATE, Float32

FRAME = SAMPLE_RATE // 100
"""Samples that are judged together: 10 ms."""

PAUSE_S = 0.12
"""A silence inside speech from which on it is a pause; the closure of a "t" or "k" is shorter."""

LEAST_S = 0.15
"""Less sound than this is no text; a breath before it, say."""

BLIP_S = 0.04
BLIP_LEVEL = 4.0
"""Sound behind a silence, shorter than this and weaker than so many times the level of silence, is
none: a click of the tongue, or the vocoder's."""

SHORT_S = 4.0
"""Longer texts breathe: there the silence that ends them grows with their length."""

_EMPTY: Float32 = np.zeros(0, np.float32)


@dataclass(frozen=True, slots=True)
class StopBias:
    """A push towards the stop code for speech that outlasts its text.

    Added to the stop code's logit: `rate * max(0, position / expected - 1)`, at most `limit`.

    Attributes:
        expected: Codes that the text is expected to take; above 0.
        rate: Logits for each further `expected` codes; 0 switches it off.
        limit: The most that is added.
    """

    expected: float = 1.0
    rate: float = 0.0
    limit: float = 20.0


@dataclass(frozen=True, slots=True)
class Ends:
    """How a request may end; every part can be switched off.

    Attributes:
        budget: Codes at most, as a multiple of those expected for the text, with two seconds on
            top; 0 for the model's own limit.
        stop_bias: Logits added to the stop code for each further length expected, from
            `stop_bias_from` lengths on; 0 for none.
        stop_bias_from: Lengths expected after which the bias begins.
        silence_s: Silence that is kept at the end; longer silence is held back until speech
            follows it, and dropped where none does. 0 keeps all.
        run_on_s: Silence after which the request ends; 0 for never.
        gap_s: Silence after which a text that can be over by now is over, for what comes behind it
            is mostly said again or made up. It is that much longer for each mark of the text at
            which no pause was heard, and for texts of more than four seconds; 0 for never.
        gap_from: A text can be over when this share of what follows its last inner mark has been
            heard, by its expected length.
        silence_level: Root mean square below which 10 ms are silence.
        fade_s: Fade where speech is cut at its budget or silence is dropped.
    """

    budget: float = 3.0
    stop_bias: float = 6.0
    stop_bias_from: float = 1.3
    silence_s: float = 0.2
    run_on_s: float = 1.5
    gap_s: float = 0.35
    gap_from: float = 0.45
    silence_level: float = 0.004
    fade_s: float = 0.005

    @classmethod
    def off(cls) -> Ends:
        """Ends as the model gives them."""
        return cls(budget=0.0, stop_bias=0.0, silence_s=0.0, run_on_s=0.0, gap_s=0.0, fade_s=0.0)

    def limit(self, expected: float) -> int | None:
        """Most codes of a text of that expected length; None for the model's own limit."""
        return round(self.budget * expected + 43) if self.budget else None

    def bias(self, expected: float) -> StopBias | None:
        """The push on the stop code."""
        if not self.stop_bias:
            return None
        return StopBias(expected=expected * self.stop_bias_from, rate=self.stop_bias)

    def over_s(self, reading: Reading | None, heard_s: float, pauses: int, speed: float) -> float:
        """Seconds of silence that end a request; infinity for any.

        Args:
            reading: How its text is expected to be read; None where that is not known.
            heard_s: Seconds from the first sound to the last so far.
            pauses: Pauses in between.
            speed: The request's.
        """
        most = self.run_on_s or math.inf
        if reading is None or not self.gap_s:
            return most
        settled = reading.settled + self.gap_from * (1.0 - reading.settled)
        words_s = reading.seconds - PAUSES_SECONDS
        if heard_s * speed < max(settled * words_s, LEAST_S):
            return most
        missed = max(0, reading.marks - pauses)
        return min(most, self.gap_s * (1 + missed) * max(1.0, reading.seconds / SHORT_S))


class Ending:
    """Holds silence back and cuts without a click; one a request.

    What is sent in the end does not depend on the pieces in which the audio comes: it is judged in
    frames of 10 ms, counted from the start of the utterance.

    Args:
        ends: What is wanted.
        reading: How the text is expected to be read; None where that is not known.
        speed: The request's.
    """

    def __init__(self, ends: Ends, reading: Reading | None = None, speed: float = 1.0) -> None:
        self._ends = ends
        self._reading = reading
        self._speed = speed
        self._keep = round(ends.silence_s * SAMPLE_RATE)
        self._held = _EMPTY
        self._sent = 0
        self._partial = _EMPTY
        self._judged = 0
        # Of what was judged: where sound began, where it ended last, pauses in between, and sound
        # behind a silence that may turn out to be a blip (samples, level).
        self._begun = self._sound_end = self._pauses = 0
        self._spoken = False
        self._doubtful = (0, 0.0)

    def feed(self, audio: Float32, final: bool, capped: bool) -> tuple[Float32, bool]:
        """Take the next audio and give what can be sent.

        Args:
            audio: Shape (samples,).
            final: Whether it is the last.
            capped: Whether the request ends by its budget.

        Returns:
            What can be sent, shape (samples,), and whether the request ends here.
        """
        if not self._keep:
            return (self._faded(audio) if final and capped else audio), final
        ended = self._judge(audio, final) or final
        held = np.concatenate((self._held, audio)) if self._held.size else audio
        count = held.size
        if self._spoken:
            count = min(count, max(0, self._sound_end + self._keep - self._sent))
        out, self._held = held[:count], held[count:]
        self._sent += count
        if ended and (capped or self._held.size):
            out = self._faded(out)
        return out, ended

    def _judge(self, audio: Float32, final: bool) -> bool:
        """Follow the sound and the silence; whether the silence has ended the request."""
        new = np.concatenate((self._partial, audio)) if self._partial.size else audio
        frames = -(-new.size // FRAME) if final else new.size // FRAME
        self._partial = new[frames * FRAME :]
        if not frames:
            return False
        padded = np.zeros(frames * FRAME, np.float32)
        padded[: min(new.size, padded.size)] = new[: padded.size]
        counts = np.full(frames, FRAME)
        counts[-1] = min(FRAME, new.size - (frames - 1) * FRAME)
        level = np.sqrt(np.sum(padded.reshape(frames, FRAME) ** 2, axis=1) / counts)
        loud = level >= self._ends.silence_level
        start = 0
        for stop in [*(np.flatnonzero(loud[1:] != loud[:-1]) + 1).tolist(), frames]:
            if loud[start]:
                self._hear((stop - start) * FRAME, float(level[start:stop].max()))
            elif self._silence((stop - start) * FRAME):
                return True
            start = stop
        return False

    def _hear(self, samples: int, level: float) -> None:
        """So many samples of sound, and their largest level."""
        before, peak = self._doubtful
        samples, level = samples + before, max(level, peak)
        start = self._judged - before
        self._judged = start + samples
        silent = start - self._sound_end if self._spoken else 0
        weak = level < BLIP_LEVEL * self._ends.silence_level
        if silent > self._keep and weak and samples < BLIP_S * SAMPLE_RATE:
            self._doubtful = (samples, level)
            return
        self._doubtful = (0, 0.0)
        if not self._spoken:
            self._spoken, self._begun = True, start
        self._pauses += silent >= PAUSE_S * SAMPLE_RATE
        self._sound_end = self._judged

    def _silence(self, samples: int) -> bool:
        """So many samples of silence; whether they end the request."""
        self._doubtful = (0, 0.0)
        self._judged += samples
        if not self._spoken:
            return False
        heard_s = (self._sound_end - self._begun) / SAMPLE_RATE
        over_s = self._ends.over_s(self._reading, heard_s, self._pauses, self._speed)
        return self._judged - self._sound_end >= max(over_s * SAMPLE_RATE, self._keep + 1)

    def _faded(self, audio: Float32) -> Float32:
        samples = min(round(self._ends.fade_s * SAMPLE_RATE), audio.size)
        if not samples:
            return audio
        audio = audio.copy()
        audio[-samples:] *= np.linspace(1.0, 0.0, samples, dtype=np.float32)
        return audio
