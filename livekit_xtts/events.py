"""What the pipeline is asked for and what it says: options, text streams, events."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from livekit_xtts.pacing import SpeechStats
from livekit_xtts.speech import (
    Float32,
    Sampling,
    SpeechDone,
    SpeechError,
    SpeechRequest,
    Voice,
)
from livekit_xtts.text.pronunciation import Pronunciations
from livekit_xtts.text.segment import Segment
from livekit_xtts.timings import TimedWord


class SpeechTimeoutError(SpeechError):
    """The engine is ready but has sent nothing for too long."""

    retryable = True


class Flush:
    """In a text stream: what came before is to be spoken without waiting for more."""


FLUSH: Final = Flush()

TextStream: TypeAlias = AsyncIterable[str | Flush]
Segments: TypeAlias = Callable[[TextStream], AsyncIterator[Segment]]
"""Cuts a text stream into segments."""


@dataclass(frozen=True, slots=True)
class SpeakOptions:
    """How a text is to be spoken; see `SpeechRequest` for the ranges.

    Attributes:
        voice: None takes the engine's own.
        language: One of the model's languages.
        sampling: None takes the checkpoint's defaults.
        seed: Makes every segment repeatable; None draws afresh.
        speed: Above 1 is faster.
        segments: How the text is cut; None for the package's own way.
        pronunciations: How words are to be said; the transcript keeps what was written.
        words: Ask the engine for the times of words, where it can read them.
        even_level: Even out segments that come out louder or softer than those before.
    """

    voice: Voice | None = None
    language: str = "en"
    sampling: Sampling | None = None
    seed: int | None = None
    speed: float = 1.0
    segments: Segments | None = field(default=None, compare=False)
    pronunciations: Pronunciations | None = None
    words: bool = False
    even_level: bool = True

    def request(self, text: str, *, streaming: bool = True) -> SpeechRequest:
        """The engine's request for one segment."""
        if self.pronunciations is not None:
            text = self.pronunciations.apply(text)
        return SpeechRequest(
            text=text.strip(),
            voice=self.voice,
            language=self.language,
            sampling=self.sampling,
            seed=self.seed,
            speed=self.speed,
            streaming=streaming,
            align=self.words,
        )


@dataclass(frozen=True, slots=True)
class SegmentStarted:
    """A segment's audio follows.

    Attributes:
        index: Counted from 0 within the utterance.
        text: The original text, its spacing included; all of them joined are the input.
        start_s: Where its audio begins, from the start of the utterance's audio.
    """

    index: int
    text: str
    start_s: float


@dataclass(frozen=True, slots=True)
class WordsComing:
    """The words that begin in the audio that follows.

    Attributes:
        words: Original text with its spacing; all of a segment's words joined are its text. While
            the segment is still being made, and where the engine cannot tell, their times are
            estimates from the words' lengths; `end_s` is where the next one is expected.
    """

    words: tuple[TimedWord, ...]


@dataclass(frozen=True, slots=True, eq=False)
class AudioPiece:
    """The next audio, without gap or overlap.

    Attributes:
        audio: Mono float32 at 24 kHz, shape (samples,).
        start: Position of its first sample in the utterance.
    """

    audio: Float32
    start: int


@dataclass(frozen=True, slots=True)
class SegmentFinished:
    """A segment's audio is complete.

    Attributes:
        index: As in its `SegmentStarted`.
        text: The original text.
        start_s: Where its audio begins.
        end_s: Where it ends, the gap to the next segment not included.
        done: What the engine said at its end; None for text that has nothing to say.
        words: Its words, timed by the engine where `aligned`, else by their lengths in the whole of
            its audio.
        aligned: Whether the times of words come from the model's own attention to the text.
    """

    index: int
    text: str
    start_s: float
    end_s: float
    done: SpeechDone | None
    words: tuple[TimedWord, ...] = ()
    aligned: bool = False


@dataclass(frozen=True, slots=True)
class Finished:
    """The utterance is complete.

    Attributes:
        duration_s: Seconds of audio.
        stats: How it went.
    """

    duration_s: float
    stats: SpeechStats


PipelineEvent: TypeAlias = SegmentStarted | WordsComing | AudioPiece | SegmentFinished | Finished
