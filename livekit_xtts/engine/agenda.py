"""Every request's next piece of work and how urgent it is, kept up to date where something changed.

With a thousand live requests and some twenty pieces of work between two steps, looking at every
request before each piece would cost more than a step of the model takes. So a request is looked at
when it has changed (`note`), and the most urgent one is remembered.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterable, Sequence

from livekit_xtts.engine.job import Job
from livekit_xtts.engine.policy import Policy, can_step, next_cut


class Work(enum.Enum):
    """The pieces of work that a tick can do."""

    PIECE = enum.auto()
    WINDOW = enum.auto()
    STEP = enum.auto()


class _Ranks:
    """Ranks of jobs and the job with the least of them."""

    def __init__(self) -> None:
        self.of: dict[Job, float] = {}
        self._least: Job | None = None

    def set(self, job: Job, rank: float) -> None:
        """Give a job a rank."""
        least = self._least
        self.of[job] = rank
        if job is least:
            self._least = None  # Another may have less now.
        elif least is not None and rank < self.of[least]:
            self._least = job

    def drop(self, job: Job) -> None:
        """Forget a job, known or not."""
        if self.of.pop(job, None) is not None and job is self._least:
            self._least = None

    def later(self, jobs: Iterable[Job], seconds: float) -> None:
        """Add to the ranks of those of the jobs that have one."""
        of = self.of
        for job in jobs:
            if job in of:
                of[job] += seconds
        self._least = None

    def least(self) -> tuple[Job | None, float]:
        """The job with the least rank; None and infinity where there is none."""
        if self._least is None:
            if not self.of:
                return None, math.inf
            self._least = min(self.of, key=self.of.__getitem__)
        return self._least, self.of[self._least]


class Agenda:
    """The requests that have something to do next.

    Args:
        policy: Says how urgent each is.
        due: Whether a job's next window can be decoded.
    """

    def __init__(self, policy: Policy, due: Callable[[Job], object]) -> None:
        self._policy = policy
        self._due = due
        self._work: dict[Job, Work] = {}
        self._windows: dict[Job, None] = {}
        self._starting = _Ranks()
        self._started = _Ranks()

    def note(self, job: Job, rows: int) -> None:
        """Look at a job again.

        Args:
            job: Has changed: pieces, codes, windows, audio sent.
            rows: Rows of a step.
        """
        job.progress.due_at = next_cut(job)
        work = self._next(job)
        if work is None:
            self.drop(job)
            return
        self._work[job] = work
        if work is Work.WINDOW:
            self._windows[job] = None
        else:
            self._windows.pop(job, None)
        if job.first_audio_at is None:
            self._starting.set(job, job.submitted_at)
        else:
            self._starting.drop(job)
            self._started.set(job, self._policy.latest(job, rows))

    def stepped(self, jobs: Sequence[Job], rows: int) -> None:
        """Jobs have one latent more and the same work before them, less this one step.

        Args:
            jobs: None of them has come to where its next window is due.
            rows: Rows of a step.
        """
        self._started.later(jobs, self._policy.step_s(rows))

    def drop(self, job: Job) -> None:
        """The job has nothing to do, for now or for ever."""
        if self._work.pop(job, None) is not None:
            self._windows.pop(job, None)
            self._starting.drop(job)
            self._started.drop(job)

    def choose(self, now: float) -> tuple[Work, Job | None, bool]:
        """The most urgent piece of work: in need, without audio yet, the others.

        Args:
            now: The clock.

        Returns:
            The piece, whose it is (None where there is nothing to do), and whether a listener is
            about to run dry.
        """
        job, latest = self._started.least()
        first, submitted_at = self._starting.least()
        in_need = self._policy.in_need(latest, now)
        if first is not None:
            due = self._policy.latest_start(submitted_at)
            if not in_need or (due < latest and self._policy.in_need(due, now)):
                job = first
        return (Work.STEP if job is None else self._work[job]), job, in_need

    def windows(self, now: float) -> list[Job]:
        """The jobs with a window to decode, the most urgent first.

        Args:
            now: The clock.
        """

        def rank(job: Job) -> tuple[int, float]:
            starting = job.first_audio_at is None
            if starting:
                latest = self._policy.latest_start(job.submitted_at)
            else:
                latest = self._started.of[job]
            return (0 if self._policy.in_need(latest, now) else 1 if starting else 2), latest

        return sorted(self._windows, key=rank)

    def _next(self, job: Job) -> Work | None:
        progress = job.progress
        if progress.filled < progress.prompt:
            return Work.PIECE
        if self._due(job) is not None:
            return Work.WINDOW
        return Work.STEP if can_step(job) else None
