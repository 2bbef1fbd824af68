"""Work of torch on a thread of its own, with threads of its own."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from livekit_xtts.engine.threads import use_threads

Result = TypeVar("Result")


class OwnThread:
    """Runs calls on one thread, for which torch uses several; the caller waits.

    After parallel work torch's helper threads wait for more in a loop, for milliseconds. A thread
    that does small torch work between steps of another library would keep them at it, on the very
    processors that the step's threads need: measured, steps took twice as long. So what is worth
    several threads goes elsewhere, and the small work uses none.

    Args:
        threads: Of torch, for this work.
        name: Of the thread.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, name, initializer=use_threads, initargs=(threads,))
        weakref.finalize(self, self._pool.shutdown, wait=False)

    def __call__(self, work: Callable[[], Result]) -> Result:
        """The result of a call, or what it raises."""
        return self._pool.submit(work).result()
