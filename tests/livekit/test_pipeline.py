"""The pipeline: order, joins, starting ahead, bounds, failures, interruption."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace

import numpy as np
import pytest

from livekit_xtts import cuts
from livekit_xtts.cache import SpeechCache
from livekit_xtts.pacing import Pacing
from livekit_xtts.pipeline import (
    FLUSH,
    AudioPiece,
    Finished,
    Flush,
    Pipeline,
    SegmentFinished,
    SegmentStarted,
    SpeakOptions,
    SpeechTimeoutError,
)
from livekit_xtts.speech import (
    MAX_TEXT_IDS,
    SAMPLE_RATE,
    EngineBusyError,
    EngineFailedError,
    InvalidRequestError,
    SpeechRequest,
)
from livekit_xtts.text.normalize import normalize
from livekit_xtts.text.pronunciation import Pronunciations
from livekit_xtts.text.segment import Segmenter
from tests.fake_engine import FOREVER, FakeEngine, Script
from tests.livekit.helpers import LONG

STREAMED = Pacing(whole_below=0)
THREE = "One is spoken first. Two is spoken after it. Three is spoken at the end."


class Clock:
    """Time that moves when the test says so."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


async def pieces(*texts: str | Flush) -> AsyncIterator[str | Flush]:
    for text in texts:
        yield text


async def collect(events: AsyncIterator) -> list:
    return [event async for event in events]


def audio(events: list) -> np.ndarray:
    return np.concatenate([event.audio for event in events if isinstance(event, AudioPiece)])


async def test_segments_come_in_order_with_their_gaps_and_times(engine: FakeEngine) -> None:
    events = await collect(Pipeline(engine).speak(THREE, pacing=STREAMED))
    started = [event for event in events if isinstance(event, SegmentStarted)]
    finished = [event for event in events if isinstance(event, SegmentFinished)]
    assert "".join(event.text for event in started) == THREE
    assert [event.index for event in started] == [0, 1, 2]
    heard = audio(events)
    for begin, end, request in zip(started, finished, engine.requests, strict=True):
        assert request.text == begin.text.strip() == end.text.strip()
        span = heard[round(begin.start_s * SAMPLE_RATE) : round(end.end_s * SAMPLE_RATE)]
        assert np.array_equal(span, engine.expected(request))
    for before, after in zip(finished, started[1:], strict=False):
        gap = heard[round(before.end_s * SAMPLE_RATE) : round(after.start_s * SAMPLE_RATE)]
        assert gap.size > 0
        assert not gap.any()
    position = 0
    for event in events:
        if isinstance(event, AudioPiece):
            assert event.start == position
            position += event.audio.size
    assert isinstance(events[-1], Finished)
    assert events[-1].duration_s == pytest.approx(heard.size / SAMPLE_RATE)


async def test_text_may_come_in_pieces_of_any_size(engine: FakeEngine) -> None:
    whole = await collect(Pipeline(engine).speak(pieces(LONG)))
    split = await collect(Pipeline(engine).speak(pieces(*LONG)))
    for events in (whole, split):
        texts = [event.text for event in events if isinstance(event, SegmentStarted)]
        assert "".join(texts) == LONG


async def test_a_flush_speaks_what_is_there(engine: FakeEngine) -> None:
    gate = asyncio.Event()

    async def text() -> AsyncIterator[str | Flush]:
        yield "Well"
        yield FLUSH
        await gate.wait()
        yield " then, let us go on."

    async with aclosing(Pipeline(engine).speak(text())) as events:
        first = await anext(events)
        assert first == SegmentStarted(0, "Well", 0.0)
        gate.set()
        assert "".join([e.text async for e in events if isinstance(e, SegmentStarted)]) == (
            " then, let us go on."
        )


async def test_a_writer_who_pauses_does_not_hold_back_what_is_complete(engine: FakeEngine) -> None:
    gate = asyncio.Event()

    async def text() -> AsyncIterator[str]:
        yield "Sure!"
        await gate.wait()

    async with aclosing(Pipeline(engine).speak(text())) as events:
        assert await anext(events) == SegmentStarted(0, "Sure!", 0.0)
        gate.set()
        assert isinstance((await collect(events))[-1], Finished)


async def test_the_next_segment_starts_with_the_first_audio_of_this_one(
    make_engine: Callable[..., FakeEngine],
) -> None:
    engine = make_engine(script=Script(gated=True))
    async with aclosing(Pipeline(engine).speak(THREE, pacing=STREAMED)) as events:
        reading = asyncio.ensure_future(collect(events))
        await engine.until(lambda: len(engine.requests) == 1)
        engine.allow(1)
        await engine.until(lambda: len(engine.requests) == 2)
        engine.allow(4)
        await engine.until(lambda: engine.steps == 5)
        # One ahead is the bound, however much audio there is.
        assert len(engine.requests) == 2
        engine.allow()
        assert isinstance((await reading)[-1], Finished)
    assert len(engine.requests) == 3


