"""One generation, listeners in several event loops and threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import numpy as np
import pytest

from livekit_xtts.cache import Piece, SpeechCache
from livekit_xtts.flight import Flight
from livekit_xtts.speech import EngineFailedError, SpeechChunk
from tests.fake_engine import FakeEngine, Script
from tests.reuse.pieces import KEY, REQUEST, audio, chunk, heard


class WatchedCache(SpeechCache):
    """Says when a listener has joined."""

    def __init__(self) -> None:
        super().__init__()
        self.boarded = threading.Semaphore(0)

    def _board(self, key: str) -> tuple[Flight, bool]:
        flight = super()._board(key)
        self.boarded.release()
        return flight

    async def joined(self, listeners: int) -> None:
        for _ in range(listeners):
            assert await asyncio.to_thread(self.boarded.acquire, timeout=20)


async def test_a_listener_in_another_thread_shares_the_generation() -> None:
    engine = FakeEngine(script=Script(gated=True))
    cache = WatchedCache()
    results: list[np.ndarray] = []

    def other_loop() -> None:
        async def listen() -> None:
            results.append(audio(await heard(cache.speech(engine, REQUEST))))

        asyncio.run(listen())

    here = asyncio.create_task(heard(cache.speech(engine, REQUEST)))
    await engine.until(lambda: engine.live == 1)
    thread = threading.Thread(target=other_loop)
    thread.start()
    await cache.joined(2)
    here.cancel()  # the loop that began it stops listening
    engine.allow()
    await asyncio.to_thread(thread.join, 20)
    np.testing.assert_array_equal(results[0], engine.expected(REQUEST))
    assert len(engine.requests) == 1
    engine.close()


class OtherLoop:
    """An event loop in a thread, that begins a generation and then ends."""

    def __init__(self, cache: SpeechCache, pieces: int) -> None:
        self.begun = threading.Event()
        self.end = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self.main(cache, pieces)))
        self.thread.start()

    async def main(self, cache: SpeechCache, pieces: int) -> None:
        async def produce() -> AsyncIterator[Piece]:
            for number in range(pieces):
                yield chunk(start=1000 * number)
            self.begun.set()
            await asyncio.Event().wait()

        listener = asyncio.create_task(heard(cache.stream(KEY, produce)))
        await asyncio.to_thread(self.end.wait, 20)
        del listener  # asyncio.run cancels it, and the generation with it

    def stop(self) -> None:
        self.end.set()
        self.thread.join(20)


async def test_when_the_loop_that_makes_it_ends_the_rest_begin_again() -> None:
    cache = WatchedCache()
    other = OtherLoop(cache, pieces=0)
    await asyncio.to_thread(other.begun.wait, 20)

    async def produce() -> AsyncIterator[Piece]:
        yield chunk(value=0.25)

    follower = asyncio.create_task(heard(cache.stream(KEY, produce)))
    await cache.joined(2)
    await asyncio.to_thread(other.stop)
    assert audio(await follower)[0] == 0.25


async def test_a_listener_that_has_heard_a_part_gets_a_retryable_error() -> None:
    cache = SpeechCache()
    other = OtherLoop(cache, pieces=1)
    await asyncio.to_thread(other.begun.wait, 20)
    follower = cache.stream(KEY, lambda: pytest.fail("started twice"))
    assert isinstance(await anext(follower), SpeechChunk)
    await asyncio.to_thread(other.stop)
    with pytest.raises(EngineFailedError, match="ended early") as raised:
        await anext(follower)
    assert raised.value.retryable
