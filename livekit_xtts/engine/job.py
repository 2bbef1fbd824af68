"""One request on its way through the engine: all of its state, and the way to its sink."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from livekit_xtts.engine.engine import Sink
from livekit_xtts.speech import (
    SAMPLE_RATE,
    Float32,
    Sampling,
    SpeechChunk,
    SpeechDone,
    SpeechError,
    SpeechEvent,
    SpeechFailed,
    SpeechRequest,
    Voice,
)

if TYPE_CHECKING:
    from torch import Tensor

    from livekit_xtts.engine.ends import StopBias
    from livekit_xtts.engine.length import Reading

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request in the model's terms.

    Attributes:
        ids: Text ids without start and stop.
        voice: The voice, never None.
        sampling: The settings, never None.
        seed: The seed, drawn where the request has none.
        budget: Steps at most, the one that draws the stop code included.
        stop_bias: Push towards the stop code, None for none.
        reading: How the text is expected to be read; None for ready-made ids.
        align: Called when the codes are complete; may set `Job.words`. None where nobody asked.
    """

    ids: tuple[int, ...]
    voice: Voice
    sampling: Sampling
    seed: int
    budget: int
    stop_bias: StopBias | None = None
    reading: Reading | None = None
    align: Callable[[Job], None] | None = None


@dataclass(frozen=True, slots=True)
class SpokenWords:
    """When a request's text is spoken, as `SpeechDone` tells it.

    Attributes:
        alignment: Code at which each text id begins.
        words: Code at which each word begins.
    """

    alignment: tuple[int, ...]
    words: tuple[int, ...]


@dataclass(slots=True)
class Progress:
    """How far a request is in the model; only the engine's thread touches it.

    Attributes:
        slot: Its slot while it has one, else -1.
        prompt: Positions of the prompt, once it is known.
        embeddings: The prompt, until all of it is in the slot; shape (prompt, width).
        fed: In place of embeddings: what each position after the voice's feeds, and its place.
        filled: Positions of the prompt that are in the slot.
        launched: Steps begun.
        codes: Codes read so far, without the stop code.
        latents: Steps read so far; each brought one latent.
        finished: Whether no further latent comes.
        stopped: Whether the stop code came by itself.
        cuts: Code counts at which a chunk leaves.
        cut: Index of the next of them.
        due_at: Latents at which the next window can be decoded, as far as that is known.
        decoded: Samples for which a vocoder window has been started.
        tail: The latents kept after the slot was given back, and the index of the first.
    """

    slot: int = -1
    prompt: int = 0
    embeddings: Tensor | None = None
    fed: tuple[list[int], list[int]] = ([], [])
    filled: int = 0
    launched: int = 0
    codes: list[int] = field(default_factory=list)
    latents: int = 0
    finished: bool = False
    stopped: bool = False
    cuts: tuple[int, ...] = ()
    cut: int = 0
    due_at: int = 0
    decoded: int = 0
    tail: tuple[Tensor, int] | None = None


