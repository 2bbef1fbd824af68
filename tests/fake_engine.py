"""An engine that makes known signals, for tests of everything above the engine.

Audio is a function of text, voice and speed alone, so a test can say exactly what must arrive.
What a request does besides (stall, fail, wait for the test) is scripted, request by request.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from livekit_xtts.engine.engine import Sink
from livekit_xtts.speech import (
    CODE_SECONDS,
    MIN_REFERENCE_SECONDS,
    SAMPLE_RATE,
    EngineBusyError,
    EngineClosedError,
    EngineFailedError,
    EngineInfo,
    InvalidRequestError,
    ReferenceAudio,
    SpeechChunk,
    SpeechDone,
    SpeechError,
    SpeechEvent,
    SpeechFailed,
    SpeechRequest,
    Voice,
    VoiceError,
)

FOREVER = 1 << 60


def tone(seconds: float, hertz: float, *, seed: int = 0) -> npt.NDArray[np.float32]:
    """A steady tone at half of full scale, starting and ending at zero, shape (samples,)."""
    samples = round(seconds * SAMPLE_RATE)
    time_s = np.arange(samples) / SAMPLE_RATE
    edge = np.minimum(1.0, np.minimum(time_s, time_s[::-1]) / 0.005)
    return (0.5 * edge * np.sin(2 * np.pi * hertz * time_s)).astype(np.float32)


def chirps(seconds: float, hertz: float, *, seed: int = 0) -> npt.NDArray[np.float32]:
    """A speech-like signal: syllables of 120 to 280 ms whose pitch glides around `hertz`."""
    samples = round(seconds * SAMPLE_RATE)
    random = np.random.default_rng(seed)
    audio = np.zeros(samples)
    start = 0
    while start < samples:
        length = min(int(random.uniform(0.12, 0.28) * SAMPLE_RATE), samples - start)
        x = np.linspace(0.0, 1.0, max(length, 1))
        pitch = hertz * (1 + random.uniform(-0.2, 0.2) * x)
        phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
        level = random.uniform(0.35, 0.9) * np.sin(np.pi * x) ** 0.5
        voice = np.sin(phase) + 0.5 * np.sin(2 * phase) + 0.25 * np.sin(3 * phase)
        audio[start : start + length] = (level * voice / 1.75)[:length]
        start += length
    return audio.astype(np.float32)


SIGNALS: dict[str, Callable[..., npt.NDArray[np.float32]]] = {"tone": tone, "chirps": chirps}


@dataclass(frozen=True)
class Script:
    """What one request does; the default speaks it through at once.

    Attributes:
        busy: `submit` refuses it.
        stall_after: No chunk follows this many, until it is cancelled.
        fail_after: After this many chunks the request fails with `error`.
        error: See `fail_after`.
        gated: Each chunk waits for one permit of `FakeEngine.allow`.
        real_time_factor: Seconds of work for a second of audio, by the clock; None for no wait.
        told_factor: Seconds of work for a second of audio that the last event tells; None for the
            time that it took.
        stopped: Whether the speech ends by its stop code.
    """

    busy: bool = False
    stall_after: int | None = None
    fail_after: int | None = None
    error: SpeechError = field(default_factory=lambda: EngineFailedError("scripted failure"))
    gated: bool = False
    real_time_factor: float | None = None
    told_factor: float | None = None
    stopped: bool = True


class FakeTask:
    """A request in the fake engine; `steps_after_cancel` must stay 0."""

    def __init__(self, engine: FakeEngine, request: SpeechRequest, sink: Sink, script: Script):
        self._engine = engine
        self.request = request
        self.sink = sink
        self.script = script
        self.audio = engine.expected(request)
        self.position = 0
        self.chunks = 0
        self.submitted = time.perf_counter()
        self.admitted = False
        self.began = self.due = self.submitted
        self.first_audio_s = float("nan")
        self.cancelled = False
        self.steps_after_cancel = 0
        self._done = False

    def cancel(self) -> None:
        self.cancelled = True
        self._engine._wake()

    @property
    def done(self) -> bool:
        return self._done

    def end(self, event: SpeechEvent) -> None:
        self._done = True
        self.sink(event)


class FakeEngine:
    """Implements `Engine`: tones or chirps from its own thread, scripted by the test.

    Args:
        hertz: Pitch of the engine's own voice; a cloned voice gets one of its own.
        signal: "tone" or "chirps".
        seconds_per_character: Length of the audio.
        chunk_s: Seconds of audio a chunk.
        slots: Requests that are spoken at once.
        queue: Requests that wait; beyond that `submit` refuses.
        script: Behaviour of requests for which `scripts` holds nothing.
        load_error: `load` and requests fail with this.
        hold_load: Loading waits until `finish_load` is called.
        info: Fields of `EngineInfo` to set otherwise.
    """

    def __init__(
        self,
        *,
        hertz: float = 440.0,
        signal: str = "tone",
        seconds_per_character: float = 0.06,
        chunk_s: float = 0.2,
        slots: int = 8,
        queue: int = 16,
        script: Script | None = None,
        load_error: SpeechError | None = None,
        hold_load: bool = False,
        info: dict[str, object] | None = None,
    ) -> None:
        self.hertz = hertz
        self.signal = signal
        self.seconds_per_character = seconds_per_character
        self.chunk_samples = round(chunk_s * SAMPLE_RATE)
        self.script = script or Script()
        self.scripts: deque[Script] = deque()
        self.requests: list[SpeechRequest] = []
        self.tasks: list[FakeTask] = []
        self.clones = 0
        self.loads = 0
        self.steps = 0
        self._info = replace(
            EngineInfo(
                model="fake",
                fingerprint=hashlib.sha256(f"{hertz} {signal}".encode()).hexdigest(),
                device="cpu",
                precision="fp32",
                slots=slots,
                queue=queue,
            ),
            **(info or {}),  # type: ignore[arg-type]
        )
        self._load_error = load_error
        self._load_gate = threading.Event()
        if not hold_load:
            self._load_gate.set()
        self._loaded = threading.Event()
        self._permits = 0
        self._live: list[FakeTask] = []
        self._changed = threading.Condition()
        self._watchers: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
        self._thread: threading.Thread | None = None
        self._closed = False

    # What a test asks and scripts.

    def expected(self, request: SpeechRequest) -> npt.NDArray[np.float32]:
        """The audio that this request gets, float32, shape (samples,)."""
        hertz = self.hertz if request.voice is None else voice_hertz(request.voice)
        seconds = max(1, len(request.text)) * self.seconds_per_character / request.speed
        seed = int(hashlib.sha256(request.text.encode()).hexdigest()[:8], 16)
        return SIGNALS[self.signal](seconds, hertz, seed=seed)

    def allow(self, chunks: int = FOREVER) -> None:
        """Let gated requests make this many further chunks."""
        with self._changed:
            self._permits += chunks
        self._wake()

    def finish_load(self) -> None:
        """End the loading that `hold_load` holds up."""
        self._load_gate.set()
        self._wake()

    @property
    def steps_after_cancel(self) -> int:
        """Chunks made for requests whose cancel flag was set already."""
        return sum(task.steps_after_cancel for task in self.tasks)

    @property
    def live(self) -> int:
        """Requests that have not ended."""
        return len(self._live)

    async def until(self, predicate: Callable[[], bool]) -> None:
        """Wait, without polling, until the predicate holds after a change in the engine."""
        event = asyncio.Event()
        watcher = (asyncio.get_running_loop(), event)
        self._watchers.append(watcher)
        try:
            async with asyncio.timeout(20):
                while not predicate():
                    await event.wait()
                    event.clear()
        finally:
            self._watchers.remove(watcher)

    # The Engine protocol.

    @property
    def info(self) -> EngineInfo:
        return self._info

    @property
    def ready(self) -> bool:
        return self._loaded.is_set() and self._load_error is None and not self._closed

    def start(self) -> None:
        with self._changed:
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="fake-engine", daemon=True)
                self._thread.start()

    def load(self, timeout: float | None = None) -> None:
        if self._closed:
            raise EngineClosedError("the engine is closed")
        self.start()
        if not self._loaded.wait(timeout):
            raise TimeoutError("the engine is still loading")
        if self._load_error is not None:
            raise self._load_error

    def submit(self, request: SpeechRequest, sink: Sink) -> FakeTask:
        if self._closed:
            raise EngineClosedError("the engine is closed")
        if self._loaded.is_set() and self._load_error is not None:
            raise self._load_error
        with self._changed:
            script = self.scripts.popleft() if self.scripts else self.script
            self.requests.append(request)
            if script.busy or len(self._live) >= self._info.slots + self._info.queue:
                raise EngineBusyError("all slots and the queue are taken; try again")
            task = FakeTask(self, request, sink, script)
            self.tasks.append(task)
            self._live.append(task)
        self.start()
        self._wake()
        return task

    def clone(self, reference: Sequence[ReferenceAudio], *, name: str = "voice") -> Future[Voice]:
        self.clones += 1
        future: Future[Voice] = Future()
        try:
            future.set_result(make_voice(reference, name, self._info.fingerprint))
        except VoiceError as error:
            future.set_exception(error)
        return future

    def occupancy(self) -> float:
        return len(self._live) / self._info.slots

    def close(self, timeout: float = 5.0) -> None:
        self._closed = True
        self._load_gate.set()
        self._wake()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    # The engine's thread.

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _tell(self) -> None:
        for loop, event in list(self._watchers):
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

    def _run(self) -> None:
        self._load_gate.wait()
        self.loads += 1
        self._loaded.set()
        self._tell()
        while not self._closed:
            with self._changed:
                moved = [task for task in list(self._live) if self._step(task)]
                for task in moved:
                    if task.done:
                        self._live.remove(task)
                if not moved and not self._closed:
                    self._changed.wait(self._next_due())
            self._tell()
        with self._changed:
            live, self._live = self._live, []
        for task in live:
            task.end(SpeechFailed(EngineClosedError("the engine was closed")))
        self._tell()

    def _next_due(self) -> float | None:
        now = time.perf_counter()
        waits = [task.due - now for task in self._live if task.due > now]
        return min(waits) if waits else None

    def _step(self, task: FakeTask) -> bool:
        """One chunk, or the end, of one request; False when it has to wait."""
        script = task.script
        if not task.admitted:
            speaking = sum(other.admitted for other in self._live)
            if speaking >= self._info.slots and not task.cancelled:
                return False
            task.admitted = True
            task.began = time.perf_counter()
        if self._load_error is not None:
            task.end(SpeechFailed(self._load_error))
            return True
        if task.request.language not in self._info.languages:
            message = f"language {task.request.language!r} is not one of the model's"
            task.end(SpeechFailed(InvalidRequestError(message)))
            return True
        if task.cancelled or task.position >= task.audio.size:
            task.end(self._ended(task))
            return True
        if script.fail_after is not None and task.chunks >= script.fail_after:
            task.end(SpeechFailed(script.error))
            return True
        if script.stall_after is not None and task.chunks >= script.stall_after:
            return False
        size = self.chunk_samples if task.request.streaming else task.audio.size
        if script.real_time_factor is not None:
            work = min(size, task.audio.size - task.position) / SAMPLE_RATE
            if time.perf_counter() < task.began + work * script.real_time_factor:
                task.due = task.began + work * script.real_time_factor
                return False
            task.began += work * script.real_time_factor
        if script.gated:
            if self._permits <= 0:
                return False
            self._permits -= 1
        self._emit(task, size)
        return True

    def _emit(self, task: FakeTask, size: int) -> None:
        self.steps += 1
        if task.chunks == 0:
            task.first_audio_s = time.perf_counter() - task.submitted
        audio = task.audio[task.position : task.position + size]
        start = task.position
        task.position += audio.size
        task.chunks += 1
        task.steps_after_cancel += task.cancelled
        final = task.position >= task.audio.size
        codes = round(task.position / SAMPLE_RATE / CODE_SECONDS)
        task.sink(SpeechChunk(audio=audio, start=start, codes=codes, final=final))

    def _ended(self, task: FakeTask) -> SpeechDone:
        codes = round(task.position / SAMPLE_RATE / CODE_SECONDS)
        total_s = time.perf_counter() - task.submitted
        if task.script.told_factor is not None:
            total_s = task.position / SAMPLE_RATE * task.script.told_factor
        return SpeechDone(
            codes=tuple(range(codes)),
            stopped=task.script.stopped,
            cancelled=task.cancelled,
            samples=task.position,
            first_audio_s=task.first_audio_s,
            total_s=total_s,
        )


def make_voice(reference: Sequence[ReferenceAudio], name: str, model: str) -> Voice:
    """A voice from reference audio, as deterministic as a real one.

    Raises:
        VoiceError: The audio is too short or silent.
    """
    samples = np.concatenate([piece.samples for piece in reference])
    if samples.size < MIN_REFERENCE_SECONDS * reference[0].sample_rate:
        raise VoiceError(f"the reference audio of {name!r} is shorter than 0.33 s")
    if not np.any(np.abs(samples) > 1e-4):
        raise VoiceError(f"the reference audio of {name!r} is silent")
    digest = hashlib.sha256(samples.astype(np.float32).tobytes()).hexdigest()
    random = np.random.default_rng(int(digest[:8], 16))
    return Voice(
        name=name,
        latents=random.standard_normal((32, 64)).astype(np.float32),
        speaker_embedding=random.standard_normal(64).astype(np.float32),
        fingerprint=digest,
        model=model,
    )


def voice_hertz(voice: Voice) -> float:
    """The pitch in which the fake engine speaks a voice: 200 to 1,000 Hz."""
    return 200.0 + int(voice.fingerprint[:8], 16) % 800
