"""In an `AgentSession`: turns, interruptions, pauses, pre-emptive turns, transcripts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from livekit.agents import Agent, AgentSession, llm
from livekit.agents import tts as agents_tts
from livekit.agents.voice.audio_recognition import _PreemptiveGenerationInfo

from livekit_xtts.parts import UNSPEAKABLE_S
from livekit_xtts.speech import ReferenceAudio
from livekit_xtts.tts import TTS
from tests.fake_engine import FOREVER, FakeEngine, Script, chirps, make_voice, voice_hertz
from tests.livekit.helpers import LONG, ONCE, Output, Watched, samples, spoken, timed, words


@asynccontextmanager
async def session_with(
    tts: agents_tts.TTS, *, hold: bool = False, **settings: Any
) -> AsyncIterator[tuple[AgentSession, Output]]:
    """A session without ears or a model of language, into an output of ours."""
    settings.setdefault("turn_handling", {"turn_detection": None})
    session = AgentSession(tts=tts, vad=None, **settings)
    output = Output(hold=hold)
    session.output.audio = output
    await session.start(Agent(instructions="speak"))
    try:
        yield session, output
    finally:
        await session.aclose()


def said(session: AgentSession) -> list[str]:
    return [item.text_content for item in session.history.items if item.type == "message"]


async def test_a_turn_is_spoken_whole(engine: FakeEngine, tts: TTS) -> None:
    async with session_with(tts) as (session, output):
        await session.say(LONG)
        assert said(session) == [LONG]
    heard = samples(output.segments[0])
    spoken_s = sum(engine.expected(request).size for request in engine.requests)
    assert heard.size >= spoken_s
    assert output.interrupted == [False]


async def test_text_that_is_still_written_is_spoken(engine: FakeEngine, tts: TTS) -> None:
    async with session_with(tts) as (session, _):
        await session.say(words("Hello", " there", ", my", " friend", ". How are", " you?"))
        assert said(session) == ["Hello there, my friend. How are you?"]
    assert "".join(request.text for request in engine.requests).startswith("Hello there")


async def test_dots_alone_do_not_fail_a_turn(engine: FakeEngine, tts: TTS) -> None:
    watched = Watched(tts)
    async with session_with(tts) as (session, output):
        await session.say("...")
    assert samples(output.segments[0]).size == pytest.approx(UNSPEAKABLE_S * 24_000, abs=2)
    assert not watched.errors


async def test_an_interruption_ends_the_work_and_the_next_turn_starts_at_once(
    make_engine: Callable[..., FakeEngine],
) -> None:
    engine = make_engine(signal="tone", hertz=300.0, script=Script(gated=True))
    tts = TTS(engine=engine, cache=False, streaming=True)
    watched = Watched(tts)
    async with session_with(tts, hold=True) as (session, output):
        first = session.say("The first turn is long enough to be interrupted in the middle.")
        engine.allow(4)
        await output.until(0.2)
        await first.interrupt()
        assert first.interrupted
        assert all(task.cancelled for task in engine.tasks)
        made = engine.steps
        output.hold = False
        engine.allow(FOREVER)
        await session.say("Second turn.")
        # Nothing of the first turn was made any more, nor heard in the second.
        assert engine.steps_after_cancel == 0
        second = engine.tasks[-1]
        assert second.request.text == "Second turn."
        assert engine.steps - made == second.chunks
        assert np.allclose(samples(output.segments[1]), second.audio, atol=1 / 32767)
    assert output.interrupted == [True, False]
    assert [stats.interrupted for stats in watched.stats] == [1, 0]
    assert watched.stats[0].wasted_s > 0


async def test_voice_and_language_change_in_mid_conversation(
    make_engine: Callable[..., FakeEngine],
) -> None:
    """What is being said keeps its voice to its end; the next turn has the new one."""
    engine = make_engine(script=Script(gated=True))
    first, second = (
        make_voice([ReferenceAudio(chirps(1.0, hertz), 24_000)], "v", engine.info.fingerprint)
        for hertz in (200.0, 300.0)
    )
    tts = TTS(engine=engine, cache=False, streaming=True, voice=first)
    async with session_with(tts) as (session, output):
        turn = session.say(LONG)
        engine.allow(2)
        await output.until(0.2)
        begun = len(engine.requests)
        tts.update_options(voice=second, language="de")
        engine.allow(FOREVER)
        await turn
        of_first = len(engine.requests)
        assert of_first > begun, "segments were still to come when the voice changed"
        await session.say("Jetzt spricht jemand anders.")
        tts.update_options(voice="nobody")
        watched = Watched(tts)
        await session.say("This cannot be said.")
        (event,) = watched.errors
        assert "there is no voice 'nobody'" in str(event.error) and not event.recoverable
        tts.update_options(voice=first, language="en")
        await session.say("And back again.")
    asked = [(request.voice.fingerprint, request.language) for request in engine.requests]
    assert asked[:of_first] == [(first.fingerprint, "en")] * of_first
    assert asked[of_first:] == [(second.fingerprint, "de"), (first.fingerprint, "en")]
    heard = samples(output.segments[1])
    found = np.argmax(np.abs(np.fft.rfft(heard))) * 24_000 / heard.size
    assert found == pytest.approx(voice_hertz(second), abs=3)


async def test_an_interruption_does_not_wait_for_a_stalled_engine(
    engine: FakeEngine, tts: TTS
) -> None:
    engine.scripts.append(Script(stall_after=0))
    async with session_with(tts) as (session, output):
        first = session.say("This turn never comes.")
        await engine.until(lambda: bool(engine.tasks))
        # Far below the ten seconds that a request may take, and the engine never answers.
        async with asyncio.timeout(5):
            await first.interrupt()
            await session.say("This one does.")
        assert len(output.segments) == 1
        assert said(session)[-1] == "This one does."


async def test_a_paused_playback_goes_on_where_it_was(
    make_engine: Callable[..., FakeEngine],
) -> None:
    engine = make_engine(script=Script(gated=True))
    tts = TTS(engine=engine, cache=False, streaming=True)
    async with session_with(tts) as (session, output):
        handle = session.say(LONG)
        engine.allow(3)
        await output.until(0.2)
        output.pause()
        heard = samples(output.segments[0]).size
        engine.allow(FOREVER)
        await engine.until(lambda: len(engine.requests) > 1 and not engine.live)
        assert samples(output.segments[0]).size <= heard + 4_800  # a frame was on its way
        output.resume()
        await handle
        spoken_s = sum(engine.expected(request).size for request in engine.requests)
        assert samples(output.segments[0]).size >= spoken_s
        assert said(session) == [LONG]
        assert output.interrupted == [False]


async def test_a_turn_interrupted_while_paused_frees_the_engine(
    make_engine: Callable[..., FakeEngine],
) -> None:
    engine = make_engine(script=Script(gated=True))
    tts = TTS(engine=engine, cache=False, streaming=True)
    async with session_with(tts, hold=True) as (session, output):
        handle = session.say(LONG)
        engine.allow(3)
        await output.until(0.2)
        output.pause()
        await handle.interrupt()
        output.resume()
        assert all(task.cancelled for task in engine.tasks)
        engine.allow()
        await engine.until(lambda: engine.live == 0)
    assert engine.steps_after_cancel == 0


async def test_a_cancelled_preemptive_turn_is_never_heard_and_costs_one_step(
    make_engine: Callable[..., FakeEngine],
) -> None:
    """A speculative turn: begun before it is confirmed, read by nobody, then dropped."""
    engine = make_engine(script=Script(gated=True))
    tts = TTS(engine=engine, cache=False, streaming=True)
    watched = Watched(tts)
    speculative = tts.stream(conn_options=ONCE)
    speculative.push_text("The answer to a question that nobody has asked yet.")
    engine.allow(1)
    await engine.until(lambda: engine.steps == 1)
    await speculative.aclose()
    assert engine.tasks[0].cancelled
    engine.allow(FOREVER)
    events = await spoken(tts.stream(conn_options=ONCE), "The answer to the real one.")
    assert samples(events).size == engine.expected(engine.requests[-1]).size
    assert engine.steps_after_cancel == 0
    assert [stats.interrupted for stats in watched.stats] == [1, 0]
    assert watched.stats[0].wasted_s <= 0.2 + 1e-6
    assert len(watched.metrics) == 1


async def test_an_abandoned_stream_frees_the_engine(engine: FakeEngine, tts: TTS) -> None:
    engine.script = Script(stall_after=1)
    stream = tts.stream(conn_options=ONCE)
    stream.push_text("Nobody reads this one to its end.")
    await engine.until(lambda: engine.steps == 1)
    await tts.aclose()  # closes the streams that are still open
    await engine.until(lambda: engine.live == 0)
    engine.script = Script()
    assert await spoken(tts.stream(conn_options=ONCE), "The voice goes on.")


async def test_a_stream_without_text_makes_no_request(engine: FakeEngine, tts: TTS) -> None:
    async with tts.stream(conn_options=ONCE):
        await asyncio.sleep(0)
    assert not engine.requests


async def test_the_transcript_is_the_original_text_with_its_spacing(
    engine: FakeEngine, tts: TTS
) -> None:
    text = "Dr. Smith paid 27,50 €.  Then he left!\nNobody   saw him again; not one."
    events = await spoken(tts.stream(conn_options=ONCE), *text)
    told = timed(events)
    assert "".join(words for words, _ in told) == text
    starts = [start for _, start in told]
    assert starts == sorted(starts)
    assert starts[0] == 0.0
    # Each is there with or before the audio that it belongs to.
    position = 0.0
    for event in events:
        for stamp in event.frame.userdata.get("lk.timed_transcripts", []):
            assert position <= stamp.start_time + 1e-6
        position += event.frame.duration


async def test_an_aligned_transcript_reaches_the_history(engine: FakeEngine, tts: TTS) -> None:
    text = "Here is one sentence, with a  wide gap. And here is another one."
    async with session_with(tts, use_tts_aligned_transcript=True) as (session, _):
        await session.say(text)
        assert said(session) == [text]


async def test_two_sessions_speak_through_one_engine(engine: FakeEngine) -> None:
    both = [TTS(engine=engine, cache=False) for _ in range(2)]
    async with session_with(both[0]) as (one, first), session_with(both[1]) as (two, second):
        await asyncio.gather(one.say("The first one speaks."), two.say("The other speaks too."))
    for output, text in ((first, "The first one speaks."), (second, "The other speaks too.")):
        (request,) = [request for request in engine.requests if request.text == text]
        assert np.allclose(samples(output.segments[0]), engine.expected(request), atol=1 / 32767)


async def test_prerendered_frames_are_said_without_the_engine(engine: FakeEngine) -> None:
    tts = TTS(engine=engine)
    tts.prewarm()
    done: list[tuple[int, int]] = []
    greeting = "Welcome back, it is good to hear you."
    await tts.prerender([greeting, "One moment."], progress=lambda *of: done.append(of))
    assert done == [(1, 2), (2, 2)]
    made = len(engine.requests)
    async with session_with(tts) as (session, output):
        await session.say(greeting, audio=tts.cached_frames(greeting))
        assert said(session) == [greeting]
    assert len(engine.requests) == made
    assert samples(output.segments[0]).size >= engine.expected(engine.requests[0]).size
    assert all(frame.duration <= 0.2 for frame in output.segments[0])
    stats = tts.stats()
    assert stats["cache"]["hits"] >= 1
    assert stats["cached_s"] > 0


async def test_words_are_said_the_users_way_and_written_as_they_were(engine: FakeEngine) -> None:
    tts = TTS(engine=engine, cache=False, pronunciations={"LiveKit": "live kit"})
    async with session_with(tts) as (session, _):
        await session.say(words("Ask Live", "Kit", " about it."))
        assert said(session) == ["Ask LiveKit about it."]
    assert " ".join(request.text for request in engine.requests) == "Ask live kit about it."
    tts.update_options(pronunciations=None)
    async with session_with(tts) as (session, _):
        await session.say("LiveKit.")
    assert engine.requests[-1].text == "LiveKit."


class Answers(llm.LLM):
    """Says the same thing to everybody."""

    answer = "The answer to a question that nobody has asked yet."

    def chat(self, *, chat_ctx: llm.ChatContext, **settings: Any) -> llm.LLMStream:
        return Answer(self, chat_ctx=chat_ctx, tools=[], conn_options=ONCE)


class Answer(llm.LLMStream):
    async def _run(self) -> None:
        delta = llm.ChoiceDelta(role="assistant", content=Answers.answer)
        self._event_ch.send_nowait(llm.ChatChunk(id="1", delta=delta))


async def test_a_sessions_preemptive_turn_that_is_dropped_is_never_heard(
    make_engine: Callable[..., FakeEngine],
) -> None:
    """The session begins to speak on a guess of what the user said, and then thinks better."""
    engine = make_engine(script=Script(gated=True))
    tts = TTS(engine=engine, cache=False, streaming=True)
    watched = Watched(tts)
    speculate = {"enabled": True, "preemptive_tts": True}
    settings = {"turn_detection": None, "preemptive_generation": speculate}
    async with session_with(tts, llm=Answers(), turn_handling=settings) as (session, output):
        activity = session._activity
        assert activity is not None
        guess = _PreemptiveGenerationInfo("Is it", 0.9, None)
        activity.on_preemptive_generation(guess)
        await until_asked(engine, 1)
        engine.allow(1)
        await engine.until(lambda: engine.steps == 1)
        activity._cancel_preemptive_generation()
        await engine.until(lambda: engine.tasks[0].done)
        engine.allow(FOREVER)
        await session.say("Pardon?")
        assert engine.tasks[0].cancelled and not engine.tasks[-1].cancelled
        assert said(session) == ["Pardon?"]
        assert len(output.segments) == 1
        heard = samples(output.segments[0]).size
        assert heard == pytest.approx(engine.expected(engine.requests[-1]).size, abs=4_800)
    assert engine.steps_after_cancel == 0
    assert [stats.interrupted for stats in watched.stats] == [1, 0]


async def until_asked(engine: FakeEngine, requests: int) -> None:
    """Let the loop run until the engine has been asked so often."""
    async with asyncio.timeout(20):
        asked = asyncio.Event()
        submit = engine.submit

        def watch(*arguments: Any) -> Any:
            task = submit(*arguments)
            if len(engine.requests) >= requests:
                asked.set()
            return task

        engine.submit = watch  # type: ignore[method-assign]
        if len(engine.requests) < requests:
            await asked.wait()
        engine.submit = submit  # type: ignore[method-assign]
