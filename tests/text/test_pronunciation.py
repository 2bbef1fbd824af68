"""A user's own words: whole words, case, and streams cut anywhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livekit_xtts.speech import InvalidRequestError
from livekit_xtts.text.normalize import normalize
from livekit_xtts.text.pronunciation import Pronunciations

WORDS = {
    "LiveKit": "live kit",
    "LiveKit Agents": "live kit's agents",
    "SQL": "sequel",
    "C++": "c plus plus",
    "&": "and",
    "Mt. Fuji": "mount fuji",
    "a": "ay",
}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("LiveKit and livekit.", "live kit and live kit."),
        ("LiveKit Agents!", "live kit's agents!"),
        ("MySQL, SQL, SQLite", "MySQL, sequel, SQLite"),
        ("C++ & C", "c plus plus and C"),
        ("Mt. Fuji", "mount fuji"),
        ("a cat, A", "ay cat, ay"),
        ("SQL", "sequel"),
        ("", ""),
    ],
)
def test_whole_words_longest_first(text, said):
    assert Pronunciations(WORDS).apply(text) == said


def test_case_option():
    exact = Pronunciations({"US": "u s"}, case_sensitive=True)
    assert exact.apply("Tell us about the US") == "Tell us about the u s"
    assert Pronunciations({"US": "u s"}).apply("us") == "u s"


def test_what_was_put_in_is_not_read_again():
    assert Pronunciations({"a": "b", "b": "a"}).apply("a b") == "b a"


def test_before_everything_else():
    words = Pronunciations({"Dr.": "drive", "5G": "five gee"})
    assert normalize("Dr. No has 5G.", "en", pronunciations=words) == "drive no has five gee"


def test_fingerprint():
    same = Pronunciations({"A": "x", "b": "y"}), Pronunciations({"B": "y", "a": "x"})
    assert same[0].fingerprint == same[1].fingerprint
    assert same[0].fingerprint != Pronunciations({"a": "x"}).fingerprint
    assert sorted(same[0]) == ["a", "b"]
    assert len(same[0]) == 2


@pytest.mark.parametrize("words", [{"": "x"}, {" ": "x"}, {"A": "x", "a": "y"}])
def test_bad_maps(words):
    with pytest.raises(InvalidRequestError, match="pronunciations"):
        Pronunciations(words)


def test_an_empty_map_changes_nothing():
    stream = Pronunciations({}).stream()
    assert stream.push("a b") + stream.flush() == "a b"


WRITTEN = "LiveKit| Agents|Live|Kit| |SQL|MySQL|C++|&|Mt|. Fuji|a|A|.|x|++|-|Agents|\n"
PIECES = st.lists(st.sampled_from(WRITTEN.split("|")), max_size=12)


@given(PIECES, st.data())
def test_a_stream_equals_the_whole(pieces, data):
    words = Pronunciations(WORDS)
    text = "".join(pieces)
    stream, said, at = words.stream(), "", 0
    while at < len(text):
        size = data.draw(st.integers(1, 6))
        said += stream.push(text[at : at + size])
        at += size
    said += stream.flush()
    assert said == words.apply(text)
    # After the end a new text begins.
    assert stream.push("SQL") + stream.flush() == "sequel"


def test_a_stream_holds_back_no_more_than_it_must():
    stream = Pronunciations(WORDS).stream()
    assert stream.push("hello wor") == "hello wor"
    assert stream.push("ld Live") == "ld "
    assert stream.push("ly") == "Lively"
