"""PCM, resampling, fades, WAV files."""

from __future__ import annotations

import io
import wave
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livekit_xtts.audio import (
    SAMPLE_RATES,
    Resampler,
    fade_in,
    fade_out,
    from_pcm16,
    silence,
    soften_end,
    soften_start,
    to_pcm16,
    wav_bytes,
    write_wav,
)
from tests.fake_engine import tone


def test_pcm_there_and_back_keeps_half_a_step() -> None:
    audio = tone(0.3, 440.0)
    assert np.abs(from_pcm16(to_pcm16(audio)) - audio).max() <= 0.5 / 32767 + 1e-7
    assert isinstance(to_pcm16(audio), bytes)


def test_what_is_too_loud_is_clipped() -> None:
    assert from_pcm16(to_pcm16(np.array([2.0, -2.0], dtype=np.float32))).tolist() == [1.0, -1.0]


@pytest.mark.parametrize("rate", SAMPLE_RATES)
@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(0, 4_800), max_size=6))
def test_resampling_does_not_depend_on_the_pieces(rate: int, cuts: list[int]) -> None:
    audio = tone(0.2, 440.0)
    whole = Resampler(24_000, rate).push(audio, last=True)
    resampler = Resampler(24_000, rate)
    edges = [0, *sorted(cuts), audio.size]
    split = [resampler.push(audio[a:b]) for a, b in pairwise(edges)]
    split.append(resampler.push(silence(0), last=True))
    joined = np.concatenate(split)
    assert joined.size == whole.size
    assert abs(whole.size - audio.size * rate / 24_000) <= 2
    assert np.abs(joined - whole).max() < 1e-5


def test_a_resampled_tone_keeps_its_level_and_pitch() -> None:
    audio = Resampler(24_000, 48_000).push(tone(1.0, 1000.0), last=True)
    spectrum = np.abs(np.fft.rfft(audio[12_000:36_000]))
    assert np.argmax(spectrum) * 2 == 1000
    assert np.abs(audio).max() == pytest.approx(0.5, rel=0.01)


def test_edges_that_would_click_are_faded() -> None:
    loud = np.full(2400, 0.5, dtype=np.float32)
    assert soften_start(loud)[0] == 0
    assert soften_end(loud)[-1] == 0
    assert np.array_equal(soften_end(loud)[:2000], loud[:2000])
    quiet = tone(0.1, 440.0)
    assert soften_start(quiet) is quiet
    assert soften_end(quiet) is quiet
    steps = np.abs(np.diff(soften_end(soften_start(loud)))).max()
    assert steps < 0.5 * 0.05


@given(samples=st.integers(0, 300))
def test_fades_take_any_length(samples: int) -> None:
    audio = np.ones(samples, dtype=np.float32)
    for faded in (fade_in(audio), fade_out(audio), soften_end(audio), soften_start(audio)):
        assert faded.size == samples
        assert faded.dtype == np.float32
    assert np.all(audio == 1)


def test_wav_files(tmp_path: Path) -> None:
    audio = tone(0.1, 440.0)
    path = write_wav(tmp_path / "tone.wav", audio)
    assert path.read_bytes() == wav_bytes(audio)
    with wave.open(io.BytesIO(wav_bytes(audio, 48_000))) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (48_000, 1, 2)
        assert file.readframes(10_000) == to_pcm16(audio)
    with pytest.raises(OSError, match="missing"):
        write_wav(tmp_path / "missing" / "tone.wav", audio)
