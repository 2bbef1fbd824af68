"""One generation that many listen to, from several event loops and threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TypeAlias

from livekit_xtts.cachedspeech import Piece
from livekit_xtts.engine.engine import Sink, SpeechTask
from livekit_xtts.speech import SpeechDone, SpeechEvent, SpeechFailed


@dataclass(frozen=True, slots=True)
class FromEngine:
    """Speech made through an engine's sink, bound to no event loop; see `from_engine`."""

    submit: Callable[[Sink], SpeechTask]


def from_engine(submit: Callable[[Sink], SpeechTask]) -> FromEngine:
    """For `SpeechCache.stream`: `from_engine(lambda sink: engine.submit(request, sink))`."""
    return FromEngine(submit)


Produce: TypeAlias = Callable[[], AsyncIterator[Piece]] | FromEngine


class Flight:
    """Pieces of one generation, kept from its start, and who listens to it.

    It is cancelled when the last listener leaves before its end.

    Args:
        key: The key that its listeners asked for.
        lock: The cache's; reentrant.
        landed: Called once, outside the lock, when it has ended, however it did.
    """

    def __init__(self, key: str, lock: threading.RLock, landed: Callable[[Flight], None]) -> None:
        self.key = key
        self.pieces: list[Piece] = []
        self.ended = False
        self.complete = False
        self._lock = lock
        self._landed = landed
        self._error: BaseException | None = None
        self._over = False
        self._ending = False
        self._boarding = 0
        self._listeners: set[Callable[[], None]] = set()
        self._cancel: Callable[[], None] | None = None
        self._unwanted = False

    def board(self) -> None:
        """Hold a place until `join`, so that nobody's leaving ends it in between."""
        with self._lock:
            self._boarding += 1

    def join(self, wake: Callable[[], None]) -> None:
        """Listen: `wake` is called, from any thread, whenever `read` may have more."""
        with self._lock:
            self._boarding = max(0, self._boarding - 1)
            self._listeners.add(wake)

    def leave(self, wake: Callable[[], None]) -> None:
        """Stop listening; the last one to leave cancels the generation."""
        with self._lock:
            self._listeners.discard(wake)
            if self._listeners or self._boarding or self._ending:
                return
            self._over = self._ending = self._unwanted = True
            cancel = self._cancel
        self._landed(self)
        if cancel is not None:
            cancel()

    def read(self, position: int) -> tuple[Piece | None, bool]:
        """The piece at a position, or None and whether there will be none.

        Raises:
            BaseException: What ended the generation, once all pieces before it were read.
        """
        with self._lock:
            if position < len(self.pieces):
                return self.pieces[position], False
            if self._error is not None:
                raise self._error
            return None, self._over

    # The side of the generation.

    def cancel_with(self, cancel: Callable[[], None]) -> None:
        """Set what stops the generation; called at once where nobody listens any more."""
        with self._lock:
            self._cancel = cancel
            unwanted = self._unwanted
        if unwanted:
            cancel()

    def push(self, piece: Piece) -> None:
        """The next piece."""
        with self._lock:
            if self._ending:
                return
            self.pieces.append(piece)
            listeners = list(self._listeners)
        for wake in listeners:
            wake()

    def end(self, *, complete: bool = True, error: BaseException | None = None) -> None:
        """The end of the generation.

        Args:
            complete: Whether it is the whole speech.
            error: Raised to every listener.
        """
        with self._lock:
            if self._ending:
                return
            self._ending = True
            self.complete = complete and error is None
        # Before anyone hears of the end: whoever does finds the speech in the cache.
        self._landed(self)
        with self._lock:
            self._over = True
            self._error = error
            self.ended = complete or error is not None
            listeners = list(self._listeners)
        for wake in listeners:
            wake()


def start(flight: Flight, produce: Produce) -> None:
    """Begin the generation; in a running event loop. What starting raises ends the flight."""
    if isinstance(produce, FromEngine):
        _start_engine(flight, produce.submit)
        return
    loop = asyncio.get_running_loop()
    task = loop.create_task(_drive(flight, produce), name="xtts-cache")

    def cancel() -> None:
        if _running_loop() is loop:
            task.cancel()
        else:
            try:
                loop.call_soon_threadsafe(task.cancel)
            except RuntimeError:
                return  # that loop is closed, and its tasks ended with it

    flight.cancel_with(cancel)


async def _drive(flight: Flight, produce: Callable[[], AsyncIterator[Piece]]) -> None:
    try:
        pieces = produce()
        try:
            async for piece in pieces:
                flight.push(piece)
        finally:
            if (close := getattr(pieces, "aclose", None)) is not None:
                await close()
    except asyncio.CancelledError:
        flight.end(complete=False)
        raise
    except BaseException as error:
        flight.end(complete=False, error=error)
        if not isinstance(error, Exception):
            raise
    else:
        flight.end(complete=True)


def _start_engine(flight: Flight, submit: Callable[[Sink], SpeechTask]) -> None:
    def sink(event: SpeechEvent) -> None:
        if isinstance(event, SpeechFailed):
            flight.end(complete=False, error=event.error)
            return
        cancelled = isinstance(event, SpeechDone) and event.cancelled
        if not cancelled:
            flight.push(event)
        if isinstance(event, SpeechDone):
            flight.end(complete=not cancelled)

    try:
        task = submit(sink)
    except Exception as error:
        flight.end(complete=False, error=error)
    else:
        flight.cancel_with(task.cancel)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
