"""Word times from the engine: told where asked for, never waited for, changing no audio."""

from __future__ import annotations

import json
import queue
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from livekit_xtts.alignment import Head
from livekit_xtts.engine import aligner as module
from livekit_xtts.engine.aligner import (
    EXAMPLES,
    FILE,
    MOST_WAITING,
    Aligner,
    aligner_for,
    read_heads,
    write_heads,
)
from livekit_xtts.engine.job import Job, Prepared, SpokenWords
from livekit_xtts.engine.local import LocalEngine
from livekit_xtts.engine.source import BUNDLED, random_voice
from livekit_xtts.model.checkpoint import create_random
from livekit_xtts.model.config import XttsConfig
from livekit_xtts.speech import Sampling, SpeechChunk, SpeechDone, SpeechRequest
from livekit_xtts.timings import split_words

TEXT = "The train to the coast leaves at nine."
HEAD = Head(0, 0, 0.9)


class Words:
    """A vocabulary in which every id is a letter."""

    def tokens(self, ids: Any) -> list[str]:
        return ["a"] * len(ids)


@pytest.fixture(scope="module")
def model() -> Any:
    return create_random(XttsConfig.small(), 0)


def finished(model: Any, text: str = TEXT, ids: int = 20) -> Job:
    """A request whose codes are complete."""
    job = Job(SpeechRequest(text, align=True), lambda event: None, lambda: 0.0)
    job.prepared = Prepared(tuple(range(2, 2 + ids)), random_voice(model), Sampling(), 0, 100)
    job.progress.codes = list(range(30))
    job.progress.stopped = True
    return job


def spoken(engine: LocalEngine, request: SpeechRequest) -> tuple[np.ndarray, SpeechDone]:
    events: queue.SimpleQueue[Any] = queue.SimpleQueue()
    engine.submit(request, events.put)
    audio = []
    while not isinstance(event := events.get(timeout=60), SpeechDone):
        assert isinstance(event, SpeechChunk)
        audio.append(event.audio)
    return np.concatenate(audio), event


@pytest.mark.skipif(not (BUNDLED / "model.safetensors").is_file(), reason="no bundled voice")
def test_the_bundled_voice_tells_its_words() -> None:
    engine = LocalEngine(device="cpu", precision="fp32")
    try:
        plain, without = spoken(engine, SpeechRequest(TEXT, seed=3))
        audio, done = spoken(engine, SpeechRequest(TEXT, seed=3, align=True))
    finally:
        engine.close()
    assert without.words == without.alignment == ()
    assert np.array_equal(plain, audio) and without.codes == done.codes
    assert len(done.words) == len(split_words(TEXT))
    assert list(done.words) == sorted(done.words)
    assert done.words[0] <= 3 and done.words[-1] < len(done.codes)
    assert len(set(done.words)) >= 6, "words are told apart"


def test_the_file_beside_the_bundled_voice_is_its_own() -> None:
    """A new voice needs new heads: `python -m benchmarks.timings --write`."""
    from livekit_xtts.model.checkpoint import load_model

    if not (BUNDLED / "model.safetensors").is_file():
        pytest.skip("no bundled voice")
    assert read_heads(BUNDLED, load_model(BUNDLED).fingerprint)


def test_heads_are_kept_beside_their_checkpoint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert read_heads(None, "a") is None and read_heads(tmp_path, "a") is None
    write_heads(tmp_path, "a", [HEAD])
    assert read_heads(tmp_path, "a") == (HEAD,)
    assert read_heads(tmp_path, "b") is None, "another checkpoint's"
    assert not caplog.records
    for damage in ("", "[]", json.dumps({"fingerprint": "a", "heads": [[1]]})):
        (tmp_path / FILE).write_text(damage)
        assert read_heads(tmp_path, "a") is None
    assert "is damaged" in caplog.text
    write_heads(tmp_path / "missing", "a", [HEAD])


