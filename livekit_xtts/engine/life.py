"""What engines with a model in this process share: one daemon thread, and a life around it."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from livekit_xtts.engine import exits
from livekit_xtts.engine.cloner import Cloner, Make
from livekit_xtts.engine.engine import Sink
from livekit_xtts.engine.job import Job
from livekit_xtts.engine.machinery import Machinery, Schedules
from livekit_xtts.engine.threads import available, use_threads
from livekit_xtts.engine.waiting import too_late
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
    from livekit_xtts.engine.offload import Residence

logger = logging.getLogger(__name__)


class ThreadedEngine:
    """An engine whose model is driven by one daemon thread. Subclasses load and assemble it.

    Nothing is loaded, and no thread started, before `start()`, `load()` or the first request. An
    engine that has started belongs to its process: a forked child makes its own, and may do so
    only if the parent has not run one (a child of a process with parallel torch work behind it can
    hang).

    Args:
        info: What is known before loading.
        threads: CPU threads of torch's work on the engine's thread; None for torch's own number.
        load_timeout: Seconds that loading may take; then waiting requests fail, loading goes on.
        max_wait_s: Longest wait of a request for a slot, where it does not say itself.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        info: EngineInfo,
        *,
        threads: int | None = None,
        load_timeout: float = 300.0,
        max_wait_s: float = math.inf,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if info.slots < 1 or info.queue < 0:
            raise ModelError(
                f"slots={info.slots} and queue={info.queue}: use 1 or more, and 0 or more"
            )
        if threads is not None and threads < 1:
            raise ModelError(f"threads={threads}: use 1 or more, or None")
        self._info = info
        self._streams = info.slots
        self._threads = threads
        self._load_timeout = load_timeout
        self._max_wait_s = max_wait_s
        self._clock = clock
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._settled = threading.Event()
        self._jobs: set[Job] = set()
        self._inbox: deque[Job] = deque()
        self._cancelled: deque[Job] = deque()
        self._cloner = Cloner()
        self._machine: Any = None
        self._loaded: Any = None
        self._error: SpeechError | None = None
        self._closed = False
        self._thread: threading.Thread | None = None
        self._loader: threading.Thread | None = None
        self._pid = os.getpid()

    # ---- what subclasses say --------------------------------------------------------------

    def _load(self) -> Any:
        """Load from disk, on a thread of its own; what is returned goes to `_assemble`."""
        raise NotImplementedError

    def _assemble(self, loaded: Any) -> Machinery:
        """Put everything together and warm it up, on the engine's thread."""
        raise NotImplementedError

    def _wanted_threads(self, loaded: Any) -> int | None:
        """CPU threads of the engine's thread; None for torch's own number. On that thread."""
        return self._threads

    def _wait_s(self) -> float:
        """Seconds that a request submitted now would wait for a slot, as far as that is known."""
        return 0.0

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

    @property
    def failed(self) -> bool:
        """Whether loading has failed; another engine may do better once the cause is mended."""
        return self._error is not None

    def start(self) -> None:
        """Begin loading in the background and return at once; repeated calls do nothing."""
        with self._lock:
            self._check_process()
            if self._thread is not None or self._closed:
                return
            self._pid = os.getpid()
            self._thread = threading.Thread(target=self._run, name="xtts-engine", daemon=True)
            self._thread.start()
        exits.at_exit(self)

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
            most = self._info.slots + self._info.queue
            if len(self._jobs) >= most:
                raise EngineBusyError(
                    f"all {self._info.slots} slots and {self._info.queue} places in the"
                    " queue are taken; try again, or give the engine more slots"
                )
            limit = self._max_wait_s if request.max_wait_s is None else request.max_wait_s
            wait = self._wait_s()
            if wait > limit:
                raise too_late(wait, self._streams)
            job = Job(request, sink, self._clock, self._on_cancel, self._on_end, limit)
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
        """Share of the slots that are taken, waiting requests included; may pass 1.

        Where the machine sustains fewer streams than there are slots, the share of those.
        """
        return len(self._jobs) / self._streams

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

    def leave(self) -> None:
        """The interpreter ends: nobody listens any more, and no thread may outlive it."""
        for job in list(self._jobs):
            job.abandon()
        with self._lock:
            self._closed = True
        self._wake.set()
        self._settled.set()
        self._cloner.close()
        exits.end((self._thread, self._loader, self._cloner.thread))

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
        if not self._jobs:
            self._wake.set()  # Idleness is counted from here.

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
        machine, self._machine = self._machine, None
        if machine is not None and machine.residence is not None:
            machine.residence.close()
        if self._closed:
            self._cloner.close()
            self._fail_all(EngineClosedError("the engine was closed"))

    def _wait_for_model(self) -> None:
        """Load on a thread of its own, so that cancels and `close` need not wait for the disk."""
        self._loader = threading.Thread(target=self._load_model, name="xtts-load", daemon=True)
        self._loader.start()
        deadline = self._clock() + self._load_timeout
        told = False
        while not self._closed and self._loaded is None and self._error is None:
            left = deadline - self._clock()
            self._wake.wait(max(0.0, left) if not told else None)
            self._wake.clear()
            self._reap_waiting()
            if not told and self._clock() >= deadline and self._loaded is None:
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
            self._loaded = self._load()
        except SpeechError as error:
            self._error = error
        except Exception as error:
            logger.debug("loading failed", exc_info=True)
            failure = ModelError(f"model {self._info.model!r} cannot be loaded: {error}")
            failure.__cause__ = error
            self._error = failure
        self._wake.set()

    def _set_up(self, loaded: Any) -> Machinery:
        began = self._clock()
        threads = self._wanted_threads(loaded)
        if threads is not None:
            use_threads(threads)
        machine = self._assemble(loaded)
        self._info = machine.info
        self._machine = machine
        self._streams = machine.streams
        self._cloner.begin(self._maker(machine))
        self._settled.set()
        logger.info(
            "%s is ready on %s in %s: %d slots, %s",
            machine.info.model,
            machine.info.device,
            machine.info.precision,
            machine.info.slots,
            machine.describe(),
            extra={"setup_s": round(self._clock() - began, 3), "processors": available()},
        )
        return machine

    def _serve(self, machine: Machinery) -> None:
        scheduler, residence = machine.scheduler, machine.residence
        while not self._closed:
            self._wake.clear()
            while self._inbox:
                scheduler.submit(self._inbox.popleft())
            while self._cancelled:
                scheduler.cancel(self._cancelled.popleft())
            if residence is not None and not self._at_home(residence, scheduler):
                continue
            if not scheduler.tick():
                self._rest(residence)
        scheduler.close()

    def _maker(self, machine: Machinery) -> Make:
        """Clones voices where the model is at home."""
        residence = machine.residence
        if residence is None:
            return machine.clone

        def clone(references: Sequence[ReferenceAudio], name: str) -> Voice:
            with residence.held(self._wake.set):
                return machine.clone(references, name)

        return clone

    def _at_home(self, residence: Residence, scheduler: Schedules) -> bool:
        """Have the model on its device if there is work for it; False where that failed."""
        if not (residence.wanted or any(not job.cancelled for job in list(self._jobs))):
            return True
        residence.busy()
        if residence.away:
            try:
                residence.come_back(lambda: self._closed)
            except SpeechError as error:
                scheduler.close(error)
                return False
        return True

    def _rest(self, residence: Residence | None) -> None:
        """Wait for work; after long enough, the model leaves its device."""
        due = None if residence is None or self._jobs else residence.due_s()
        if residence is None or due is None or due > 0.0:
            self._wake.wait(due)
        else:
            residence.leave(lambda: self._closed or bool(self._jobs))

    def _reap_waiting(self) -> None:
        while self._cancelled:
            job = self._cancelled.popleft()
            if not job.done:
                job.finish()
        self._inbox = deque(job for job in self._inbox if not job.done)
