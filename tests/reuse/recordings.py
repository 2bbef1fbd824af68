"""Recordings for the tests: a voiced buzz with syllables, written as audio files."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
import soundfile

from livekit_xtts.speech import Voice
from livekit_xtts.voicefile import make_voice
from livekit_xtts.voices import VoiceLibrary, VoiceSource
from tests.fake_engine import FakeEngine


def buzz(seconds: float = 1.0, rate: int = 22_050, hertz: float = 140.0) -> npt.NDArray[np.float32]:
    """Shape (samples,), peak about 0.3."""
    time = np.arange(round(seconds * rate)) / rate
    harmonics = sum(np.sin(2 * np.pi * hertz * n * time) / n for n in range(1, 9))
    syllables = 0.6 + 0.4 * np.sin(2 * np.pi * 3 * time)
    return (0.15 * harmonics * syllables).astype(np.float32)


def wav(samples: npt.NDArray[np.float32], rate: int = 22_050, format: str = "WAV") -> bytes:
    """The bytes of an audio file."""
    file = io.BytesIO()
    soundfile.write(
        file, samples, rate, format=format, subtype="FLOAT" if format == "WAV" else None
    )
    return file.getvalue()


def some_voice(engine: FakeEngine, name: str = "eva", seed: int = 0) -> Voice:
    """A voice of the engine's model that no recording made."""
    random = np.random.default_rng(seed)
    return make_voice(
        name, random.standard_normal((32, 64)), random.standard_normal(64), engine.info.fingerprint
    )


def add_voices(folder: str, seeds: range) -> None:
    """What one of several processes does to a shared library."""
    engine = FakeEngine()
    library = VoiceLibrary(engine, folder)
    for seed in seeds:
        library.add("shared", some_voice(engine, seed=seed), overwrite=True).result(60)
        library.resolve("shared").result(60)


def resolve(library: VoiceLibrary, source: VoiceSource, **options: bool) -> Voice:
    """The voice, waited for."""
    return library.resolve(source, **options).result(20)
