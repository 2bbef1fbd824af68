"""A request's events as an async iterator, for asyncio callers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from functools import partial

from livekit_xtts.engine.engine import Engine
from livekit_xtts.engine.handover import post_to
from livekit_xtts.speech import SpeechChunk, SpeechEvent, SpeechFailed, SpeechRequest


async def speak(engine: Engine, request: SpeechRequest) -> AsyncGenerator[SpeechChunk]:
    """Speak a request.

    Leaving the iteration early (`aclose`, a cancelled task) cancels the request and waits for
    nothing. Use `contextlib.aclosing` around it.

    Args:
        engine: Makes the speech.
        request: What to speak.

    Yields:
        The chunks in order.

    Raises:
        SpeechError: What `submit` raises, or what the request failed with.
    """
    post = post_to(asyncio.get_running_loop())
    events: asyncio.Queue[SpeechEvent] = asyncio.Queue()
    task = engine.submit(request, lambda event: post.call(partial(events.put_nowait, event)))
    try:
        while isinstance(event := await events.get(), SpeechChunk):
            yield event
        if isinstance(event, SpeechFailed):
            raise event.error
    finally:
        if not task.done:
            task.cancel()
