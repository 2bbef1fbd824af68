"""Admission by measured times, held-back first chunks, and load for LiveKit's worker."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from livekit_xtts.engine import policy
from livekit_xtts.engine.load import load_fnc
from livekit_xtts.engine.policy import (
    HOLD_SECONDS,
    PROMISED_SECONDS,
    Policy,
    sustainable_streams,
)
from livekit_xtts.engine.schedule import PROFILES, ChunkSchedule, StepTimes
from livekit_xtts.speech import SAMPLE_RATE, EngineBusyError, SpeechDone
from tests.engine.fakes import HOP, TIMES, Rig, request
from tests.fake_engine import FakeEngine

CODE_S = 1024 / 22_050
BUSY = StepTimes(step_s=0.012, row_s=0.004, window_s=0.002, window_code_s=0.001, piece_s=0.03)
"""About what three streams at once can live with."""


def test_streams_are_those_whose_work_fits_their_time() -> None:
    schedule = ChunkSchedule(PROFILES["balanced"], BUSY)
    streams = sustainable_streams(schedule, 16)
    most = PROFILES["balanced"].most
    assert 2 < streams < 16
    assert BUSY.chunk(most, streams) <= most * CODE_S < BUSY.chunk(most, streams + 1) / 0.95
    slow = replace(BUSY, step_s=0.1)
    assert sustainable_streams(ChunkSchedule(PROFILES["balanced"], slow), 16) == 1


def test_one_stream_too_many_waits_for_another_to_end() -> None:
    rig = Rig(slots=8, streams=2)
    rig.runner.endless = True
    jobs = [rig.submit(request(seed, max_codes=20))[0] for seed in range(4)]
    most = 0
    while rig.scheduler.tick():
        most = max(most, rig.scheduler.taken)
    assert most == 2 and all(job.done for job in jobs)


def underruns(rig: Rig, count: int) -> tuple[list[float], list[float]]:
    """Requests that start together: the worst hole and the first audio of each, in seconds."""
    began = rig.clock()
    listeners = [rig.submit(request(seed, max_codes=90))[1] for seed in range(count)]
    rig.run()
    holes, firsts = [], []
    for listener in listeners:
        start, heard, worst = listener.times[0], 0, 0.0
        for chunk, at in zip(listener.chunks, listener.times, strict=True):
            worst = max(worst, at - start - heard / SAMPLE_RATE) if heard else 0.0
            heard += chunk.audio.size
        holes.append(worst)
        firsts.append(start - began)
    return holes, firsts


def test_first_chunks_wait_where_company_would_make_them_run_dry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def rig() -> Rig:
        made = Rig(slots=4, times=BUSY)
        made.runner.endless = True
        return made

    holes, firsts = underruns(rig(), 3)
    assert max(holes) <= 0.1
    assert max(firsts) <= HOLD_SECONDS + max(BUSY.window(20), BUSY.piece_s)
    alone, _ = underruns(rig(), 1)
    assert alone == [0.0]
    patched: Any = rig()
    monkeypatch.setattr(patched.scheduler._policy, "hold", lambda *_: False)
    unheld, _ = underruns(patched, 3)
    assert max(unheld) > max(holes), "without holding back, the listeners hear holes"


def test_the_last_of_many_listeners_gets_first_audio_as_promised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Five at once take up nine tenths of the machine, so that somebody is always in need."""
    times = StepTimes(
        step_s=0.009,
        row_s=0.001,
        window_s=0.005,
        window_code_s=0.0036,
        piece_s=0.025,
        context_codes=0,
    )

    def starts(promised: float) -> tuple[list[float], list[float]]:
        made = Rig(slots=5, times=times)
        made.runner.endless = True

        def decode(items: Any) -> list[torch.Tensor]:
            """Costs what its new samples do: layers keep what they need again."""
            for _, _, window in items:
                made.clock.now += times.window((window.last - window.first) / HOP)
            return [torch.zeros(window.last - window.first) for _, _, window in items]

        monkeypatch.setattr(made.vocoder, "decode", decode)
        monkeypatch.setattr(policy, "PROMISED_SECONDS", promised)
        return underruns(made, 5)

    holes, firsts = starts(PROMISED_SECONDS)
    # What is held back leaves on the clock, once the piece of work in hand is done.
    assert max(firsts) <= HOLD_SECONDS + times.window(20)
    assert max(holes) <= 0.1
    _, unpromised = starts(60.0)
    assert max(unpromised) > max(firsts)


def test_load_is_the_fullest_engine_and_at_most_one() -> None:
    engine = FakeEngine()
    load = load_fnc(engine)
    assert load() == load("worker") == 0.0
    full = FakeEngine()
    full.occupancy = lambda: 1.5  # type: ignore[method-assign]
    assert load_fnc(engine, full)() == 1.0
    assert load_fnc()() == 0.0


