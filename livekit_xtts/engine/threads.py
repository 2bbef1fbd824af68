"""Numbers of CPU threads for the engine's own work, leaving the host's settings as they are.

torch keeps the number of threads by thread, and beside it a default for threads that come later.
Setting it changes both, so the default is put back from a thread that ends at once.

Forks: threads do not survive a fork, and a child of a process that has run parallel torch work
can hang in its first parallel work of its own. So nothing here, and nothing in the package, runs
torch before an engine starts; an engine belongs to the process that started it.
"""

from __future__ import annotations

import logging
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from livekit_xtts.engine import exits

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

ROUNDS = 5
"""Measurements of each number of threads; their median counts."""

LAYERS = 24
"""Convolutions of a measurement: some 25 ms on one thread."""

WORTHWHILE = 0.9
"""Several threads must take at most this part of one thread's time."""


_TURN_S = 0.1
"""A thread that waits can be told to end so often."""


def available() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def use_threads(count: int) -> None:
    """Let torch's work on the calling thread use `count` threads; other threads keep theirs."""
    import torch

    before = torch.get_num_threads()
    if count == before:
        return
    torch.set_num_threads(count)
    restore = threading.Thread(target=torch.set_num_threads, args=(before,), name="xtts-threads")
    restore.start()
    restore.join()


class _Guard:
    """Ends a thread when the interpreter ends: who waits for its work learns of it.

    Attributes:
        finished: Set by the thread as its last act.
    """

    def __init__(self, thread: threading.Thread) -> None:
        self._thread = thread
        self.finished = threading.Event()

    def leave(self) -> None:
        """See `exits.Leaves`."""
        exits.end([self._thread])


def elsewhere(work: Callable[[], Result], threads: int | None = None) -> Result:
    """The result of work done on a thread that ends with it; the caller waits.

    OpenMP keeps the helper threads of every thread that once ran in parallel. As soon as they are
    more than the processors, none of them waits for the next layer in a loop any more, and a
    vocoder's 250 layers each wake them by the system: measured, 40 ms a window more. Helpers end
    with the thread that they help. So of an engine's threads one alone keeps any.

    Args:
        work: Called once; what it raises is raised here.
        threads: Of torch, for this work; None for torch's own number.
    """
    future: Future[Result] = Future()

    def run() -> None:
        try:
            if threads is not None:
                use_threads(threads)
            future.set_result(work())
        except BaseException as error:  # Also of exits: the caller is the one who ends.
            future.set_exception(error)
        finally:
            guard.finished.set()

    thread = threading.Thread(target=run, name="xtts-set-up", daemon=True)
    guard = _Guard(thread)
    exits.at_exit(guard)
    thread.start()
    # Not by `join`: interrupted in it, Python 3.11 takes the thread for one that has ended.
    while not guard.finished.wait(_TURN_S):
        pass
    thread.join()
    return future.result()


def better_threads(
    most: int, probe: Callable[[int], float] | None = None, rounds: int = ROUNDS
) -> int:
    """One thread, or as many as there may be: what is quicker on this machine as busy as it is now.

    Threads of torch meet after every layer. Where another process keeps one of them from its
    processor, all the others wait: two threads can then take ten times as long as one.

    Args:
        most: Threads that could be used.
        probe: Seconds that layers like the vocoder's take with so many threads; None for torch's.
        rounds: Of measurements, one thread and many in turn, so that both meet the same company.
    """
    if most < 2:
        return most
    measure = probe or layers_s
    seconds: dict[int, list[float]] = {1: [], most: []}
    for _ in range(rounds):
        for count, times in seconds.items():
            times.append(measure(count))
    one, many = (statistics.median(times) for times in seconds.values())
    if many <= WORTHWHILE * one:
        return most
    logger.info(
        "one thread instead of %d: other work keeps them waiting for each other"
        " (probe: %.1f ms on one, %.1f ms on %d)",
        most,
        1e3 * one,
        1e3 * many,
        most,
    )
    return 1


def layers_s(count: int) -> float:
    """Seconds of some layers with so many threads of torch."""
    return elsewhere(_layers_s, count)


def _layers_s() -> float:
    import torch

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 64, 6000, generator=generator)
    weight = torch.randn(64, 64, 3, generator=generator) / 14.0
    with torch.inference_mode():
        torch.conv1d(x, weight, padding=1)
        began = time.perf_counter()
        for _ in range(LAYERS):
            x = torch.conv1d(x, weight, padding=1)
        return time.perf_counter() - began


def lower_priority() -> bool:
    """Make the calling thread give way to others; False where the system has no such thing."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
    except OSError:
        return False
    return True
