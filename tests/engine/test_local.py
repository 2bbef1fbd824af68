"""The engine's life: loading, readiness, refusals, failures, cancels, closing."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import subprocess
import sys
import threading
import weakref
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from livekit_xtts.cachekey import speech_key
from livekit_xtts.engine import life, source
from livekit_xtts.engine.bytetext import ByteTokenizer
from livekit_xtts.engine.ends import Ends
from livekit_xtts.engine.engine import Engine
from livekit_xtts.engine.local import LocalEngine
from livekit_xtts.engine.machine import ModelVocoder
from livekit_xtts.engine.schedule import CONTEXT_CODES, StepTimes
from livekit_xtts.engine.shared import close_shared_engines, shared_engine
from livekit_xtts.engine.source import random_voice
from livekit_xtts.engine.stream import speak
from livekit_xtts.model.checkpoint import create_random, save_model
from livekit_xtts.model.config import XttsConfig
from livekit_xtts.model.xtts import XttsModel
from livekit_xtts.speech import (
    CODE_SECONDS,
    MAX_TEXT_IDS,
    EngineBusyError,
    EngineClosedError,
    EngineFailedError,
    InvalidRequestError,
    ModelError,
    ReferenceAudio,
    SpeechChunk,
    SpeechDone,
    SpeechEvent,
    SpeechFailed,
    SpeechRequest,
    VoiceError,
)

LONG = 60.0
"""Seconds after which a test gives up; nothing waits that long when all is well."""


class Inbox:
    """A sink that another thread can wait on."""

    def __init__(self) -> None:
        self.events: list[SpeechEvent] = []
        self.changed = threading.Condition()

    def __call__(self, event: SpeechEvent) -> None:
        with self.changed:
            self.events.append(event)
            self.changed.notify_all()

    def wait(self, count: int = 0) -> SpeechEvent:
        """Wait for so many events, or for the last one; gives the latest."""
        with self.changed:
            assert self.changed.wait_for(
                lambda: (
                    (count and len(self.events) >= count)
                    or (self.events and not isinstance(self.events[-1], SpeechChunk))
                ),
                LONG,
            )
            return self.events[-1]

    def error(self) -> Exception:
        event = self.wait()
        assert isinstance(event, SpeechFailed), event
        return event.error


class HeldLoad:
    """Loading that waits for the test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go, self.begun = threading.Event(), threading.Event()
        load = source.load

        def held(*arguments: Any, **options: Any) -> Any:
            self.begun.set()
            assert self.go.wait(LONG)
            return load(*arguments, **options)

        monkeypatch.setattr(source, "load", held)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Any:
    hold = HeldLoad(monkeypatch)
    yield hold
    hold.go.set()


def ids(seed: int = 0, **changes: Any) -> SpeechRequest:
    return SpeechRequest(**{"text": "", "ids": (5, 6, 7), "seed": seed, "max_codes": 6, **changes})


def noise(seconds: float, rate: int = 22_050, level: float = 0.1) -> ReferenceAudio:
    generator = np.random.default_rng(0)
    samples = generator.standard_normal(round(seconds * rate)).astype(np.float32) * level
    return ReferenceAudio(samples, rate)


def test_it_is_an_engine_and_speaks(engines: Any) -> None:
    engine = engines()
    assert isinstance(engine, Engine) and not engine.ready and engine.info.fingerprint == ""
    engine.load()
    assert engine.ready
    inbox = Inbox()
    task = engine.submit(ids(), inbox)
    done = inbox.wait()
    assert isinstance(done, SpeechDone) and len(done.codes) == 6 and not done.stopped
    assert 0 <= done.queued_s <= done.first_audio_s <= done.total_s
    assert task.done and engine.occupancy() == 0.0
    chunks = [event for event in inbox.events if isinstance(event, SpeechChunk)]
    assert chunks[0].audio.dtype == np.float32 and chunks[-1].final
    assert sum(chunk.audio.size for chunk in chunks) == done.samples


def test_a_request_starts_the_engine_and_waits_for_it(engines: Any, held: HeldLoad) -> None:
    engine = engines()
    inbox = Inbox()
    engine.submit(ids(), inbox)
    assert held.begun.wait(LONG) and not engine.ready and not inbox.events
    assert engine.occupancy() == 1 / 8
    held.go.set()
    assert isinstance(inbox.wait(), SpeechDone)


