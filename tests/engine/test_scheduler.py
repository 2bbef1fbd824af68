"""The scheduler on a model of arithmetic: independence, cancels, failures, order, fairness."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from livekit_xtts.engine.agenda import Work
from livekit_xtts.engine.ends import Ends
from livekit_xtts.engine.schedule import StepTimes
from livekit_xtts.speech import (
    SAMPLE_RATE,
    EngineClosedError,
    EngineFailedError,
    SpeechDone,
    VoiceError,
)
from tests.engine.fakes import CODES, HOP, STOP, TIMES, Listener, Rig, alone, request, voice


@cache
def expected(seed: int, streaming: bool = True) -> tuple[bytes, tuple[int, ...]]:
    listener = alone(request(seed, streaming=streaming))
    return listener.audio, listener.codes


def test_a_request_ends_with_its_stop_code_or_its_budget() -> None:
    stopped = {alone(request(seed)).last.stopped for seed in range(20)}  # type: ignore[union-attr]
    assert stopped == {True, False}
    for seed in range(20):
        listener = alone(request(seed))
        done = listener.last
        assert isinstance(done, SpeechDone) and not done.cancelled
        latents = len(done.codes) + (1 if done.stopped else 0)
        assert done.samples == HOP * latents == len(listener.audio) // 4
        assert STOP not in done.codes
        assert [chunk.final for chunk in listener.chunks].count(True) == 1
        assert listener.chunks[-1].final


def test_streamed_equals_one_chunk_at_the_end() -> None:
    for seed in range(10):
        audio, codes = expected(seed)
        whole = alone(request(seed, streaming=False))
        assert len(whole.chunks) == 1 and whole.codes == codes
        np.testing.assert_allclose(
            np.frombuffer(whole.audio, np.float32), np.frombuffer(audio, np.float32), atol=1e-6
        )


@pytest.mark.parametrize(("depth", "window_batch"), [(0, 1), (1, 4)])
def test_alone_and_among_others_that_come_go_and_cancel(depth: int, window_batch: int) -> None:
    """Hundreds of random schedules: whoever ends by itself has the bits it has alone."""
    for schedule in range(70):
        chance = random.Random(f"{schedule} {depth} {window_batch}")
        rig = Rig(slots=chance.choice((2, 3, 8)), depth=depth, window_batch=window_batch)
        seeds = [chance.randrange(40) for _ in range(chance.randrange(2, 12))]
        running: list[tuple[int, Any, Listener]] = []
        for tick in range(4000):
            if seeds and chance.random() < 0.1:
                seed = seeds.pop()
                job, listener = rig.submit(request(seed))
                running.append((seed, job, listener))
            if running and chance.random() < 0.02:
                chance.choice(running)[1].cancel()
            if not rig.scheduler.tick() and not seeds and tick > 20:
                break
        for seed, _, listener in running:
            assert isinstance(listener.last, SpeechDone)
            audio, codes = expected(seed)
            if listener.last.cancelled:
                assert audio.startswith(listener.audio)
                assert codes[: len(listener.codes)] == listener.codes
            else:
                assert listener.audio == audio and listener.codes == codes
        assert rig.scheduler.taken == 0 and not rig.scheduler.jobs
        assert len(rig.scheduler._free) == rig.stepper.runner.slots


def test_cancel_frees_the_slot_at_the_next_step() -> None:
    rig = Rig(slots=1)
    job, listener = rig.submit(request(1, max_codes=90))
    while len(rig.runner.steps) < 3:
        rig.scheduler.tick()
    waiting, second = rig.submit(request(2, max_codes=3))
    steps = len(rig.runner.steps)
    job.cancel()
    job.cancel()
    assert listener.last is None
    rig.scheduler.tick()
    assert listener.last is not None and listener.last.cancelled  # type: ignore[union-attr]
    assert len(rig.runner.steps) == steps, "no step was made for the cancelled request"
    assert waiting.admitted_at is not None
    rig.run()
    assert second.audio == alone(request(2, max_codes=3)).audio


def test_cancel_while_waiting_filling_or_draining() -> None:
    rig = Rig(slots=1)
    first, _ = rig.submit(request(1, max_codes=30))
    waiting, listener = rig.submit(request(2))
    rig.scheduler.tick()
    waiting.cancel()
    first.cancel()
    rig.scheduler.tick()
    assert isinstance(listener.last, SpeechDone) and listener.last.cancelled
    assert listener.last.samples == 0 and np.isnan(listener.last.first_audio_s)
    draining, listener = rig.submit(request(3))
    while not rig.scheduler._draining:
        rig.scheduler.tick()
    draining.cancel()
    rig.run()
    assert isinstance(listener.last, SpeechDone) and listener.last.cancelled
    assert not rig.scheduler.jobs


def test_a_cancel_from_inside_the_sink_works() -> None:
    rig = Rig()
    listener = Listener()
    holder: list[Any] = []

    def sink(event: Any) -> None:
        listener(event)
        holder[0].cancel()

    from livekit_xtts.engine.job import Job

    holder.append(Job(request(1, max_codes=90), sink, rig.clock, rig.scheduler.cancel))
    rig.scheduler.submit(holder[0])
    rig.run()
    assert len(listener.chunks) == 1
    assert isinstance(listener.last, SpeechDone) and listener.last.cancelled


def test_a_sink_that_raises_cancels_its_own_request_only() -> None:
    from livekit_xtts.engine.job import Job

    rig = Rig()
    events: list[Any] = []

    def sink(event: Any) -> None:
        events.append(event)
        raise RuntimeError("the loop is closed")

    job = Job(request(1, max_codes=90), sink, rig.clock, rig.scheduler.cancel)
    rig.scheduler.submit(job)
    _, other = rig.submit(request(2))
    rig.run()
    assert len(events) == 2 and events[-1].cancelled and job.done
    assert (other.audio, other.codes) == expected(2)


def test_a_request_that_cannot_be_prepared_fails_alone() -> None:
    rig = Rig()
    _, bad = rig.submit(request(1, voice=voice(1, model="another")))
    _, good = rig.submit(request(2))
    rig.run()
    assert isinstance(bad.error, VoiceError)
    assert (good.audio, good.codes) == expected(2)


@pytest.mark.parametrize("depth", [0, 1])
def test_a_row_that_goes_wrong_fails_alone(depth: int) -> None:
    """One voice makes its own row's numbers NaN."""
    rig = Rig(depth=depth)
    broken = replace(voice(7), latents=np.full_like(voice(7).latents, np.nan))
    _, bad = rig.submit(request(1, voice=broken))
    _, good = rig.submit(request(2))
    rig.run()
    assert isinstance(bad.error, EngineFailedError) and bad.error.retryable
    assert (good.audio, good.codes) == expected(2)
    # The slot works for the next request.
    _, again = rig.submit(request(3))
    rig.run()
    assert (again.audio, again.codes) == expected(3)


