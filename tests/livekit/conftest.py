"""Fixtures: engines that are closed, and nothing left running after a test."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from livekit_xtts.tts import TTS
from tests.fake_engine import FakeEngine


@pytest.fixture(autouse=True)
async def nothing_left_running() -> AsyncIterator[set[threading.Thread]]:
    """Fails a test that leaves a task or a thread behind; yields the threads that may stay."""
    threads = set(threading.enumerate())
    tasks = asyncio.all_tasks()
    yield threads
    for _ in range(5):
        await asyncio.sleep(0)
    tasks.add(asyncio.current_task())  # type: ignore[arg-type]
    left = [task for task in asyncio.all_tasks() - tasks if not task.done()]
    assert not left, f"leaked tasks: {left}"
    for thread in set(threading.enumerate()) - threads:
        # The event loop's own pool ends with the loop, after this.
        if not thread.name.startswith("asyncio_"):
            thread.join(5)
            assert not thread.is_alive(), f"leaked thread: {thread}"


@pytest.fixture
def make_engine(nothing_left_running: object) -> Iterator[Callable[..., FakeEngine]]:
    """Makes fake engines and closes them."""
    engines: list[FakeEngine] = []

    def make(**settings: Any) -> FakeEngine:
        engines.append(FakeEngine(**settings))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


@pytest.fixture
def engine(make_engine: Callable[..., FakeEngine]) -> FakeEngine:
    """A fake engine, loaded."""
    made = make_engine()
    made.load()
    return made


@pytest.fixture
def tts(engine: FakeEngine) -> TTS:
    """Speaks through the fake engine and keeps nothing."""
    return TTS(engine=engine, cache=False)
