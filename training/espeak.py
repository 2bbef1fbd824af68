"""espeak-ng as the teacher: speech and word times from libespeak-ng in this process.

One process synthesises hours of speech in under a minute, because nothing is started per sentence.
espeak-ng is deterministic: the same text, voice and parameters give the same samples.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np

SAMPLE_RATE = 22_050

_SYNCHRONOUS = 2
_UTF8 = 1
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4
_WORD = 1


class _EventId(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    ]


_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


@dataclass(frozen=True)
class TeacherVoice:
    """One voice of espeak-ng: a variant with its pitch, pitch range and rate.

    Attributes:
        name: The name under which the trained voice is stored.
        variant: espeak-ng's voice name, such as ``en-us+f2``.
        pitch: 0 to 99, espeak-ng's own scale.
        range: Pitch range, 0 (monotone) to 99.
        rate: Words per minute.
    """

    name: str
    variant: str
    pitch: int
    range: int = 50
    rate: int = 160


@dataclass(frozen=True)
class Speech:
    """Samples float32 in -1…1 at 22,050 Hz, and (character, length, seconds) of each word."""

    samples: np.ndarray
    words: tuple[tuple[int, int, float], ...]


class Espeak:
    """The library, initialised once a process (it keeps global state)."""

    def __init__(self) -> None:
        self._lib = ctypes.CDLL("libespeak-ng.so.1")
        if self._lib.espeak_Initialize(_SYNCHRONOUS, 500, None, 0) != SAMPLE_RATE:
            raise RuntimeError("libespeak-ng did not start at 22,050 Hz: is espeak-ng installed?")
        self._pieces: list[np.ndarray] = []
        self._words: list[tuple[int, int, float]] = []
        self._hook = _CALLBACK(self._collect)  # kept: ctypes does not hold a reference
        self._lib.espeak_SetSynthCallback(self._hook)
        self._voice: TeacherVoice | None = None

    def _collect(self, samples: Any, count: int, events: Any) -> int:
        if count > 0 and samples:
            self._pieces.append(np.ctypeslib.as_array(samples, shape=(count,)).copy())
        i = 0
        while events and events[i].type:
            event = events[i]
            if event.type == _WORD:
                seconds = event.audio_position / 1000
                self._words.append((event.text_position - 1, event.length, seconds))
            i += 1
        return 0

    def _use(self, voice: TeacherVoice) -> None:
        if voice == self._voice:
            return
        if self._lib.espeak_SetVoiceByName(voice.variant.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice.variant!r}")
        for parameter, value in (
            (_RATE, voice.rate),
            (_PITCH, voice.pitch),
            (_RANGE, voice.range),
            (_VOLUME, 100),
        ):
            self._lib.espeak_SetParameter(parameter, value, 0)
        self._voice = voice

    def speak(self, text: str, voice: TeacherVoice) -> Speech:
        """Reads the text with the voice.

        Args:
            text: One sentence.
            voice: Who reads it.

        Returns:
            The samples as espeak-ng makes them, with its own silence at both ends.
        """
        self._use(voice)
        self._pieces, self._words = [], []
        data = text.encode() + b"\0"
        code = self._lib.espeak_Synth(data, len(data), 0, 1, 0, _UTF8, None, None)
        if code != 0:
            raise RuntimeError(f"espeak_Synth failed with code {code}")
        samples = np.concatenate(self._pieces) if self._pieces else np.zeros(0, np.int16)
        return Speech(samples.astype(np.float32) / 32768, tuple(self._words))
