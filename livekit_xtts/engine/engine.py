"""The contract between everything that wants speech and everything that makes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Protocol, TypeAlias, runtime_checkable

from livekit_xtts.speech import (
    EngineInfo,
    ReferenceAudio,
    SpeechEvent,
    SpeechRequest,
    Voice,
)

Sink: TypeAlias = Callable[[SpeechEvent], None]
"""Receives a request's events in order: chunks, then one `SpeechDone` or `SpeechFailed`.

Called on the engine's own thread: return at once (`loop.call_soon_threadsafe(...)`), never block.
An exception from it is logged and counts as a cancel. Nothing follows the last event.
"""


class SpeechTask(Protocol):
    """A request that an engine has accepted."""

    def cancel(self) -> None:
        """Ask for the end of the request; only sets a flag, callable from any thread, repeatable.

        The slot is free at the next step. A `SpeechDone(cancelled=True)` still reaches the sink.
        """
        ...

    @property
    def done(self) -> bool:
        """Whether the last event has been handed to the sink."""
        ...


@runtime_checkable
class Engine(Protocol):
    """Turns requests into audio. Loop-agnostic and thread-safe; no asyncio inside.

    Every method may be called from any thread.
    """

    @property
    def info(self) -> EngineInfo:
        """What the engine is; waits for nothing (before loading: what is known without it)."""
        ...

    @property
    def ready(self) -> bool:
        """Whether a request submitted now starts without waiting for loading or warm-up."""
        ...

    def start(self) -> None:
        """Begin loading in the background and return at once; repeated calls do nothing."""
        ...

    def load(self, timeout: float | None = None) -> None:
        """Load and warm up, blocking; for a worker's set-up.

        Args:
            timeout: Seconds, None for the engine's own loading budget.

        Raises:
            ModelError: The model cannot be loaded; the message names the file and the remedy.
            TimeoutError: The budget ran out; loading goes on in the background.
            EngineClosedError: The engine is closed.
        """
        ...

    def submit(self, request: SpeechRequest, sink: Sink) -> SpeechTask:
        """Accept a request, starting the engine if need be; returns at once.

        A request accepted while the model loads waits for it. What only the loaded model can
        refuse (unknown language, too many ids) arrives at the sink as `SpeechFailed`.

        Raises:
            EngineBusyError: Slots and queue are full.
            EngineClosedError: The engine is closed.
            ModelError: Loading has failed.
        """
        ...

    def clone(self, reference: Sequence[ReferenceAudio], *, name: str = "voice") -> Future[Voice]:
        """Compute a voice from one or several pieces of reference audio, beside live requests.

        The future raises `VoiceError` where the audio is too short, silent or not finite.
        """
        ...

    def occupancy(self) -> float:
        """Share of the slots that are taken, waiting requests included; may pass 1."""
        ...

    def close(self, timeout: float = 5.0) -> None:
        """End every request with `EngineClosedError` and release the model, in bounded time."""
        ...
