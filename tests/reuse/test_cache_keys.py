"""Keys of the cache: everything that changes the audio, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from livekit_xtts.cache import request_key, speech_key
from livekit_xtts.speech import EngineInfo, Sampling, SpeechRequest, Voice

REQUEST = SpeechRequest("Good morning, how can I help?")

VOICE = Voice("eva", np.ones((2, 3), np.float32), np.ones(4, np.float32), "voice-1", "m")
INFO = EngineInfo("fake", "model-1", "cpu", "fp32", 8)

CHANGES: dict[str, Callable[[EngineInfo, SpeechRequest], tuple[EngineInfo, SpeechRequest]]] = {
    "model": lambda i, r: (replace(i, fingerprint="model-2"), r),
    "precision": lambda i, r: (replace(i, precision="int8"), r),
    "manner": lambda i, r: (replace(i, manner="other ends"), r),
    "voice": lambda i, r: (i, replace(r, voice=VOICE)),
    "text": lambda i, r: (i, replace(r, text="Good evening.")),
    "ids": lambda i, r: (i, replace(r, ids=(1, 2))),
    "language": lambda i, r: (i, replace(r, language="de")),
    "temperature": lambda i, r: (i, replace(r, sampling=Sampling(temperature=0.5))),
    "top_k": lambda i, r: (i, replace(r, sampling=Sampling(top_k=5))),
    "top_p": lambda i, r: (i, replace(r, sampling=Sampling(top_p=0.5))),
    "repetition_penalty": lambda i, r: (i, replace(r, sampling=Sampling(repetition_penalty=2.0))),
    "do_sample": lambda i, r: (i, replace(r, sampling=Sampling(do_sample=False))),
    "speed": lambda i, r: (i, replace(r, speed=1.1)),
    "seed": lambda i, r: (i, replace(r, seed=7)),
    "max_codes": lambda i, r: (i, replace(r, max_codes=10)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_everything_that_changes_the_audio_changes_the_key(change: str) -> None:
    assert speech_key(*CHANGES[change](INFO, REQUEST)) != speech_key(INFO, REQUEST)


def test_what_does_not_change_the_audio_does_not_change_the_key() -> None:
    key = speech_key(INFO, REQUEST)
    assert key == speech_key(INFO, replace(REQUEST, sampling=Sampling()))  # the defaults, named
    assert key == speech_key(replace(INFO, slots=2, device="cuda:1"), REQUEST)
    greedy = replace(REQUEST, sampling=Sampling(do_sample=False))
    assert speech_key(INFO, greedy) == speech_key(INFO, replace(greedy, seed=7))
    renamed = replace(VOICE, name="another name")
    assert speech_key(INFO, replace(REQUEST, voice=VOICE)) == speech_key(
        INFO, replace(REQUEST, voice=renamed)
    )


def test_the_key_has_the_normalised_text_and_what_else_is_named() -> None:
    assert speech_key(INFO, REQUEST, text="a") != speech_key(INFO, REQUEST, text="b")
    assert speech_key(INFO, REQUEST, extra={"gap": 0.1}) != speech_key(INFO, REQUEST)
    one, two = SpeechRequest("It costs  5 dollars."), SpeechRequest("It costs 5 dollars.")
    assert request_key(INFO, one) == request_key(INFO, two)
    assert request_key(INFO, replace(one, normalized=True)) != request_key(INFO, two)