def test_a_failed_step_fails_the_requests_in_it_and_the_engine_goes_on() -> None:
    rig = Rig(slots=2)
    _, first = rig.submit(request(1, max_codes=90))
    _, waiting = rig.submit(request(4))
    _, queued = rig.submit(request(2))

    def explode(slots: tuple[int, ...]) -> None:
        if len(slots) == 2:
            rig.runner.on_step = lambda slots: None
            raise RuntimeError("CUDA out of memory")

    rig.runner.on_step = explode
    rig.run()
    assert isinstance(first.error, EngineFailedError)
    assert isinstance(waiting.error, EngineFailedError)
    assert (queued.audio, queued.codes) == expected(2)
    assert rig.scheduler.counters.failed_steps == 1


def test_a_failed_window_fails_alone_even_in_a_batch() -> None:
    rig = Rig(window_batch=8)
    poison = voice(2).speaker_embedding
    rig.vocoder.fail_on = lambda items: any(
        torch.equal(item[1], torch.tensor(poison)) for item in items
    )
    listeners = [
        rig.submit(request(seed, voice=voice(seed % 3), max_codes=20))[1] for seed in range(6)
    ]
    rig.run()
    for seed, listener in enumerate(listeners):
        if seed % 3 == 2:
            assert isinstance(listener.error, EngineFailedError)
        else:
            own = alone(request(seed, voice=voice(seed % 3), max_codes=20))
            assert (listener.audio, listener.codes) == (own.audio, own.codes)
    assert max(rig.vocoder.batches) > 1


def test_audio_that_is_not_finite_fails_its_request() -> None:
    rig = Rig()
    broken = replace(voice(7), speaker_embedding=np.full_like(voice(7).speaker_embedding, np.inf))
    _, bad = rig.submit(request(1, voice=broken))
    _, good = rig.submit(request(2))
    rig.run()
    assert isinstance(bad.error, EngineFailedError)
    assert (good.audio, good.codes) == expected(2)


def test_closing_ends_everything() -> None:
    rig = Rig(slots=2)
    rig.runner.endless = True
    listeners = [rig.submit(request(seed, max_codes=90))[1] for seed in range(5)]
    for _ in range(30):
        rig.scheduler.tick()
    rig.scheduler.close()
    assert all(isinstance(listener.error, EngineClosedError) for listener in listeners)
    assert not rig.scheduler.tick() and not rig.scheduler.jobs


def test_a_voice_is_read_once() -> None:
    rig = Rig()
    rig.submit(request(1, voice=voice(1), ids=(5, 6), max_codes=2))
    rig.run()
    before = rig.runner.prefilled
    _, listener = rig.submit(request(2, voice=voice(1), ids=(5, 6), max_codes=2))
    rig.run()
    assert before == 4 + 3 and rig.runner.prefilled == before + 3
    own = alone(request(2, voice=voice(1), ids=(5, 6), max_codes=2))
    assert listener.audio == own.audio


def test_voices_used_least_recently_leave() -> None:
    rig = Rig()
    rig.prompts._kept = 2
    for number in (1, 2, 1, 3):
        rig.submit(request(1, voice=voice(number), max_codes=2))
        rig.run()
    assert list(rig.prompts._voices) == [voice(1).fingerprint, voice(3).fingerprint]