async def test_segments_in_the_making_are_bounded_by_the_listeners_lead(
    engine: FakeEngine,
) -> None:
    clock = Clock()
    pipeline = Pipeline(engine, clock=clock)
    first = engine.expected(SpeechRequest("One is spoken first.")).size / SAMPLE_RATE
    pacing = Pacing(whole_below=0, most_lead_s=first - 0.05, ahead=1)
    async with aclosing(pipeline.speak(THREE, pacing=pacing)) as events:
        while not isinstance(await anext(events), SegmentFinished):
            continue
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0.12)  # two of the looks that the bound takes, to no avail
        assert len(engine.requests) == 1
        assert not waiting.done()
        clock.now += 0.1
        await waiting
        assert len(engine.requests) == 2
        await events.aclose()
    # A segment is the grain of the bound: it may be passed by what was begun below it.
    assert pipeline.stats.lead_s >= first
    assert pipeline.stats.overfill_s == pytest.approx(pipeline.stats.lead_s - pacing.most_lead_s)


async def test_the_bound_follows_a_real_queue(engine: FakeEngine) -> None:
    heard = 0.0
    pacing = Pacing(whole_below=0, most_lead_s=0.5, played=lambda: heard)
    pipeline = Pipeline(engine)
    async with aclosing(pipeline.speak(THREE, pacing=pacing)) as events:
        while not isinstance(event := await anext(events), SegmentFinished):
            continue
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0.05)
        assert len(engine.requests) == 1  # nobody has heard anything, however long it takes
        heard = event.end_s - 0.45
        await waiting
        assert len(engine.requests) == 2


async def test_a_paused_listener_stops_the_making(engine: FakeEngine) -> None:
    """A queue that is paused reports no progress: what is not heard is not followed by more."""
    pacing = Pacing(whole_below=0, most_lead_s=0.2, played=lambda: 0.0)
    async with aclosing(Pipeline(engine).speak(THREE, pacing=pacing)) as events:
        while not isinstance(await anext(events), SegmentFinished):
            continue
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await anext(events)
    assert len(engine.requests) == 1


async def test_closing_cancels_everything(make_engine: Callable[..., FakeEngine]) -> None:
    engine = make_engine(script=Script(gated=True))
    pipeline = Pipeline(engine)
    events = pipeline.speak(THREE, pacing=STREAMED)
    engine.allow(3)
    while not isinstance(await anext(events), AudioPiece):
        continue
    await engine.until(lambda: len(engine.requests) == 2)
    await events.aclose()
    assert all(task.cancelled for task in engine.tasks)
    engine.allow()
    await engine.until(lambda: engine.live == 0)
    assert engine.steps_after_cancel == 0
    assert pipeline.stats.interrupted == 1
    assert 0 < pipeline.stats.wasted_s <= 3 * 0.2
    assert len(engine.requests) == 2


async def test_cancelling_the_reader_cancels_everything(engine: FakeEngine) -> None:
    engine.script = Script(stall_after=1)
    pipeline = Pipeline(engine)

    async def read() -> None:
        async with aclosing(pipeline.speak(THREE)) as events:
            await collect(events)

    reading = asyncio.create_task(read())
    await engine.until(lambda: bool(engine.tasks))
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await engine.until(lambda: engine.live == 0)
    assert pipeline.stats.interrupted == 1


async def test_silence_stands_for_what_cannot_be_spoken(engine: FakeEngine) -> None:
    events = await collect(Pipeline(engine).speak("..."))
    assert not engine.requests
    assert 0.05 <= audio(events).size / SAMPLE_RATE <= 0.2
    assert not audio(events).any()


async def test_a_text_that_fails_is_spoken_up_to_there(engine: FakeEngine) -> None:
    async def text() -> AsyncIterator[str]:
        yield "This much was written. "
        raise LookupError("the writer has gone")

    events = []
    with pytest.raises(LookupError, match="the writer has gone"):
        async for event in Pipeline(engine).speak(text()):
            events.append(event)
    assert audio(events).size
    assert "".join(e.text for e in events if isinstance(e, SegmentStarted)).startswith("This much")


async def test_a_full_engine_refuses_at_once_but_does_not_cut_a_speech(engine: FakeEngine) -> None:
    pipeline = Pipeline(engine)
    engine.scripts.append(Script(busy=True))
    with pytest.raises(EngineBusyError):
        await collect(pipeline.speak(THREE))
    assert len(engine.requests) == 1
    engine.scripts.extend([Script(), Script(busy=True), Script(busy=True)])
    events = await collect(pipeline.speak(THREE))
    assert "".join(e.text for e in events if isinstance(e, SegmentStarted)) == THREE


