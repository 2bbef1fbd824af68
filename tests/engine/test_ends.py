"""Clean ends on planted faults: silence, run-on, cuts; and that nothing else is touched."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livekit_xtts.engine.ends import FRAME, Ending, Ends
from livekit_xtts.engine.length import (
    CHARACTERS_PER_SECOND,
    expected_codes,
    expected_codes_of_ids,
    reading,
)
from livekit_xtts.speech import CODE_SECONDS, LANGUAGES, SAMPLE_RATE

SECOND = SAMPLE_RATE


def speech(seconds: float, level: float = 0.2) -> Any:
    time = np.arange(round(seconds * SECOND)) / SECOND
    return (level * np.sin(2 * np.pi * 200 * time)).astype(np.float32)


def silence(seconds: float, level: float = 0.001) -> Any:
    return speech(seconds, level)


def run(
    audio: Any,
    sizes: list[int],
    ends: Ends,
    capped: bool = False,
    text: str | None = None,
    speed: float = 1.0,
) -> tuple[Any, int]:
    """Feed audio in pieces; what came out, and how many pieces were taken."""
    ending = Ending(ends, reading(text, "en") if text else None, speed)
    out, position, pieces = [], 0, 0
    while True:
        size = sizes[pieces % len(sizes)]
        final = position + size >= len(audio)
        sent, over = ending.feed(audio[position : position + size], final, capped)
        out.append(sent)
        position += size
        pieces += 1
        if over:
            return np.concatenate(out), pieces
        assert not final


def test_long_silence_at_the_end_is_dropped_but_for_a_natural_rest() -> None:
    audio = np.concatenate((speech(1.0), silence(1.2)))
    out, _ = run(audio, [2000], Ends())
    assert abs(len(out) - round(1.2 * SECOND)) <= FRAME
    assert np.array_equal(out[:-120], audio[: len(out) - 120])
    assert abs(out[-1]) < 0.001


def test_a_natural_ending_is_left_alone() -> None:
    audio = np.concatenate((speech(1.0), silence(0.15)))
    out, _ = run(audio, [3000], Ends())
    assert np.array_equal(out, audio)


def test_a_pause_inside_speech_stays_whole() -> None:
    audio = np.concatenate((speech(0.5), silence(1.0), speech(0.5)))
    out, _ = run(audio, [1500], Ends())
    assert np.array_equal(out, audio)


def test_silence_before_the_first_sound_is_not_held_back() -> None:
    audio = np.concatenate((silence(0.5), speech(0.5)))
    ending = Ending(Ends())
    sent, over = ending.feed(audio[: SECOND // 2], False, False)
    assert len(sent) == SECOND // 2 and not over


def test_a_run_on_of_silence_ends_the_request() -> None:
    audio = np.concatenate((speech(1.0), silence(20.0)))
    out, pieces = run(audio, [SECOND // 4], Ends())
    assert abs(len(out) - round(1.2 * SECOND)) <= FRAME
    assert pieces <= 12, "the rest of the 84 pieces is never made"


def test_a_cut_at_the_budget_is_faded() -> None:
    audio = speech(1.0, 0.5) + 0.3
    out, _ = run(audio, [5000], Ends(), capped=True)
    assert len(out) == len(audio) and np.array_equal(out[:-120], audio[:-120])
    assert out[-1] == 0.0
    assert np.abs(np.diff(out[-121:])).max() < 0.06


def test_switched_off_nothing_changes() -> None:
    audio = np.concatenate((speech(0.3), silence(3.0)))
    out, _ = run(audio, [777], Ends.off(), capped=True)
    assert np.array_equal(out, audio)
    assert Ends.off().limit(10.0) is None and Ends.off().bias(10.0) is None


@settings(max_examples=40, deadline=None)
@given(
    parts=st.lists(st.tuples(st.booleans(), st.integers(1, 60)), min_size=1, max_size=8),
    sizes=st.lists(st.integers(1, 9000), min_size=1, max_size=6),
)
def test_what_is_sent_is_a_beginning_of_the_audio(
    parts: list[tuple[bool, int]], sizes: list[int]
) -> None:
    """For any speech and silence and any chunks: only an end of pure silence is ever missing."""
    audio = np.concatenate(
        [(speech if loud else silence)(frames * FRAME / SECOND) for loud, frames in parts]
    )
    out, _ = run(audio, sizes, Ends(fade_s=0.0, run_on_s=0.0))
    assert np.array_equal(out, audio[: len(out)])
    for ends, text in ((Ends(fade_s=0.0), None), (Ends(fade_s=0.0), "Yes, sure.")):
        whole, _ = run(audio, [len(audio)], ends, text=text)
        pieces, _ = run(audio, sizes, ends, text=text)
        assert np.array_equal(whole, pieces), "the pieces in which it comes do not matter"
    out, _ = run(audio, sizes, Ends(fade_s=0.0, run_on_s=0.0))
    assert np.abs(audio[len(out) :]).max(initial=0.0) <= 0.001
    heard = np.flatnonzero(np.abs(audio) > 0.01)
    if heard.size:
        assert len(out) - heard[-1] <= round(0.2 * SECOND) + 2 * FRAME


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_expected_length_is_that_of_speech(language: str) -> None:
    per_second = CHARACTERS_PER_SECOND[language]
    codes = expected_codes("x" * round(10 * per_second), language)
    assert codes * CODE_SECONDS == pytest.approx(10.35, abs=0.2)
    assert expected_codes_of_ids(1) >= 1


def test_budget_and_bias_leave_room() -> None:
    ends = Ends()
    expected = expected_codes("Yes.", "en")
    limit = ends.limit(expected)
    assert limit is not None and 2.0 < limit * CODE_SECONDS < 4.5
    bias = ends.bias(expected)
    assert bias is not None and bias.expected > expected


@pytest.mark.parametrize("size", [FRAME, 1000, 5000, 100_000])
def test_a_text_that_is_said_again_after_a_silence_is_said_once(size: int) -> None:
    audio = np.concatenate((speech(0.6), silence(0.5), speech(0.6), silence(0.4)))
    out, _ = run(audio, [size], Ends(), text="Thank you.")
    assert abs(len(out) - round(0.8 * SECOND)) <= 2 * FRAME
    assert abs(out[-1]) < 0.001


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        # A pause at the comma, however long a person would make it.
        ("Well, I think so.", (0.4, 0.6, 0.8)),
        ("Yes, yes, of course.", (0.3, 0.5, 0.3, 0.5, 0.6)),
        # Too little has been heard for the text to be over.
        ("Tomorrow morning then.", (0.2, 0.5, 1.0)),
        (
            "A longer text without any mark that somebody reads slowly and with a rest",
            (2.4, 0.38, 2),
        ),
    ],
)
def test_a_pause_inside_a_text_is_no_end(text: str, parts: tuple[float, ...]) -> None:
    sounds = [(silence if index % 2 else speech)(s) for index, s in enumerate(parts)]
    audio = np.concatenate(sounds)
    out, _ = run(audio, [3000], Ends(), text=text)
    assert np.array_equal(out, audio)


def test_a_mark_without_its_pause_makes_the_silence_longer_that_ends_a_text() -> None:
    ends, text = Ends(), reading("Well, I think so.", "en")
    assert ends.over_s(text, 1.2, 1, 1.0) == pytest.approx(ends.gap_s)
    assert ends.over_s(text, 1.2, 0, 1.0) == pytest.approx(2 * ends.gap_s)
    assert ends.over_s(text, 0.3, 1, 1.0) == ends.run_on_s
    assert ends.over_s(None, 9.0, 0, 1.0) == ends.run_on_s


def test_a_faster_speech_is_over_sooner() -> None:
    ends, text = Ends(), reading("See you later.", "en")
    assert ends.over_s(text, 0.25, 0, 1.0) == ends.run_on_s
    assert ends.over_s(text, 0.25, 0, 2.0) == ends.gap_s


def test_a_blip_in_the_silence_is_silence() -> None:
    audio = np.concatenate((speech(0.6), silence(0.3), speech(0.02, 0.012), silence(0.1)))
    out, _ = run(audio, [5000], Ends())
    assert abs(len(out) - round(0.8 * SECOND)) <= FRAME
    louder = np.concatenate((speech(0.6), silence(0.3), speech(0.02, 0.1), silence(0.1)))
    out, _ = run(louder, [5000], Ends())
    assert np.array_equal(out, louder), "a sound as loud as a consonant stays"


def test_marks_are_those_that_a_reader_pauses_at() -> None:
    assert reading("It costs 3.50, all in all", "en").marks == 1
    assert reading("No.", "en").marks == 0
    assert reading('"Yes," she said.', "en").marks == 1
    assert reading("好的，没问题。", "zh-cn").marks == 1
    assert reading("Yes, no.", "en").settled == pytest.approx(0.5)
