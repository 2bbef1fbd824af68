"""Speech kept for reuse: memory first, then disk; equal requests in flight share one generation.

    cache = SpeechCache(max_bytes=64 << 20, folder=None)
    async with contextlib.aclosing(cache.speech(engine, request)) as pieces:
        async for piece in pieces:      # SpeechChunk, SpeechDone: live or replayed alike
            ...

`speech` is `stream(key, produce)` with the request's key and the engine's `submit`. `produce` makes
the speech on a miss. It is either of these:

- an async generator function, `async def produce(): yield piece …`. It runs as a task of its own in
  the event loop of the first listener, and is cancelled (`aclose` follows) once nobody listens;
- `from_engine(lambda sink: engine.submit(request, sink))`, the engine's own contract, bound to no
  event loop; its `cancel()` is called once nobody listens.

The first listener starts it; later ones with the same key, from any loop or thread, get every
piece from its start. It goes on while anyone listens. Speech is kept when it ended by itself with
audio in it; cancelled, failed and empty speech is not. A listener stops by closing its iterator:
use `aclosing`, or cancel the task that iterates.

Other faces: `await cache.get(key)` for what is there already (`CachedSpeech.audio` is the whole),
`cache.put`, `await cache.flush()` until the disk has everything, `cache.stats()`.
A key of None passes by the cache: `speech_key` gives it while the model is not known.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from livekit_xtts.cachedspeech import CachedSpeech, Note, Piece
from livekit_xtts.cachefile import DiskTier
from livekit_xtts.cachekey import KnownTexts, request_key, speech_key
from livekit_xtts.engine.engine import Engine
from livekit_xtts.engine.handover import post_to
from livekit_xtts.flight import Flight, FromEngine, Produce, from_engine, start
from livekit_xtts.speech import EngineFailedError, SpeechRequest

__all__ = [
    "CacheStats",
    "CachedSpeech",
    "FromEngine",
    "Note",
    "Piece",
    "SpeechCache",
    "from_engine",
    "request_key",
    "speech_key",
]

MEMORY_BYTES = 64 * 2**20
"""Default of the memory tier: about 11 minutes of speech."""

DISK_BYTES = 1024 * 2**20
DISK_AGE_S = 30 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class CacheStats:
    """Counters since the cache was made.

    Attributes:
        hits: Requests answered from memory or disk.
        disk_hits: Those of them answered from disk.
        misses: Generations started.
        coalesced: Requests that joined a generation in flight.
        bytes: Held in memory now.
        entries: Held in memory now.
        disk_bytes: On disk at the last look, shared with other processes.
        evictions: Entries that made room for others, or were too old, in memory.
    """

    hits: int = 0
    disk_hits: int = 0
    misses: int = 0
    coalesced: int = 0
    bytes: int = 0
    entries: int = 0
    disk_bytes: int = 0
    evictions: int = 0


class SpeechCache:
    """See the module. Thread-safe; used from any number of event loops.

    Args:
        max_bytes: Memory for speech (96 kB a second); 0 keeps nothing but still shares generations.
        max_age_s: Entries older than this are not used; None for no limit.
        folder: Turns the disk tier on; created readable by its owner alone. Files hold audio and
            hashes, no text. Meant for fixed phrases; processes share it safely.
        disk_max_bytes: Bound of the folder; what was used longest ago goes first.
        disk_max_age_s: Files older than this are deleted.
        clock: Seconds since the epoch, for tests.
    """

    def __init__(
        self,
        max_bytes: int = MEMORY_BYTES,
        max_age_s: float | None = None,
        folder: str | Path | None = None,
        *,
        disk_max_bytes: int = DISK_BYTES,
        disk_max_age_s: float = DISK_AGE_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._clock = clock
        self._disk = (
            None
            if folder is None
            else DiskTier(Path(folder), disk_max_bytes, disk_max_age_s, clock)
        )
        self._lock = threading.RLock()
        self._entries: OrderedDict[str, tuple[CachedSpeech, float]] = OrderedDict()
        self._flights: dict[str, Flight] = {}
        self._texts = KnownTexts()
        self._counts = CacheStats()

    async def stream(self, key: str | None, produce: Produce) -> AsyncGenerator[Piece, None]:
        """The pieces of a request's speech: replayed, joined in flight, or made now.

        Args:
            key: From `speech_key`; None makes the speech and neither shares nor keeps it.
            produce: See the module.

        Yields:
            The pieces in order. Replayed ones equal the live ones, but for the times in
            `SpeechDone`, which are 0.

        Raises:
            SpeechError: What `produce` raised, for every listener; `EngineFailedError` where the
                loop that made a shared speech ended in the middle of it.
        """
        while True:
            if key is None:
                flight, mine = Flight("", self._lock, lambda _: None), True
            else:
                found = await self._find(key)
                if isinstance(found, CachedSpeech):
                    for piece in found.pieces:
                        yield piece
                    return
                flight, mine = found
            received = False
            async with aclosing(self._follow(flight, produce if mine else None)) as pieces:
                async for piece in pieces:
                    received = True
                    yield piece
            if flight.ended:
                return
            # The loop that made it has gone: begin again, unless the listener has heard a part.
            if received or mine:
                raise EngineFailedError("the speech ended early, with the job making it; try again")

    async def speech(
        self,
        engine: Engine,
        request: SpeechRequest,
        *,
        extra: Mapping[str, Any] | None = None,
    ) -> AsyncGenerator[Piece, None]:
        """A request's speech through the cache: what the pipeline iterates instead of the engine.

        The text in the key is normalised, so that "5 €" and "5€" share their speech; a text that is
        new to this cache is normalised beside the event loop.

        Args:
            engine: Speaks it on a miss; see `from_engine`.
            request: The request.
            extra: See `speech_key`.

        Yields:
            See `stream`; an engine's `SpeechFailed` is raised as its error.
        """
        key = None
        if engine.info.fingerprint:
            text = self._texts.known(request)
            if text is None:
                text = await asyncio.to_thread(self._texts.learn, request)
            key = speech_key(engine.info, request, text=text, extra=extra)
        produce = from_engine(lambda sink: engine.submit(request, sink))
        async with aclosing(self.stream(key, produce)) as pieces:
            async for piece in pieces:
                yield piece

    async def get(self, key: str | None) -> CachedSpeech | None:
        """What is kept under a key, from memory or disk; counts as a hit where it is there."""
        if key is None:
            return None
        with self._lock:
            entry = self._remembered(key)
            if entry is not None or self._disk is None:
                return entry
        return await asyncio.to_thread(self.get_blocking, key)

    def get_blocking(self, key: str | None) -> CachedSpeech | None:
        """`get` outside an event loop: reads the disk."""
        if key is None:
            return None
        with self._lock:
            entry = self._remembered(key)
        if entry is not None or self._disk is None:
            return entry
        read = self._disk.read(key)
        if read is None:
            return None
        entry, created = read
        with self._lock:
            self._counts = replace(
                self._counts, hits=self._counts.hits + 1, disk_hits=self._counts.disk_hits + 1
            )
            self._remember(key, entry, created)
        return entry

    def put(self, key: str, pieces: Sequence[Piece]) -> bool:
        """Keep finished speech; returns whether it is worth keeping (it has audio, uncancelled)."""
        entry = CachedSpeech.of(pieces)
        if entry is None:
            return False
        with self._lock:
            self._remember(key, entry, self._clock())
        if self._disk is not None:
            self._disk.write_later(key, entry)
        return True

    async def flush(self) -> None:
        """Wait until everything kept so far is on disk, or could not be written."""
        if self._disk is not None:
            await asyncio.to_thread(self._disk.flush)

    def flush_blocking(self, timeout: float | None = None) -> bool:
        """`flush` outside an event loop; False where the time ran out."""
        return self._disk is None or self._disk.flush(timeout)

    def clear(self) -> None:
        """Forget everything in memory and delete the folder's entries; blocking where on disk."""
        with self._lock:
            self._entries.clear()
            self._counts = replace(self._counts, bytes=0, entries=0)
        if self._disk is not None:
            self._disk.clear()

    def stats(self) -> CacheStats:
        """The counters now."""
        with self._lock:
            return replace(
                self._counts,
                entries=len(self._entries),
                disk_bytes=self._disk.bytes if self._disk is not None else 0,
            )

    # Finding.

    async def _find(self, key: str) -> CachedSpeech | tuple[Flight, bool]:
        """The entry, or a flight to follow and whether this caller has to start it."""
        with self._lock:
            if key in self._flights:
                return self._board(key)
        entry = await self.get(key)
        if entry is not None:
            return entry
        with self._lock:
            # It may have been finished since the look above.
            return self._remembered(key) or self._board(key)

    def _board(self, key: str) -> tuple[Flight, bool]:
        """Join the flight of this key, or open one. Holds the lock."""
        flight = self._flights.get(key)
        mine = flight is None
        if flight is None:
            flight = self._flights[key] = Flight(key, self._lock, self._landed)
        name = "misses" if mine else "coalesced"
        self._counts = replace(self._counts, **{name: getattr(self._counts, name) + 1})
        flight.board()
        return flight, mine

    def _landed(self, flight: Flight) -> None:
        """Called once when a flight has ended, however it did."""
        if flight.complete:
            # Before the flight is gone: an equal request finds the one or the other.
            self.put(flight.key, flight.pieces)
        with self._lock:
            if self._flights.get(flight.key) is flight:
                del self._flights[flight.key]

    async def _follow(self, flight: Flight, produce: Produce | None) -> AsyncGenerator[Piece, None]:
        """Every piece of a flight from its start; leaves it at the end, however that comes."""
        post = post_to(asyncio.get_running_loop())
        news = asyncio.Event()

        def wake() -> None:
            try:
                post.call(news.set)
            except RuntimeError:
                flight.leave(wake)  # the listener's loop is closed, so nobody listens there

        flight.join(wake)
        try:
            if produce is not None:
                start(flight, produce)
            position = 0
            while True:
                piece, over = flight.read(position)
                if piece is not None:
                    position += 1
                    yield piece
                elif over:
                    return
                else:
                    await news.wait()
                    news.clear()
        finally:
            flight.leave(wake)

    # The memory tier. All of it holds the lock.

    def _remembered(self, key: str) -> CachedSpeech | None:
        found = self._entries.get(key)
        if found is None:
            return None
        entry, created = found
        if self._max_age_s is not None and self._clock() - created > self._max_age_s:
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        self._counts = replace(self._counts, hits=self._counts.hits + 1)
        return entry

    def _remember(self, key: str, entry: CachedSpeech, created: float) -> None:
        if key in self._entries:
            self._drop(key, evicted=False)
        if entry.bytes > self._max_bytes:
            return
        self._entries[key] = (entry, created)
        self._counts = replace(self._counts, bytes=self._counts.bytes + entry.bytes)
        while self._counts.bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: str, *, evicted: bool = True) -> None:
        entry, _ = self._entries.pop(key)
        self._counts = replace(
            self._counts,
            bytes=self._counts.bytes - entry.bytes,
            evictions=self._counts.evictions + evicted,
        )