async def test_a_failed_segment_is_not_begun_again_once_it_was_heard(engine: FakeEngine) -> None:
    engine.scripts.extend([Script(), Script(fail_after=1, error=EngineFailedError("no memory"))])
    heard = []
    with pytest.raises(EngineFailedError, match="no memory"):
        async for event in Pipeline(engine).speak(THREE, pacing=STREAMED):
            heard.append(event)
    assert len([event for event in heard if isinstance(event, SegmentFinished)]) == 1
    # The third may have been begun ahead by then, or not.
    again = [request for request in engine.requests if request.text.startswith("Two")]
    assert len(again) == 1


async def test_an_unknown_language_is_refused(engine: FakeEngine) -> None:
    with pytest.raises(InvalidRequestError, match="klingon"):
        await collect(Pipeline(engine).speak("Hello.", SpeakOptions(language="klingon")))


async def test_loading_has_a_budget_of_its_own(make_engine: Callable[..., FakeEngine]) -> None:
    engine = make_engine(hold_load=True)
    events = Pipeline(engine).speak("Hello there.", pacing=Pacing(timeout_s=0.02))
    reading = asyncio.ensure_future(collect(events))
    await asyncio.sleep(0.1)  # five time-outs long
    assert not reading.done()
    engine.finish_load()
    assert isinstance((await reading)[-1], Finished)


async def test_loading_for_ever_ends_too(make_engine: Callable[..., FakeEngine]) -> None:
    engine = make_engine(hold_load=True)
    pacing = Pacing(timeout_s=0.02, load_timeout_s=0.05)
    with pytest.raises(SpeechTimeoutError, match="loading"):
        await collect(Pipeline(engine).speak("Hello there.", pacing=pacing))


@pytest.mark.parametrize(
    ("pacing", "factor", "streaming"),
    [
        (Pacing(), 0.02, False),
        (Pacing(), 0.05, True),
        (Pacing(), 0.9, True),
        (Pacing(), None, True),
        (Pacing(whole_below=0), 0.05, True),
        (Pacing(whole_below=math.inf, whole_wait_s=math.inf), 0.9, False),
        (Pacing(whole_below=10), 0.05, True),
    ],
)
async def test_short_texts_are_made_whole_where_the_wait_is_short(
    make_engine: Callable[..., FakeEngine], pacing: Pacing, factor: float | None, streaming: bool
) -> None:
    engine = make_engine()
    engine.real_time_factor = factor
    await collect(Pipeline(engine).speak("One short text for all.", pacing=pacing))
    assert [request.streaming for request in engine.requests] == [streaming]


async def test_a_repeated_text_comes_from_the_cache(engine: FakeEngine) -> None:
    pipeline = Pipeline(engine, cache=SpeechCache())
    first = await collect(pipeline.speak(THREE))
    again = await collect(pipeline.speak(THREE))
    assert np.array_equal(audio(first), audio(again))
    assert len(engine.requests) == 3
    assert first[-1].stats.cached_s == 0
    gaps = audio(again).size / SAMPLE_RATE - again[-1].stats.cached_s
    assert 0 < gaps < 0.5
    assert pipeline.cache.stats().hits == 3


async def test_cached_speech_that_is_not_heard_is_not_wasted(engine: FakeEngine) -> None:
    pipeline = Pipeline(engine, cache=SpeechCache(), clock=Clock())
    for times in (1, 2):
        async with aclosing(pipeline.speak("Good morning, everybody.")) as events:
            while not isinstance(await anext(events), SegmentFinished):
                continue
        seconds = engine.expected(engine.requests[0]).size / SAMPLE_RATE
        assert pipeline.stats.interrupted == times
        assert pipeline.stats.wasted_s == pytest.approx(seconds), "the first time only"


async def test_equal_requests_in_flight_share_one_generation(
    make_engine: Callable[..., FakeEngine],
) -> None:
    engine = make_engine(script=Script(gated=True))
    engine.load()
    pipeline = Pipeline(engine, cache=SpeechCache())
    one = asyncio.ensure_future(collect(pipeline.speak("Hello there, you two.", pacing=STREAMED)))
    async with aclosing(pipeline.speak("Hello there, you two.", pacing=STREAMED)) as events:
        engine.allow(1)
        two = [await anext(events), await anext(events)]  # in the middle of it, both of them
        engine.allow(FOREVER)
        two += await collect(events)
    one = await one
    assert np.array_equal(audio(one), audio(two))
    assert len(engine.requests) == 1


