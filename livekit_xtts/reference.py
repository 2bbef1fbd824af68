"""Reference audio from files and bytes: bounded before it is decoded, checked, cleaned if asked.

soundfile reads WAV, FLAC, Ogg (Vorbis, Opus), MP3 and AIFF; it is imported when a file is read.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from livekit_xtts.speech import (
    MAX_REFERENCE_BYTES,
    MAX_REFERENCE_SECONDS,
    MIN_REFERENCE_SECONDS,
    Float32,
    ReferenceAudio,
    VoiceError,
)

SAMPLE_RATES = (8_000, 192_000)
MAX_CHANNELS = 8
SILENT_PEAK = 10 ** (-60 / 20)
"""A recording that stays below -60 dB of full scale holds no voice."""

TRIM_DB = 40.0
"""`clean` cuts the ends that stay this far below the loudest 20 ms."""

TRIM_MARGIN_S = 0.1
LEVEL_RMS = 10 ** (-20 / 20)
"""`clean` brings speech to -20 dB RMS, unless that would clip."""

_BLOCK = 1 << 16
_FORMATS = "WAV, FLAC, Ogg, MP3 or AIFF (others: ffmpeg -i INPUT voice.wav)"


def read_reference(source: Path | bytes, *, label: str | None = None) -> ReferenceAudio:
    """Decode one recording to mono.

    Size and length are checked before decoding, and the length again while decoding, because a
    header can lie.

    Args:
        source: An audio file's path, or its content.
        label: What to call it in messages; the path by default.

    Raises:
        VoiceError: Missing, empty, too big, not audio, too long, too short, silent or damaged.
    """
    what = label or (str(source) if isinstance(source, Path) else "the reference audio")
    file = _bounded(source, what)
    samples, rate = _decode(file, what)
    reference = ReferenceAudio(samples=samples, sample_rate=rate)
    check_reference(reference, what)
    return reference


def read_bounded(path: Path, what: str, limit: int = MAX_REFERENCE_BYTES) -> bytes:
    """A file's bytes, at most `limit` of them.

    Raises:
        VoiceError: It is missing, not a file, unreadable, empty or bigger than the limit.
    """
    try:
        if not path.exists():
            raise VoiceError(f"{what}: there is no such file")
        if not path.is_file():
            raise VoiceError(f"{what} is not a file; give an audio file or a list of them")
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise VoiceError(f"{what} cannot be read: {error.strerror or error}") from error
    _check_size(len(data), what, limit)
    return data


def _bounded(source: Path | bytes, what: str) -> io.BytesIO:
    if isinstance(source, Path):
        return io.BytesIO(read_bounded(source, what))
    _check_size(len(source), what, MAX_REFERENCE_BYTES)
    return io.BytesIO(source)


def _check_size(size: int, what: str, limit: int) -> None:
    if size == 0:
        raise VoiceError(f"{what} is empty")
    if size > limit:
        raise VoiceError(
            f"{what} is bigger than {limit // 2**20} MiB; 10 to 30 seconds of clear speech suffice"
        )


def _decode(file: io.BytesIO, what: str) -> tuple[Float32, int]:
    import soundfile

    try:
        with soundfile.SoundFile(file) as sound:
            _check_header(sound, what)
            rate = int(sound.samplerate)
            limit = int(MAX_REFERENCE_SECONDS * rate)
            blocks: list[Float32] = []
            total = 0
            while total <= limit:
                block = sound.read(_BLOCK, dtype="float32", always_2d=True)
                if not len(block):
                    break
                blocks.append(block.mean(axis=1, dtype=np.float32))
                total += len(block)
    except soundfile.SoundFileError as error:
        raise VoiceError(f"{what} is not audio that can be read: use {_FORMATS}") from error
    if total > limit:
        raise _too_long(what, total / rate)
    samples = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    return samples, rate


def _check_header(sound: Any, what: str) -> None:
    low, high = SAMPLE_RATES
    if not low <= sound.samplerate <= high:
        raise VoiceError(
            f"{what} has {sound.samplerate} samples a second; {low} to {high} are accepted"
        )
    if sound.channels > MAX_CHANNELS:
        raise VoiceError(f"{what} has {sound.channels} channels; at most {MAX_CHANNELS} are read")
    # Streams without a length report a huge number of frames; those are counted while decoding.
    if 0 < sound.frames < 2**62 and sound.frames / sound.samplerate > MAX_REFERENCE_SECONDS:
        raise _too_long(what, sound.frames / sound.samplerate)


def _too_long(what: str, seconds: float) -> VoiceError:
    return VoiceError(
        f"{what} is longer ({seconds:.0f} s) than {MAX_REFERENCE_SECONDS:.0f} s;"
        " cut it to 10 to 30 seconds of clear speech"
    )


def check_reference(reference: ReferenceAudio, what: str) -> None:
    """Refuse a recording that no voice can be cloned from.

    Raises:
        VoiceError: It has too few samples, is silent, or holds values that are not finite.
    """
    samples = reference.samples
    seconds = len(samples) / reference.sample_rate
    if seconds < MIN_REFERENCE_SECONDS:
        raise VoiceError(
            f"{what} is too short ({seconds:.2f} s): at least {MIN_REFERENCE_SECONDS} s of speech"
            " are needed, 10 to 30 s are good"
        )
    if not np.isfinite(samples).all():
        raise VoiceError(f"{what} is damaged: it holds samples that are not finite numbers")
    if float(np.abs(samples).max()) < SILENT_PEAK:
        raise VoiceError(f"{what} is silent: record it again, louder")


def clean_reference(reference: ReferenceAudio, what: str = "the reference") -> ReferenceAudio:
    """Cut the silent ends, remove a constant offset and bring the level to -20 dB RMS.

    Raises:
        VoiceError: Less than 0.33 s is left.
    """
    rate = reference.sample_rate
    samples = reference.samples - np.float32(reference.samples.mean(dtype=np.float64))
    first, last = _loud_span(samples, max(1, rate // 50))
    margin = int(TRIM_MARGIN_S * rate)
    samples = samples[max(0, first - margin) : last + margin]
    rms = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
    peak = float(np.abs(samples).max())
    gain = min(LEVEL_RMS / rms, 0.95 / peak) if rms > 0 else 1.0
    cleaned = ReferenceAudio(samples=(samples * np.float32(gain)), sample_rate=rate)
    check_reference(cleaned, f"{what}, its silent ends cut,")
    return cleaned


def _loud_span(samples: Float32, frame: int) -> tuple[int, int]:
    """First and last sample of the frames within `TRIM_DB` of the loudest one."""
    count = max(1, len(samples) // frame)
    whole = samples[: count * frame] if len(samples) >= frame else samples
    power = np.square(whole.reshape(count, -1), dtype=np.float64).mean(axis=1)
    loud = np.flatnonzero(power >= power.max() * 10 ** (-TRIM_DB / 10))
    return int(loud[0]) * frame, (int(loud[-1]) + 1) * frame