def test_start_returns_at_once_and_load_has_a_budget(engines: Any, held: HeldLoad) -> None:
    engine = engines()
    engine.start()
    engine.start()
    with pytest.raises(TimeoutError, match="goes on"):
        engine.load(timeout=0.01)
    held.go.set()
    engine.load()
    assert engine.ready


def test_requests_do_not_wait_beyond_the_loading_budget(engines: Any, held: HeldLoad) -> None:
    engine = engines(load_timeout=0.05)
    inbox = Inbox()
    engine.submit(ids(), inbox)
    error = inbox.error()
    assert isinstance(error, EngineBusyError) and error.retryable
    held.go.set()
    engine.load(LONG)
    second = Inbox()
    engine.submit(ids(), second)
    assert isinstance(second.wait(), SpeechDone)


def test_cancel_while_loading(engines: Any, held: HeldLoad) -> None:
    engine = engines()
    inbox = Inbox()
    engine.submit(ids(), inbox).cancel()
    done = inbox.wait()
    assert isinstance(done, SpeechDone) and done.cancelled
    assert engine.occupancy() == 0.0


def test_a_missing_model_is_told_to_everybody(engines: Any, tmp_path: Path) -> None:
    engine = engines(tmp_path / "nowhere")
    inbox = Inbox()
    engine.submit(ids(), inbox)
    assert isinstance(inbox.error(), ModelError)
    with pytest.raises(ModelError, match="nowhere"):
        engine.load()
    with pytest.raises(ModelError, match="nowhere"):
        engine.submit(ids(), inbox)
    with pytest.raises(ModelError, match="nowhere"):
        engine.clone([noise(1.0)]).result(LONG)


def test_loading_that_breaks_otherwise_is_a_model_error(
    engines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*arguments: Any, **options: Any) -> Any:
        raise MemoryError("no memory")

    monkeypatch.setattr(source, "load", explode)
    with pytest.raises(ModelError, match="no memory"):
        engines().load()


def test_a_device_that_is_not_there(engines: Any) -> None:
    with pytest.raises(ModelError, match="cuda:77"):
        engines(device="cuda:77").load()


@pytest.mark.parametrize(
    "options",
    [{"profile": "fast"}, {"slots": 0}, {"queue": -1}, {"threads": 0}, {"max_wait": -1.0}],
    ids=str,
)
def test_options_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=next(iter(options))):
        LocalEngine("random-small", **options)


def test_more_than_slots_and_queue_is_refused_at_once(engines: Any, held: HeldLoad) -> None:
    engine = engines(slots=2, queue=1)
    inboxes = [Inbox() for _ in range(3)]
    tasks = [engine.submit(ids(seed), inbox) for seed, inbox in enumerate(inboxes)]
    assert engine.occupancy() == 1.5
    with pytest.raises(EngineBusyError) as caught:
        engine.submit(ids(), Inbox())
    assert caught.value.retryable
    tasks[0].cancel()
    inboxes[0].wait()
    engine.submit(ids(), again := Inbox())
    held.go.set()
    assert all(isinstance(inbox.wait(), SpeechDone) for inbox in (*inboxes, again))


def test_a_request_that_could_not_start_in_time_is_refused_at_once(engines: Any) -> None:
    engine = engines(slots=1, max_wait=2.0)
    engine.load()
    begun, release = threading.Event(), threading.Event()
    runner = engine._machine.runner
    step = runner.step

    def held(*arguments: Any) -> Any:
        begun.set()
        assert release.wait(LONG)
        return step(*arguments)

    runner.step = held
    engine.submit(ids(), first := Inbox())
    assert begun.wait(LONG)
    engine._machine.scheduler._waiting._kept_s = 10.0
    with pytest.raises(EngineBusyError, match="longer than") as refused:
        engine.submit(ids(), Inbox())
    assert refused.value.retryable
    engine.submit(ids(max_wait_s=math.inf), patient := Inbox())
    runner.step = step
    release.set()
    assert isinstance(first.wait(), SpeechDone) and isinstance(patient.wait(), SpeechDone)


