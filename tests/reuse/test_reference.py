"""What a recording has to be, and what every wrong one is told."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from livekit_xtts import reference as reference_module
from livekit_xtts.reference import clean_reference, read_reference
from livekit_xtts.speech import ReferenceAudio, VoiceError
from tests.reuse.recordings import buzz, wav

RATE = 22_050


@pytest.mark.parametrize("format", ["WAV", "FLAC", "OGG", "MP3", "AIFF"])
def test_reads_the_common_formats(tmp_path: Path, format: str) -> None:
    path = tmp_path / "voice.audio"
    path.write_bytes(wav(buzz(), format=format))
    read = read_reference(path)
    assert read.sample_rate == RATE
    assert read.samples.dtype == np.float32
    assert len(read.samples) == pytest.approx(RATE, abs=3000)  # MP3 adds its own padding


def test_float_samples_come_back_as_they_are_and_channels_are_averaged() -> None:
    samples = buzz()
    assert np.array_equal(read_reference(wav(samples)).samples, samples)
    both = np.stack([samples, 0.5 * samples], axis=1)
    np.testing.assert_allclose(read_reference(wav(both)).samples, 0.75 * samples, atol=1e-7)


def not_finite() -> bytes:
    samples = buzz()
    samples[100] = np.nan
    return wav(samples)


def many_channels() -> bytes:
    return wav(np.repeat(buzz()[:, None], 9, axis=1))


def truncated_flac() -> bytes:
    data = wav(buzz(3.0), format="FLAC")
    return data[: len(data) // 2]


BAD = {
    "empty": (lambda: b"", "is empty"),
    "text": (lambda: b"Dear voice, please be Anna.\n" * 40, "not audio"),
    "too short": (lambda: wav(buzz(0.32)), r"too short \(0.32 s\)"),
    "no samples": (lambda: wav(buzz(0.0)), "too short"),
    "silent": (lambda: wav(np.zeros(RATE, np.float32)), "is silent"),
    "nearly silent": (lambda: wav(buzz() * np.float32(1e-3)), "is silent"),
    "not finite": (not_finite, "not finite"),
    "channels": (many_channels, "9 channels"),
    "rate": (lambda: wav(buzz(rate=4000), 4000), "4000 samples a second"),
    "cut off": (truncated_flac, "not audio|damaged"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_recording_is_named_and_explained(tmp_path: Path, name: str) -> None:
    make, message = BAD[name]
    path = tmp_path / "anna.wav"
    path.write_bytes(make())
    with pytest.raises(VoiceError, match=message) as raised:
        read_reference(path)
    assert "anna.wav" in str(raised.value)
    assert not raised.value.retryable


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(VoiceError, match="no such file"):
        read_reference(tmp_path / "none.wav")
    with pytest.raises(VoiceError, match="not a file"):
        read_reference(tmp_path)


def test_size_is_checked_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference_module, "MAX_REFERENCE_BYTES", 1000)
    monkeypatch.setattr(reference_module, "_decode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(VoiceError, match="bigger than"):
        read_reference(wav(buzz()))


def test_length_is_checked_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference_module, "MAX_REFERENCE_SECONDS", 0.9)
    monkeypatch.setattr(reference_module, "_BLOCK", None)  # reading would fail
    with pytest.raises(VoiceError, match="longer"):
        read_reference(wav(buzz(1.0)))


def test_length_is_counted_where_the_header_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    # A FLAC header may leave the number of samples open: 36 bits from the end of STREAMINFO.
    data = bytearray(wav(buzz(1.0), format="FLAC"))
    field = struct.unpack(">Q", data[18:26])[0]
    data[18:26] = struct.pack(">Q", field & ~((1 << 36) - 1))
    monkeypatch.setattr(reference_module, "MAX_REFERENCE_SECONDS", 0.5)
    monkeypatch.setattr(reference_module, "_BLOCK", 4096)
    with pytest.raises(VoiceError, match="longer"):
        read_reference(bytes(data))


def test_cleaning_cuts_silent_ends_offset_and_level() -> None:
    silence = np.full(RATE, 0.01, np.float32)  # a constant offset, not speech
    speech = buzz(1.0) * np.float32(0.2) + np.float32(0.01)
    raw = ReferenceAudio(samples=np.concatenate([silence, speech, silence]), sample_rate=RATE)
    cleaned = clean_reference(raw)
    margins = 2 * reference_module.TRIM_MARGIN_S
    frames = 2 * 0.02
    assert len(cleaned.samples) / RATE == pytest.approx(1.0 + margins, abs=frames)
    assert abs(cleaned.samples.mean()) < 1e-3
    rms = np.sqrt(np.mean(cleaned.samples**2))
    assert rms == pytest.approx(reference_module.LEVEL_RMS, rel=1e-3)
    assert np.abs(cleaned.samples).max() <= 0.95


def test_cleaning_never_clips() -> None:
    samples = np.full(RATE, 1e-3, np.float32) * np.resize([1, -1], RATE)
    samples[::2000] = 0.9
    cleaned = clean_reference(ReferenceAudio(samples=samples.astype(np.float32), sample_rate=RATE))
    assert np.abs(cleaned.samples).max() <= 0.95 + 1e-6


def test_cleaning_refuses_what_is_left_too_short() -> None:
    samples = np.zeros(RATE, np.float32)
    samples[5000:6000] = buzz(1.0)[:1000]
    with pytest.raises(VoiceError, match="too short"):
        clean_reference(ReferenceAudio(samples=samples, sample_rate=RATE), "anna.wav")
