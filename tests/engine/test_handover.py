"""Events reach their loops in order, with one wake-up for many; a closed loop is told."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import Any

import numpy as np
import pytest

from livekit_xtts.engine.handover import Post, post_to, together
from livekit_xtts.speech import SpeechChunk, SpeechEvent


def chunk(start: int) -> SpeechChunk:
    return SpeechChunk(np.zeros(1, np.float32), start, 0)


class Woken:
    """Counts how often a loop is woken."""

    def __init__(self, loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        wake = loop.call_soon_threadsafe

        def counted(*arguments: Any) -> Any:
            self.count += 1
            return wake(*arguments)

        monkeypatch.setattr(loop, "call_soon_threadsafe", counted)


async def test_a_loop_is_woken_once_for_what_is_sent_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.get_running_loop()
    woken, post = Woken(loop, monkeypatch), post_to(loop)
    assert post_to(loop) is post
    queues: list[asyncio.Queue[SpeechEvent]] = [asyncio.Queue() for _ in range(3)]

    def send() -> None:
        with together():
            for start in range(4):
                for queue in queues:
                    post.call(partial(queue.put_nowait, chunk(start)))
            assert woken.count == 0

    thread = threading.Thread(target=send)
    thread.start()
    for queue in queues:
        starts = [(await queue.get()).start for _ in range(4)]  # type: ignore[union-attr]
        assert starts == [0, 1, 2, 3]
    assert woken.count == 1
    thread.join()
    # Alone, each event wakes the loop that has nothing else to take.
    for start in range(2):
        post.call(partial(queues[0].put_nowait, chunk(start)))
        await queues[0].get()
    assert woken.count == 3


async def test_what_comes_before_the_loop_wakes_goes_with_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.get_running_loop()
    woken, post = Woken(loop, monkeypatch), post_to(loop)
    queue: asyncio.Queue[SpeechEvent] = asyncio.Queue()
    for start in range(5):
        post.call(partial(queue.put_nowait, chunk(start)))
    assert [(await queue.get()).start for _ in range(5)] == [0, 1, 2, 3, 4]  # type: ignore[union-attr]
    assert woken.count == 1


def test_a_closed_loop_is_an_error_for_its_sender_alone() -> None:
    closed, other = asyncio.new_event_loop(), asyncio.new_event_loop()
    queue: asyncio.Queue[SpeechEvent] = asyncio.Queue()
    gone, alive = Post(closed), Post(other)
    with together():
        gone.call(partial(queue.put_nowait, chunk(0)))
        alive.call(partial(queue.put_nowait, chunk(1)))
        closed.close()
    with pytest.raises(RuntimeError, match="closed"):
        gone.call(partial(queue.put_nowait, chunk(2)))
    other.run_until_complete(asyncio.sleep(0))
    assert queue.get_nowait().start == 1  # type: ignore[union-attr]
    other.close()
