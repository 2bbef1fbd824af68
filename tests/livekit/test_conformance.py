"""What LiveKit's own suite asks of every TTS, asked of ours: on the fake and on a real engine."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable

import numpy as np
import pytest
from livekit.agents import APIConnectionError, APIConnectOptions, APIError, APITimeoutError

from livekit_xtts.speech import EngineFailedError
from livekit_xtts.tts import TTS
from tests.fake_engine import FakeEngine, Script
from tests.livekit.helpers import LONG, ONCE, Capped, Watched, samples, spoken


@pytest.fixture(params=["fake", "real"])
def any_tts(
    request: pytest.FixtureRequest,
    make_engine: Callable[..., FakeEngine],
    nothing_left_running: set[threading.Thread],
) -> TTS:
    """On the fake engine, and on a real one with a small random model."""
    if request.param == "fake":
        return TTS(engine=make_engine(), cache=False)
    engine = Capped(request.getfixturevalue("small_engine"))
    nothing_left_running.update(threading.enumerate())
    return TTS(engine=engine, cache=False, seed=1)


@pytest.fixture
async def watched(any_tts: TTS) -> AsyncIterator[Watched]:
    yield Watched(any_tts)
    await any_tts.aclose()


def check_events(events: list, rate: int, *, segments: bool) -> None:
    """Order, flags, lengths and format of one utterance's events."""
    assert len(events) >= 2
    assert all(event.request_id for event in events)
    assert len({event.request_id for event in events}) == 1
    assert [event.is_final for event in events] == [False] * (len(events) - 1) + [True]
    assert all(0 < event.frame.duration < 0.25 for event in events)
    assert all((event.frame.sample_rate, event.frame.num_channels) == (rate, 1) for event in events)
    assert not bytes(events[0].frame.data).startswith((b"RIFF", b"ID3", b"\xff\xfb", b"OggS"))
    if segments:
        assert all(event.segment_id for event in events)
        assert len({event.segment_id for event in events}) == 1


async def test_synthesize(any_tts: TTS, watched: Watched) -> None:
    async with any_tts.synthesize(LONG, conn_options=ONCE) as stream:
        events = [event async for event in stream]
    check_events(events, 24_000, segments=False)
    assert np.abs(samples(events)).max() > 0.01
    (metrics,) = watched.metrics
    assert (metrics.streamed, metrics.cancelled) == (False, False)
    assert metrics.characters_count == len(LONG)
    assert metrics.audio_duration == pytest.approx(samples(events).size / 24_000)
    assert 0 < metrics.ttfb <= metrics.duration
    assert metrics.output_tokens > 0
    assert metrics.metadata.model_provider == "livekit-xtts"
    assert not watched.errors


async def test_stream(any_tts: TTS, watched: Watched) -> None:
    pieces = [word + " " for word in LONG.split(" ")]
    events = await spoken(any_tts.stream(conn_options=ONCE), *pieces)
    check_events(events, 24_000, segments=True)
    (metrics,) = watched.metrics
    assert metrics.streamed
    assert metrics.segment_id == events[0].segment_id
    assert metrics.audio_duration == pytest.approx(samples(events).size / 24_000)
    assert 0 < metrics.ttfb <= metrics.duration
    assert not watched.errors


async def test_the_stream_and_the_finished_text_sound_the_same(any_tts: TTS) -> None:
    any_tts.update_options(seed=7)
    text = "One short sentence for both of them."
    one = await any_tts.synthesize(text, conn_options=ONCE).collect()
    events = await spoken(any_tts.stream(conn_options=ONCE), text)
    assert np.array_equal(samples([one]), samples(events))
    await any_tts.aclose()


@pytest.mark.parametrize("text", ["", "   ", "\n"])
async def test_empty_text(any_tts: TTS, watched: Watched, text: str) -> None:
    assert await spoken(any_tts.stream(conn_options=ONCE), text) == []
    async with any_tts.synthesize(text, conn_options=ONCE) as stream:
        assert [event async for event in stream] == []
    assert not watched.errors


@pytest.mark.parametrize("text", ["...", "?!", " - ", "🙂"])
async def test_text_with_nothing_to_say_is_a_short_silence(
    any_tts: TTS, watched: Watched, text: str
) -> None:
    for events in (
        await spoken(any_tts.stream(conn_options=ONCE), text),
        [event async for event in any_tts.synthesize(text, conn_options=ONCE)],
    ):
        audio = samples(events)
        assert 0.05 <= audio.size / 24_000 <= 0.2
        assert not audio.any()
        assert events[-1].is_final
    assert not watched.errors


