"""Requests that wait for a slot: how long they may, and how long a new one would have to."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from livekit_xtts.engine.job import Job
from livekit_xtts.speech import EngineBusyError

_WEIGHT = 0.2
"""Of the latest request in the mean time that requests keep a slot."""


class WaitingRoom:
    """A queue in which nobody waits beyond their time.

    Args:
        streams: Requests that are spoken at once.
        clock: Seconds, monotonic.
    """

    def __init__(self, streams: int, clock: Callable[[], float]) -> None:
        self._streams = streams
        self._clock = clock
        self._jobs: deque[Job] = deque()
        self._expires = math.inf
        self._kept_s = 0.0

    def __len__(self) -> int:
        """Requests that wait."""
        return len(self._jobs)

    def __bool__(self) -> bool:
        """Whether any request waits."""
        return bool(self._jobs)

    @property
    def jobs(self) -> list[Job]:
        """Those who wait, the first first."""
        return list(self._jobs)

    def add(self, job: Job) -> None:
        """Queue a request; its time begins now."""
        job.queued_at = self._clock()
        self._jobs.append(job)
        self._expires = min(self._expires, job.queued_at + job.max_wait_s)

    def pop(self) -> Job:
        """The first."""
        return self._jobs.popleft()

    def drop(self, job: Job) -> None:
        """Forget a request, waiting or not."""
        if job in self._jobs:
            self._jobs.remove(job)

    def expired(self) -> list[Job]:
        """Take out those whose time is over."""
        now = self._clock()
        if now < self._expires:
            return []
        over = [job for job in self._jobs if job.queued_at + job.max_wait_s <= now]
        self._jobs = deque(job for job in self._jobs if job not in over)
        times = (job.queued_at + job.max_wait_s for job in self._jobs)
        self._expires = min(times, default=math.inf)
        return over

    def left(self, job: Job) -> None:
        """Learn from a request that gives its slot back."""
        if job.admitted_at is None:
            return
        kept = self._clock() - job.admitted_at
        self._kept_s += (_WEIGHT if self._kept_s else 1.0) * (kept - self._kept_s)

    def wait_s(self, requests: int) -> float:
        """Seconds that one more request would wait; 0 while nothing has been measured.

        Args:
            requests: Already accepted.
        """
        # The first slot to come free is half used up, on an average.
        return max(0.0, requests + 0.5 - self._streams) * self._kept_s / self._streams


def too_late(wait_s: float, streams: int) -> EngineBusyError:
    """The refusal of a request that could not start in time."""
    return EngineBusyError(
        f"the engine speaks {streams} at once, all are taken, and the queue is {wait_s:.1f} s long:"
        " longer than the request may wait; try again, or give the engine more hardware"
    )
