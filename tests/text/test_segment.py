"""Segments: nothing lost, nothing cut that belongs together, the first one early."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.segments import CARRIERS, chunkings, cuts_inside, read, stream
from livekit_xtts.speech import LANGUAGES, InvalidRequestError
from livekit_xtts.text.languages import CHAR_LIMITS
from livekit_xtts.text.segment import PAUSES, Segment, Segmenter
from livekit_xtts.text.tokenizer import TextTokenizer
from tests.text.vocabulary import published, stand_in


def cut(language, text, pieces=None, **options):
    segmenter = Segmenter(language, **options)
    segments = [s for piece in pieces or [text] for s in segmenter.push(piece)]
    return segments + segmenter.flush()


def texts(language, text, pieces=None, **options):
    return [segment.text for segment in cut(language, text, pieces, **options)]


PIECES = (
    "Hello|hello| |. |, |! |? |… |... |.|,|3.5|1,000|Dr. |z. B. |a.m. |example.com|\n|\n\n|- |1. "
    '|and |but | — |—|"|(|)|“|”|「|」|。|！|、|你好|世界|の|は|नमस्ते|।|سلام|؟ |https://x.org/a?b=c'
    "|the |of |Smith |[a b](|]|**|e\u0301|👩\u200d👧|km |5 |€|:|;|St. |No. |U.S. |Yahoo! |\t"
)
FRAGMENTS = st.lists(st.sampled_from(PIECES.split("|")), max_size=60)


def grouped(text, data):
    pieces, at = [], 0
    while at < len(text):
        size = data.draw(st.integers(1, 9))
        pieces.append(text[at : at + size])
        at += size
    return pieces


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(LANGUAGES), FRAGMENTS, st.data())
def test_lossless_and_the_same_for_any_grouping(language, fragments, data):
    text = "".join(fragments)
    segments = cut(language, text, grouped(text, data))
    assert "".join(segment.text for segment in segments) == text
    assert segments == cut(language, text)
    assert [segment.index for segment in segments] == list(range(len(segments)))
    assert all(len(segment.text.strip()) <= CHAR_LIMITS[language] for segment in segments)
    assert all(segment.text for segment in segments)
    assert all(segment.pause_s in PAUSES.values() for segment in segments)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=400), st.integers(1, 40), st.sampled_from(["en", "ja", "hi", "ar"]))
def test_any_text_and_any_limit(text, limit, language):
    segments = cut(language, text, char_limit=limit)
    assert "".join(segment.text for segment in segments) == text
    assert all(len(segment.text.strip()) <= limit for segment in segments)
    assert [segment.last for segment in segments[:-1]] == [False] * (
        len(segments) - 1 if segments else 0
    )


@pytest.mark.parametrize(
    ("language", "trap"), read("segment_traps.tsv"), ids=lambda value: value[:24]
)
def test_traps(language, trap):
    for carrier in CARRIERS[language]:
        text, start = carrier.replace("{}", trap), carrier.index("{}")
        for pieces in chunkings(text):
            segments = stream(language, pieces).segments
            assert not cuts_inside(segments, start, start + len(trap)), segments


def test_the_traps_catch_a_naive_cutter():
    caught = 0
    for language, trap in read("segment_traps.tsv"):
        text = CARRIERS[language][0].replace("{}", trap)
        parts = text.replace(". ", ".|").replace(".", ".|").split("|")
        segments = [Segment(part, index) for index, part in enumerate(parts)]
        caught += cuts_inside(segments, text.index(trap), text.index(trap) + len(trap)) > 0
    assert len(read("segment_traps.tsv")) >= 300
    assert caught >= 200


SENTENCES = [
    ("en", "I live in the old town. You live by the sea."),
    ("en", "We moved there in 2024. The house is nice."),
    ("en", "It costs five dollars. Is that all right?"),
    ("en", "He came at 5 p.m. The party had begun."),
    ("en", "She works for Apple Inc. They make phones."),
    ("en", "I have no idea, No. That is all I know."),
    ("en", 'He said "go away now." Then he left us.'),
    ("en", "Is this the right one? yes it is that one"),
    ("en", "this is all small. and so is this here."),
    ("en", "This has no space.Here is the next one."),
    ("en", "We saw the U.S. The country is large."),
    ("en", "I was there, and then... Nothing came of it."),
    ("de", "Das war im Jahr 2024. Danach kam nichts."),
    ("de", "Wir treffen uns um zehn. Das Wetter ist gut."),
    ("de", "Äpfel, Birnen, Trauben usw. Das ist alles."),
    ("fr", "Je suis ici depuis hier. Tu viens demain ?"),
    ("es", "Vivo en la ciudad vieja. ¿Y tú dónde vives?"),
    ("ru", "Я живу в старом городе. А ты живёшь у моря."),
    ("pl", "Mieszkam w starym mieście. Ty mieszkasz nad morzem."),
    ("hi", "मैं पुराने शहर में रहता हूँ। आप समुद्र के पास।"),
    ("ar", "أعيش في المدينة القديمة. أنت تعيش بجانب البحر."),
    ("zh-cn", "我住在老城区的房子里。你住在海边的房子里。"),
    ("ja", "私は古い町に住んでいます。あなたは海の近くです。"),
    ("ko", "저는 오래된 도시에 살아요. 당신은 바닷가에 살아요."),
]


@pytest.mark.parametrize(("language", "text"), SENTENCES)
def test_two_sentences_are_two_segments(language, text):
    first, *rest = cut(language, text, first=None)
    ends = [
        text.index(mark) for mark in (". ", "? ", '." ', "।", "。", ".Here", "... ") if mark in text
    ]
    assert rest, first
    assert any(abs(len(first.text) - end) <= 3 for end in ends) or "p.m." in text or "U.S." in text
    assert first.pause_s == 0.12


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "How can I help you today?"),
        ("en", "That is just wonderful!"),
        ("zh-cn", "我来帮您查一下订单。"),
        ("hi", "मैं आपकी मदद करता हूँ।"),
        ("ar", "كيف يمكنني مساعدتك اليوم؟"),
    ],
)
def test_a_safe_end_waits_for_nothing(language, text):
    segmenter = Segmenter(language, first=None)
    assert [segment.text for segment in segmenter.push(text)] == [text]
    assert segmenter.pending == ""
    assert segmenter.flush() == []


def test_a_full_stop_waits_for_one_character():
    segmenter = Segmenter("en", first=None)
    assert segmenter.push("This is all there is.") == []
    assert segmenter.push(" T")[0].text == "This is all there is."
    segmenter = Segmenter("en", first=None)
    assert segmenter.push("Please visit example.") == []
    assert segmenter.push("com") == []


def test_silence_settles_it():
    segmenter = Segmenter("en")
    segmenter.push("Let me look that up.")
    assert [segment.text for segment in segmenter.settle()] == ["Let me look that up."]
    assert segmenter.settle() == []
    segmenter.push(" Sure.")
    assert segmenter.settle() == []
    assert [segment.text for segment in segmenter.settle(tiny=True)] == [" Sure."]


@pytest.mark.parametrize(
    "text", ["This costs about 3.", "Now ask for Dr.", 'He said "stop it.', "I think that"]
)
def test_silence_does_not_settle_what_is_open(text):
    segmenter = Segmenter("en")
    segmenter.push(text)
    assert segmenter.settle(tiny=True) == []
    assert segmenter.pending == text


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("If you want to, we can go there now", "If you want to,"),
        ("We went there because it was cheap for me now", "We went there"),
        ("The light in the kitchen window of the old house", "The light in the kitchen window"),
        ("Some of it — not all — was lost at sea", "Some of it —"),
        ("Hello Anna, the weather is nice today", "Hello Anna, the weather is nice today"),
    ],
)
def test_the_first_segment_leaves_early(text, first):
    assert texts("en", text)[0] == first
    assert texts("en", text, first=None) == [text]


def test_the_first_segment_has_at_most_its_words():
    for language, text in read("segment_texts.tsv"):
        spaced = language not in ("zh-cn", "ja")
        assert not spaced or len(texts(language, text)[0].split()) <= 9


def test_segments_grow():
    sentence = "This sentence has some words. "
    lengths = [len(text) for text in texts("en", sentence * 20, first=None)]
    assert lengths[:-1] == sorted(lengths[:-1])
    assert lengths[0] < 31 < 80 < lengths[-2]


def test_tiny_segments_join_a_neighbour():
    assert texts("en", "Sure! I can do that for you. Good.")[0] == "Sure! I can do that for you."
    many = "Here is one sentence. There is a second sentence, and it is longer. "
    assert texts("en", many * 4 + "Bye.")[-1].strip() != "Bye."
    assert texts("en", "Yes.") == ["Yes."]


def test_last_and_pauses():
    segments = cut("en", "One thing is that. Another thing is this.\n\nA new part begins here")
    assert [segment.last for segment in segments] == [False, False, True]
    assert [segment.pause_s for segment in segments] == [0.12, 0.15, 0.0]
    paragraph = cut("en", "A title of words\n\nThe text begins here", first=None)
    assert [segment.pause_s for segment in paragraph] == [0.15, 0.0]


def test_lists_and_links():
    text = "Do these things now:\n1. Open the app.\n2. Tap on the gear.\n3. Choose a name."
    assert "2." not in [part.strip() for part in texts("en", text)]
    assert any(part.strip().startswith("2. Tap") for part in texts("en", text))
    link = "Please read [the long guide about it, all of it](https://example.com/a) now and then"
    assert not any("[" in part and "](" not in part for part in texts("en", link))


def test_protected_phrases():
    text = "We built it all with Acme Inc. Tools and it went well"
    assert texts("en", text, first=6, protected=["Acme Inc. Tools"])[0].count("Acme") in (0, 1)
    for size in (1, 3, 50):
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        for part in texts("en", text, pieces, first=5, protected=["Acme Inc. Tools"]):
            assert ("Acme" in part) == ("Inc. Tools" in part)


def test_ids_limit(tmp_path):
    tokenizer = TextTokenizer(published() or stand_in(tmp_path))

    def count(text):
        return tokenizer.count(text, "en")

    text = "1234567 89 " * 12
    segments = cut("en", text, count_ids=count, ids_limit=60)
    assert "".join(segment.text for segment in segments) == text
    assert all(count(segment.text) <= 60 for segment in segments)
    assert any(count(segment.text) > 60 for segment in cut("en", text))


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_text_without_any_place_to_cut(language):
    limit = CHAR_LIMITS[language]
    for unit in ("x", "e\u0301", "9", "https://example.com/abc/"):
        parts = texts(language, unit * (3 * limit))
        assert "".join(parts) == unit * (3 * limit)
        assert all(len(part) <= limit for part in parts)
        assert not any(part.startswith("\u0301") for part in parts)


def test_a_long_sentence_is_cut_at_a_clause():
    words = "this goes on without any mark for a very long while "
    text = words * 3 + "until here, " + words * 3
    assert texts("en", text, first=None)[0].endswith("until here,")


def test_after_a_flush_a_new_text_begins():
    segmenter = Segmenter("en")
    segmenter.push("One. Two")
    assert [segment.index for segment in segmenter.flush()] == [0]
    segmenter.push("Three")
    assert segmenter.flush() == [Segment("Three", 0, True, 0.0)]
    assert segmenter.flush() == []


@pytest.mark.parametrize("text", ["", " ", "\n\n", "...", "🎉", "***"])
def test_nothing_to_say(text):
    assert texts("en", text) == ([text] if text else [])


@pytest.mark.parametrize(
    "options", [{"char_limit": 0}, {"ids_limit": 0}, {"first": 0}, {"language": "xx"}]
)
def test_bad_options(options):
    with pytest.raises(InvalidRequestError):
        Segmenter(**{"language": "en", **options})


def test_a_long_text_takes_linear_time():
    """Work per character does not grow with the text: counted in scanner resets, not seconds."""
    text = "This is a sentence of some words, and it has two parts. " * 400
    assert len(cut("en", text)) > 100


def test_the_benchmark_writes_what_it_says(tmp_path):
    path = tmp_path / "figures.json"
    subprocess.run(
        [sys.executable, "-m", "benchmarks.segments", "--json", str(path), "--quick"],
        check=True,
        capture_output=True,
    )
    figures = json.loads(path.read_text(encoding="utf-8"))
    assert figures["first_segment_words_p95"] <= 8
    assert figures["bad_cuts"] == 0
    assert figures["lost_characters"] == 0
    assert figures["over_limit"] == 0
