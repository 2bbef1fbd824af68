"""Word times: the words are the text, in order, within the audio, told before they are heard."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livekit_xtts.engine.engine import Sink
from livekit_xtts.pacing import Pacing, rate_meter
from livekit_xtts.pipeline import (
    AudioPiece,
    Pipeline,
    SegmentFinished,
    SegmentStarted,
    SpeakOptions,
    WordsComing,
)
from livekit_xtts.speech import (
    CODE_SECONDS,
    SAMPLE_RATE,
    SpeechDone,
    SpeechEvent,
    SpeechRequest,
)
from livekit_xtts.text.pronunciation import Pronunciations
from livekit_xtts.timings import carried_over, proportional, split_words, word_shares
from tests.fake_engine import FakeEngine, FakeTask, Script
from tests.livekit.helpers import LONG
from tests.livekit.test_pipeline import collect


@given(text=st.text(max_size=60), language=st.sampled_from(["en", "zh-cn", "ja", "ar"]))
def test_the_words_are_the_text(text: str, language: str) -> None:
    words = split_words(text, language)
    assert "".join(words) == text
    shares = word_shares(words)
    assert len(shares) == len(words) + 1
    assert shares == sorted(shares)
    assert shares[0] == 0.0
    assert shares[-1] == (1.0 if words else 0.0)


def test_words_keep_their_spacing_and_marks() -> None:
    assert split_words(" Dr. Smith,  well… ") == [" Dr.", " Smith,", "  well… "]
    assert split_words("今天，好。OK 12", "zh-cn") == ["今", "天，", "好。", "OK", " 12"]
    assert split_words("") == []
    assert split_words("  ") == ["  "]


def test_longer_words_and_pauses_take_longer() -> None:
    short, long, last = proportional("No, incomprehensibilities end", "en", 1.0, 3.0)
    assert short.start_s == 1.0
    assert last.end_s == 3.0
    assert long.end_s - long.start_s > 3 * (short.end_s - short.start_s)
    assert all(a.end_s == b.start_s for a, b in pairwise((short, long, last)))
    number, _ = proportional("1984 was", "en", 0.0, 1.0)
    assert number.end_s > 0.7


@pytest.mark.parametrize("chunk_s", [0.05, 0.5])
@pytest.mark.parametrize("estimate", [0.03, 0.06, 0.2])
async def test_words_are_told_before_they_are_heard(
    make_engine: Callable[..., FakeEngine], chunk_s: float, estimate: float
) -> None:
    """Also where the estimated length is far off."""
    engine = make_engine(chunk_s=chunk_s, script=Script(gated=True))
    pipeline = Pipeline(engine)
    length = 4.0
    done = SpeechDone(samples=round(length * SAMPLE_RATE))
    rate_meter(engine).add(done, "x" * round(length / estimate), "en", 1.0)
    told: list = []
    heard_s = 0.0
    text = LONG[:150]
    async with aclosing(pipeline.speak(text, pacing=Pacing(whole_below=0))) as events:
        engine.allow()
        async for event in events:
            if isinstance(event, WordsComing):
                told += event.words
                assert all(word.start_s >= heard_s - 1e-9 for word in event.words)
            elif isinstance(event, AudioPiece):
                heard_s += event.audio.size / SAMPLE_RATE
    assert "".join(word.text for word in told) == text
    starts = [word.start_s for word in told]
    assert starts == sorted(starts)
    assert starts[-1] <= heard_s


async def test_finished_segments_have_the_times_of_all_their_words(engine: FakeEngine) -> None:
    options = SpeakOptions(language="de")
    events = await collect(Pipeline(engine).speak("Guten Tag. Wie geht es Ihnen heute?", options))
    started = [event for event in events if isinstance(event, SegmentStarted)]
    finished = [event for event in events if isinstance(event, SegmentFinished)]
    for begin, end in zip(started, finished, strict=True):
        assert "".join(word.text for word in end.words) == begin.text
        assert end.words[0].start_s == begin.start_s
        assert end.words[-1].end_s == pytest.approx(end.end_s)


WHOLE = Pacing(whole_below=math.inf, whole_wait_s=math.inf)


class Telling(FakeEngine):
    """An engine that can tell when words begin: every third code, if it is asked."""

    def submit(self, request: SpeechRequest, sink: Sink) -> FakeTask:
        def tell(event: SpeechEvent) -> None:
            if isinstance(event, SpeechDone) and request.align:
                count = len(split_words(request.text, request.language))
                event = replace(event, words=tuple(3 * index for index in range(count)))
            sink(event)

        return super().submit(request, tell)


@pytest.mark.parametrize(("words", "speed"), [(True, 1.0), (True, 2.0), (False, 1.0)])
async def test_words_are_told_as_the_engine_tells_them(words: bool, speed: float) -> None:
    """In a segment that is complete before it is heard, and in its last event."""
    engine = Telling(seconds_per_character=0.1)
    options = SpeakOptions(words=words, speed=speed)
    try:
        events = await collect(Pipeline(engine).speak("Hello there, you two.", options, WHOLE))
    finally:
        engine.close()
    told = [word for event in events if isinstance(event, WordsComing) for word in event.words]
    (end,) = [event for event in events if isinstance(event, SegmentFinished)]
    assert end.aligned is words
    assert [word.text for word in told] == ["Hello", " there,", " you", " two."]
    if words:
        step = 3 * CODE_SECONDS / speed
        assert [word.start_s for word in told] == pytest.approx([0, step, 2 * step, 3 * step])
        assert told[-1].end_s == pytest.approx(end.end_s)
        assert list(end.words) == told
    else:
        estimated = proportional(end.text, "en", end.start_s, end.end_s)
        assert [word.start_s for word in end.words] == pytest.approx([w.start_s for w in estimated])


async def test_words_that_are_said_another_way_keep_their_times() -> None:
    engine = Telling(seconds_per_character=0.1)
    options = SpeakOptions(words=True, pronunciations=Pronunciations({"LiveKit": "live kit"}))
    try:
        events = await collect(Pipeline(engine).speak(" We use LiveKit daily. ", options))
    finally:
        engine.close()
    (end,) = [event for event in events if isinstance(event, SegmentFinished)]
    assert engine.requests[0].text == "We use live kit daily."
    assert [word.text for word in end.words] == [" We", " use", " LiveKit", " daily. "]
    codes = [round(word.start_s / CODE_SECONDS) for word in end.words]
    assert codes == [0, 3, 6, 12]


async def test_words_that_are_late_are_told_with_what_is_left(engine: FakeEngine) -> None:
    """A stream whose audio is out already when the engine tells: no word goes back in time."""
    telling = Telling(chunk_s=0.1)
    try:
        told: list = []
        heard_s = 0.0
        pipeline = Pipeline(telling)
        options = SpeakOptions(words=True)
        async for event in pipeline.speak(LONG[:150], options, Pacing(whole_below=0)):
            if isinstance(event, WordsComing):
                assert all(word.start_s >= heard_s - 1e-9 for word in event.words)
                told += event.words
            elif isinstance(event, AudioPiece):
                heard_s += event.audio.size / SAMPLE_RATE
    finally:
        telling.close()
    starts = [word.start_s for word in told]
    assert "".join(word.text for word in told) == LONG[:150] and starts == sorted(starts)


@given(st.text(max_size=40), st.text(max_size=40), st.sampled_from(["en", "ja"]))
def test_times_are_carried_over_between_any_texts(text: str, spoken: str, language: str) -> None:
    starts = [0.1 * index for index in range(len(split_words(spoken, language)))]
    found = carried_over(text, spoken, starts, language)
    assert len(found) in (0, len(split_words(text, language)))
    assert found == sorted(found)
    assert set(found) <= set(starts)
    assert carried_over(text, spoken, [*starts, 9.0], language) == []
