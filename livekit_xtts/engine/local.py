"""An engine in this process: a model, and one daemon thread that drives it."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from livekit_xtts.engine import source as models
from livekit_xtts.engine.cloner import Cloner
from livekit_xtts.engine.engine import Sink
from livekit_xtts.engine.job import Job
from livekit_xtts.engine.schedule import PROFILES, StepTimes
from livekit_xtts.engine.settings import Settings
from livekit_xtts.engine.threads import available, use_threads
from livekit_xtts.speech import (
    EngineBusyError,
    EngineClosedError,
    EngineInfo,
    ModelError,
    ReferenceAudio,
    SpeechError,
    SpeechRequest,
    Voice,
)

if TYPE_CHECKING:
    from livekit_xtts.engine.machine import Machine

logger = logging.getLogger(__name__)


class LocalEngine:
    """Speaks with a model in this process; many requests at once, independent of each other.

    Nothing is loaded, and no thread started, before `start()`, `load()` or the first request; torch
    is not imported before that either. An engine that has started belongs to its process: a forked
    child makes its own, and may do so only if the parent has not run one (a child of a process
    with parallel torch work behind it can hang).

    Args:
        model: A folder with `config.json`, `vocab.json` and `model.safetensors` or `model.pth`;
            "random-small" or "random" for seeded random weights; a model; None for the bundled
            voice, or, where none is installed, "random-small" with a warning.
        device: As torch names it; "auto" takes a CUDA device where there is one, else the CPU.
        precision: "auto", or one of the precisions that the device offers ("fp32", …).
        slots: Requests that are spoken at once. Memory for a slot's keys and values is used as far
            as its longest request so far went: on the full-size model in fp32 246 kB a position,
            60 MB for a typical request, 255 MB for the longest.
        queue: Further requests that wait for a slot; beyond that they are refused.
        profile: "latency", "balanced" or "throughput": how early and how finely audio comes.
        threads: CPU threads of the engine's own work; None for the number that torch uses. The
            host's settings stay as they are.
        load_timeout: Seconds that loading may take; then waiting requests fail, loading goes on.
        times: Step times instead of measured ones. The chunk boundaries follow from them, so with
            given times streamed audio has the same bits on every start; else only to rounding.
        seed: Of random weights.
    """

    def __init__(
        self,
        model: models.ModelSource = None,
        *,
        device: str = "auto",
        precision: str = "auto",
        slots: int = 8,
        queue: int = 16,
        profile: str = "balanced",
        threads: int | None = None,
        load_timeout: float = 300.0,
        times: StepTimes | None = None,
        seed: int = 0,
    ) -> None:
        if profile not in PROFILES:
            raise ModelError(f"profile={profile!r} is unknown: use one of {', '.join(PROFILES)}")
        if slots < 1 or queue < 0:
            raise ModelError(f"slots={slots} and queue={queue}: use 1 or more, and 0 or more")
        if threads is not None and threads < 1:
            raise ModelError(f"threads={threads}: use 1 or more, or None")
        self._source = model
        self._seed = seed
        self._threads = threads
        self._settings = Settings(device, precision, slots, queue, profile, times)
        self._load_timeout = load_timeout
        self._info = EngineInfo(
            model=models.name_of(model),
            fingerprint="",
            device=device,
            precision=precision,
            slots=slots,
            queue=queue,
        )
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._settled = threading.Event()
        self._jobs: set[Job] = set()
        self._inbox: deque[Job] = deque()
        self._cancelled: deque[Job] = deque()
        self._cloner = Cloner()
        self._machine: Machine | None = None
        self._loaded: models.Loaded | None = None
        self._error: SpeechError | None = None
        self._closed = False
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()

    # ---- the contract ---------------------------------------------------------------------

    @property
    def info(self) -> EngineInfo:
        """What the engine is; before loading, what is known without it (no fingerprint)."""
        return self._info

    @property
    def ready(self) -> bool:
        """Whether a request submitted now starts without waiting for loading or warm-up."""
        return self._machine is not None and not self._closed

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def start(self) -> None:
        """Begin loading in the background and return at once; repeated calls do nothing."""
        with self._lock:
            self._check_process()
            if self._thread is not None or self._closed:
                return
            self._pid = os.getpid()
            self._thread = threading.Thread(target=self._run, name="xtts-engine", daemon=True)
            self._thread.start()
        atexit.register(_close, weakref.ref(self))

    def load(self, timeout: float | None = None) -> None:
        """See `Engine.load`."""
        self.start()
        budget = self._load_timeout if timeout is None else timeout
        if not self._settled.wait(budget):
            raise TimeoutError(
                f"model {self._info.model!r} is not loaded after {budget:g} s; loading goes on"
            )
        self._check_open()

    def submit(self, request: SpeechRequest, sink: Sink) -> Job:
        """See `Engine.submit`."""
        with self._lock:
            self._check_process()
            self._check_open()
            most = self._settings.slots + self._settings.queue
            if len(self._jobs) >= most:
                raise EngineBusyError(
                    f"all {self._settings.slots} slots and {self._settings.queue} places in the"
                    " queue are taken; try again, or give the engine more slots"
                )
            job = Job(request, sink, self._settings.clock, self._on_cancel, self._on_end)
            self._jobs.add(job)
            self._inbox.append(job)
        self._wake.set()
        self.start()
        return job

    def clone(self, reference: Sequence[ReferenceAudio], *, name: str = "voice") -> Future[Voice]:
        """See `Engine.clone`; waits for the model, on a thread of its own."""
        self.start()
        return self._cloner.submit(reference, name)

    def occupancy(self) -> float:
        """Share of the slots that are taken, waiting requests included; may pass 1."""
        return len(self._jobs) / self._settings.slots

    def close(self, timeout: float = 5.0) -> None:
        """See `Engine.close`. A loading that does not end is left behind, its result dropped."""
        with self._lock:
            self._closed = True
        self._wake.set()
        self._settled.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)
        self._cloner.close()
        # Whatever the engine's thread did not get to.
        self._fail_all(EngineClosedError("the engine was closed"))

    # ---- bookkeeping ----------------------------------------------------------------------

    def _check_process(self) -> None:
        if self._thread is not None and self._pid != os.getpid():
            raise EngineClosedError(
                "this engine was started in another process (before a fork): make one here"
            )

    def _check_open(self) -> None:
        if self._closed:
            raise EngineClosedError("the engine is closed")
        if self._error is not None:
            raise self._error

    def _on_cancel(self, job: Job) -> None:
        self._cancelled.append(job)
        self._wake.set()

    def _on_end(self, job: Job) -> None:
        self._jobs.discard(job)

    def _fail_all(self, error: SpeechError) -> None:
        for job in list(self._jobs):
            job.fail(error)

    # ---- the engine's thread --------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._wait_for_model()
            if self._closed:
                return
            if self._loaded is not None:
                machine = self._set_up(self._loaded)
                self._loaded = None
                self._serve(machine)
        except SpeechError as error:
            self._give_up(error)
        except Exception as error:
            logger.exception("the engine ended unexpectedly")
            failure = ModelError(f"the engine cannot run: {error}")
            failure.__cause__ = error
            self._give_up(failure)
        finally:
            self._end()

    def _give_up(self, error: SpeechError) -> None:
        with self._lock:
            self._error = error
        self._settled.set()
        self._fail_all(error)
        self._cloner.close(error)

    def _end(self) -> None:
        self._machine = None
        if self._closed:
            self._cloner.close()
            self._fail_all(EngineClosedError("the engine was closed"))

    def _wait_for_model(self) -> None:
        """Load on a thread of its own, so that cancels and `close` need not wait for the disk."""
        threading.Thread(target=self._load_model, name="xtts-load", daemon=True).start()
        deadline = self._settings.clock() + self._load_timeout
        told = False
        while not self._closed and self._loaded is None and self._error is None:
            left = deadline - self._settings.clock()
            self._wake.wait(max(0.0, left) if not told else None)
            self._wake.clear()
            self._reap_waiting()
            if not told and self._settings.clock() >= deadline and self._loaded is None:
                told = True
                self._fail_all(
                    EngineBusyError(
                        f"model {self._info.model!r} is not loaded after {self._load_timeout:g} s;"
                        " loading goes on, try again later"
                    )
                )
        if self._error is not None:
            raise self._error

    def _load_model(self) -> None:
        try:
            from livekit_xtts.engine.machine import pick_device

            device = pick_device(self._settings.device)
            self._loaded = models.load(self._source, device=device, seed=self._seed)
        except SpeechError as error:
            self._error = error
        except Exception as error:
            logger.debug("loading failed", exc_info=True)
            failure = ModelError(f"model {self._info.model!r} cannot be loaded: {error}")
            failure.__cause__ = error
            self._error = failure
        self._wake.set()

    def _set_up(self, loaded: models.Loaded) -> Machine:
        from livekit_xtts.engine.machine import Machine

        if self._threads is not None:
            use_threads(self._threads)
        began = self._settings.clock()
        machine = Machine(loaded, self._settings)
        machine.warm_up()
        self._info = machine.info
        self._machine = machine
        self._cloner.begin(machine.clone)
        self._settled.set()
        logger.info(
            "%s is ready on %s in %s: %d slots, %s",
            machine.info.model,
            machine.info.device,
            machine.info.precision,
            machine.info.slots,
            machine.describe(),
            extra={"setup_s": round(self._settings.clock() - began, 3), "processors": available()},
        )
        return machine

    def _serve(self, machine: Machine) -> None:
        scheduler = machine.scheduler
        while not self._closed:
            self._wake.clear()
            while self._inbox:
                scheduler.submit(self._inbox.popleft())
            while self._cancelled:
                scheduler.cancel(self._cancelled.popleft())
            if not scheduler.tick():
                self._wake.wait()
        scheduler.close()

    def _reap_waiting(self) -> None:
        while self._cancelled:
            job = self._cancelled.popleft()
            if not job.done:
                job.finish()
        self._inbox = deque(job for job in self._inbox if not job.done)


def _close(engine: Any) -> None:
    """At the interpreter's end: a thread inside torch must not outlive it."""
    found = engine()
    if found is not None:
        found.close(2.0)
