"""Even level across segments: steps shrink, nothing else is touched, and no gain jumps."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from livekit_xtts.levels import MOST_DB, SLOPE_DB_S, TOLERANCE_DB, Level, Leveller, level_db
from livekit_xtts.pacing import Pacing
from livekit_xtts.pipeline import AudioPiece, Pipeline, SegmentStarted, SpeakOptions
from livekit_xtts.speech import SAMPLE_RATE, SpeechRequest
from livekit_xtts.utterance import LEVEL_LEAD_S
from tests.fake_engine import FakeEngine, Script, chirps
from tests.livekit.test_pipeline import Clock

STREAMED = Pacing(whole_below=0)
THREE = "One is spoken first. Two is spoken after it. Three is spoken at the end."


def speech(seconds: float, db: float = 0.0, seed: int = 0) -> np.ndarray:
    """Syllables with pauses; equal seeds are equal but for the level."""
    return (0.3 * 10 ** (db / 20) * chirps(seconds, 150.0, seed=seed)).astype(np.float32)


def evened(segments: list[np.ndarray], size: int, known: int) -> list[np.ndarray]:
    """Each segment in pieces of `size` samples, of which `known` are known ahead."""
    leveller, out = Leveller(), []
    for segment in segments:
        leveller.begin()
        pieces = np.split(segment, range(size, segment.size, size))
        made = [leveller.even(p, pieces[i + 1 : i + 1 + known]) for i, p in enumerate(pieces)]
        out.append(np.concatenate(made))
    return out


def steps(segments: list[np.ndarray]) -> list[float]:
    levels = [level_db(segment) for segment in segments]
    return [abs(b - a) for a, b in pairwise(levels)]


def test_the_level_is_that_of_the_speech_and_not_of_its_pauses() -> None:
    once = speech(2.0)
    paused = np.concatenate((once, np.zeros(3 * SAMPLE_RATE, np.float32), once))
    assert level_db(paused) == pytest.approx(level_db(once), abs=0.05)
    assert level_db(2 * once) == pytest.approx(level_db(once) + 6.02, abs=0.01)
    assert level_db(np.zeros(5000, np.float32)) == -np.inf
    assert Level().measured == (0.0, 0.0)


@pytest.mark.parametrize("step", [-6.0, -3.0, 3.0, 6.0])
@pytest.mark.parametrize(("size", "known"), [(24_000, 9), (4_800, 4), (9_600, 2)])
def test_a_segment_out_of_step_is_brought_to_the_level_before(
    step: float, size: int, known: int
) -> None:
    segments = [speech(2.0, seed=1), speech(2.0, step, seed=1), speech(2.0, seed=1)]
    out = evened(segments, size, known)
    assert max(steps(segments)) == pytest.approx(abs(step), abs=0.05)
    assert max(steps(out)) < 1.0
    assert np.array_equal(out[0], segments[0]), "the first one sets the level"


def test_what_is_in_step_stays_as_it_is() -> None:
    segments = [speech(1.5, db, seed=2) for db in (0.0, 1.2, -0.2, 0.7)]
    for before, after in zip(segments, evened(segments, 4_800, 4), strict=True):
        assert after is before or np.array_equal(after, before)


def test_what_is_learned_too_late_moves_the_gain_slowly() -> None:
    segments = [speech(2.0, seed=3), speech(3.0, -6.0, seed=3)]
    out = evened(segments, 2_400, 0)[1]
    source = segments[1]
    loud = np.abs(source) > 0.02
    gain = 20 * np.log10(np.abs(out[loud]) / np.abs(source[loud]))
    assert gain[0] == pytest.approx(0.0, abs=1e-3), "nothing was known at its beginning"
    assert gain.max() <= MOST_DB + 1e-3
    seconds = np.flatnonzero(loud) / SAMPLE_RATE
    slope = np.abs(np.diff(gain)) - SLOPE_DB_S * np.diff(seconds)
    assert slope.max() < 0.01
    assert level_db(out) > level_db(source) + 2.0


@given(
    st.lists(st.tuples(st.floats(-20, 12), st.integers(1, 30)), min_size=1, max_size=5),
    st.integers(400, 30_000),
    st.integers(0, 5),
)
def test_gains_are_bounded(parts: list[tuple[float, int]], size: int, known: int) -> None:
    segments = [speech(0.1 * tenths, db, seed=tenths) for db, tenths in parts]
    for before, after in zip(segments, evened(segments, size, known), strict=True):
        assert before.shape == after.shape
        most = 10 ** (MOST_DB / 20) * 1.001
        assert np.all(np.abs(after) <= most * np.abs(before) + 1e-7)
        assert np.all(np.abs(after) >= np.abs(before) / most - 1e-7)
        assert np.abs(after).max(initial=0.0) <= max(1.0, np.abs(before).max(initial=0.0) * 1.2)


class Uneven(FakeEngine):
    """Every other request comes out at a third of its level."""

    def expected(self, request: SpeechRequest) -> np.ndarray:
        audio = super().expected(request)
        return audio / np.float32(3) if request.text.startswith("Two") else audio


async def segments_of(engine: FakeEngine, options: SpeakOptions) -> list[np.ndarray]:
    found: list[list[np.ndarray]] = []
    async for event in Pipeline(engine).speak(THREE, options, STREAMED):
        if isinstance(event, SegmentStarted):
            found.append([])
        elif isinstance(event, AudioPiece) and found:
            found[-1].append(event.audio)
    return [np.concatenate(parts) for parts in found]


async def test_the_pipeline_evens_levels_and_can_be_told_not_to() -> None:
    engine = Uneven(signal="chirps")
    try:
        raw = await segments_of(engine, SpeakOptions(even_level=False))
        out = await segments_of(engine, SpeakOptions())
    finally:
        engine.close()
    assert max(steps(raw)) > 8.0
    assert max(steps(out)) <= max(steps(raw)) - MOST_DB + TOLERANCE_DB
    assert np.array_equal(raw[0], out[0])


async def test_an_unknown_level_is_waited_for_while_the_listener_has_audio() -> None:
    clock = Clock()
    engine = FakeEngine(signal="chirps", chunk_s=0.1)
    engine.scripts.extend([Script(), Script(gated=True)])
    begun: list[int] = []

    async def listen() -> None:
        pipeline = Pipeline(engine, clock=clock)
        async for event in pipeline.speak(THREE.partition(" Three")[0], pacing=STREAMED):
            if isinstance(event, SegmentStarted):
                begun.append(event.index)

    try:
        listening = asyncio.create_task(listen())
        await engine.until(lambda: len(engine.tasks) == 2 and engine.tasks[0].done)
        engine.allow(1)
        await engine.until(lambda: engine.tasks[1].chunks == 1)
        for _ in range(20):
            await asyncio.sleep(0)
        first_s = engine.expected(engine.requests[0]).size / SAMPLE_RATE
        assert begun == [0], f"{first_s:.1f} s are left to be heard"
        clock.now += first_s - LEVEL_LEAD_S / 2
        engine.allow(1)
        await engine.until(lambda: engine.tasks[1].chunks == 2)
        for _ in range(20):
            await asyncio.sleep(0)
        assert begun == [0, 1], "it does not run dry for a level"
        engine.allow()
        await listening
    finally:
        engine.close()
