"""Clean ends: no run-on, no long silence after the speech, no click where it is cut.

All of it is decided by the request's own codes and audio, window by window, so it is the same in
any company. What is sent equals the one-shot decode up to where it ends.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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

    Args:
        ends: What is wanted.
        reading: How the text is expected to be read; None where that is not known.
        speed: The request's.
    """

    def __init__(self, ends: Ends, reading: Reading | None = None, speed: float = 1.0) -> None:
        self._ends = ends
        self._reading = reading
        self._speed = speed
        self._held: list[Float32] = []
        self._keep = round(ends.silence_s * SAMPLE_RATE)
        self._silent = 0
        self._heard = 0
        self._pauses = 0
        self._spoken = False

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
            out, ended = audio, final
        else:
            out, ended = self._without_tail(audio, final)
        if ended and (capped or self._held):
            out = self._faded(out)
        return out, ended

    def _without_tail(self, audio: Float32, final: bool) -> tuple[Float32, bool]:
        out: list[Float32] = []
        start = 0
        for stop, loud in self._runs(audio, final):
            run, start = audio[start:stop], stop
            if loud:
                # Whatever was held lies inside the speech.
                out += [*self._held, run]
                self._held = []
                if self._spoken:
                    self._heard += self._silent
                    self._pauses += self._silent >= PAUSE_S * SAMPLE_RATE
                self._heard += run.size
                self._spoken = True
                self._silent = 0
                continue
            # The first part of a silence goes out at once; only what is beyond it waits.
            now = run[: max(0, self._keep - self._silent)] if self._spoken else run
            self._silent += run.size if self._spoken else 0
            out.append(now)
            if now.size < run.size:
                self._held.append(run[now.size :])
            if self._silent >= self._over_samples():
                return _joined(out), True
        return _joined(out), final

    def _over_samples(self) -> float:
        """Samples of silence that end the request."""
        heard_s = self._heard / SAMPLE_RATE
        seconds = self._ends.over_s(self._reading, heard_s, self._pauses, self._speed)
        return max(seconds * SAMPLE_RATE, self._keep + 1)

    def _runs(self, audio: Float32, final: bool) -> list[tuple[int, bool]]:
        """Where each run of loud or of silent 10 ms ends, and whether it is loud."""
        frames = -(-audio.size // FRAME)
        if not frames:
            return []
        padded = np.zeros(frames * FRAME, np.float32)
        padded[: audio.size] = audio
        counts = np.full(frames, FRAME)
        counts[-1] = audio.size - (frames - 1) * FRAME
        level = np.sqrt(np.sum(padded.reshape(frames, FRAME) ** 2, axis=1) / counts)
        loud = level >= self._ends.silence_level
        ends = [int(end) for end in np.flatnonzero(loud[1:] != loud[:-1]) + 1] + [frames]
        runs, start, silent = [], 0, self._silent
        for end in ends:
            is_loud = bool(loud[end - 1])
            # A run at either end of this audio may be part of a longer one.
            whole = start > 0 and (end < frames or final)
            if is_loud and whole and silent > self._keep:
                weak = level[start:end].max() < BLIP_LEVEL * self._ends.silence_level
                is_loud = not (weak and (end - start) * FRAME < BLIP_S * SAMPLE_RATE)
            silent = 0 if is_loud else silent + (end - start) * FRAME
            runs.append((min(end * FRAME, audio.size), is_loud))
            start = end
        return runs

    def _faded(self, audio: Float32) -> Float32:
        samples = min(round(self._ends.fade_s * SAMPLE_RATE), audio.size)
        if not samples:
            return audio
        audio = audio.copy()
        audio[-samples:] *= np.linspace(1.0, 0.0, samples, dtype=np.float32)
        return audio


def _joined(parts: Sequence[Float32]) -> Float32:
    parts = [part for part in parts if part.size]
    if not parts:
        return _EMPTY
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
