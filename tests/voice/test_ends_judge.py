"""The judge of utterance ends, on readings whose true ends are known."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.ends_judge import (
    CLICK,
    EXTRA_S,
    clicks,
    last_sound,
    loudness_db,
    sound_after,
    steps_db,
    text_end,
)
from benchmarks.voice_measures import HOP, RATE, Array, analyse
from training.espeak import Espeak
from training.settings import VOICES

TEXTS = ("Yes.", "Good morning.", "Sure, no problem.", "Your table is ready now.")


@pytest.fixture(scope="module")
def espeak() -> Espeak:
    return Espeak()


def spoken(espeak: Espeak, text: str, voice: int) -> Array:
    samples = espeak.speak(text, VOICES[voice]).samples.astype(np.float64)
    places = np.arange(0, len(samples) - 1, 22_050 / RATE)
    resampled = np.interp(places, np.arange(len(samples)), samples)
    return np.asarray(resampled[: round(last_sound(resampled, RATE) * RATE)])


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("voices", [(0, 0), (0, 4), (5, 3)])
@pytest.mark.parametrize("gap_s", [0.0, 0.3, 1.0])
def test_what_is_said_behind_a_text_is_found(
    espeak: Espeak, text: str, voices: tuple[int, int], gap_s: float
) -> None:
    teacher = analyse(spoken(espeak, text, voices[0]))
    once = spoken(espeak, text, voices[1])
    rest = np.concatenate((np.zeros(round(gap_s * RATE)), spoken(espeak, "and so on.", voices[1])))
    clean, extra = analyse(once), analyse(np.concatenate((once, rest)))
    assert sound_after(clean, text_end(teacher, clean)) <= EXTRA_S
    end = text_end(teacher, extra)
    assert abs(end * HOP / RATE - len(once) / RATE) <= EXTRA_S
    assert sound_after(extra, end) > EXTRA_S


def test_silence_levels_and_clicks_are_measured() -> None:
    tone = 0.2 * np.sin(2 * np.pi * 200 * np.arange(RATE) / RATE)
    assert last_sound(np.concatenate((tone, np.zeros(RATE))), RATE) == pytest.approx(1.0, abs=0.01)
    assert last_sound(np.zeros(10), RATE) == 0.0
    levels = [loudness_db(gain * tone, RATE) for gain in (1.0, 2.0, 0.5)]
    assert steps_db(levels) == pytest.approx([6.02, 12.04], abs=0.01)
    whole = tone[: RATE // 2 + 1]  # begins and ends where the tone crosses zero
    assert abs(whole[-1]) < CLICK and clicks([whole, whole]) == 0
    assert clicks([tone[: RATE // 2 - 20]]) == 1