def test_bad_requests_fail_alone_and_say_why(engines: Any, small_model: XttsModel) -> None:
    engine = engines()
    voice = random_voice(small_model)
    cases = [
        (ids(language="xx", ids=None, text="Hello."), InvalidRequestError, "xx"),
        (ids(ids=None, text=" … "), InvalidRequestError, "nothing"),
        (ids(ids=(5,) * 401), InvalidRequestError, "401"),
        (ids(ids=(5, 99_999)), InvalidRequestError, "99999"),
        (ids(ids=None, text="long " * 200), InvalidRequestError, "too long"),
        (ids(voice=replace(voice, model="0" * 64)), VoiceError, "another model"),
        (ids(voice=replace(voice, latents=voice.latents[:5])), VoiceError, "shapes"),
        (ids(voice=replace(voice, latents=voice.latents * np.nan)), VoiceError, "not finite"),
    ]
    inboxes = [Inbox() for _ in cases]
    good = Inbox()
    engine.submit(ids(), good)
    for (request, _, _), inbox in zip(cases, inboxes, strict=True):
        engine.submit(request, inbox)
    for (_, kind, words), inbox in zip(cases, inboxes, strict=True):
        error = inbox.error()
        assert isinstance(error, kind) and words in str(error)
        assert not error.retryable
    assert isinstance(good.wait(), SpeechDone)


def test_text_is_spoken_with_the_stand_in_vocabulary(engines: Any) -> None:
    engine = engines("random-small")
    inbox = Inbox()
    engine.submit(SpeechRequest("Hello there.", seed=1), inbox)
    done = inbox.wait()
    assert isinstance(done, SpeechDone)
    # Random weights never stop: the budget follows from the text, here about 1.1 s.
    assert len(done.codes) == 25 and not done.stopped