def test_heads_are_found_on_the_first_requests_and_kept(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def find(examples: Any) -> list[Head]:
        seen.append(len(examples))
        return [HEAD]

    monkeypatch.setattr(module, "find_heads", find)
    aligner = Aligner(model.gpt, Words(), "a", tmp_path)
    for number in range(EXAMPLES):
        job = finished(model)
        aligner.submit(job)
        assert job.words is not None and job.words.result(30) is None, number
    assert seen == [EXAMPLES]
    assert read_heads(tmp_path, "a") == (HEAD,)
    job = finished(model)
    aligner.submit(job)
    words = job.words.result(30) if job.words else None
    assert words is not None and len(words.words) == len(split_words(TEXT))
    assert len(words.alignment) == 20


def test_a_model_without_such_heads_is_left_alone(
    model: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_heads(tmp_path, "a", [])
    aligner = Aligner(model.gpt, Words(), "a", tmp_path)
    job = finished(model)
    aligner.submit(job)
    assert job.words is None
    assert aligner_for(model.gpt, object(), "a", None) is None, "ids that mean nothing"
    small = create_random(XttsConfig.small(), 0)
    small.gpt.gpt.h.to("meta")
    with caplog.at_level("INFO"):
        assert aligner_for(small.gpt, Words(), "a", None) is None
    assert "word times are estimates" in caplog.text


def test_requests_do_not_queue_up_for_their_words(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_heads(tmp_path, "a", [HEAD])
    begun, gate = threading.Event(), threading.Event()
    attention = module.text_attention

    def slow(*args: Any, **options: Any) -> Any:
        begun.set()
        assert gate.wait(30)
        return attention(*args, **options)

    monkeypatch.setattr(module, "text_attention", slow)
    aligner = Aligner(model.gpt, Words(), "a", tmp_path)
    jobs = [finished(model) for _ in range(MOST_WAITING + 3)]
    aligner.submit(jobs[0])
    assert begun.wait(30)
    for job in jobs[1:]:
        aligner.submit(job)
    gate.set()
    assert [job.words is not None for job in jobs] == [True] * (MOST_WAITING + 1) + [False] * 2
    assert all(job.words.result(30) for job in jobs if job.words)


def test_a_failure_costs_the_words_alone(
    model: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_heads(tmp_path, "a", [HEAD])
    monkeypatch.setattr(module, "align", lambda *_: 1 / 0)
    aligner = Aligner(model.gpt, Words(), "a", tmp_path)
    job = finished(model)
    aligner.submit(job)
    assert job.words is not None and job.words.result(30) is None
    assert "word times could not be read" in caplog.text


def test_the_last_event_comes_with_the_words_and_only_once(model: Any) -> None:
    events: list[Any] = []
    job = Job(SpeechRequest(TEXT), events.append, lambda: 0.0)
    words: Future[SpokenWords | None] = Future()
    job.words = words
    job.conclude()
    assert not events
    words.set_result(SpokenWords((0, 4), (0,)))
    assert [event.words for event in events] == [(0,)]
    assert events[0].alignment == (0, 4) and not events[0].cancelled


def test_a_cancel_does_not_wait_for_the_words(model: Any) -> None:
    events: list[Any] = []
    job = Job(SpeechRequest(TEXT), events.append, lambda: 0.0, on_cancel=lambda job: job.finish())
    words: Future[SpokenWords | None] = Future()
    job.words = words
    job.conclude()
    job.cancel()
    assert [event.cancelled for event in events] == [True]
    words.set_result(SpokenWords((0,), (0,)))
    assert len(events) == 1


def test_torch_threads_of_others_stay_as_they_are(model: Any, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    write_heads(tmp_path, "a", [HEAD])
    job = finished(model)
    Aligner(model.gpt, Words(), "a", tmp_path).submit(job)
    assert job.words is not None and job.words.result(30)
    assert torch.get_num_threads() == before
