"""One participant speaks, another one listens, a real LiveKit server between them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from livekit_xtts.audio import from_pcm16
from livekit_xtts.engine.local import LocalEngine
from livekit_xtts.room import Speaker
from livekit_xtts.speech import SpeechRequest
from livekit_xtts.tts import TTS
from tests.fake_engine import FakeEngine
from tests.livekit_server.server import LiveKitServer
from tests.room.listening import (
    SAMPLE_RATE,
    Listener,
    compare,
    is_loud,
    joined,
    listener,
    tone_level,
)

pytestmark = pytest.mark.server

TEXT = "This goes over the wire to a listener."
OTHER = "And this follows it to the same one."
CORRELATION = 0.95
HOLE_S = 0.02
SILENT_S = 0.3
SETTLED = 60
"""Frames of 10 ms after which a listener's jitter buffer has found its size."""


@asynccontextmanager
async def heard_in(
    server: LiveKitServer, room_name: str, tts: TTS, **options: Any
) -> AsyncIterator[tuple[Speaker, Listener]]:
    """A speaker and a listener in a room, both settled."""
    async with (
        joined(server, room_name, "speaker") as room,
        listener(server, room_name) as heard,
        Speaker(room, tts, **options) as speaker,
    ):
        await heard.until(lambda: len(heard.pieces) >= SETTLED)
        yield speaker, heard


@asynccontextmanager
async def fake_voice(**options: Any) -> AsyncIterator[tuple[TTS, FakeEngine]]:
    """A voice of known signals."""
    engine = FakeEngine(seconds_per_character=0.04, **options)
    tts = TTS(engine=engine, cache=False, streaming=True)
    try:
        yield tts, engine
    finally:
        await tts.aclose()
        engine.close()


@pytest.mark.parametrize("sample_rate", [24_000, 48_000])
async def test_the_listener_hears_what_was_spoken(
    server: LiveKitServer, room_name: str, sample_rate: int
) -> None:
    async with (
        fake_voice(signal="chirps") as (tts, engine),
        heard_in(server, room_name, tts, sample_rate=sample_rate) as (speaker, heard),
    ):
        first, second = speaker.say(TEXT), speaker.say(OTHER)
        await speaker.wait_for_playout()
        await heard.quiet()
        said = [engine.expected(SpeechRequest(text=text)) for text in (TEXT, OTHER)]
        results = [compare(audio, heard.recording) for audio in said]
        for result in results:
            assert result.correlation >= CORRELATION
            assert result.hole_s <= HOLE_S
        # In order, and no further apart than the end of the first needs.
        gap = results[1].offset_s - results[0].offset_s - said[0].size / SAMPLE_RATE
        assert -0.1 < gap < 0.3
        for utterance in (first, second):
            assert utterance.playout.underruns == 0
            assert utterance.playout.played_s == utterance.playout.audio_s


async def test_an_interruption_is_silent_at_the_listener(
    server: LiveKitServer, room_name: str
) -> None:
    async with (
        fake_voice(signal="chirps") as (tts, engine),
        heard_in(server, room_name, tts) as (speaker, heard),
    ):
        utterance = speaker.say(TEXT)
        before = len(heard.pieces)
        await heard.until(lambda: len(heard.pieces) >= before + 80)
        at = time.perf_counter()
        speaker.interrupt()
        await utterance
        await heard.quiet()
        assert heard.loud_since(at) <= SILENT_S
        assert engine.live == 0
        # And the next one is heard from its beginning.
        start = len(heard.recording)
        await speaker.say(OTHER)
        await heard.quiet()
        said = engine.expected(SpeechRequest(text=OTHER))
        assert compare(said, heard.recording[start:]).correlation >= CORRELATION


async def test_two_rooms_never_mix(server: LiveKitServer, room_name: str) -> None:
    tones = (440.0, 660.0)
    async with (
        fake_voice(hertz=tones[0]) as (low, _),
        fake_voice(hertz=tones[1]) as (high, _),
        heard_in(server, f"{room_name}-low", low) as (low_speaker, low_heard),
        heard_in(server, f"{room_name}-high", high) as (high_speaker, high_heard),
    ):
        low_speaker.say(TEXT)
        high_speaker.say(TEXT)
        await asyncio.gather(low_speaker.wait_for_playout(), high_speaker.wait_for_playout())
        await asyncio.gather(low_heard.quiet(), high_heard.quiet())
        for heard, own, other in ((low_heard, *tones), (high_heard, *tones[::-1])):
            assert tone_level(heard.recording, own) > 0.1
            # A lost packet splatters over neighbouring tones; a mixed room would be as loud.
            assert tone_level(heard.recording, other) < tone_level(heard.recording, own) / 10


async def test_one_voice_speaks_in_two_rooms_at_once(server: LiveKitServer, room_name: str) -> None:
    async with (
        fake_voice(signal="chirps") as (tts, engine),
        heard_in(server, f"{room_name}-1", tts) as (first, first_heard),
        heard_in(server, f"{room_name}-2", tts) as (second, second_heard),
    ):
        first.say(TEXT)
        second.say(OTHER)
        await asyncio.gather(first.wait_for_playout(), second.wait_for_playout())
        await asyncio.gather(first_heard.quiet(), second_heard.quiet())
        for heard, text in ((first_heard, TEXT), (second_heard, OTHER)):
            said = engine.expected(SpeechRequest(text=text))
            assert compare(said, heard.recording).correlation >= CORRELATION


async def test_a_listener_who_comes_late_hears_the_beginning(
    server: LiveKitServer, room_name: str
) -> None:
    async with (
        fake_voice(signal="chirps") as (tts, engine),
        joined(server, room_name, "speaker") as room,
        Speaker(room, tts) as speaker,
    ):
        utterance = speaker.say(TEXT)
        await engine.until(lambda: bool(engine.tasks) and engine.live == 0)
        assert utterance.playout.audio_s == 0.0
        async with listener(server, room_name) as heard:
            await utterance
            await heard.quiet()
            said = engine.expected(SpeechRequest(text=TEXT))
            result = compare(said, heard.recording)
            # The first words meet a jitter buffer that has not settled: it stretches them.
            assert result.correlation >= 0.8
            assert heard.recording.size >= said.size
            level = np.abs(heard.recording[: round((result.offset_s + 0.2) * SAMPLE_RATE)])
            assert level.max() > 0.05


@pytest.fixture(scope="module")
def real_engine() -> Iterator[LocalEngine]:
    """The engine itself, with the bundled voice or, without it, small random weights."""
    engine = LocalEngine()
    engine.load()
    yield engine
    engine.close()


async def test_the_real_engine_speaks_through_the_same_path(
    server: LiveKitServer, room_name: str, real_engine: LocalEngine
) -> None:
    tts = TTS(engine=real_engine, cache=False, seed=5)
    spoken = await tts.synthesize(TEXT).collect()
    source = from_pcm16(bytes(spoken.data))
    async with heard_in(server, room_name, tts) as (speaker, heard):
        utterance = speaker.say(TEXT)
        await utterance
        await heard.quiet()
        assert utterance.playout.audio_s == pytest.approx(spoken.duration, abs=0.02)
        result = compare(source, heard.recording)
        loud = sum(is_loud(piece) for piece in heard.pieces) * 0.01
    await tts.aclose()
    if real_engine.info.model.startswith("random"):
        # Noise, whose envelope is nearly flat: only its length can be compared.
        assert loud == pytest.approx(spoken.duration, rel=0.1)
    else:
        assert result.correlation >= CORRELATION
