"""Inside LiveKit's adapters, with LiveKit's tokenizers, at other sample rates."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from livekit.agents import APIConnectOptions, APIError, tokenize
from livekit.agents import tts as agents_tts

from livekit_xtts.events import FLUSH
from livekit_xtts.sentences import tokenizer_segments
from livekit_xtts.text.languages import CHAR_LIMITS
from livekit_xtts.text.normalize import normalize
from livekit_xtts.tts import TTS
from tests.fake_engine import FakeEngine, Script
from tests.livekit.helpers import LONG, ONCE, Watched, samples, spoken, timed
from tests.livekit.test_pipeline import pieces

QUICK = APIConnectOptions(max_retry=0, timeout=0.2, retry_interval=0.01)
TOKENIZERS = {
    "blingfire": lambda: tokenize.blingfire.SentenceTokenizer(),
    "blingfire, format kept": lambda: tokenize.blingfire.SentenceTokenizer(retain_format=True),
    "basic": lambda: tokenize.basic.SentenceTokenizer(),
}


@pytest.mark.parametrize("streamed", [False, True])
async def test_the_fallback_takes_over(
    make_engine: Callable[..., FakeEngine], streamed: bool
) -> None:
    broken = make_engine(script=Script(fail_after=0))
    sound = make_engine(hertz=900.0)
    ours = [TTS(engine=engine, cache=False) for engine in (broken, sound)]
    adapter = agents_tts.FallbackAdapter(list(ours), max_retry_per_tts=0)
    changes: list[bool] = []
    adapter.on("tts_availability_changed", lambda event: changes.append(event.available))
    assert adapter.capabilities.streaming
    assert adapter.capabilities.aligned_transcript
    if streamed:
        events = await spoken(adapter.stream(conn_options=QUICK), "Hello ", "there.")
    else:
        async with adapter.synthesize("Hello there.", conn_options=QUICK) as stream:
            events = [event async for event in stream]
    assert np.allclose(samples(events), sound.expected(sound.requests[0]), atol=1 / 32767)
    assert changes[0] is False
    await adapter.aclose()
    for tts in ours:
        await tts.aclose()


async def test_all_down_is_an_api_error(make_engine: Callable[..., FakeEngine]) -> None:
    ours = [TTS(engine=make_engine(script=Script(fail_after=0)), cache=False) for _ in range(2)]
    adapter = agents_tts.FallbackAdapter(list(ours), max_retry_per_tts=0)
    with pytest.raises(APIError):
        await adapter.synthesize("Hello there.", conn_options=QUICK).collect()
    await adapter.aclose()
    for tts in ours:
        await tts.aclose()


async def test_a_stalled_first_choice_is_left(make_engine: Callable[..., FakeEngine]) -> None:
    stalled, sound = make_engine(script=Script(stall_after=0)), make_engine(hertz=900.0)
    ours = [TTS(engine=engine, cache=False) for engine in (stalled, sound)]
    adapter = agents_tts.FallbackAdapter(list(ours), max_retry_per_tts=0)
    events = await spoken(adapter.stream(conn_options=QUICK), "Hello there.")
    assert samples(events).size == sound.expected(sound.requests[0]).size
    await adapter.aclose()
    for tts in ours:
        await tts.aclose()


async def test_inside_a_stream_adapter(engine: FakeEngine, tts: TTS) -> None:
    adapter = agents_tts.StreamAdapter(tts=tts)
    watched = Watched(adapter)
    events = await spoken(adapter.stream(conn_options=ONCE), LONG)
    assert "".join(text for text, _ in timed(events)) == LONG
    assert samples(events).size >= sum(engine.expected(r).size for r in engine.requests)
    assert all(not metrics.streamed for metrics in watched.metrics)
    await adapter.aclose()


@pytest.mark.parametrize("name", TOKENIZERS)
async def test_a_livekit_tokenizer_cuts_the_text(engine: FakeEngine, name: str) -> None:
    text = "Dr. Smith came at noon.  He stayed for an hour!\nThen he left, and nobody saw him."
    tts = TTS(engine=engine, cache=False, tokenizer=TOKENIZERS[name]())
    events = await spoken(tts.stream(conn_options=ONCE), *text)
    assert "".join(words for words, _ in timed(events)) == text
    assert samples(events).size >= sum(engine.expected(r).size for r in engine.requests)
    tts.update_options(tokenizer=None)
    assert await spoken(tts.stream(conn_options=ONCE), text)


async def test_a_tokenizers_sentence_over_the_limit_is_cut() -> None:
    text = "and then a word, " * 60 + "and that was all."
    cut = tokenizer_segments(tokenize.blingfire.SentenceTokenizer(), "en")
    segments = [segment async for segment in cut(pieces(text))]
    assert len(segments) > 1
    assert all(len(segment.text.strip()) <= CHAR_LIMITS["en"] for segment in segments)
    assert "".join(segment.text for segment in segments) == text
    assert [segment.index for segment in segments] == list(range(len(segments)))


async def test_a_tokenizers_sentence_with_too_many_ids_is_cut() -> None:
    text = "call " + "1234567 " * 20 + "now."
    cut = tokenizer_segments(
        tokenize.blingfire.SentenceTokenizer(), "en", count_ids=lambda text: 4 * len(text)
    )
    segments = [segment async for segment in cut(pieces(text))]
    assert len(segments) > 1 and all(4 * len(segment.text) <= 400 for segment in segments)
    assert "".join(segment.text for segment in segments) == text


async def test_a_tokenizers_sentences_fit_the_model(make_engine: Callable[..., FakeEngine]) -> None:
    engine = make_engine(info={"max_text_ids": 200, "char_limits": (("en", 60),)})
    tokenizer = tokenize.blingfire.SentenceTokenizer()
    tts = TTS(engine=engine, cache=False, tokenizer=tokenizer)
    async with tts.stream() as stream:
        stream.push_text("and then a word, " * 10 + "call " + "1234567 " * 5 + "now.")
        stream.end_input()
        _ = [event async for event in stream]
    for request in engine.requests:
        assert len(request.text) <= 60
        assert 1 + len(normalize(request.text, "en")) <= 200


async def test_a_tokenizer_follows_a_flush_and_a_failing_text() -> None:
    cut = tokenizer_segments(tokenize.blingfire.SentenceTokenizer(), "en")
    segments = [segment async for segment in cut(pieces("Hello there, you", FLUSH, " and you."))]
    assert "".join(segment.text for segment in segments) == "Hello there, you and you."

    async def failing():
        yield "This much was written."
        raise LookupError("the writer has gone")

    seen = []
    with pytest.raises(LookupError):
        async for segment in cut(failing()):
            seen.append(segment.text)
    assert seen == ["This much was written."]


@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
async def test_other_sample_rates(engine: FakeEngine, rate: int) -> None:
    tts = TTS(engine=engine, cache=False, sample_rate=rate)
    events = await spoken(tts.stream(conn_options=ONCE), "Hello there, my friend.")
    assert {event.frame.sample_rate for event in events} == {rate}
    seconds = sum(engine.expected(request).size for request in engine.requests) / 24_000
    assert sum(event.frame.duration for event in events) >= seconds - 0.01
    frames = [frame async for frame in tts.cached_frames("Hello there, my friend.")]
    assert {frame.sample_rate for frame in frames} == {rate}
    heard, whole = samples(events), samples(frames)
    assert abs(heard.size - whole.size) <= 0.2 * rate  # segments may be cut elsewhere
    spectrum = np.abs(np.fft.rfft(heard[: rate // 2]))
    assert np.argmax(spectrum) * 2 == pytest.approx(440, abs=4)


async def test_what_was_spoken_can_be_kept(engine: FakeEngine, tts: TTS, tmp_path) -> None:
    async with tts.stream(conn_options=ONCE) as stream:
        stream.push_text("Hello there.")
        stream.end_input()
        events = [event async for event in stream]
    assert np.allclose(stream.audio, samples(events), atol=1 / 32767)
    saved = stream.save(tmp_path / "hello.wav")
    assert saved.stat().st_size == 44 + 2 * stream.audio.size
