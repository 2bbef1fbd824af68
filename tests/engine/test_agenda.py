"""What is kept of every request's next work is what looking at all of them would give."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

from livekit_xtts.engine.agenda import Work
from livekit_xtts.engine.job import Job
from livekit_xtts.engine.policy import can_step
from livekit_xtts.engine.windows import WindowLane
from tests.engine.fakes import TIMES, Rig, request


def work_of(job: Job) -> Work | None:
    """A request's next work, looked at afresh."""
    progress = job.progress
    if progress.filled < progress.prompt:
        return Work.PIECE
    if WindowLane.due(job) is not None:
        return Work.WINDOW
    return Work.STEP if can_step(job) else None


@pytest.mark.parametrize(("depth", "window_batch"), [(0, 1), (1, 4)])
def test_the_agenda_is_what_a_look_at_all_requests_gives(depth: int, window_batch: int) -> None:
    checked = 0
    for schedule in range(30):
        chance = random.Random(f"{schedule} {depth}")
        rig = Rig(slots=chance.choice((2, 4, 8)), depth=depth, window_batch=window_batch)
        seeds = [chance.randrange(40) for _ in range(8)]
        agenda, scheduler = rig.scheduler._agenda, rig.scheduler
        running: list[Job] = []
        while seeds or scheduler.jobs:
            if seeds and chance.random() < 0.2:
                running.append(rig.submit(request(seeds.pop()))[0])
            if running and chance.random() < 0.02:
                chance.choice(running).cancel()
                scheduler.tick()
            scheduler.tick()
            active = [*scheduler._filling, *scheduler._speaking, *scheduler._draining]
            expected = {job: work for job in active if (work := work_of(job)) is not None}
            if any(job.cancelled for job in active):
                continue  # Noted at the next tick.
            assert agenda._work == expected
            assert set(agenda._windows) == {j for j, w in expected.items() if w is Work.WINDOW}
            _, job, in_need = agenda.choose(rig.clock())
            assert (job is None) == (not expected)
            if job is None:
                continue
            checked += 1
            starting = [j for j in expected if j.starting]
            policy, now = scheduler._policy, rig.clock()
            waited = [policy.latest_start(j.submitted_at) for j in starting]
            least = min(agenda._started.of.values(), default=math.inf)
            overdue = bool(waited) and min(waited) < least and policy.in_need(min(waited), now)
            if job.starting:
                assert overdue or not in_need
                assert job.submitted_at == min(j.submitted_at for j in starting)
            else:
                assert (in_need and not overdue) or not starting
                assert agenda._started.of[job] == least
    assert checked > 1000


def test_prompts_do_not_starve_among_many_that_start() -> None:
    """Sixty requests at once: their prompts are read before the first few have long speeches."""
    rig = Rig(slots=60, times=replace(TIMES, piece_s=0.002))
    rig.runner.endless = True
    jobs = [rig.submit(request(seed, max_codes=90))[0] for seed in range(60)]
    while any(job.progress.filled < job.progress.prompt or not job.prepared for job in jobs):
        rig.scheduler.tick()
    assert max(job.progress.latents for job in jobs) <= 20