class Job:
    """A request that an engine has accepted (a `SpeechTask`), and everything known about it.

    Args:
        request: What to speak.
        sink: Receives the events.
        clock: Seconds, monotonic.
        on_cancel: Called by `cancel()`, on the caller's thread; must return at once.
        on_end: Called before the last event goes out; must return at once.
        max_wait_s: Longest wait for a slot, once the model is loaded.
    """

    def __init__(
        self,
        request: SpeechRequest,
        sink: Sink,
        clock: Callable[[], float],
        on_cancel: Callable[[Job], None] = lambda job: None,
        on_end: Callable[[Job], None] = lambda job: None,
        max_wait_s: float = math.inf,
    ) -> None:
        self.request = request
        self.progress = Progress()
        self.prepared: Prepared | None = None
        self.voice: Any = None
        self.plan: Any = None
        self.ending: Any = None
        self.words: Future[SpokenWords | None] | None = None
        self._sink = sink
        self._clock = clock
        self._on_cancel = on_cancel
        self._on_end = on_end
        self._lock = threading.RLock()
        self._done = False
        self._cancelled = False
        self._held: list[tuple[Float32, int]] = []
        self.submitted_at = self.queued_at = clock()
        self.max_wait_s = max_wait_s
        self.admitted_at: float | None = None
        self.first_audio_at: float | None = None
        self.sent = 0

    def cancel(self) -> None:
        """Ask for the end; see `SpeechTask.cancel`."""
        if not self._cancelled:
            self._cancelled = True
            self._on_cancel(self)

    @property
    def cancelled(self) -> bool:
        """Whether the end was asked for."""
        return self._cancelled

    @property
    def done(self) -> bool:
        """Whether the last event has been handed to the sink."""
        return self._done

    @property
    def starting(self) -> bool:
        """Whether the listener has no audio yet."""
        return self.first_audio_at is None

    def runs_dry_at(self) -> float:
        """When a listener who plays at once has played everything sent so far."""
        if self.first_audio_at is None:
            return self.submitted_at
        return self.first_audio_at + self.sent / SAMPLE_RATE

    @property
    def held(self) -> int:
        """Samples held back."""
        return sum(audio.size for audio, _ in self._held)

    def send(self, audio: Float32, codes: int, final: bool, hold: bool = False) -> None:
        """Hand the next audio to the sink, what was held before it first.

        Args:
            audio: Shape (samples,).
            codes: Codes behind all audio so far.
            final: Whether this is the last of it.
            hold: Keep it for the next call. Where one chunk at the end was asked for, all is kept.
        """
        if not final and (hold or not self.request.streaming):
            self._held.append((audio, codes))
            return
        held, self._held = self._held, []
        if not self.request.streaming:
            audio = np.concatenate([*(part for part, _ in held), audio])
            held = []
        for part, count in held:
            self._send(part, count, False)
        self._send(audio, codes, final)

    def release(self) -> None:
        """Hand over what is held back; where one chunk at the end was asked for, nothing."""
        if self.request.streaming:
            held, self._held = self._held, []
            for part, count in held:
                self._send(part, count, False)

    def _send(self, audio: Float32, codes: int, final: bool) -> None:
        if self._cancelled or not (audio.size or final):
            return
        if self.first_audio_at is None and audio.size:
            self.first_audio_at = self._clock()
        start, self.sent = self.sent, self.sent + audio.size
        self._emit(SpeechChunk(audio=audio, start=start, codes=codes, final=final), last=False)

    def conclude(self) -> None:
        """Send the last event of a request that was spoken to its end, once its words are known.

        It waits for them on no thread; a cancel or the engine's end comes first where it comes.
        """
        if self.words is None:
            self.finish()
        else:
            self.words.add_done_callback(lambda _: self.finish())

    def finish(self) -> None:
        """Send the last event of a request that was spoken to its end or cancelled."""
        now = self._clock()
        words = self.words.result() if self.words is not None and self.words.done() else None
        admitted = now if self.admitted_at is None else self.admitted_at
        first = self.first_audio_at
        done = SpeechDone(
            codes=tuple(self.progress.codes),
            stopped=self.progress.stopped and not self._cancelled,
            cancelled=self._cancelled,
            samples=self.sent,
            queued_s=admitted - self.submitted_at,
            first_audio_s=float("nan") if first is None else first - self.submitted_at,
            total_s=now - self.submitted_at,
            alignment=words.alignment if words else (),
            words=words.words if words else (),
        )
        self._emit(done, last=True)

    def abandon(self) -> None:
        """Nobody listens any more: what follows is dropped."""
        self._sink = lambda event: None

    def fail(self, error: SpeechError) -> None:
        """Send the last event of a request that failed."""
        self._emit(SpeechFailed(error), last=True)

    def _emit(self, event: SpeechEvent, last: bool) -> None:
        # The lock is held while the sink runs, so that a chunk can never follow the last event
        # that another thread (one that closes the engine) sends.
        with self._lock:
            if self._done:
                return
            self._done = last
            if last:
                self._on_end(self)
            try:
                self._sink(event)
            except Exception:
                if last and self._cancelled:
                    # Who cancels may be gone, and its event loop closed.
                    logger.debug("nobody heard of the end of a cancelled request", exc_info=True)
                elif last:
                    logger.exception("the receiver of a request's last event raised")
                else:
                    logger.exception("the receiver of a request raised; the request is cancelled")
                    self._cancelled = True
        if self._cancelled and not last:
            self._on_cancel(self)