async def test_an_engine_that_stalls_times_out(engine: FakeEngine, tts: TTS) -> None:
    engine.script = Script(stall_after=0)
    options = APIConnectOptions(max_retry=0, timeout=0.2)
    began = time.perf_counter()
    with pytest.raises(APITimeoutError):
        await tts.synthesize("Hello.", conn_options=options).collect()
    with pytest.raises(APITimeoutError):
        await spoken(tts.stream(conn_options=options), "Hello.")
    # Only the lower bound is certain on a loaded machine.
    assert time.perf_counter() - began >= 0.4
    assert engine.live == 0 or all(task.cancelled for task in engine.tasks)


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_stalled_engine_gives_four_errors_and_no_metrics(
    engine: FakeEngine, tts: TTS, streamed: bool
) -> None:
    engine.script = Script(stall_after=0)
    watched = Watched(tts)
    options = APIConnectOptions(max_retry=3, timeout=0.05, retry_interval=0.01)
    with pytest.raises(APITimeoutError):
        if streamed:
            await spoken(tts.stream(conn_options=options), "Hello there.")
        else:
            await tts.synthesize("Hello there.", conn_options=options).collect()
    assert [error.recoverable for error in watched.errors] == [True, True, True, False]
    assert watched.metrics == []
    assert len(engine.requests) == 4


async def test_a_stall_in_the_middle_times_out_too(engine: FakeEngine, tts: TTS) -> None:
    tts.update_options(streaming=True)
    engine.script = Script(stall_after=2)
    options = APIConnectOptions(max_retry=0, timeout=0.1)
    with pytest.raises(APITimeoutError):
        await spoken(tts.stream(conn_options=options), "Hello there, my friend.")


async def test_retry_after_partial_audio(engine: FakeEngine, tts: TTS) -> None:
    tts.update_options(streaming=True)
    engine.scripts.append(Script(fail_after=2, error=EngineFailedError("out of memory")))
    watched = Watched(tts)
    options = APIConnectOptions(max_retry=3, retry_interval=0.01)
    async with tts.synthesize("Hello there, my friend.", conn_options=options) as stream:
        events = [event async for event in stream]
    assert [error.recoverable for error in watched.errors] == [True]
    ids = [event.request_id for event in events]
    assert len(dict.fromkeys(ids)) <= 2
    second = [event for event in events if event.request_id == ids[-1]]
    # The second attempt speaks the whole text again, under a request id of its own.
    assert samples(second).size == engine.expected(engine.requests[1]).size
    assert ids == sorted(ids, key=ids.index)
    assert len(watched.metrics) == 1
    assert np.array_equal(stream.audio, engine.expected(engine.requests[1]))


async def test_a_stream_that_has_spoken_is_not_begun_again(engine: FakeEngine, tts: TTS) -> None:
    tts.update_options(streaming=True)
    engine.scripts.append(
        Script(gated=True, fail_after=3, error=EngineFailedError("out of memory"))
    )
    watched = Watched(tts)
    async with tts.stream() as stream:
        stream.push_text("Hello there, my friend, how are you?")
        stream.end_input()
        engine.allow(2)
        await anext(stream)
        engine.allow(1)
        with pytest.raises(APIConnectionError, match="out of memory"):
            _ = [event async for event in stream]
    assert [error.recoverable for error in watched.errors] == [False]
    texts = [request.text for request in engine.requests]
    assert texts.count("Hello there, my friend,") == 1
    assert watched.stats[0].failed == 1


async def test_a_stream_that_has_not_spoken_is_begun_again(engine: FakeEngine, tts: TTS) -> None:
    engine.scripts.append(Script(fail_after=0))
    watched = Watched(tts)
    options = APIConnectOptions(max_retry=1, retry_interval=0.01)
    events = await spoken(tts.stream(conn_options=options), "Hello ", "there.")
    check_events(events, 24_000, segments=True)
    assert len(watched.errors) == 1
    assert [request.text for request in engine.requests] == ["Hello there."] * 2


async def test_what_no_one_expected_becomes_an_api_error(
    engine: FakeEngine, tts: TTS, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(engine, "submit", broken)
    watched = Watched(tts)
    with pytest.raises(APIError, match="RuntimeError"):
        await tts.synthesize("Hello.", conn_options=ONCE).collect()
    assert len(watched.errors) == 1


async def test_flush_ends_the_text(engine: FakeEngine, tts: TTS) -> None:
    async with tts.stream(conn_options=ONCE) as stream:
        stream.flush()
        stream.push_text("Hello there.")
        stream.flush()
        events = [event async for event in stream]
    check_events(events, 24_000, segments=True)
    assert [request.text for request in engine.requests] == ["Hello there."]
