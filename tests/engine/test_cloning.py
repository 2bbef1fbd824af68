"""Cloning beside requests: what cannot be used, what breaks, and closing."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from livekit_xtts.speech import (
    EngineClosedError,
    EngineFailedError,
    ReferenceAudio,
    SpeechDone,
    VoiceError,
)
from tests.engine.test_local import LONG, Inbox, ids, noise


def test_cloning_goes_on_beside_requests(engines: Any) -> None:
    """Steps are made between the beginning and the end of a cloning."""
    engine = engines()
    engine.load()
    model, steps = engine._machine.model, engine._machine.scheduler.counters
    begun, release = threading.Event(), threading.Event()
    clone = model.clone

    def held_clone(*arguments: Any) -> Any:
        begun.set()
        assert release.wait(LONG)
        return clone(*arguments)

    engine._machine.model.clone = held_clone
    try:
        future = engine.clone([noise(1.0)], name="anna")
        assert begun.wait(LONG)
        before = steps.steps
        engine.submit(ids(max_codes=12), inbox := Inbox())
        assert isinstance(inbox.wait(), SpeechDone)
        assert steps.steps >= before + 11 and not future.done()
        release.set()
        voice = future.result(LONG)
    finally:
        del engine._machine.model.clone
    assert voice.name == "anna" and voice.model == engine.info.fingerprint
    assert voice.latents.shape == (32, 64) and len(voice.fingerprint) == 64
    engine.submit(ids(voice=voice), spoken := Inbox())
    assert isinstance(spoken.wait(), SpeechDone)


def test_closing_gives_up_a_cloning(engines: Any) -> None:
    engine = engines()
    engine.load()
    begun, release = threading.Event(), threading.Event()
    engine._machine.clone = lambda *a: (begun.set(), release.wait(LONG))
    engine._cloner._make = engine._machine.clone
    running, queued = engine.clone([noise(1.0)]), engine.clone([noise(1.0)])
    assert begun.wait(LONG)
    engine.close()
    for future in (running, queued):
        with pytest.raises(EngineClosedError):
            future.result(LONG)
    release.set()


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ([], "no reference"),
        ([noise(0.2)], "too short"),
        ([noise(1.0, level=0.0)], "silent"),
        ([noise(1.0, level=np.nan)], "not finite"),
        ([ReferenceAudio(np.zeros((2, 30_000), np.float32), 22_050)], "mono"),
        ([ReferenceAudio(np.zeros(30_000, np.float32), 0)], "rate"),
        ([ReferenceAudio(np.zeros(700_000, np.float32), 1_000)], "longer"),
    ],
)
def test_references_that_cannot_be_used(engines: Any, reference: Any, words: str) -> None:
    with pytest.raises(VoiceError, match=words):
        engines().clone(reference).result(LONG)


def test_cloning_that_breaks_leaves_the_next_one_alone(engines: Any) -> None:
    engine = engines()
    engine.load()
    make = engine._machine.clone

    def explode(*arguments: Any) -> Any:
        engine._cloner._make = make
        raise RuntimeError("broken")

    engine._cloner._make = explode
    with pytest.raises(EngineFailedError, match="broken"):
        engine.clone([noise(1.0)]).result(LONG)
    assert engine.clone([noise(1.0)]).result(LONG)
