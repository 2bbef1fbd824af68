"""The values that travel between the rooms: requests, voices, chunks, limits and errors.

No logic and no torch live here, so that every room, and every user of the package, can import it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Float32: TypeAlias = npt.NDArray[np.float32]
else:
    Float32 = Any

SAMPLE_RATE = 24_000
"""Samples per second of everything the engine makes; mono, float32 in -1 … 1."""

CODE_SECONDS = 1024 / 22_050
"""Seconds of speech behind one audio code at speed 1 (46.44 ms)."""

MAX_TEXT_IDS = 400
"""Most text ids, language tag included, that one request may have (the model's table: 402)."""

MIN_REFERENCE_SECONDS = 0.33
MAX_REFERENCE_SECONDS = 600.0
MAX_REFERENCE_BYTES = 256 * 1024 * 1024

SPEED_RANGE = (0.5, 2.0)

LANGUAGES: tuple[str, ...] = (
    "en", "es", "fr", "de", "it", "pt", "pl", "tr", "ru",
    "nl", "cs", "ar", "zh-cn", "hu", "ko", "ja", "hi",
)  # fmt: skip
"""The languages of XTTS-v2, as its vocabulary names them."""


class SpeechError(Exception):
    """The root of every error of this package.

    Attributes:
        retryable: Whether the same call can succeed later without the caller changing anything.
    """

    retryable = False


class InvalidRequestError(SpeechError, ValueError):
    """The request itself is wrong: language, text, sampling or speed. The message names which."""


class VoiceError(SpeechError, ValueError):
    """A voice is unknown, or its reference audio or stored file cannot be used."""


class ModelError(SpeechError):
    """The model folder, configuration, vocabulary or weights are missing or do not fit."""


class EngineBusyError(SpeechError):
    """All slots and the queue are taken; the request was refused at once."""

    retryable = True


class EngineFailedError(SpeechError):
    """A step failed (out of memory, say). The requests in it end; the engine goes on."""

    retryable = True


class EngineClosedError(SpeechError):
    """The engine was closed, before or during the request."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next code is drawn from the logits; the defaults are XTTS-v2's published ones.

    Attributes:
        temperature: Divides the logits; above 0.
        top_k: Only this many best codes stay; 0 keeps all.
        top_p: Only the smallest set of best codes with this probability stays; 0 < top_p <= 1.
        repetition_penalty: Divides positive (multiplies negative) logits of used codes; above 0.
        do_sample: Draw at random (seeded); False takes the best code.
    """

    temperature: float = 0.75
    top_k: int = 50
    top_p: float = 0.85
    repetition_penalty: float = 5.0
    do_sample: bool = True

    def __post_init__(self) -> None:
        """Refuse values out of range, naming the value and its range."""
        if not 0.0 < self.temperature <= 10.0:
            raise InvalidRequestError(
                f"temperature={self.temperature} is out of range: use a value above 0, at most 10"
                " (for the best code every time, use do_sample=False)"
            )
        if not (isinstance(self.top_k, int) and 0 <= self.top_k <= 10_000):
            raise InvalidRequestError(
                f"top_k={self.top_k} is out of range: use a whole number from 1, or 0 for all codes"
            )
        if not 0.0 < self.top_p <= 1.0:
            raise InvalidRequestError(f"top_p={self.top_p} is out of range: use 0 < top_p <= 1")
        if not 0.0 < self.repetition_penalty <= 100.0:
            raise InvalidRequestError(
                f"repetition_penalty={self.repetition_penalty} is out of range:"
                " use a value above 0, at most 100 (1 switches it off)"
            )


@dataclass(frozen=True, slots=True, eq=False)
class Voice:
    """A cloned voice, ready to speak: what the model needs of the reference audio.

    Attributes:
        name: For logs and lists; never a path.
        latents: GPT conditioning latents, shape (positions, width), (32, 1024) for XTTS-v2.
        speaker_embedding: Unit-length speaker embedding, shape (width,), (512,) for XTTS-v2.
        fingerprint: Hex SHA-256 over both arrays; equal fingerprints sound the same.
        model: Fingerprint of the model that made it; a voice belongs to its model.
    """

    name: str
    latents: Float32
    speaker_embedding: Float32
    fingerprint: str
    model: str


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceAudio:
    """Decoded reference audio to clone from.

    Attributes:
        samples: Mono float32, shape (samples,).
        sample_rate: Samples per second of `samples`.
    """

    samples: Float32
    sample_rate: int


@dataclass(frozen=True, slots=True)
class SpeechRequest:
    """One segment of text to be spoken; at most 400 text ids and 602 codes (27.9 s).

    Attributes:
        text: The text as a person wrote it; the engine normalises it.
        voice: The voice to speak in; None takes the engine's default voice.
        language: One of `LANGUAGES` (of the model's languages).
        sampling: None takes the checkpoint's own defaults.
        seed: Makes the draw repeatable, alone or in company; None draws a fresh seed.
        speed: 0.5 … 2.0; above 1 is faster.
        ids: Ready-made text ids instead of `text`, without start and stop.
        max_codes: A lower budget of codes than the model's; None for the model's.
        streaming: False asks for one chunk with the whole audio at the end.
        normalized: True when `text` has already been through `text.normalize`.
        max_wait_s: Longest wait for a slot; None for the engine's own limit, infinity for speech
            that has begun and must go on.
        align: Ask for the times of words in the last event, where the engine can read them. Changes
            no audio.
    """

    text: str
    voice: Voice | None = None
    language: str = "en"
    sampling: Sampling | None = None
    seed: int | None = None
    speed: float = 1.0
    ids: tuple[int, ...] | None = None
    max_codes: int | None = None
    streaming: bool = True
    normalized: bool = False
    max_wait_s: float | None = None
    align: bool = False

    def __post_init__(self) -> None:
        """Refuse values out of range, naming the value and its range."""
        low, high = SPEED_RANGE
        if not low <= self.speed <= high:
            raise InvalidRequestError(f"speed={self.speed} is out of range: use {low} to {high}")
        if self.seed is not None and not 0 <= self.seed < 2**63:
            raise InvalidRequestError(f"seed={self.seed} is out of range: use 0 to 2**63 - 1")
        if self.max_codes is not None and self.max_codes < 1:
            raise InvalidRequestError(f"max_codes={self.max_codes}: use 1 or more, or None")


@dataclass(frozen=True, slots=True, eq=False)
class SpeechChunk:
    """The next piece of a request's audio; pieces follow each other without gap or overlap.

    Attributes:
        audio: Mono float32 at 24 kHz, shape (samples,).
        start: Position of the first sample, counted from the start of the utterance.
        codes: The codes made so far, this chunk's included (their count is the position).
        final: True on the last chunk of the request.
    """

    audio: Float32
    start: int
    codes: int
    final: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class SpeechDone:
    """The last event of a request that was spoken to its end, or cancelled.

    Attributes:
        codes: All codes, without the stop code; empty where the engine cannot tell.
        stopped: True when the stop code came by itself, False at the code budget.
        cancelled: True when `cancel()` ended it.
        samples: Samples sent.
        queued_s: Seconds from submission to its slot.
        first_audio_s: Seconds from submission to the first chunk; NaN without audio.
        total_s: Seconds from submission to this event.
        alignment: Code index at which each text id begins to be spoken; empty where unknown.
        words: Code index at which each word of the request's text begins, as
            `timings.split_words` cuts it; empty where unknown.
    """

    codes: tuple[int, ...] = ()
    stopped: bool = True
    cancelled: bool = False
    samples: int = 0
    queued_s: float = 0.0
    first_audio_s: float = float("nan")
    total_s: float = 0.0
    alignment: tuple[int, ...] = ()
    words: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class SpeechFailed:
    """The last event of a request that failed.

    Attributes:
        error: What happened; `error.retryable` says whether trying again can help.
    """

    error: SpeechError


SpeechEvent: TypeAlias = SpeechChunk | SpeechDone | SpeechFailed


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What an engine is and can do.

    Attributes:
        model: Name for people ("xtts-v2", "random-small", …).
        fingerprint: Hex digest of configuration and weights; part of every cache key.
        device: "cpu", "cuda:0", "mps", …
        precision: "fp32", "int8", "bf16", …
        slots: Requests that are spoken at once.
        queue: Further requests that wait; beyond that they are refused.
        languages: Languages that the vocabulary knows.
        concurrent: Whether requests in one batch are independent of each other.
        seeded: Whether a seed makes a request repeatable.
        exact: Whether streamed audio equals the one-shot decode.
        sampling: The checkpoint's own sampling defaults.
        char_limits: Longest text per language that the model was trained for, in characters.
        max_text_ids: Most text ids of a request, language tag included.
        threads: CPU threads of the engine's work; 0 where that is not known.
        manner: Names what else of the engine shapes its speech: its own voice, how requests end.
    """

    model: str
    fingerprint: str
    device: str
    precision: str
    slots: int
    queue: int = 0
    languages: Sequence[str] = LANGUAGES
    concurrent: bool = True
    seeded: bool = True
    exact: bool = True
    sampling: Sampling = field(default_factory=Sampling)
    char_limits: tuple[tuple[str, int], ...] = ()
    max_text_ids: int = MAX_TEXT_IDS
    threads: int = 0
    manner: str = ""
