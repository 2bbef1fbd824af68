"""Clean ends: no run-on, no long silence after the speech, no click where it is cut.

All of it is decided by the request's own codes and audio, window by window, so it is the same in
any company. What is sent equals the one-shot decode up to where it ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from livekit_xtts.speech import SAMPLE_RATE, Float32

FRAME = SAMPLE_RATE // 100
"""Samples that are judged together: 10 ms."""

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
        run_on_s: Held silence after which the request ends; 0 for never.
        silence_level: Root mean square below which 10 ms are silence.
        fade_s: Fade where speech is cut at its budget or silence is dropped.
    """

    budget: float = 3.0
    stop_bias: float = 6.0
    stop_bias_from: float = 1.3
    silence_s: float = 0.2
    run_on_s: float = 1.5
    silence_level: float = 0.004
    fade_s: float = 0.005

    @classmethod
    def off(cls) -> Ends:
        """Ends as the model gives them."""
        return cls(budget=0.0, stop_bias=0.0, silence_s=0.0, run_on_s=0.0, fade_s=0.0)

    def limit(self, expected: float) -> int | None:
        """Most codes of a text of that expected length; None for the model's own limit."""
        return round(self.budget * expected + 43) if self.budget else None

    def bias(self, expected: float) -> StopBias | None:
        """The push on the stop code."""
        if not self.stop_bias:
            return None
        return StopBias(expected=expected * self.stop_bias_from, rate=self.stop_bias)


class Ending:
    """Holds silence back and cuts without a click; one a request.

    Args:
        ends: What is wanted.
    """

    def __init__(self, ends: Ends) -> None:
        self._ends = ends
        self._held: list[Float32] = []
        self._held_samples = 0
        self._keep = round(ends.silence_s * SAMPLE_RATE)
        self._kept = 0
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
        if ended and (capped or self._held_samples):
            out = self._faded(out)
        return out, ended

    def _without_tail(self, audio: Float32, final: bool) -> tuple[Float32, bool]:
        speech = self._speech_end(audio)
        if speech:
            # Whatever was held lies inside the speech.
            self._spoken = True
            self._kept = 0
            out = [*self._held, audio[:speech]]
            self._held, self._held_samples = [], 0
            rest = audio[speech:]
        else:
            out, rest = [], audio
        # The first part of a silence goes out at once; only what is beyond it waits.
        now = rest[: max(0, self._keep - self._kept)] if self._spoken else rest
        self._kept += now.size
        out.append(now)
        later = rest[now.size :]
        if later.size:
            self._held.append(later)
            self._held_samples += later.size
        run_on = self._ends.run_on_s * SAMPLE_RATE
        ended = final or bool(run_on and self._held_samples >= run_on)
        return _joined(out), ended

    def _speech_end(self, audio: Float32) -> int:
        """Samples up to the end of the last 10 ms that are not silence; 0 where all is."""
        frames = -(-audio.size // FRAME)
        if not frames:
            return 0
        padded = np.zeros(frames * FRAME, np.float32)
        padded[: audio.size] = audio
        level = np.sqrt(np.mean(padded.reshape(frames, FRAME) ** 2, axis=1))
        loud = np.flatnonzero(level >= self._ends.silence_level)
        return min(int(loud[-1] + 1) * FRAME, audio.size) if loud.size else 0

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
