"""Who comes first, who takes part in a step, and when a first chunk had better wait."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import nsmallest

from livekit_xtts.engine.job import Job
from livekit_xtts.engine.schedule import ChunkSchedule
from livekit_xtts.speech import CODE_SECONDS, SAMPLE_RATE

COMFORTABLE_SECONDS = 1.0
"""A row with more audio ahead than this waits while another row's listener is in need."""

HOLD_SECONDS = 0.85
"""A first chunk is held back at most until so long after its request came."""

PROMISED_SECONDS = 0.95
"""A listener who has waited so long for first audio counts like one who runs dry."""

LOOK_AHEAD = 8
"""Chunks played through in advance to see whether a listener would run dry."""

CROWD, FILLED = 64, (1.0, 4.0)
"""Among so many rows a step is filled up, with those that have the least audio ahead, until its
rows cost so many times what a step costs besides: for a stream without audio, and for others."""

PROMPT_SHARE = (1.0, 0.25)
"""Prompts get at least this part of a step's time between two steps, while requests wait for them:
where all listeners have enough ahead, and where one is about to run dry. At least one piece."""

SUSTAINED = 0.95
"""Part of the time that the streams' work may take up."""


def can_step(job: Job) -> bool:
    """Whether the job has a further step to make; never once its cancel is asked for."""
    assert job.prepared is not None
    more = not job.progress.finished and job.progress.launched < job.prepared.budget
    return more and not job.cancelled


def next_cut(job: Job) -> int:
    """Codes at which the job's next window ends, as far as that can be known."""
    progress = job.progress
    assert job.prepared is not None
    if progress.cut < len(progress.cuts):
        return min(progress.cuts[progress.cut], job.prepared.budget)
    return job.prepared.budget


def sustainable_streams(schedule: ChunkSchedule, slots: int) -> int:
    """Streams that this machine can speak at once in real time, by the measured times.

    Args:
        schedule: Has the times and the profile.
        slots: The most there can be.

    Returns:
        1 … slots; 1 also where the machine is slower than speech.
    """
    times, most = schedule.times, schedule.profile.most
    for streams in range(slots, 1, -1):
        if times.chunk(most, streams) <= SUSTAINED * most * CODE_SECONDS:
            return streams
    return 1


class Policy:
    """Decides by playback deadlines; changes when things happen, never what comes out.

    Args:
        schedule: Has the times and the profile.
        slots: Slots of the engine.
    """

    def __init__(self, schedule: ChunkSchedule, slots: int) -> None:
        self._times = schedule.times
        self._margin = schedule.profile.margin
        # Work once begun is not interrupted: a listener is in need this long before silence.
        times = self._times
        self._window_s = times.window(schedule.profile.most)
        self._reserve = 2.0 * max(times.piece_s, times.step(slots), self._window_s)

    def latest(self, job: Job, rows: int) -> float:
        """When the job's next work must begin, at the latest, for its listener not to run dry.

        Args:
            job: Has sent audio.
            rows: Rows of a step.
        """
        progress = job.progress
        steps = 0 if progress.finished else max(0, progress.due_at - progress.latents)
        return job.runs_dry_at() - steps * self._times.step(rows) - self._window_s

    def latest_start(self, submitted_at: float) -> float:
        """When the first chunk of a request must begin to be decoded, at the latest.

        Args:
            submitted_at: When the request came.
        """
        return submitted_at + PROMISED_SECONDS - self._window_s

    def step_s(self, rows: int) -> float:
        """Seconds of a step."""
        return self._times.step(rows)

    def in_need(self, latest: float, now: float) -> bool:
        """Whether a listener whose work must begin at `latest` comes before all others."""
        return latest - now < self._reserve

    def prompt_s(self, rows: int, in_need: bool) -> float:
        """Seconds that prompts may take between two steps before other work.

        Args:
            rows: Rows of a step.
            in_need: Whether a listener is about to run dry.
        """
        return PROMPT_SHARE[in_need] * self._times.step(rows)

    def company(self, job: Job, speaking: Sequence[Job], now: float) -> list[Job]:
        """The rows of the next step: all, or only those in need while a listener is in need.

        Args:
            job: The job whose step it is.
            speaking: All that have a slot and a prompt in it.
            now: The clock.
        """
        rows = [  # As `can_step`, without a call a row.
            row
            for row in speaking
            if row.progress.launched < row.prepared.budget  # type: ignore[union-attr]
            and not (row.progress.finished or row.cancelled)
        ]
        if 4 * self._times.row_s * len(rows) < self._times.step_s:
            return rows  # Where a row costs next to nothing, all go along.
        if not job.starting and not self.in_need(self.latest(job, len(rows)), now):
            return rows
        soon = now + COMFORTABLE_SECONDS
        needy = [
            row
            for row in rows
            if row.first_audio_at is None
            or row is job
            or row.first_audio_at + row.sent / SAMPLE_RATE < soon
        ]
        if len(rows) < CROWD:
            return needy
        # Steps of few rows, one after another, would be mostly what any step costs.
        filled = FILLED[not job.starting]
        room = min(len(rows), int(filled * self._times.step_s / self._times.row_s)) - len(needy)
        if room > 0:
            taken = set(needy)
            others = (row for row in rows if row not in taken)
            needy += nsmallest(room, others, key=Job.runs_dry_at)
        return needy

    def rivals(self, speaking: Sequence[Job], now: float) -> int:
        """Streams that take part in the next steps, as far as that can be told.

        Args:
            speaking: All that have a slot and a prompt in it.
            now: The clock.
        """
        if len(speaking) < CROWD:
            return len(speaking)
        # In a crowd those who have enough ahead let others go first (see `company`).
        soon = now + COMFORTABLE_SECONDS
        return sum(row.starting or row.runs_dry_at() < soon for row in speaking)

    def held_enough(self, job: Job, now: float) -> bool:
        """Whether a first chunk must not be held back any longer.

        Args:
            job: Has no audio sent yet.
            now: The clock.
        """
        return now - job.submitted_at >= HOLD_SECONDS

    def hold(self, job: Job, lead: float, streams: int, now: float) -> bool:
        """Whether a first chunk should wait for the next one, because in this company the listener
        would run dry.

        Args:
            job: Has no audio sent yet; its next cut is that of the chunk after.
            lead: Seconds of audio in hand.
            streams: Requests in the engine.
            now: The clock.
        """
        progress = job.progress
        assert job.prepared is not None
        if streams < 2 or progress.finished or self.held_enough(job, now):
            return False
        done, made = progress.latents, progress.decoded
        for cut in progress.cuts[progress.cut : progress.cut + LOOK_AHEAD]:
            codes = max(0, min(cut, job.prepared.budget) - done)
            work = codes * self._times.step(streams) + self._times.windows(streams, max(codes, 1))
            lead -= self._margin * work
            if lead < 0.0:
                return True
            final = job.plan.final_samples(cut, False)
            lead += max(0, final - made) / SAMPLE_RATE
            done, made = max(done, cut), max(made, final)
        return False
