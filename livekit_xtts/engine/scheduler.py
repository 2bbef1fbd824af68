"""Continuous batching by playback deadline, as an object without threads.

`tick()` does one piece of work: one step of all rows that take part, one piece of a prompt, or the
vocoder windows that are due. Whoever drives it (the engine's thread, a test) calls it until it has
nothing to do. Which piece comes first:

1. a listener who is about to run dry,
2. a request whose listener has no audio yet, the oldest first,
3. the others, the one with the least slack first.

Nothing that decides about the order decides about numbers: a request's codes and windows are the
same in any company.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence

import torch

from livekit_xtts.engine.agenda import Agenda, Work
from livekit_xtts.engine.counters import Counters
from livekit_xtts.engine.ends import Ending, Ends
from livekit_xtts.engine.handover import together
from livekit_xtts.engine.holding import Holding
from livekit_xtts.engine.job import Job, Prepared
from livekit_xtts.engine.policy import Policy
from livekit_xtts.engine.prompts import Prompts
from livekit_xtts.engine.sampler import NOT_FINITE
from livekit_xtts.engine.schedule import ChunkSchedule
from livekit_xtts.engine.step import HostCopy, Rows, Stepper
from livekit_xtts.engine.waiting import WaitingRoom, too_late
from livekit_xtts.engine.windows import Due, Vocoder, WindowLane
from livekit_xtts.speech import EngineClosedError, EngineFailedError, Float32, SpeechError


class Scheduler:
    """Requests into audio, one piece of work at a time; not thread-safe but for `wake`'s queue.

    Args:
        stepper: Runs steps.
        prompts: Fills slots with prompts.
        vocoder: Decodes windows.
        prepare: Brings a request into the model's terms; its `SpeechError` fails the request.
        schedule: Where chunks are cut.
        slots: Requests in the model at once; the stepper has at least so many.
        positions: Most steps of one request.
        clock: Seconds, monotonic.
        streams: Requests in the model at once, where that is fewer than slots; others wait, so
            that one stream too many does not make the others run dry.
        ends: How requests may end; None as the model gives it.
        window_batch: Most vocoder windows in one batch.
        depth: Steps that may be launched ahead of the one that is read; 0 on a CPU.
    """

    def __init__(
        self,
        stepper: Stepper,
        prompts: Prompts,
        vocoder: Vocoder,
        prepare: Callable[[Job], Prepared],
        schedule: ChunkSchedule,
        *,
        slots: int,
        positions: int,
        clock: Callable[[], float],
        streams: int | None = None,
        ends: Ends | None = None,
        window_batch: int = 1,
        depth: int = 0,
    ) -> None:
        self.counters = Counters()
        self.stepper = stepper
        self.prompts = prompts
        self._vocoder = vocoder
        self._prepare = prepare
        self._schedule = schedule
        self._positions = positions
        self._clock = clock
        self._streams = streams or slots
        self._ends = ends or Ends.off()
        self._window_batch = window_batch
        self._depth = depth
        self._lane = WindowLane(stepper, vocoder)
        self._waiting = WaitingRoom(self._streams, clock)
        self._filling: list[Job] = []
        self._speaking: list[Job] = []
        self._draining: list[Job] = []
        self._free = list(range(slots - 1, -1, -1))
        self._flights: deque[tuple[tuple[Job, ...], HostCopy]] = deque()
        self._cancelled: deque[Job] = deque()
        self._pieces = 0  # Of prompts, since the last step.
        self._policy = Policy(schedule, slots)
        self._holding = Holding(self._policy, clock)
        self._agenda = Agenda(self._policy, self._lane.due)

    # ---- what others call -----------------------------------------------------------------

    def submit(self, job: Job) -> None:
        """Queue a request."""
        self._waiting.add(job)

    def cancel(self, job: Job) -> None:
        """Note a cancelled job; may be called from any thread."""
        self._cancelled.append(job)

    @property
    def jobs(self) -> list[Job]:
        """All requests that have not had their last event."""
        return [*self._waiting.jobs, *self._filling, *self._speaking, *self._draining]

    @property
    def taken(self) -> int:
        """Slots taken."""
        return len(self._filling) + len(self._speaking)

    def close(self, error: SpeechError | None = None) -> None:
        """End every request."""
        for job in self.jobs:
            job.fail(error or EngineClosedError("the engine was closed"))
            self._forget(job)

    @torch.no_grad()
    def tick(self) -> bool:
        """Do one piece of work; False when there was none."""
        self._reap()
        self._admit()
        self._deliver(wait=False)
        for released in self._holding.release():
            self._note(released)
        work, job = self._choose()
        if job is None:
            if self._flights:
                self._read()
            elif self._lane.flying:
                self._deliver(wait=True)
            else:
                return bool(self._cancelled)
            return True
        if work is Work.PIECE:
            self._pieces += 1
            self._fill(job)
        elif work is Work.WINDOW:
            self._decode(job)
        else:
            self._pieces = 0
            self._step(job)
        self._deliver(wait=False)
        return True

    # ---- coming and going -----------------------------------------------------------------

    def _reap(self) -> None:
        while self._cancelled:
            job = self._cancelled.popleft()
            if not job.done:
                job.finish()
                self._forget(job)
        for job in self._waiting.expired():
            job.fail(too_late(self._clock() - job.queued_at, self._streams))

    def wait_s(self, requests: int) -> float:
        """Seconds that one more request would wait for a slot, by how long others kept theirs.

        Args:
            requests: Already accepted.
        """
        return self._waiting.wait_s(requests)

    def _admit(self) -> None:
        while self._free and self._waiting and self.taken < self._streams:
            job = self._waiting.pop()
            try:
                job.prepared = self._prepare(job)
                job.voice = self.prompts.voice(job.prepared.voice)
                job.plan = self._vocoder.plan(job.request.speed)
                job.ending = Ending(self._ends, job.prepared.reading, job.request.speed)
                job.progress.cuts = self._schedule.cuts(
                    job.request.speed, job.request.streaming, job.plan, self._positions
                )
                progress = job.progress
                progress.slot = self._free.pop()
                self._filling.append(job)
                job.admitted_at = self._clock()
                self.stepper.sampler.assign(
                    progress.slot,
                    job.prepared.sampling,
                    job.prepared.seed,
                    job.prepared.stop_bias,
                )
                progress.prompt = self.prompts.begin(job)
                self._note(job)
            except Exception as error:
                self._fail(job, error, "preparing the request")

    def _fail(self, job: Job, error: Exception, doing: str) -> None:
        if not isinstance(error, SpeechError):
            failure = EngineFailedError(f"{doing} failed: {error}")
            failure.__cause__ = error
            error = failure
        job.fail(error)
        self._forget(job)

    def _forget(self, job: Job) -> None:
        """Take a job off every list and give its slot back."""
        self._waiting.drop(job)
        for jobs in (self._filling, self._speaking, self._draining):
            if job in jobs:
                jobs.remove(job)
        self._agenda.drop(job)
        job.progress.finished = True
        job.progress.embeddings = job.progress.tail = None
        self._give_back(job)

    def _give_back(self, job: Job) -> None:
        if job.progress.slot >= 0:
            self._waiting.left(job)
            self._free.append(job.progress.slot)
            job.progress.slot = -1

    # ---- choosing -------------------------------------------------------------------------

    def _choose(self) -> tuple[Work, Job | None]:
        work, job, in_need = self._agenda.choose(self._clock())
        if self._filling and work is not Work.PIECE:
            # However many listeners are in need, new ones' prompts get their share between steps.
            share = self._policy.prompt_s(len(self._speaking), in_need)
            if not self._pieces or (self._pieces + 1) * self._schedule.times.piece_s <= share:
                return Work.PIECE, self._filling[0]
        return work, job

    def _note(self, job: Job) -> None:
        self._agenda.note(job, len(self._speaking))

    # ---- working --------------------------------------------------------------------------

    def _fill(self, job: Job) -> None:
        jobs = self.prompts.together(job, self._filling)
        try:
            self._read_prompts(jobs)
        except Exception as error:
            if len(jobs) == 1:
                self._fail(job, error, "reading the prompt")
                return
            for each in jobs:  # One of them may be at fault: each once more, alone.
                try:
                    self._read_prompts([each])
                except Exception as failure:
                    self._fail(each, failure, "reading the prompt")
        self._catch_up()

    def _read_prompts(self, jobs: Sequence[Job]) -> None:
        ended, hidden = self.prompts.advance(jobs)
        self.counters.pieces += 1
        if not ended:
            return
        # A prompt's last position draws the first code.
        codes = self.stepper.first([job.progress.slot for job in ended], hidden)
        self._flights.append((tuple(ended), codes))
        for job in ended:
            job.progress.launched = 1
            self._filling.remove(job)
            self._speaking.append(job)
            self._note(job)

    def _step(self, job: Job) -> None:
        jobs = tuple(self._policy.company(job, self._speaking, self._clock()))
        if not jobs:
            return  # Cancelled since it was chosen.
        rows = [row.progress for row in jobs]
        table = Rows(
            tuple([row.slot for row in rows]),
            tuple([row.launched for row in rows]),
            tuple([row.prompt + row.launched - 1 for row in rows]),
        )
        try:
            self._flights.append((jobs, self.stepper.launch(table)))
        except Exception as error:
            self._failed_step(jobs, error)
            return
        for job, row in zip(jobs, rows, strict=True):
            row.launched += 1
            if row.launched == job.prepared.budget:  # type: ignore[union-attr]
                self._note(job)
        self.counters.steps += 1
        self.counters.rows += len(jobs)
        self._catch_up()

    def _catch_up(self) -> None:
        """Read the codes of all steps but the last few that may be ahead."""
        while len(self._flights) > self._depth:
            self._read()

    def _failed_step(self, jobs: tuple[Job, ...], error: Exception) -> None:
        self.counters.failed_steps += 1
        for job in jobs:
            if not job.done:
                self._fail(job, error, "a step of the model")

    def _read(self) -> None:
        """Read the oldest step's codes."""
        jobs, copy = self._flights.popleft()
        try:
            codes = copy.wait().tolist()
        except Exception as error:
            self._failed_step(jobs, error)
            return
        stop, rows = self.stepper.sampler.stop_code, len(self._speaking)
        passing = []
        for job, code in zip(jobs, codes, strict=True):
            progress = job.progress
            if progress.finished:
                continue
            latents = progress.latents + 1
            if 0 <= code != stop and latents < job.prepared.budget:  # type: ignore[union-attr]
                # Nearly every row of every step: as little as can be.
                progress.latents = latents
                progress.codes.append(code)
                if latents < progress.due_at:
                    passing.append(job)
                elif latents == progress.due_at:
                    self._agenda.note(job, rows)
                continue
            try:
                self._take(job, code)
            except Exception as error:
                self._fail(job, error, "ending the request's codes")
                continue
            if not job.done:
                self._agenda.note(job, rows)
        self._agenda.stepped(passing, rows)

    def _take(self, job: Job, code: int) -> None:
        progress, prepared = job.progress, job.prepared
        assert prepared is not None
        if code == NOT_FINITE:
            message = "the model gave values that are not finite; the request was ended"
            self._fail(job, EngineFailedError(message), "")
            return
        progress.latents += 1
        if code == self.stepper.sampler.stop_code:
            progress.stopped = True
        else:
            progress.codes.append(code)
        if not progress.stopped and progress.latents < prepared.budget:
            return
        # The codes are complete: what is left to decode is kept, and the slot is free at once.
        progress.finished = True
        last = job.plan.final_samples(progress.latents, True)
        start = job.plan.window(progress.decoded, last, progress.latents, True).code_start
        kept = self.stepper.latents(progress.slot, start, progress.latents).clone()
        progress.tail = (kept, start)
        self._speaking.remove(job)
        self._draining.append(job)
        self._give_back(job)
        if prepared.align is not None:
            prepared.align(job)

    def _decode(self, job: Job) -> None:
        jobs = [job]
        if self._window_batch > 1:
            others = self._agenda.windows(self._clock())
            jobs += [other for other in others if other is not job][: self._window_batch - 1]
        self.counters.windows += len(jobs)
        for failed, error in self._lane.run(jobs):
            self._fail(failed, error, "decoding")
        for decoded in jobs:
            if not decoded.done:
                self._note(decoded)

    def _holds(self, job: Job, samples: int) -> bool:
        """Whether a job's first audio waits for what follows it."""
        streams = self._policy.rivals(self._speaking, self._clock())
        streams += len(self._filling) + len(self._draining)
        return self._holding.holds(job, samples, streams)

    def _deliver(self, wait: bool) -> None:
        if self._lane.flying:
            with together():
                self._hand_out(self._lane.collect(wait))

    def _hand_out(self, decoded: Iterable[tuple[Due, Float32 | EngineFailedError]]) -> None:
        for due, audio in decoded:
            job = due.job
            if job.done:
                continue
            if isinstance(audio, EngineFailedError):
                self._fail(job, audio, "decoding")
                continue
            capped = due.final and not job.progress.stopped
            out, over = job.ending.feed(audio, due.final, capped)
            codes = min(due.codes, len(job.progress.codes))
            if over and not due.final:
                # The rest would be silence; where that is seen does not depend on the company.
                del job.progress.codes[codes:]
                job.progress.stopped, job.words = False, None
                if (align := job.prepared.align) is not None:  # type: ignore[union-attr]
                    align(job)
            held = not over and job.starting and self._holds(job, out.size)
            job.send(out, codes, over, held)
            if over:
                job.conclude()
                self._forget(job)
            else:
                self._note(job)
