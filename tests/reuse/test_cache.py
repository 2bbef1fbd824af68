"""Speech kept for reuse: what is equal, what is kept, who shares, who may stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import numpy as np
import pytest

from livekit_xtts.cache import (
    CachedSpeech,
    FromEngine,
    Note,
    Piece,
    SpeechCache,
    from_engine,
    speech_key,
)
from livekit_xtts.speech import (
    EngineBusyError,
    EngineFailedError,
    SpeechChunk,
    SpeechDone,
    SpeechRequest,
)
from tests.fake_engine import FakeEngine, Script
from tests.reuse.pieces import KEY, OTHER, REQUEST, audio, chunk, heard


async def fill(cache: SpeechCache, key: str, samples: int = 1000) -> None:
    async def produce() -> AsyncIterator[Piece]:
        yield chunk(samples)

    await heard(cache.stream(key, produce))


async def test_an_unknown_model_is_never_cached() -> None:
    engine = FakeEngine(info={"fingerprint": ""})
    cache = SpeechCache()
    for _ in range(2):
        await heard(cache.speech(engine, REQUEST))
    assert len(engine.requests) == 2
    assert await cache.get(None) is None
    engine.close()


# Replay.


async def test_a_repeated_request_is_replayed_piece_by_piece() -> None:
    engine = FakeEngine()
    cache = SpeechCache()
    live = await heard(cache.speech(engine, REQUEST))
    again = await heard(cache.speech(engine, REQUEST))
    assert len(engine.requests) == 1
    np.testing.assert_array_equal(audio(live), engine.expected(REQUEST))
    assert [type(piece) for piece in again] == [type(piece) for piece in live]
    for first, second in zip(live[:-1], again[:-1], strict=True):
        np.testing.assert_array_equal(first.audio, second.audio)
        assert (first.start, first.codes, first.final) == (second.start, second.codes, second.final)
    done = again[-1]
    assert isinstance(done, SpeechDone)
    assert (done.total_s, done.first_audio_s, done.queued_s) == (0.0, 0.0, 0.0)
    assert done.codes == live[-1].codes
    stats = cache.stats()
    assert (stats.hits, stats.misses, stats.coalesced, stats.entries) == (1, 1, 0, 1)
    assert stats.bytes >= audio(live).nbytes
    engine.close()


async def test_kept_audio_cannot_be_written_to() -> None:
    cache = SpeechCache()
    await fill(cache, KEY)
    entry = await cache.get(KEY)
    assert entry is not None
    with pytest.raises(ValueError, match="read-only"):
        entry.pieces[0].audio[0] = 0
    entry.audio[0] = 0  # the whole is the caller's own copy
    assert (await cache.get(KEY)).audio[0] == 0.5
    assert entry.seconds == 1000 / 24_000


def test_a_slice_does_not_hold_its_buffer() -> None:
    buffer = np.ones(10**6, np.float32)
    entry = CachedSpeech.of([SpeechChunk(buffer[:10], 0, 1)])
    assert entry.pieces[0].audio.base is None


# What is kept.


async def test_failed_cancelled_and_empty_speech_is_not_kept() -> None:
    cache = SpeechCache()

    async def failing() -> AsyncIterator[Piece]:
        yield chunk()
        raise EngineFailedError("step failed")

    async def cancelled() -> AsyncIterator[Piece]:
        yield chunk()
        yield SpeechDone(cancelled=True)

    async def empty() -> AsyncIterator[Piece]:
        yield SpeechDone()

    received = []
    with pytest.raises(EngineFailedError, match="step failed"):
        async for piece in cache.stream(KEY, failing):
            received.append(piece)
    assert len(received) == 1
    await heard(cache.stream(KEY, cancelled))
    await heard(cache.stream(KEY, empty))
    assert await cache.get(KEY) is None
    assert cache.stats().misses == 3
    assert not cache.put(KEY, [])


async def test_an_engine_failure_reaches_every_listener_and_a_refusal_too() -> None:
    engine = FakeEngine(script=Script(gated=True, fail_after=1))
    cache = SpeechCache()
    listeners = [asyncio.create_task(heard(cache.speech(engine, REQUEST))) for _ in range(3)]
    await engine.until(lambda: engine.live == 1)
    engine.allow()
    results = await asyncio.gather(*listeners, return_exceptions=True)
    assert all(isinstance(result, EngineFailedError) for result in results)
    engine.script = Script(busy=True)
    with pytest.raises(EngineBusyError):
        await heard(cache.speech(engine, REQUEST))
    engine.script = Script()
    assert await heard(cache.speech(engine, REQUEST))
    engine.close()


async def test_memory_is_bounded_and_what_was_used_longest_ago_goes() -> None:
    cache = SpeechCache(max_bytes=3 * (4000 + 1024))
    for letter in "abc":
        await fill(cache, letter * 64)
    assert await cache.get("a" * 64) is not None
    await fill(cache, "d" * 64)
    assert await cache.get("b" * 64) is None
    assert await cache.get("a" * 64) is not None
    stats = cache.stats()
    assert (stats.entries, stats.evictions) == (3, 1)
    assert stats.bytes == 3 * (4000 + 1024)
    await fill(cache, "e" * 64, samples=10**5)  # more than all of it
    assert cache.stats().entries == 3
    cache.clear()
    assert cache.stats().bytes == 0


async def test_memory_has_an_age_limit() -> None:
    now = [1000.0]
    cache = SpeechCache(max_age_s=60, clock=lambda: now[0])
    await fill(cache, KEY)
    now[0] += 60
    assert await cache.get(KEY) is not None
    now[0] += 1
    assert await cache.get(KEY) is None


# Single flight.


async def test_equal_requests_share_one_generation_from_its_start() -> None:
    engine = FakeEngine(script=Script(gated=True))
    cache = SpeechCache()
    first = asyncio.create_task(heard(cache.speech(engine, REQUEST)))
    engine.allow(2)
    await engine.until(lambda: engine.steps == 2)
    late = [asyncio.create_task(heard(cache.speech(engine, REQUEST))) for _ in range(7)]
    await asyncio.wait(late, timeout=0)
    engine.allow()
    for pieces in await asyncio.gather(first, *late):
        np.testing.assert_array_equal(audio(pieces), engine.expected(REQUEST))
    assert len(engine.requests) == 1
    assert cache.stats().misses == 1
    assert cache.stats().coalesced + cache.stats().hits == 7
    engine.close()


async def test_it_goes_on_while_anyone_listens() -> None:
    engine = FakeEngine(script=Script(gated=True))
    cache = SpeechCache()
    leader = asyncio.create_task(heard(cache.speech(engine, REQUEST)))
    follower = asyncio.create_task(heard(cache.speech(engine, REQUEST)))
    engine.allow(1)
    await engine.until(lambda: engine.steps == 1)
    leader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leader
    engine.allow()
    np.testing.assert_array_equal(audio(await follower), engine.expected(REQUEST))
    assert not engine.tasks[0].cancelled
    assert cache.stats().entries == 1
    engine.close()


async def test_speech_that_nobody_awaits_is_cancelled_and_not_kept() -> None:
    engine = FakeEngine(script=Script(gated=True))
    cache = SpeechCache()
    engine.allow(1)
    for _ in range(2):
        async with aclosing(cache.speech(engine, REQUEST)) as pieces:
            assert isinstance(await anext(pieces), SpeechChunk)
            engine.allow(1)
    await engine.until(lambda: engine.live == 0)
    assert all(task.cancelled for task in engine.tasks)
    assert engine.steps_after_cancel == 0
    assert len(engine.tasks) == 2  # a dying generation is never joined
    assert cache.stats().entries == 0
    engine.close()


async def test_a_generator_runs_on_without_its_first_listener_and_is_closed_without_any() -> None:
    cache = SpeechCache()
    go = asyncio.Event()
    closed = asyncio.Event()

    async def produce() -> AsyncIterator[Piece]:
        try:
            yield chunk()
            await go.wait()
            yield Note("words", (0.1, 0.2))
        finally:
            closed.set()

    first = cache.stream(KEY, produce)
    await anext(first)
    second = cache.stream(KEY, produce)
    await anext(second)
    await first.aclose()
    assert not closed.is_set()
    go.set()
    assert await anext(second) == Note("words", (0.1, 0.2))
    with pytest.raises(StopAsyncIteration):
        await anext(second)
    assert await cache.get(KEY) is not None
    go.clear()
    third = cache.stream(OTHER, produce)
    await anext(third)
    closed.clear()
    await third.aclose()
    await closed.wait()
    assert await cache.get(OTHER) is None


async def test_a_producer_that_cancels_itself_is_an_error_not_a_loop() -> None:
    async def produce() -> AsyncIterator[Piece]:
        raise asyncio.CancelledError
        yield chunk()

    with pytest.raises(EngineFailedError):
        await heard(SpeechCache().stream(KEY, produce))


async def test_no_task_is_left_behind() -> None:
    cache = SpeechCache()
    engine = FakeEngine()
    await asyncio.gather(*(heard(cache.speech(engine, REQUEST)) for _ in range(4)))
    await fill(cache, KEY)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    engine.close()


async def test_random_listeners_come_and_go() -> None:
    """Whatever the order of joins and leaves: whoever stays hears all of it, once made."""
    random = np.random.default_rng(3)
    engine = FakeEngine(slots=64, queue=64)
    cache = SpeechCache(max_bytes=200_000)
    requests = [SpeechRequest(f"Phrase number {number}.") for number in range(6)]

    async def listener(stay: bool, request: SpeechRequest) -> None:
        async with aclosing(
            cache.stream(speech_key(engine.info, request), submit(request))
        ) as all_:
            pieces = []
            async for piece in all_:
                pieces.append(piece)
                if not stay:
                    return
        np.testing.assert_array_equal(audio(pieces), engine.expected(request))

    def submit(request: SpeechRequest) -> FromEngine:
        return from_engine(lambda sink: engine.submit(request, sink))

    await asyncio.gather(
        *(listener(bool(random.integers(2)), requests[int(random.integers(6))]) for _ in range(200))
    )
    await engine.until(lambda: engine.live == 0)
    assert not cache._flights
    engine.close()


async def test_texts_that_sound_alike_share_their_speech(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine()
    cache = SpeechCache()
    for text in ("It  costs 5 dollars.", "It costs 5 dollars."):
        await heard(cache.speech(engine, SpeechRequest(text)))
    assert len(engine.requests) == 1
    monkeypatch.setattr(cache._texts, "learn", lambda _: pytest.fail("normalised again"))
    await heard(cache.speech(engine, SpeechRequest("It costs 5 dollars.")))
    await heard(cache.speech(engine, SpeechRequest("x", ids=(1, 2))))
    assert len(engine.requests) == 2
    engine.close()
