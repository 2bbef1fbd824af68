"""Events from an engine's thread to event loops, with as few wake-ups as can be.

Waking a loop is a system call during which the loop's thread takes the interpreter over: with a
thousand streams that would cost more than everything else an engine does beside the model.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary


class Post:
    """Events on their way to one event loop: it is woken once for all that come meanwhile.

    Args:
        loop: Where the events go.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._waiting: list[Callable[[], object]] = []
        self._woken = False

    def call(self, work: Callable[[], object]) -> None:
        """Have the loop do something, in order; callable from any thread.

        Args:
            work: Short, and raises nothing.

        Raises:
            RuntimeError: The loop is closed.
        """
        if self._loop.is_closed():
            raise RuntimeError("the event loop is closed")
        with self._lock:
            self._waiting.append(work)
        held = _held.posts
        if held is None:
            self.wake()
        else:
            held.add(self)

    def wake(self) -> None:
        """Let the loop take what waits.

        Raises:
            RuntimeError: The loop is closed.
        """
        with self._lock:
            if self._woken or not self._waiting:
                return
            self._woken = True
        self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        with self._lock:
            waiting, self._waiting, self._woken = self._waiting, [], False
        for work in waiting:
            work()


class _Held(threading.local):
    posts: set[Post] | None = None


_held = _Held()
_posts: WeakKeyDictionary[asyncio.AbstractEventLoop, Post] = WeakKeyDictionary()
_lock = threading.Lock()


@contextmanager
def together() -> Iterator[None]:
    """Wake loops once, at the end, for all that the calling thread sends meanwhile."""
    posts: set[Post] = set()
    _held.posts = posts
    try:
        yield
    finally:
        _held.posts = None
        for post in posts:
            try:
                post.wake()
            except RuntimeError:
                pass  # Closed since: who listened there has gone, and the next event will tell.


def post_to(loop: asyncio.AbstractEventLoop) -> Post:
    """The loop's post; the same for everybody."""
    with _lock:
        post = _posts.get(loop)
        if post is None:
            post = _posts[loop] = Post(loop)
        return post
