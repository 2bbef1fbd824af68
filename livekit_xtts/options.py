"""What a `TTS` can be told, where it comes from, and what may be said about it in a report."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from livekit.agents import LanguageCode, tokenize
from livekit.agents import tts as agents_tts
from livekit.agents.types import NotGivenOr
from livekit.agents.utils import is_given

from livekit_xtts.pacing import WHOLE_BELOW, WHOLE_WAIT_S, Pacing
from livekit_xtts.speech import (
    SPEED_RANGE,
    EngineInfo,
    InvalidRequestError,
    ReferenceAudio,
    Sampling,
    Voice,
)
from livekit_xtts.text.languages import canonical_language
from livekit_xtts.text.pronunciation import Pronunciations

VoiceSource: TypeAlias = (
    str | Path | bytes | ReferenceAudio | Voice | Sequence[str | Path | bytes | ReferenceAudio]
)
Spoken: TypeAlias = Mapping[str, str] | Pronunciations
Streaming: TypeAlias = bool | int | Literal["auto"]
TextPacing: TypeAlias = "bool | agents_tts.SentenceStreamPacer"

ENVIRONMENT: Mapping[str, str] = {
    "voice": "LIVEKIT_XTTS_VOICE",
    "language": "LIVEKIT_XTTS_LANGUAGE",
    "model": "LIVEKIT_XTTS_MODEL",
    "device": "LIVEKIT_XTTS_DEVICE",
    "precision": "LIVEKIT_XTTS_PRECISION",
    "speed": "LIVEKIT_XTTS_SPEED",
    "seed": "LIVEKIT_XTTS_SEED",
    "cache_dir": "LIVEKIT_XTTS_CACHE_DIR",
}
"""Arguments of `TTS` and the environment variables that give them where the code does not."""

PACED_LEAD_S = 5.0
_SAMPLING = ("temperature", "top_k", "top_p", "repetition_penalty", "do_sample")


def from_environment(name: str, given: NotGivenOr[Any], default: Any) -> Any:
    """An argument as given, else from its variable (as text), else the default."""
    if is_given(given):
        return given
    return os.environ.get(ENVIRONMENT[name]) or default


def number(name: str, value: Any, kind: type[int] | type[float]) -> Any:
    """A number that may have come from the environment as text.

    Raises:
        InvalidRequestError: It is no number; the message names the variable.
    """
    try:
        return kind(value)
    except (TypeError, ValueError):
        raise InvalidRequestError(
            f"{name}={value!r} (or {ENVIRONMENT[name]}) is not a number"
        ) from None


@dataclass(frozen=True)
class TTSOptions:
    """The settings of one stream; a `TTS` holds the ones of its next stream.

    Attributes:
        voice: What names the voice; None for the engine's own.
        language: One of the model's languages.
        sampling: The sampling values that were given; the rest are the checkpoint's.
        speed: 0.5 … 2.0.
        seed: None draws afresh.
        streaming: See `TTS`.
        tokenizer: None for the package's own segmenter.
        pronunciations: See `TTS`.
        text_pacing: See `TTS`.
        buffer_s: See `TTS`.
        even_level: See `TTS`.
    """

    voice: VoiceSource | None = None
    language: str = "en"
    sampling: tuple[tuple[str, Any], ...] = ()
    speed: float = 1.0
    seed: int | None = None
    streaming: Streaming = "auto"
    tokenizer: tokenize.SentenceTokenizer | None = None
    pronunciations: Pronunciations | None = None
    text_pacing: TextPacing = False
    buffer_s: float = 15.0
    even_level: bool = True

    def __post_init__(self) -> None:
        """Refuse values out of range, naming the value and its range."""
        Sampling(**dict(self.sampling))
        low, high = SPEED_RANGE
        if not low <= self.speed <= high:
            raise InvalidRequestError(f"speed={self.speed} is out of range: use {low} to {high}")
        if self.seed is not None and not 0 <= self.seed < 2**63:
            raise InvalidRequestError(f"seed={self.seed} is out of range: use 0 to 2**63 - 1")
        if not self.buffer_s > 0:
            raise InvalidRequestError(f"buffer_s={self.buffer_s}: use a value above 0")
        if self.streaming != "auto" and not (
            isinstance(self.streaming, int) and self.streaming >= 0
        ):
            raise InvalidRequestError(
                f"streaming={self.streaming!r}: use True, False, 'auto', or a number of characters"
            )

    def updated(self, **changes: NotGivenOr[Any]) -> TTSOptions:
        """A copy with what was given; what was not given stays as it is."""
        given = {name: value for name, value in changes.items() if is_given(value)}
        sampling = dict(self.sampling)
        for name in _SAMPLING:
            if name in given:
                sampling[name] = given.pop(name)
        if "language" in given:
            given["language"] = model_language(given["language"])
        if isinstance(words := given.get("pronunciations"), Mapping):
            given["pronunciations"] = Pronunciations(words)
        return replace(self, sampling=tuple(sampling.items()), **given)

    def sampling_for(self, info: EngineInfo) -> Sampling | None:
        """The whole sampling settings; None where nothing differs from the checkpoint's."""
        return replace(info.sampling, **dict(self.sampling)) if self.sampling else None

    def pacing(self, timeout_s: float, *, bounded: bool) -> Pacing:
        """The pipeline's pacing.

        Args:
            timeout_s: Longest wait for a message of the engine.
            bounded: Whether somebody listens as it is made; else it is made as fast as can be.
        """
        lead = self.buffer_s
        if self.text_pacing:
            chosen = getattr(self.text_pacing, "_options", None)
            lead = min(lead, getattr(chosen, "min_remaining_audio", PACED_LEAD_S))
        below, wait = _whole(self.streaming)
        return Pacing(
            most_lead_s=lead if bounded else math.inf,
            whole_below=below,
            whole_wait_s=wait,
            timeout_s=timeout_s,
        )

    def described(self) -> dict[str, Any]:
        """For session reports: no path, no file name, no text."""
        return {
            "voice": voice_label(self.voice),
            "language": self.language,
            **dict(self.sampling),
            "speed": self.speed,
            "seed": self.seed,
            "streaming": self.streaming,
            "text_pacing": bool(self.text_pacing),
            "buffer_s": self.buffer_s,
            "even_level": self.even_level,
        }


def voice_label(voice: VoiceSource | None) -> str:
    """What may be said about a voice: the name of a named one, else only that it is a recording."""
    if voice is None:
        return "default"
    if isinstance(voice, str) and voice.startswith(("bundled/", "studio/")):
        return voice
    return "named" if isinstance(voice, str) and "." not in voice and "/" not in voice else "own"


def model_language(language: str) -> str:
    """The model's name of a language, from any common spelling ("English", "pt-BR", "zh").

    Raises:
        InvalidRequestError: It is none of the model's; the message lists them.
    """
    return canonical_language(LanguageCode(language))


def _whole(streaming: Streaming) -> tuple[float, float]:
    """Below how many characters a text is made whole, and how long that may take at most."""
    if streaming == "auto":
        return WHOLE_BELOW, WHOLE_WAIT_S
    if isinstance(streaming, bool):
        return (0.0 if streaming else math.inf), math.inf
    return float(streaming), math.inf
