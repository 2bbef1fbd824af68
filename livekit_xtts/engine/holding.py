"""First chunks that wait for the next one, so that their listeners do not run dry at once."""

from __future__ import annotations

from collections.abc import Callable

from livekit_xtts.engine.job import Job
from livekit_xtts.engine.policy import Policy
from livekit_xtts.speech import SAMPLE_RATE


class Holding:
    """Who is kept waiting for first audio that is there already, and for how long.

    Args:
        policy: Decides.
        clock: Seconds, monotonic.
    """

    def __init__(self, policy: Policy, clock: Callable[[], float]) -> None:
        self._policy = policy
        self._clock = clock
        self._jobs: dict[Job, None] = {}

    def holds(self, job: Job, samples: int, streams: int) -> bool:
        """Whether a job's next audio is to be held back.

        Args:
            job: Whose audio it is.
            samples: Of it.
            streams: Requests in the engine.
        """
        if not job.starting or not job.request.streaming:
            return False
        lead = (job.held + samples) / SAMPLE_RATE
        held = self._policy.hold(job, lead, streams, self._clock())
        if held:
            self._jobs[job] = None
        return held

    def release(self) -> list[Job]:
        """Hand over what has been held back for as long as may be; returns whose it was.

        Without it a chunk would leave with the next one alone, which among many that start at once
        is as late as all their windows take.
        """
        if not self._jobs:
            return []
        now = self._clock()
        enough = [
            job for job in self._jobs if not job.starting or self._policy.held_enough(job, now)
        ]
        for job in enough:
            del self._jobs[job]
        released = [job for job in enough if job.starting and not job.done]
        for job in released:
            job.release()
        return released
