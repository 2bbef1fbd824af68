"""Voices cloned beside live requests: one thread of low priority, one voice at a time."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeAlias

from livekit_xtts.engine.threads import lower_priority, use_threads
from livekit_xtts.speech import (
    MAX_REFERENCE_SECONDS,
    EngineClosedError,
    EngineFailedError,
    Float32,
    ReferenceAudio,
    SpeechError,
    Voice,
    VoiceError,
)

logger = logging.getLogger(__name__)

Make: TypeAlias = Callable[[Sequence[ReferenceAudio], str], Voice]
"""Clones a voice of a name from references; raises `SpeechError`."""


def checked(references: Sequence[ReferenceAudio]) -> tuple[ReferenceAudio, ...]:
    """Refuse references that no model could use.

    Raises:
        VoiceError: None, not mono, a rate that is not one, or longer than 600 s.
    """
    if not references:
        raise VoiceError("no reference audio was given")
    for reference in references:
        samples: Float32 = reference.samples
        if samples.ndim != 1:
            raise VoiceError(f"reference audio must be mono, shape (samples,), not {samples.shape}")
        if not 1_000 <= reference.sample_rate <= 768_000:
            raise VoiceError(f"reference audio has no usable sample rate: {reference.sample_rate}")
        seconds = samples.size / reference.sample_rate
        if seconds > MAX_REFERENCE_SECONDS:
            raise VoiceError(
                f"reference audio of {seconds:.0f} s is longer than {MAX_REFERENCE_SECONDS:.0f} s"
            )
    return tuple(references)


class Cloner:
    """A queue of voices to clone, and the thread that does it.

    The thread uses one CPU thread and the lowest share of the processor that the system offers,
    so that live requests go on beside it.

    Attributes:
        thread: The thread; None before the first voice.
    """

    def __init__(self) -> None:
        self._queue: deque[tuple[Future[Voice], tuple[ReferenceAudio, ...], str]] = deque()
        self._changed = threading.Condition()
        self._make: Make | None = None
        self._current: Future[Voice] | None = None
        self._closed: SpeechError | None = None
        self.thread: threading.Thread | None = None

    def submit(self, references: Sequence[ReferenceAudio], name: str) -> Future[Voice]:
        """Queue a voice; it is made once `begin` has been called."""
        future: Future[Voice] = Future()
        try:
            accepted = checked(references)
        except VoiceError as error:
            future.set_exception(error)
            return future
        with self._changed:
            if self._closed is not None:
                future.set_exception(self._closed)
                return future
            self._queue.append((future, accepted, name))
            if self._make is not None and self.thread is None:
                self._start()
            self._changed.notify_all()
        return future

    def begin(self, make: Make) -> None:
        """Begin cloning with a loaded model."""
        with self._changed:
            self._make = make
            if self._queue and self.thread is None and self._closed is None:
                self._start()

    def close(self, error: SpeechError | None = None) -> None:
        """End what is queued with an error; the voice being made is given up. Does not wait."""
        with self._changed:
            if self._closed is None:
                self._closed = error or EngineClosedError("the engine was closed")
            ending = [future for future, _, _ in self._queue]
            if self._current is not None:
                ending.append(self._current)
            self._queue.clear()
            self._current = self._make = None
            self._changed.notify_all()
        for future in ending:
            if future.running() or future.set_running_or_notify_cancel():
                future.set_exception(self._closed)

    def _start(self) -> None:
        self.thread = threading.Thread(target=self._run, name="xtts-clone", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        lower_priority()
        use_threads(1)
        while True:
            with self._changed:
                while not self._queue and self._closed is None:
                    self._changed.wait()
                make = self._make
                if self._closed is not None or make is None:
                    return
                future, references, name = self._queue.popleft()
                if not future.set_running_or_notify_cancel():
                    continue
                self._current = future
            result = _attempt(make, references, name)
            with self._changed:
                if self._current is not future:
                    return  # Closed meanwhile; the future has its error.
                self._current = None
            if isinstance(result, SpeechError):
                future.set_exception(result)
            else:
                future.set_result(result)


def _attempt(make: Make, references: Sequence[ReferenceAudio], name: str) -> Voice | SpeechError:
    try:
        return make(references, name)
    except SpeechError as error:
        return error
    except Exception as error:
        logger.warning("cloning a voice failed", exc_info=True)
        failure = EngineFailedError(f"cloning the voice failed: {error}")
        failure.__cause__ = error
        return failure
