"""Slow hardware, the listener's position, and the counters."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livekit_xtts.pacing import Pacing, Playout, RateMeter, SpeechStats, held_back_s, rate_meter
from livekit_xtts.pipeline import AudioPiece, Pipeline, SegmentStarted, WordsComing
from livekit_xtts.speech import SAMPLE_RATE, SpeechDone, SpeechRequest
from tests.fake_engine import FakeEngine, Script
from tests.livekit.test_pipeline import THREE, Clock, collect


def holes(factor: float, rest: float, lead: float, chunk: float, ready: float) -> float:
    """Seconds of silence that a listener meets who starts when so much is ready."""
    ends = [min(rest, chunk * n) for n in range(1, math.ceil(rest / chunk) + 1)]
    begin = min(end for end in ends if end >= ready - 1e-9) * factor
    silent, position = 0.0, begin + lead  # when the listener comes to sample 0 of the rest
    start = 0.0
    for end in ends:
        silent += max(0.0, end * factor - position)
        position = max(position, end * factor) + end - start
        start = end
    return silent


@given(
    factor=st.floats(1.01, 4.0),
    chunks=st.integers(1, 60),
    chunk=st.floats(0.05, 1.0),
    lead=st.floats(0.0, 3.0),
)
def test_what_is_held_back_is_enough_and_hardly_more(
    factor: float, chunks: int, chunk: float, lead: float
) -> None:
    rest = chunks * chunk
    ready = held_back_s(factor, rest, lead, chunk)
    assert 0 <= ready <= rest
    assert holes(factor, rest, lead, chunk, ready) <= 1e-6
    # One chunk is the slack of the formula, another the grain of what can be ready.
    if ready > 2 * chunk + 1e-6:
        assert holes(factor, rest, lead, chunk, ready - 2 * chunk) > 0


@pytest.mark.parametrize("factor", [0.1, 0.95, 1.0])
def test_nothing_is_held_back_where_speech_is_made_in_time(factor: float) -> None:
    assert held_back_s(factor, 10.0, 0.0, 0.2) == 0.0


async def test_a_slow_engine_starts_late_enough_and_says_so_once(
    engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    engine.real_time_factor = 2.0
    engine.script = Script(gated=True, told_factor=2.0)
    clock = Clock()
    pipeline = Pipeline(engine, clock=clock)
    for text in (THREE, "Again, a text of some length is spoken here."):
        before, heard = engine.steps, []

        async def speak(text: str = text, heard: list = heard) -> None:
            async for event in pipeline.speak(text, pacing=Pacing(whole_below=0)):
                heard.append((engine.steps, event))

        speaking = asyncio.create_task(speak())
        while not speaking.done():
            steps = engine.steps
            clock.now += 0.2 * 2.0
            engine.allow(1)
            await engine.until(lambda steps=steps: engine.steps > steps or not engine.live)
            for _ in range(20):
                await asyncio.sleep(0)
            assert engine.live <= 1  # a second row would make the first one later still
        steps, event = heard[0]
        assert isinstance(event, SegmentStarted)
        # Half of the audio at a factor of two, in chunks of 0.2 s.
        seconds = heard[-1][1].duration_s
        assert 0.35 * seconds <= (steps - before) * 0.2 <= 0.7 * seconds
    assert len([record for record in caplog.records if "holding back" in record.message]) == 1
    assert pipeline.stats.underrun_s < 0.05
    assert pipeline.stats.held_back_s > 0.5


async def test_the_first_speech_of_a_slow_engine_that_still_loads_is_held_back(
    make_engine: Callable[..., FakeEngine],
) -> None:
    """Its real-time factor is measured at load, after the request was made."""
    engine = make_engine(hold_load=True, script=Script(gated=True))
    pipeline = Pipeline(engine)
    begun: list[object] = []

    async def listen() -> None:
        async for event in pipeline.speak(THREE, pacing=Pacing(whole_below=0)):
            begun.append(event)

    listening = asyncio.create_task(listen())
    for _ in range(20):
        await asyncio.sleep(0)
    assert engine.tasks
    engine.real_time_factor = 3.0
    engine.finish_load()
    engine.allow(1)
    await engine.until(lambda: engine.steps == 1)
    for _ in range(20):
        await asyncio.sleep(0)
    assert not begun, "0.2 s of a text that takes 4 s are not enough at a third of its speed"
    engine.allow()
    await listening
    assert pipeline.stats.held_back_s > 1.0


async def test_a_fast_engine_starts_with_its_first_chunk(engine: FakeEngine) -> None:
    engine.real_time_factor = 0.3
    engine.script = Script(gated=True)
    engine.allow(1)
    async with aclosing(Pipeline(engine).speak(THREE, pacing=Pacing(whole_below=0))) as events:
        kinds = [type(await anext(events)) for _ in range(3)]
    assert kinds == [SegmentStarted, WordsComing, AudioPiece]


async def test_the_rate_is_learned_from_what_was_spoken(engine: FakeEngine) -> None:
    meter = rate_meter(engine)
    assert meter.real_time_factor is None
    await collect(Pipeline(engine).speak(THREE))
    assert meter.real_time_factor is not None
    assert rate_meter(engine) is meter
    request = SpeechRequest("x" * 50)
    assert meter.seconds(request.text, "en", 1.0) == pytest.approx(
        engine.expected(request).size / SAMPLE_RATE, rel=0.05
    )
    assert meter.seconds(request.text, "en", 2.0) == pytest.approx(1.5, rel=0.05)


def test_the_rate_ignores_what_says_nothing() -> None:
    meter = RateMeter()
    meter.add(SpeechDone(samples=1000, total_s=9.0), "Hi.", "en", 1.0)
    meter.add(SpeechDone(samples=48_000, total_s=9.0, cancelled=True), "Hello there", "en", 1.0)
    assert meter.real_time_factor is None
    meter.add(SpeechDone(samples=48_000, total_s=3.0, queued_s=1.0), "Hello there", "en", 1.0)
    assert meter.real_time_factor == pytest.approx(1.0)
    assert meter.slow


def test_underruns_are_counted_where_speech_was_owed() -> None:
    clock = Clock()
    playout = Playout(clock)
    playout.push(1.0, expected_since=clock.now)
    clock.now += 1.5
    assert playout.lead_s == 0.0
    assert playout.played_s == 1.0
    playout.push(1.0, expected_since=100.0)
    assert playout.underruns == 1
    assert playout.underrun_s == pytest.approx(0.5)
    clock.now += 3.0
    playout.push(1.0, expected_since=clock.now - 0.2)  # the text came late, not the speech
    assert playout.underruns == 1
    assert playout.most_lead_s == pytest.approx(1.0)


def test_a_real_queue_tells_when_the_listener_runs_dry() -> None:
    """Not the clock: the track may be paused, or still busy with what was said before."""
    clock, heard = Clock(), [0.0]
    playout = Playout(clock, lambda: heard[0])
    began = clock.now
    playout.push(1.0, expected_since=began)
    clock.now += 5.0  # nothing was heard yet
    playout.push(1.0, expected_since=began)
    assert playout.underruns == 0 and playout.lead_s == 2.0
    clock.now += 2.5
    heard[0] = 1.99  # the rest of a frame never leaves
    playout.push(1.0, expected_since=began)
    assert playout.underruns == 1
    assert playout.underrun_s == pytest.approx(0.5)
    clock.now += 0.5
    heard[0] = 2.5
    playout.push(1.0, expected_since=began)
    assert playout.underruns == 1
    assert playout.played_s == 2.5


def test_stats_add_up() -> None:
    total = SpeechStats()
    total.add(SpeechStats(utterances=1, audio_s=2.0, lead_s=3.0, first_audio_s=0.1))
    total.add(SpeechStats(utterances=1, audio_s=1.0, lead_s=1.0, real_time_factor=0.5))
    assert (total.utterances, total.audio_s, total.lead_s) == (2, 3.0, 3.0)
    assert (total.first_audio_s, total.real_time_factor) == (0.1, 0.5)
    assert total.as_dict()["audio_s"] == 3.0
