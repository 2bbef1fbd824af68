"""`room.Speaker` between the pipeline and a track, without a server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from livekit import rtc
from livekit_xtts import room as room_module
from livekit_xtts.audio import soften_end, soften_start
from livekit_xtts.pacing import SpeechStats
from livekit_xtts.room import FRAME_S, Speaker
from livekit_xtts.speech import EngineFailedError, SpeechError, SpeechRequest
from livekit_xtts.tts import TTS
from tests.fake_engine import FakeEngine, Script
from tests.room.stage import StagedRoom, StagedSource, samples

QUEUE_S = 0.4
TEXT = "A sentence for one listener in the room."
OTHER = "And this is another one which follows."


@pytest.fixture
def sources(monkeypatch: pytest.MonkeyPatch) -> list[StagedSource]:
    """The sources that speakers have made."""
    made: list[StagedSource] = []

    def source(*arguments: int) -> StagedSource:
        made.append(StagedSource(*arguments))
        return made[-1]

    monkeypatch.setattr(rtc, "AudioSource", source)
    monkeypatch.setattr(rtc.LocalAudioTrack, "create_audio_track", lambda name, source: name)
    return made


@asynccontextmanager
async def speaking(
    engine: FakeEngine, sources: list[StagedSource], **options: Any
) -> AsyncIterator[tuple[Speaker, StagedSource, StagedRoom]]:
    """A speaker with a listener."""
    room = StagedRoom()
    room.track.subscribe()
    tts = TTS(engine=engine, cache=False, streaming=True)
    try:
        async with Speaker(room, tts, queue_s=QUEUE_S, **options) as speaker:  # type: ignore[arg-type]
            source = sources[-1]
            await source.until(lambda: len(source.played) >= QUEUE_S * source.sample_rate)
            source.played.clear()  # the silence of the beginning
            yield speaker, source, room
    finally:
        await tts.aclose()
        engine.close()


def expected(engine: FakeEngine, *texts: str) -> np.ndarray[Any, Any]:
    """What the listener hears: softened edges, and silence up to a whole frame."""
    step = round(FRAME_S * 24_000)
    parts = []
    for text in texts:
        audio = engine.expected(SpeechRequest(text=text))
        said = samples(soften_end(soften_start(audio)))
        parts.append(np.pad(said, (0, -said.size % step)))
    return np.concatenate(parts)


async def words(*pieces: str, error: Exception | None = None) -> AsyncIterator[str]:
    """A text that is still being written."""
    for piece in pieces:
        yield piece
    if error is not None:
        raise error


async def test_what_is_said_is_heard_sample_by_sample(sources: list[StagedSource]) -> None:
    engine = FakeEngine()
    async with speaking(engine, sources) as (speaker, source, room):
        utterance = speaker.say(TEXT)
        assert speaker.speaking and not utterance.done
        await utterance
        assert utterance.done and not utterance.interrupted and utterance.error is None
        np.testing.assert_array_equal(source.played, expected(engine, TEXT))
        assert utterance.heard == TEXT
        assert utterance.playout.played_s == pytest.approx(len(source.played) / 24_000)
        assert utterance.playout.first_audio_s >= 0
        assert not speaker.speaking
    assert room.unpublished == [room.track.sid]
    assert source.closed


async def test_utterances_follow_each_other_in_order(sources: list[StagedSource]) -> None:
    engine = FakeEngine()
    async with speaking(engine, sources) as (speaker, source, _):
        speaker.say(TEXT)
        speaker.say(words("And this is ", "another one ", "which follows."))
        speaker.say(TEXT)
        await speaker.wait_for_playout()
        np.testing.assert_array_equal(source.played, expected(engine, TEXT, OTHER, TEXT))
        assert speaker.stats.utterances == 3
        assert speaker.stats.audio_s == pytest.approx(len(source.played) / 24_000)


async def test_the_queue_ahead_of_the_listener_is_bounded(sources: list[StagedSource]) -> None:
    engine = FakeEngine()
    async with speaking(engine, sources) as (speaker, source, _):
        source.playing = False
        utterance = speaker.say(TEXT)
        await engine.until(lambda: engine.steps > 0 and engine.live == 0)
        await source.until(lambda: source.queued_duration > QUEUE_S)
        assert speaker.queued_s == source.queued_duration <= QUEUE_S + FRAME_S
        while not utterance.done:
            await source.play(0.1)
            await asyncio.sleep(0)
        assert source.most_queued_s <= QUEUE_S + FRAME_S + 1e-9
        np.testing.assert_array_equal(source.played, expected(engine, TEXT))


async def test_no_more_is_made_than_the_listener_needs(sources: list[StagedSource]) -> None:
    engine = FakeEngine()
    sentences = [f"This is the sentence number {number} of a long text. " for number in range(12)]
    async with speaking(engine, sources) as (speaker, source, _):
        speaker._tts = TTS(engine=engine, cache=False, streaming=True, buffer_s=5.0)
        source.playing = False
        speaker.say("".join(sentences))
        await source.until(lambda: source.queued_duration > QUEUE_S)
        await engine.until(lambda: engine.live == 0)
        made = sum(task.position for task in engine.tasks) / 24_000
        assert made < 12.0  # 5 s ahead, and one segment that was begun below that
        assert len(engine.tasks) < len(sentences)
        source.playing = True
        await source.play(QUEUE_S)
        await speaker.wait_for_playout()
        said = sum(task.position for task in engine.tasks) / 24_000
        assert said == pytest.approx(len(source.played) / 24_000, rel=0.2)


async def test_an_interruption_ends_everything_at_once(sources: list[StagedSource]) -> None:
    engine = FakeEngine(script=Script(gated=True))
    async with speaking(engine, sources) as (speaker, source, _):
        engine.allow(2)
        first, second = speaker.say(TEXT), speaker.say(OTHER)
        whole = expected(engine, TEXT)
        await source.until(lambda: len(source.played) >= 0.4 * 24_000)
        speaker.interrupt()
        assert second.done and second.interrupted
        await first
        assert first.interrupted and first.error is None
        await engine.until(lambda: engine.live == 0)
        engine.allow()
        heard = len(source.played)
        assert heard < whole.size
        await speaker.say(OTHER)
        assert engine.steps_after_cancel == 0
        assert [request.text for request in engine.requests] == [TEXT, OTHER]
        np.testing.assert_array_equal(source.played[heard:], expected(engine, OTHER))
        assert (speaker.stats.utterances, speaker.stats.interrupted) == (3, 2)


async def test_an_interruption_empties_the_queue(sources: list[StagedSource]) -> None:
    engine = FakeEngine()
    async with speaking(engine, sources) as (speaker, source, _):
        source.playing = False
        utterance = speaker.say(TEXT)
        await source.until(lambda: source.queued_duration > QUEUE_S)
        await source.play(0.1)
        await source.until(lambda: source.queued_duration > QUEUE_S)
        speaker.interrupt()
        assert speaker.queued_s == 0.0
        await utterance
        assert utterance.playout.played_s == pytest.approx(0.1)
        assert speaker.queued_s <= 0.01, "the end of the sound, and no more of it"
        await source.play(0.1)
        said = expected(engine, TEXT)
        np.testing.assert_array_equal(source.played[:2400], said[:2400])
        fading = np.array(source.played[2400:])
        assert fading.size == 240 and abs(fading[0] - said[2400]) <= 1
        assert np.all(np.abs(fading) <= np.abs(said[2400:2640])) and not fading[120:].any()


async def test_what_was_made_and_not_heard_is_counted(sources: list[StagedSource]) -> None:
    """Be it interrupted while it is made, or after that."""
    engine = FakeEngine()
    whole_s = engine.expected(SpeechRequest(TEXT)).size / 24_000
    async with speaking(engine, sources) as (speaker, source, _):
        source.playing = False
        told: list[SpeechStats] = []
        third = asyncio.Event()

        def tell(stats: SpeechStats) -> None:
            told.append(stats)
            if len(told) == 3:
                third.set()

        speaker._tts.on("speech_stats", tell)
        speaker.say(TEXT)
        await source.until(lambda: source.queued_duration > QUEUE_S)
        await engine.until(lambda: engine.live == 0)
        await source.play(0.1)
        assert [stats.interrupted for stats in told] == [0]
        speaker.interrupt()
        assert [stats.interrupted for stats in told] == [0, 1]
        assert told[1].wasted_s == pytest.approx(whole_s - 0.1, abs=0.001)
        source.playing = True
        await speaker.wait_for_playout()

        engine.script = Script(gated=True)
        steps = engine.steps
        engine.allow(2)
        speaker.say(TEXT)
        await engine.until(lambda: engine.steps == steps + 2)
        speaker.interrupt()
        async with asyncio.timeout(20):
            await third.wait()
        assert told[2].interrupted == 1
        assert 0 <= told[2].wasted_s <= 2 * engine.chunk_samples / 24_000
        stats = speaker._tts.stats()
        assert stats["utterances"] == 2 and stats["interrupted"] == 2
        assert stats["wasted_s"] == pytest.approx(sum(each.wasted_s for each in told))


async def test_one_utterance_can_be_interrupted_alone(sources: list[StagedSource]) -> None:
    engine = FakeEngine()
    async with speaking(engine, sources) as (speaker, source, _):
        source.playing = False
        first, second, third = speaker.say(TEXT), speaker.say(TEXT), speaker.say(OTHER)
        await source.until(lambda: source.queued_duration > 0)
        second.interrupt()
        second.interrupt()
        assert second.done and not first.done
        source.playing = True
        await source.play(QUEUE_S)
        await third
        np.testing.assert_array_equal(source.played, expected(engine, TEXT, OTHER))
        assert not first.interrupted and not third.interrupted
        third.interrupt()
        assert not third.interrupted  # too late: it was heard


async def test_heard_text_ends_with_the_interruption(sources: list[StagedSource]) -> None:
    engine = FakeEngine()
    sentences = ["The first sentence is heard to its end. ", "The second one is cut short."]
    async with speaking(engine, sources) as (speaker, source, _):
        source.playing = False
        utterance = speaker.say("".join(sentences))
        await source.until(lambda: source.queued_duration > 0)
        await source.play(0.1)
        utterance.interrupt()
        await utterance
        assert utterance.heard.strip() == sentences[0].strip()


@pytest.mark.parametrize("sample_rate", [8_000, 48_000])
async def test_the_track_has_the_chosen_rate(sources: list[StagedSource], sample_rate: int) -> None:
    engine = FakeEngine()
    async with speaking(engine, sources, sample_rate=sample_rate) as (speaker, source, _):
        assert speaker.sample_rate == source.sample_rate == sample_rate
        await speaker.say(TEXT)
        audio = np.array(source.played) / 32767
        seconds = engine.expected(SpeechRequest(text=TEXT)).size / 24_000
        assert audio.size / sample_rate == pytest.approx(seconds, abs=FRAME_S)
        spectrum = np.abs(np.fft.rfft(audio))
        assert np.argmax(spectrum) * sample_rate / audio.size == pytest.approx(440, abs=2)


async def test_nothing_is_spoken_before_somebody_listens(sources: list[StagedSource]) -> None:
    engine = FakeEngine()
    room = StagedRoom()
    speaker = Speaker(room, TTS(engine=engine, cache=False, streaming=True))  # type: ignore[arg-type]
    await speaker.start()
    await speaker.start()  # a second start does nothing
    assert len(room.published) == 1
    skipped, said = speaker.say(OTHER), speaker.say(TEXT)
    await engine.until(lambda: len(engine.requests) == 2 and engine.live == 0)
    assert not sources[0].played and not said.done
    skipped.interrupt()
    assert skipped.done
    room.track.subscribe()
    await said
    silence = round(room_module.DEFAULT_QUEUE_S * 24_000)
    np.testing.assert_array_equal(sources[0].played[silence:], expected(engine, TEXT))
    await speaker.aclose()
    await speaker.aclose()
    assert room.unpublished == [room.track.sid]
    engine.close()


async def test_without_waiting_it_speaks_into_an_empty_room(sources: list[StagedSource]) -> None:
    engine = FakeEngine()
    room = StagedRoom()
    tts = TTS(engine=engine, cache=False, streaming=True)
    async with Speaker(room, tts, wait_for_listener=False) as speaker:  # type: ignore[arg-type]
        await speaker.say(TEXT)
    assert len(sources[0].played) >= expected(engine, TEXT).size
    engine.close()


async def test_an_underrun_is_counted(
    sources: list[StagedSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = FakeEngine(script=Script(gated=True), chunk_s=0.2)
    async with speaking(engine, sources) as (speaker, source, _):
        source.playing = False
        engine.allow(1)
        utterance = speaker.say(TEXT)
        await source.until(lambda: source.queued_duration > 0)
        await asyncio.sleep(0)
        await source.play(0.2)
        monkeypatch.setattr(time, "perf_counter", lambda: 1e9)  # long after the queue's end
        engine.allow()
        await source.until(lambda: source.queued_duration > 0)
        source.playing = True
        await source.play(QUEUE_S)
        await utterance
        assert utterance.playout.underruns >= 1
        assert utterance.playout.underrun_s > 0
        assert utterance.playout.least_lead_s == 0
        assert speaker.stats.underruns == utterance.playout.underruns


def failing_engine() -> FakeEngine:
    """Two chunks of the first request, then, when allowed, its end."""
    engine = FakeEngine()
    engine.scripts.append(
        Script(gated=True, fail_after=3, error=EngineFailedError("a step failed"))
    )
    engine.allow(2)
    return engine


FAILURES: dict[str, tuple[Callable[[], FakeEngine], Callable[[], Any], type[Exception]]] = {
    "engine": (failing_engine, lambda: TEXT, SpeechError),
    "text": (FakeEngine, lambda: words(TEXT, error=KeyError("no more")), KeyError),
}


@pytest.mark.parametrize("failure", FAILURES)
async def test_a_failure_stays_with_its_utterance(
    sources: list[StagedSource], failure: str
) -> None:
    make, text, kind = FAILURES[failure]
    engine = make()
    async with speaking(engine, sources) as (speaker, source, _):
        broken, after = speaker.say(text()), speaker.say(OTHER)
        await source.until(lambda: len(source.played) > 0)
        engine.allow()
        with pytest.raises(kind):
            await broken
        assert isinstance(broken.error, kind)
        assert broken.playout.audio_s > 0  # what was made before it is heard
        await after
        said = expected(engine, OTHER)
        np.testing.assert_array_equal(source.played[-said.size :], said)
        assert (speaker.stats.utterances, speaker.stats.failed) == (2, 1)


async def test_a_broken_track_fails_the_utterance(sources: list[StagedSource]) -> None:
    engine = FakeEngine()
    async with speaking(engine, sources) as (speaker, source, _):
        source.error = RuntimeError("the source is closed")
        with pytest.raises(RuntimeError, match="the source is closed"):
            await speaker.say(TEXT)
        source.error = None
        await speaker.say(TEXT)


async def test_closing_ends_what_is_being_said(sources: list[StagedSource]) -> None:
    engine = FakeEngine(script=Script(stall_after=1))
    before = asyncio.all_tasks()
    async with speaking(engine, sources) as (speaker, source, _):
        first, second = speaker.say(TEXT), speaker.say(OTHER)
        await source.until(lambda: len(source.played) > 0)
    assert first.done and second.done
    assert first.interrupted and second.interrupted
    assert asyncio.all_tasks() == before
    with pytest.raises(RuntimeError, match="closed"):
        speaker.say(TEXT)
    with pytest.raises(RuntimeError, match="closed"):
        await speaker.start()


@pytest.mark.parametrize(
    ("option", "value"), [("sample_rate", 11_025), ("queue_s", 0.0), ("queue_s", 60.0)]
)
async def test_values_out_of_range_are_refused(option: str, value: float) -> None:
    with pytest.raises(ValueError, match=option):
        Speaker(StagedRoom(), TTS(engine=FakeEngine()), **{option: value})  # type: ignore[arg-type]


async def test_a_room_that_is_not_connected_is_refused() -> None:
    speaker = Speaker(rtc.Room(), TTS(engine=FakeEngine()))
    with pytest.raises(RuntimeError, match="not connected"):
        await speaker.start()


async def test_a_refused_track_leaves_nothing_behind(sources: list[StagedSource]) -> None:
    room = StagedRoom()
    room.refusal = RuntimeError("no permission to publish")
    speaker = Speaker(room, TTS(engine=FakeEngine()))  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="no permission"):
        await speaker.start()
    assert sources[0].closed
    assert speaker.publication is None
