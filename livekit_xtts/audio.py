"""Audio between the engine and the ear: PCM, resampling, fades, silence, WAV files.

Arrays are mono float32 in -1 … 1, shape (samples,), unless something else is said.
"""

from __future__ import annotations

import io
import wave
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from livekit_xtts.speech import SAMPLE_RATE, Float32

if TYPE_CHECKING:
    import soxr

EDGE_LEVEL = 0.005
"""A segment that begins or ends louder than this (-46 dBFS) would click; it gets a fade."""

FADE_IN_S = 0.002
FADE_OUT_S = 0.005

SAMPLE_RATES = (8_000, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
"""Output rates that `Resampler` is tested for."""


def to_pcm16(audio: Float32) -> bytes:
    """Little-endian 16-bit samples of float audio; what is louder than full scale is clipped."""
    scaled = np.rint(np.clip(audio, -1.0, 1.0) * 32767.0)
    return bytes(scaled.astype("<i2").tobytes())


def from_pcm16(pcm: bytes | bytearray | memoryview) -> Float32:
    """Float audio from little-endian 16-bit samples."""
    return (np.frombuffer(pcm, dtype="<i2") / np.float32(32767.0)).astype(np.float32)


def silence(seconds: float, sample_rate: int = SAMPLE_RATE) -> Float32:
    """So many seconds of zeros."""
    return np.zeros(max(0, round(seconds * sample_rate)), dtype=np.float32)


def fade_in(audio: Float32, seconds: float = FADE_IN_S, sample_rate: int = SAMPLE_RATE) -> Float32:
    """A copy whose first samples rise from zero along a raised cosine."""
    faded = audio.copy()
    ramp = _ramp(min(audio.size, round(seconds * sample_rate)))
    faded[: ramp.size] *= ramp
    return faded


def fade_out(
    audio: Float32, seconds: float = FADE_OUT_S, sample_rate: int = SAMPLE_RATE
) -> Float32:
    """A copy whose last samples fall to zero along a raised cosine."""
    return fade_in(audio[::-1], seconds, sample_rate)[::-1].copy()


def soften_start(audio: Float32) -> Float32:
    """The same audio, faded in where it would begin with a click (`EDGE_LEVEL`)."""
    return fade_in(audio) if _loud(audio[:2]) else audio


def soften_end(audio: Float32) -> Float32:
    """The same audio, faded out where it would end with a click (`EDGE_LEVEL`)."""
    return fade_out(audio) if _loud(audio[-2:]) else audio


def _ramp(samples: int) -> Float32:
    return (0.5 - 0.5 * np.cos(np.pi * np.arange(samples) / max(samples, 1))).astype(np.float32)


def _loud(edge: Float32) -> bool:
    return bool(edge.size) and float(np.max(np.abs(edge))) > EDGE_LEVEL


class Resampler:
    """Resamples a stream of pieces; together they are what one piece would have become.

    Args:
        source_rate: Samples per second of what is pushed.
        target_rate: Samples per second of what comes out; equal rates pass through untouched.
    """

    def __init__(self, source_rate: int, target_rate: int) -> None:
        self._stream: soxr.ResampleStream | Any = None
        if source_rate != target_rate:
            import soxr  # with its own shared library: only where another rate is asked for

            self._stream = soxr.ResampleStream(source_rate, target_rate, 1, dtype="float32")

    def push(self, audio: Float32, *, last: bool = False) -> Float32:
        """Resample the next piece.

        Args:
            audio: The next samples; may be empty.
            last: Nothing follows: also hand out what the filter still holds.

        Returns:
            Samples at the target rate; may be empty while the filter fills.
        """
        if self._stream is None:
            return audio
        resampled: Float32 = self._stream.resample_chunk(audio, last=last)
        return resampled


def write_wav(path: str | Path, audio: Float32, sample_rate: int = SAMPLE_RATE) -> Path:
    """Write a 16-bit mono WAV file.

    Raises:
        OSError: The file cannot be written.
    """
    target = Path(path)
    target.write_bytes(wav_bytes(audio, sample_rate))
    return target


def wav_bytes(audio: Float32, sample_rate: int = SAMPLE_RATE) -> bytes:
    """A 16-bit mono WAV file in memory."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        # The wave module takes the machine's byte order and writes the file's.
        file.writeframes(np.frombuffer(to_pcm16(audio), "<i2").astype("=i2").tobytes())
    return buffer.getvalue()