def test_the_first_request_finds_its_way_warm(
    engines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows: list[tuple[int, int]] = []
    decode = ModelVocoder.decode

    def watched(vocoder: ModelVocoder, items: Any) -> Any:
        windows.extend((due.carry.frames, latents.shape[0]) for latents, _, due in items)
        return decode(vocoder, items)

    monkeypatch.setattr(ModelVocoder, "decode", watched)
    encoded: list[str] = []
    encode = ByteTokenizer.encode

    def listened(tokenizer: ByteTokenizer, text: str, *rest: Any, **options: Any) -> Any:
        encoded.append(text)
        return encode(tokenizer, text, *rest, **options)

    monkeypatch.setattr(ByteTokenizer, "encode", listened)
    engine = engines("random-small")
    engine.load()
    assert encoded
    seen, counters = set(windows), engine._machine.scheduler.counters
    assert counters.pieces == counters.steps == 0

    text = "Hello there, this is a sentence of some length, and then some more."
    pieces = []
    for streaming in (False, True, False):
        before, begun = counters.pieces, len(windows)
        inbox = Inbox()
        engine.submit(SpeechRequest(text, seed=1, streaming=streaming), inbox)
        assert isinstance(inbox.wait(), SpeechDone)
        pieces.append(counters.pieces - before)
        # The first windows; the last one has any length.
        assert set(windows[begun : begun + 2]) <= seen
    # The voice's own positions have been read before.
    assert len(set(pieces)) == 1


def test_a_failed_step_is_retryable_and_the_engine_goes_on(
    engines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engines()
    engine.load()
    runner = engine._machine.runner
    step = runner.step

    def explode(*arguments: Any) -> Any:
        monkeypatch.setattr(runner, "step", step)
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(runner, "step", explode)
    inbox = Inbox()
    engine.submit(ids(), inbox)
    error = inbox.error()
    assert isinstance(error, EngineFailedError) and error.retryable
    assert isinstance(error.__cause__, torch.OutOfMemoryError)
    engine.submit(ids(), again := Inbox())
    assert isinstance(again.wait(), SpeechDone)


def test_closing_ends_everything_in_bounded_time(engines: Any) -> None:
    engine = engines(slots=1)
    engine.load()
    inboxes = [Inbox() for _ in range(3)]
    for seed, inbox in enumerate(inboxes):
        engine.submit(ids(seed, max_codes=602), inbox)
    inboxes[0].wait(count=1)
    engine.close()
    engine.close()
    for inbox in inboxes:
        assert isinstance(inbox.error(), EngineClosedError)
    assert engine._thread is not None and not engine._thread.is_alive()
    assert not engine.ready and engine._machine is None
    for call in (lambda: engine.submit(ids(), Inbox()), engine.load):
        with pytest.raises(EngineClosedError):
            call()
    with pytest.raises(EngineClosedError):
        engine.clone([noise(1.0)]).result(LONG)


def test_closing_does_not_wait_for_a_loading_that_hangs(engines: Any, held: HeldLoad) -> None:
    engine = engines()
    inbox = Inbox()
    engine.submit(ids(), inbox)
    future = engine.clone([noise(1.0)])
    assert held.begun.wait(LONG)
    engine.close(timeout=LONG)
    assert isinstance(inbox.error(), EngineClosedError)
    with pytest.raises(EngineClosedError):
        future.result(LONG)
    assert not engine._thread.is_alive()


def test_closing_does_not_wait_for_a_step_that_hangs(engines: Any) -> None:
    engine = engines()
    engine.load()
    stuck, release = threading.Event(), threading.Event()

    def hang(*arguments: Any) -> Any:
        stuck.set()
        release.wait(LONG)
        raise RuntimeError("too late")

    engine._machine.runner.step = hang
    inbox = Inbox()
    engine.submit(ids(), inbox)
    assert stuck.wait(LONG)
    engine.close(timeout=0.05)
    assert isinstance(inbox.error(), EngineClosedError)
    release.set()
    engine._thread.join(LONG)
    assert len(inbox.events) == 1, "nothing follows the last event"


def test_a_folder_without_vocabulary_speaks_ids_alone(
    engines: Any, small_model: XttsModel, tmp_path: Path
) -> None:
    save_model(small_model, tmp_path / "anna")
    engine = engines(tmp_path / "anna")
    engine.load()
    assert engine.info.model == "anna"
    voice = engine.clone([noise(1.0)]).result(LONG)
    cases = [
        (ids(voice=voice), None, ""),
        (ids(voice=voice, ids=None, text="Hello."), ModelError, "vocab.json"),
        (ids(), VoiceError, "no voice"),
    ]
    for request, kind, words in cases:
        engine.submit(request, inbox := Inbox())
        if kind is None:
            assert isinstance(inbox.wait(), SpeechDone)
        else:
            assert isinstance(inbox.error(), kind) and words in str(inbox.error())


def test_no_model_is_the_bundled_one_or_a_random_one_with_one_warning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(source, "BUNDLED", tmp_path)
    monkeypatch.setattr(source, "_warned", threading.Event())
    with caplog.at_level(logging.WARNING):
        assert source.chosen(None) == source.chosen(None) == "random-small"
    assert len(caplog.records) == 1
    (tmp_path / "model.safetensors").touch()
    assert source.chosen(None) == tmp_path


def test_one_engine_for_the_same_model() -> None:
    try:
        first = shared_engine("random-small", "cpu", "fp32", threads=1)
        assert first is shared_engine("random-small", "cpu", "fp32", threads=1)
        assert first is not shared_engine("random-small", "cpu", "fp32", threads=2)
        assert first._thread is None, "nothing runs before it is used"
        first.close()
        assert first is not shared_engine("random-small", "cpu", "fp32", threads=1)
    finally:
        close_shared_engines()


def test_an_engine_that_could_not_load_is_not_shared_again(tmp_path: Path) -> None:
    try:
        failed = shared_engine(tmp_path / "missing")
        with pytest.raises(ModelError):
            failed.load()
        assert shared_engine(tmp_path / "missing") is not failed
    finally:
        close_shared_engines()


async def test_events_reach_an_event_loop(engines: Any) -> None:
    engine = engines()
    async with aclosing(speak(engine, ids(max_codes=20))) as chunks:
        audio = [chunk async for chunk in chunks]
    assert len(audio) > 1 and audio[-1].final
    with pytest.raises(InvalidRequestError):
        async for _ in speak(engine, ids(ids=())):
            pass


async def test_leaving_the_iteration_cancels(engines: Any) -> None:
    engine = engines()
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    on_end = engine._on_end
    engine._on_end = lambda job: (on_end(job), loop.call_soon_threadsafe(ended.set))
    async with aclosing(speak(engine, ids(max_codes=602))) as chunks:
        async for _ in chunks:
            break
    await asyncio.wait_for(ended.wait(), LONG)
    assert engine.occupancy() == 0.0


def test_a_loop_that_has_gone_is_a_cancel(engines: Any) -> None:
    engine = engines()
    engine.load()
    loop = asyncio.new_event_loop()
    loop.close()
    task = engine.submit(
        ids(max_codes=602), lambda event: loop.call_soon_threadsafe(print) and None
    )
    engine.submit(ids(), inbox := Inbox())
    assert isinstance(inbox.wait(), SpeechDone)
    engine.close()
    assert task.done


def test_an_engine_belongs_to_its_process(engines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engines()
    engine.load()
    monkeypatch.setattr(life.os, "getpid", lambda: -1)
    with pytest.raises(EngineClosedError, match="fork"):
        engine.submit(ids(), Inbox())


def test_nothing_is_left_after_closing(small_model: XttsModel) -> None:
    engine = LocalEngine(small_model, threads=1, precision="fp32")
    engine.load()
    machine = weakref.ref(engine._machine)
    engine.close()
    gc.collect()
    assert machine() is None
    alive = [t.name for t in threading.enumerate() if t.name.startswith("xtts")]
    assert "xtts-load" not in alive


def test_making_an_engine_imports_no_torch_and_starts_no_thread() -> None:
    code = (
        "import sys, threading\n"
        "from livekit_xtts.engine.shared import shared_engine\n"
        "from livekit_xtts.engine.stream import speak\n"
        "shared_engine('random-small')\n"
        "assert 'torch' not in sys.modules and threading.active_count() == 1\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_process_with_a_running_engine_ends() -> None:
    code = (
        "import threading\n"
        "from livekit_xtts.engine.local import LocalEngine\n"
        "from livekit_xtts.speech import SpeechRequest\n"
        "engine = LocalEngine('random-small', threads=1, precision='fp32')\n"
        "engine.load()\n"
        "heard = threading.Event()\n"
        "engine.submit(SpeechRequest('', ids=(5,)), lambda event: heard.set())\n"
        "assert heard.wait(60)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_what_the_pipeline_asks_of_an_engine() -> None:
    """How fast it is, from the step times; and how many ids a text has."""
    times = StepTimes(step_s=0.1, window_s=0.02, window_code_s=0.001)
    engine = LocalEngine("random-small", device="cpu", times=times, profile="balanced")
    try:
        assert engine.real_time_factor is None and engine.count_ids("Hello.", "en") is None
        engine.load()
        codes = 20
        work = codes * 0.1 + 0.02 + (codes + CONTEXT_CODES) * 0.001
        assert engine.real_time_factor == pytest.approx(work / (codes * CODE_SECONDS))
        assert engine.count_ids("Hello.", "en") == len("[en]hello.") - 4
        assert (engine.count_ids("x" * 900, "en") or 0) > 400
        with pytest.raises(InvalidRequestError):
            engine.count_ids("Hello.", "xx")
    finally:
        engine.close()


def test_what_text_fits_is_known_before_it_is_loaded(engines: Any, tmp_path: Path) -> None:
    """Text is cut by it while the model is still loading."""
    config = XttsConfig.small(gpt_max_text_tokens=30, char_limits=(("en", 70),))
    config.to_json(tmp_path / "config.json")
    for model in (tmp_path, create_random(config)):
        info = engines(model=model).info
        assert (info.max_text_ids, info.char_limits) == (30, (("en", 70),))
    info = engines(model=tmp_path / "nowhere").info
    assert info.max_text_ids == MAX_TEXT_IDS  # loading says what is wrong
    assert XttsConfig().max_text_ids == MAX_TEXT_IDS == 400


def test_more_ids_than_the_models_table_are_refused(engines: Any) -> None:
    engine = engines(model=create_random(XttsConfig.small(gpt_max_text_tokens=30)))
    engine.load()
    assert engine.info.max_text_ids == 30
    for count, kind in ((30, SpeechDone), (31, SpeechFailed)):
        inbox = Inbox()
        engine.submit(ids(ids=(5,) * count), inbox)
        assert isinstance(event := inbox.wait(), kind)
    assert isinstance(event.error, InvalidRequestError)
    assert "1 to 30 text ids, not 31" in str(event.error)


def test_engines_that_end_otherwise_or_have_another_voice_share_no_cached_speech(
    engines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, same, plain = engines(), engines(), engines(ends=Ends.off())
    for engine in (usual, same, plain):
        engine.load()
    request = SpeechRequest("The same words.")
    key = speech_key(usual.info, request)
    assert key == speech_key(same.info, request) != speech_key(plain.info, request)
    monkeypatch.setattr(source, "random_voice", lambda model, seed: random_voice(model, seed + 1))
    other = engines()
    other.load()
    assert speech_key(other.info, request) != key
