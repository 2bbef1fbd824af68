"""The bundled voice: it is small, loads like any model, speaks, stops, and can be understood."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr
import torch

from benchmarks.voice_measures import analyse
from benchmarks.voice_recognise import ClosedSet, words_of
from livekit_xtts.engine import source
from livekit_xtts.engine.ends import Ends
from livekit_xtts.engine.local import LocalEngine
from livekit_xtts.model.checkpoint import load_model
from livekit_xtts.speech import SAMPLE_RATE, ModelError, SpeechChunk, SpeechDone, SpeechRequest
from livekit_xtts.text.tokenizer import TextTokenizer
from livekit_xtts.voicefile import load_voice

BUNDLED = Path(__file__).parents[2] / "livekit_xtts" / "bundled"
VOICES = sorted((BUNDLED / "voices").glob("*.safetensors"))
TEXTS = (
    "your table is ready now.",
    "could you repeat the number, please?",
    "the train to the city leaves at nine.",
    "thank you for calling.",
)


@pytest.fixture(scope="module")
def engine() -> Iterator[LocalEngine]:
    """The engine with its clean-up of ends switched off: the model alone has to stop."""
    engine = LocalEngine(BUNDLED, slots=4, ends=Ends.off())
    engine.load()
    yield engine
    engine.close()


def speak(engine: LocalEngine, text: str, voice: Any, **settings: Any) -> Future[Any]:
    """Samples and the final event."""
    future: Future[Any] = Future()
    pieces: list[np.ndarray] = []

    def sink(event: Any) -> None:
        if isinstance(event, SpeechChunk):
            pieces.append(event.audio)
        elif isinstance(event, SpeechDone):
            future.set_result((np.concatenate(pieces), event))
        else:
            future.set_exception(event.error)

    engine.submit(SpeechRequest(text, voice=voice, seed=3, **settings), sink)
    return future


@pytest.fixture(scope="module")
def spoken(engine: LocalEngine) -> list[Any]:
    """Every text in another voice: (samples, event)."""
    voices = [load_voice(path).voice for path in VOICES]
    return [
        f.result(60) for f in [speak(engine, t, v) for t, v in zip(TEXTS, voices, strict=False)]
    ]


def test_the_whole_folder_is_at_most_24_megabytes() -> None:
    assert sum(p.stat().st_size for p in BUNDLED.rglob("*") if p.is_file()) <= 24 * 10**6


def test_the_voices_belong_to_the_model_and_its_language() -> None:
    model = load_model(BUNDLED)
    assert len(VOICES) >= 6
    for path in VOICES:
        stored = load_voice(path)
        assert stored.voice.model == model.fingerprint
        assert stored.language == "en"
        assert stored.voice.latents.shape == (
            model.config.perceiver_latents,
            model.config.gpt_n_model_channels,
        )
        assert abs(float(np.linalg.norm(stored.voice.speaker_embedding)) - 1) < 0.05


def test_the_vocabulary_covers_english_text_and_fits_the_configuration() -> None:
    tokenizer = TextTokenizer(BUNDLED)
    model = load_model(BUNDLED)
    assert tokenizer.languages == ("en",)
    assert tokenizer.vocab_size <= model.config.gpt_number_text_tokens
    ids = tokenizer.encode("the quick brown fox - it jumps; doesn't it? yes: over, it does!", "en")
    unknown = 1
    assert unknown not in ids


def test_a_damaged_folder_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((BUNDLED / "config.json").read_bytes())
    with pytest.raises(ModelError, match="weights are missing"):
        load_model(tmp_path)


def test_nothing_configured_is_this_voice_and_the_log_says_once_what_else_there_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(source, "_told", threading.Event())
    with caplog.at_level(logging.INFO, logger=source.__name__):
        assert source.chosen(None) == source.chosen(None) == BUNDLED
    assert [r.getMessage() for r in caplog.records if "livekit-xtts download" in r.getMessage()]
    assert len(caplog.records) == 1


def test_two_pairs_of_voices_differ_in_pitch_alone() -> None:
    settings = [load_voice(path).settings for path in VOICES]
    variants = [text.split(",")[0] for text in settings]
    assert len(set(settings)) == len(settings)
    assert sum(variants.count(variant) == 2 for variant in set(variants)) >= 2


def test_it_stops_by_itself(spoken: list[Any]) -> None:
    for text, (samples, done) in zip(TEXTS, spoken, strict=True):
        assert done.stopped, text
        # A spoken word takes 0.15 to 0.8 s at the teacher's 160 words a minute.
        words = len(words_of(text))
        assert 0.15 * words < len(samples) / SAMPLE_RATE < 0.8 * words, text


def test_it_is_at_speech_level_and_voiced(spoken: list[Any]) -> None:
    for samples, _ in spoken:
        assert 0.05 < float(np.abs(samples).max()) <= 1.0
        track = analyse(soxr.resample(samples.astype(np.float64), SAMPLE_RATE, 16_000))
        assert track.voiced.mean() > 0.15


def test_a_recogniser_tells_the_sentences_apart(spoken: list[Any]) -> None:
    closed = ClosedSet(TEXTS)
    right = [
        closed.judge(soxr.resample(samples.astype(np.float64), SAMPLE_RATE, 16_000), k)[0]
        for k, (samples, _) in enumerate(spoken)
    ]
    assert sum(right) >= len(TEXTS) - 1, right


def test_silence_is_not_recognised_as_a_sentence() -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, 24_000)
    assert not any(ClosedSet(TEXTS).judge(noise, k)[1] for k in range(len(TEXTS)))


def test_cloning_the_voices_own_speech_gives_a_voice_of_like_pitch(engine: LocalEngine) -> None:
    """A low and a high voice, each cloned from what it said itself, keep their order in pitch."""
    from livekit_xtts.speech import ReferenceAudio

    heard = {}
    for name in ("james", "ruby"):
        voice = load_voice(BUNDLED / "voices" / f"{name}.safetensors").voice
        samples, _ = speak(engine, TEXTS[2], voice).result(60)
        clone = engine.clone([ReferenceAudio(samples, SAMPLE_RATE)], name=name).result(60)
        again, _ = speak(engine, TEXTS[0], clone).result(60)
        track = analyse(soxr.resample(again.astype(np.float64), SAMPLE_RATE, 16_000))
        heard[name] = float(np.median(track.f0[track.voiced]))
    assert heard["ruby"] > 1.3 * heard["james"]


def test_it_loads_in_half_precision_as_stored() -> None:
    assert load_model(BUNDLED, dtype=torch.bfloat16).gpt.mel_head.weight.dtype == torch.bfloat16