def test_a_long_prompt_comes_between_the_steps_of_live_streams() -> None:
    """While listeners are in need, a new prompt takes one piece between two steps, not all."""
    pieces = between_steps(replace(TIMES, step_s=10.0, piece_s=3.0))
    assert "pp" not in pieces
    assert pieces.count("s") >= 9


def between_steps(times: StepTimes) -> str:
    """What is done while a listener is in need and a long prompt waits: p pieces and s steps."""
    rig = Rig(slots=4, times=times)
    rig.runner.endless = True
    _, live = rig.submit(request(1, max_codes=90))
    while not live.chunks:
        rig.scheduler.tick()
    log = rig.runner.log
    log.clear()
    rig.submit(request(2, ids=tuple(range(1, 41)), max_codes=2))
    while log.count("piece") < 10:
        rig.scheduler.tick()
    return "".join("p" if entry == "piece" else "s" for entry in log)


def test_prompts_get_a_quarter_of_a_steps_time_while_listeners_are_in_need() -> None:
    """Where a piece costs little beside a step, several come between two steps."""
    pieces = between_steps(replace(TIMES, step_s=10.0, piece_s=0.8)).split("s")
    assert {len(between) for between in pieces[1:-1]} == {3}


def test_the_stream_with_the_least_audio_ahead_goes_first() -> None:
    rig = Rig()
    rig.runner.endless = True
    a, _ = rig.submit(request(1, max_codes=90))
    b, _ = rig.submit(request(2, max_codes=90))
    while a.starting or b.starting:
        rig.scheduler.tick()
    now = rig.clock()
    for job in (a, b):
        job.first_audio_at = now
        job.progress.cuts = (200,)

    def ahead(first: int, second: int) -> None:
        for job, sent in ((a, first), (b, second)):
            job.sent = sent
            rig.scheduler._note(job)

    def company(job: Any) -> Any:
        return rig.scheduler._policy.company(job, rig.scheduler._speaking, rig.clock())

    ahead(10 * SAMPLE_RATE, SAMPLE_RATE // 100)
    assert rig.scheduler._choose() == (Work.STEP, b)
    assert company(b) == [b], "the comfortable row does not slow the one in need"
    ahead(SAMPLE_RATE // 100, 10 * SAMPLE_RATE)
    assert rig.scheduler._choose() == (Work.STEP, a)
    ahead(b.sent, b.sent)
    assert sorted(map(id, company(a))) == sorted(map(id, (a, b)))


def test_no_listener_runs_dry_where_the_hardware_suffices() -> None:
    """Three streams whose work fits their time, the third starting in the midst of the others."""
    times = StepTimes(step_s=0.012, row_s=0.002, window_s=0.002, window_code_s=0.0005, piece_s=0.02)
    # This profile counts on half of the slots to be busy.
    rig = Rig(slots=6, times=times, profile="throughput")
    rig.runner.endless = True
    greedy = {"max_codes": 90}
    listeners = [rig.submit(request(seed, **greedy))[1] for seed in (11, 12)]
    while not all(listener.chunks for listener in listeners):
        rig.scheduler.tick()
    listeners.append(rig.submit(request(13, **greedy))[1])
    rig.run()
    for listener in listeners:
        start, heard = listener.times[0], 0
        for chunk, at in zip(listener.chunks, listener.times, strict=True):
            assert heard == 0 or at <= start + heard / SAMPLE_RATE
            heard += chunk.audio.size
        assert len(listener.chunks) > 3


def falls_silent(rig: Rig, after: int) -> None:
    """The vocoder makes silence from a sample on, as a missed stop code does."""
    decode = rig.vocoder.decode

    def quiet(items: Any) -> Any:
        results = decode(items)
        for (_, _, window), audio in zip(items, results, strict=True):
            audio[max(0, after - window.first) :] = 0.0
        return results

    rig.vocoder.decode = quiet  # type: ignore[method-assign]


def test_a_run_on_of_silence_ends_at_the_same_place_in_any_company() -> None:
    heard = []
    for company in (0, 5):
        rig = Rig(ends=Ends(run_on_s=0.4), window_batch=1 + company)
        rig.runner.endless = True
        falls_silent(rig, SAMPLE_RATE)
        _, listener = rig.submit(request(1, max_codes=99))
        for seed in range(company):
            rig.submit(request(20 + seed, max_codes=60))
        rig.run()
        done = listener.last
        assert isinstance(done, SpeechDone) and not done.stopped and not done.cancelled
        assert abs(done.samples - 1.2 * SAMPLE_RATE) <= 240
        assert len(done.codes) < 60 and listener.chunks[-1].final
        assert rig.scheduler.taken == 0
        heard.append((listener.audio, listener.codes))
    assert heard[0] == heard[1]


def test_codes_are_drawn_from_the_whole_vocabulary() -> None:
    """The fakes would hide mistakes if they always gave the same few codes."""
    seen = {code for seed in range(40) for code in expected(seed)[1]}
    assert len(seen) > CODES // 2
