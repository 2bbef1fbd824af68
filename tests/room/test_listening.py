"""The measures of the end-to-end tests can fail."""

from __future__ import annotations

import numpy as np
import pytest

from tests.fake_engine import chirps, tone
from tests.room.listening import SAMPLE_RATE, Audio, compare, tone_level

SPOKEN = chirps(3.0, 300.0, seed=4)


def heard(audio: Audio) -> Audio:
    """The audio as a recording: between silences of 0.5 s, 20 dB above some noise."""
    noise = np.random.default_rng(0).normal(0, 1e-3, audio.size + SAMPLE_RATE)
    noise[SAMPLE_RATE // 2 : SAMPLE_RATE // 2 + audio.size] += audio
    return noise.astype(np.float32)


def without(audio: Audio, start_s: float, seconds: float) -> Audio:
    """The audio with a piece cut out, so that what follows comes earlier."""
    start = round(start_s * SAMPLE_RATE)
    return np.concatenate([audio[:start], audio[start + round(seconds * SAMPLE_RATE) :]])


def muted(audio: Audio, start_s: float, seconds: float) -> Audio:
    """The audio with a hole of silence."""
    holed = audio.copy()
    start = round(start_s * SAMPLE_RATE)
    holed[start : start + round(seconds * SAMPLE_RATE)] = 0.0
    return holed


def stretched(audio: Audio, seconds: float) -> Audio:
    """The audio with some milliseconds said twice in its middle, as a jitter buffer does."""
    middle, extra = audio.size // 2, round(seconds * SAMPLE_RATE)
    return np.concatenate([audio[: middle + extra], audio[middle:]])


def test_the_same_signal_is_found_where_it_is() -> None:
    result = compare(SPOKEN, heard(SPOKEN))
    assert result.correlation > 0.999
    assert result.offset_s == pytest.approx(0.5, abs=0.005)
    assert result.hole_s == 0.0


def test_a_stretch_of_the_jitter_buffer_is_forgiven() -> None:
    result = compare(SPOKEN, heard(stretched(SPOKEN, 0.03)))
    assert result.correlation > 0.95
    assert result.hole_s == 0.0


@pytest.mark.parametrize("seconds", [0.03, 0.1])
def test_a_hole_is_seen(seconds: float) -> None:
    result = compare(SPOKEN, heard(muted(SPOKEN, 1.32, seconds)))
    assert result.hole_s == pytest.approx(seconds, abs=0.011)


@pytest.mark.parametrize(
    "spoiled",
    [
        without(SPOKEN, 1.0, 0.3),
        muted(SPOKEN, 1.0, 0.4),
        SPOKEN[SPOKEN.size // 4 :],
        chirps(3.0, 300.0, seed=5),
        tone(3.0, 300.0),
    ],
    ids=["cut", "muted", "beginning lost", "another text", "a tone"],
)
def test_a_spoiled_signal_correlates_less(spoiled: Audio) -> None:
    assert compare(SPOKEN, heard(spoiled)).correlation < 0.95


def test_a_tone_is_told_from_its_neighbour() -> None:
    audio = tone(1.0, 440.0)
    assert tone_level(audio, 440.0) == pytest.approx(0.5, rel=0.02)
    assert tone_level(audio, 660.0) < 0.005