async def test_stats_are_told_once_for_each_utterance(engine: FakeEngine) -> None:
    told = []
    pipeline = Pipeline(engine, on_stats=told.append)
    await collect(pipeline.speak(THREE))
    engine.script = Script(fail_after=0)
    with pytest.raises(EngineFailedError):
        await collect(pipeline.speak("Another one."))
    assert [(s.utterances, s.failed, s.interrupted) for s in told] == [(1, 0, 0), (1, 1, 0)]
    assert told[0].segments == 3
    assert told[0].characters == len(THREE)
    assert pipeline.stats.utterances == 2
    assert pipeline.stats.failed == 1
    assert pipeline.stats.audio_s == pytest.approx(told[0].audio_s)


async def test_no_segment_has_more_ids_than_the_model_takes(engine: FakeEngine) -> None:
    """Digits are few characters and many ids; how many, the engine knows."""
    text = "Call " + "1234567 " * 24 + "now, or never."
    asked: list[str] = []

    def count(text: str, language: str) -> int:
        asked.append(language)
        return 1 + 4 * len(text)

    engine.count_ids = count  # type: ignore[attr-defined]
    events = await collect(Pipeline(engine).speak(text, SpeakOptions(language="en")))
    assert len(engine.requests) > 2 and set(asked) == {"en"}
    assert all(count(request.text, "en") <= MAX_TEXT_IDS for request in engine.requests)
    assert "".join(e.text for e in events if isinstance(e, SegmentStarted)) == text


async def test_ids_are_counted_of_what_will_be_said(engine: FakeEngine) -> None:
    counted: list[str] = []

    def count(text: str, language: str) -> int | None:
        counted.append(text)
        return None  # not loaded yet: letters are counted

    engine.count_ids = count  # type: ignore[attr-defined]
    options = SpeakOptions(pronunciations=Pronunciations({"XTTS": "ex tee tee ess"}))
    await collect(Pipeline(engine).speak(f"XTTS says {' 4 & 5' * 20} to you.", options))
    assert counted and "ex tee tee ess" in counted[0]
    assert len(engine.requests) == 1

    counted.clear()
    await collect(Pipeline(engine).speak("Nothing here can be longer than its letters.", options))
    assert not counted


@pytest.mark.parametrize("can_count", [False, True])
async def test_a_model_with_fewer_ids_or_characters_gets_shorter_segments(
    make_engine: Callable[..., FakeEngine], can_count: bool
) -> None:
    """Be it loaded or not: an engine that cannot count yet has the letters counted."""
    engine = make_engine(info={"max_text_ids": 200, "char_limits": (("en", 150),)})
    if can_count:
        engine.count_ids = lambda text, language: None  # type: ignore[attr-defined]
    figures = "Call " + "1234567 " * 8 + "now, or never."
    words = "and so it goes on " * 12
    for text in (figures, words):
        engine.requests.clear()
        events = await collect(Pipeline(engine).speak(text))
        assert len(engine.requests) > 1
        for request in engine.requests:
            assert len(request.text) <= 150
            assert 1 + len(normalize(request.text, "en")) <= 200
        assert "".join(e.text for e in events if isinstance(e, SegmentStarted)) == text


async def test_a_language_that_cannot_be_counted_fails_at_the_engine(engine: FakeEngine) -> None:
    def count(text: str, language: str) -> int:
        raise InvalidRequestError("an extra is missing")

    engine.count_ids = count  # type: ignore[attr-defined]
    events = await collect(Pipeline(engine).speak(f"A text {'1 2 3 ' * 20}."))
    assert isinstance(events[-1], Finished)


def test_a_text_that_is_said_again_is_cut_once(
    make_engine: Callable[..., FakeEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine()
    known = cuts.KnownCuts(engine)
    made: list[str] = []

    class Counted(Segmenter):
        def __init__(self, language: str, **options: object) -> None:
            made.append(language)
            super().__init__(language, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(cuts, "Segmenter", Counted)
    said = known.segments(THREE, "en", None)
    assert "".join(segment.text for segment in said) == THREE and len(said) == 3
    assert known.segments(THREE, "en", None) is said and made == ["en"]
    known.segments(THREE, "de", None)
    known.segments(THREE, "en", Pronunciations({"spoken first. Two": "so"}))
    assert made == ["en", "de", "en"]
    # What its model takes is known for certain only when an engine is loaded.
    engine._info = replace(engine._info, fingerprint="", char_limits=(("en", 12),))
    assert len(known.segments(THREE, "en", None)) > 3
    engine._info = replace(engine._info, fingerprint="loaded", char_limits=())
    assert len(known.segments(THREE, "en", None)) == 3
    with pytest.raises(InvalidRequestError):
        known.segments(THREE, "xx", None)
    monkeypatch.setattr(cuts, "REMEMBERED", 5)
    for number in range(20):
        known.segments(f"Text {number}.", "en", None)
        assert len(known._known) <= 5