def test_nobody_waits_beyond_their_time() -> None:
    rig = Rig(slots=8, streams=1)
    rig.runner.endless = True
    _, speaking = rig.submit(request(0, max_codes=90))
    rig.scheduler.tick()
    (short, brief), (long, patient) = rig.submit(request(1)), rig.submit(request(2))
    short.max_wait_s = 0.5
    rig.scheduler._waiting._expires = rig.clock() + 0.5
    began = rig.clock()
    while brief.last is None:
        assert rig.scheduler.tick()
    assert isinstance(brief.error, EngineBusyError) and brief.error.retryable
    # A piece of work that has begun is not interrupted.
    assert 0.5 <= rig.clock() - began < 0.5 + max(TIMES.step(1), TIMES.window(20), TIMES.piece_s)
    rig.run()
    assert isinstance(speaking.last, SpeechDone) and isinstance(patient.last, SpeechDone)
    assert long.admitted_at is not None and long.admitted_at - began > 0.5


def test_the_wait_of_one_more_is_known_from_how_long_others_took() -> None:
    rig = Rig(slots=2)
    assert rig.scheduler.wait_s(10) == 0.0, "nothing is known yet"
    rig.runner.endless = True
    for seed in range(2):
        rig.submit(request(seed, max_codes=30))
    rig.run()
    kept = rig.scheduler._waiting._kept_s
    assert 30 * TIMES.step(1) < kept < 90 * TIMES.step(2)
    assert rig.scheduler.wait_s(1) == 0.0, "a slot is free"
    # Two speak: the first to end does so after half a turn; three wait before this one.
    assert rig.scheduler.wait_s(2) == pytest.approx(0.25 * kept)
    assert rig.scheduler.wait_s(5) == pytest.approx(1.75 * kept)


CARD = StepTimes(step_s=0.001, row_s=1e-5, window_s=0.001, window_code_s=1e-5, batch=64)
"""Where rows cost a hundredth of a step."""


class Row:
    """What the policy looks at in a job that speaks."""

    def __init__(self, now: float, ahead: float) -> None:
        self.progress = SimpleNamespace(launched=3, finished=False, due_at=9, latents=3)
        self.prepared = SimpleNamespace(budget=50)
        self.cancelled = self.starting = False
        self.first_audio_at = now - 1.0
        self.sent = round((1.0 + ahead) * SAMPLE_RATE)

    def runs_dry_at(self) -> float:
        return self.first_audio_at + self.sent / SAMPLE_RATE


def crowd(rows: int, comfortable: int, now: float) -> list[Any]:
    """Rows of which the first few have more ahead the later they come, the others next to none."""
    return [Row(now, 2.0 + index if index < comfortable else 0.02) for index in range(rows)]


@pytest.mark.parametrize(("starting", "expected"), [(False, 400), (True, 100)])
def test_steps_in_a_crowd_are_filled_up(
    monkeypatch: pytest.MonkeyPatch, starting: bool, expected: int
) -> None:
    made = Policy(ChunkSchedule(PROFILES["throughput"], CARD, 1000), 1000)
    monkeypatch.setattr(policy.Job, "runs_dry_at", Row.runs_dry_at)
    rows = crowd(1000, 990, now=50.0)
    job = rows[-1]
    job.starting = starting
    chosen = made.company(job, rows, 50.0)
    # A step's fixed part is worth 100 rows.
    assert len(chosen) == expected
    assert chosen[:10] == rows[990:], "those in need first"
    assert chosen[10:] == rows[: expected - 10], "then those with the least ahead"
    few = rows[-50:]
    assert made.company(job, few, 50.0) == few[-10:], "no crowd"


def test_in_a_crowd_those_with_enough_ahead_are_no_rivals() -> None:
    made = Policy(ChunkSchedule(PROFILES["throughput"], CARD, 1000), 1000)
    assert made.rivals(crowd(100, 70, now=50.0), 50.0) == 30
    assert made.rivals(crowd(60, 30, now=50.0), 50.0) == 60


def test_windows_decoded_together_share_what_a_batch_costs() -> None:
    alone = replace(CARD, batch=1)
    assert CARD.windows(1000, 40) == pytest.approx(16 * 0.001 + 1000 * 48 * 1e-5)
    assert alone.windows(1000, 40) == pytest.approx(1000 * (0.001 + 48 * 1e-5))
    assert CARD.windows(1, 40) == CARD.window(40)
    schedule = ChunkSchedule(PROFILES["throughput"], CARD)
    assert sustainable_streams(schedule, 2000) > 1.4 * sustainable_streams(
        ChunkSchedule(PROFILES["throughput"], alone), 2000
    )
