"""What a speech is kept under: a hash of everything that changes its audio."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from livekit_xtts.speech import EngineInfo, SpeechRequest
from livekit_xtts.version import __version__

KNOWN_TEXTS = 1024
"""Normalised texts that a cache remembers, so that a repeated phrase costs no work."""


def speech_key(
    info: EngineInfo,
    request: SpeechRequest,
    *,
    text: str | None = None,
    extra: Mapping[str, Any] | None = None,
) -> str | None:
    """Names everything that changes the audio, as 64 hex digits; no text can be read from it.

    In it: this package's version, the model's fingerprint and precision, how the engine ends
    requests, the voice's fingerprint, language, text (or ids), sampling (the checkpoint's own where
    the request names none), speed, code budget, and the seed policy: a fixed seed, or "any take
    will do" where the seed is None. Not in it: the device, whose rounding is no other speech.

    Args:
        info: Of the engine that would speak it.
        request: The request.
        text: The normalised text, where it is known; else the request's own.
        extra: Whatever else changes the audio (gaps, fades, a pronunciation map); JSON values.

    Returns:
        The key, or None while the engine does not know its model's fingerprint yet.
    """
    if not info.fingerprint:
        return None
    sampling = request.sampling or info.sampling
    parts = {
        "version": __version__,
        "model": info.fingerprint,
        "precision": info.precision,
        "manner": info.manner,
        "voice": request.voice.fingerprint if request.voice else "default",
        "language": request.language,
        "text": request.text if text is None else text,
        "ids": request.ids,
        "sampling": asdict(sampling),
        "speed": float(request.speed),
        "max_codes": request.max_codes,
        "seed": request.seed if sampling.do_sample else "greedy",
        "extra": dict(extra or {}),
    }
    plain = json.dumps(parts, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(plain.encode()).hexdigest()


def request_key(
    info: EngineInfo, request: SpeechRequest, *, extra: Mapping[str, Any] | None = None
) -> str | None:
    """`speech_key` with the request's text normalised first, as the engine will do it."""
    return speech_key(info, request, text=normal_text(request), extra=extra)


def normal_text(request: SpeechRequest) -> str:
    """The request's text as it will be spoken."""
    if request.normalized or request.ids is not None:
        return request.text
    from livekit_xtts.text.normalize import normalize

    return normalize(request.text, request.language)


class KnownTexts:
    """Texts that were normalised before. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._texts: dict[tuple[str, str, bool], str] = {}

    def known(self, request: SpeechRequest) -> str | None:
        """The request's text as it will be spoken, where it costs nothing to say."""
        if request.ids is not None:
            return request.text
        return self._texts.get((request.text, request.language, request.normalized))

    def learn(self, request: SpeechRequest) -> str:
        """The same where it is new; not for an event loop.

        Raises:
            InvalidRequestError: The language is unknown.
        """
        text = normal_text(request)
        with self._lock:
            if len(self._texts) >= KNOWN_TEXTS:
                self._texts.clear()
            self._texts[request.text, request.language, request.normalized] = text
        return text
