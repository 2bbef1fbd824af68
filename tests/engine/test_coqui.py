"""The engine over the `TTS` package, on a small random checkpoint that the package made."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from livekit_xtts.engine.coqui import CoquiEngine
from livekit_xtts.engine.engine import Engine
from livekit_xtts.speech import (
    EngineBusyError,
    EngineClosedError,
    EngineFailedError,
    InvalidRequestError,
    ModelError,
    SpeechChunk,
    SpeechDone,
    SpeechRequest,
    Voice,
    VoiceError,
)
from tests.engine.test_local import Inbox, noise
from tests.text.vocabulary import stand_in

pytest.importorskip("TTS", reason="the TTS package is not installed")


@pytest.fixture(scope="module", autouse=True)
def small_vocoder() -> Iterator[None]:
    """The package makes its vocoder in one size only; here it makes a smaller one."""
    from TTS.tts.models import xtts

    full = xtts.HifiDecoder
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            xtts,
            "HifiDecoder",
            lambda **options: full(**options, upsample_initial_channel_decoder=16),
        )
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as the package saves it, with a tiny GPT."""
    from TTS.tts.configs.xtts_config import XttsArgs, XttsConfig
    from TTS.tts.models.xtts import Xtts

    folder = tmp_path_factory.mktemp("coqui")
    stand_in(folder)
    sizes = {
        "gpt_layers": 2,
        "gpt_n_model_channels": 64,
        "gpt_n_heads": 2,
        "decoder_input_dim": 64,
        "gpt_number_text_tokens": 6681,
        "gpt_start_text_token": 261,
        "gpt_stop_text_token": 0,
        "gpt_num_audio_tokens": 1026,
        "gpt_start_audio_token": 1024,
        "gpt_stop_audio_token": 1025,
        "gpt_use_perceiver_resampler": True,
    }
    torch.manual_seed(0)
    config = XttsConfig(model_args=XttsArgs(**sizes))
    model = Xtts(config)
    torch.save({"model": model.state_dict()}, folder / "model.pth")
    config.save_json(str(folder / "config.json"))
    return folder


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[CoquiEngine]:
    made = CoquiEngine(folder, threads=1, queue=2, chunk_codes=5)
    made.load()
    yield made
    made.close()


@pytest.fixture(scope="module")
def voice(engine: CoquiEngine) -> Voice:
    return engine.clone([noise(1.0)], name="anna").result(60)


def asked(voice: Voice, **changes: Any) -> SpeechRequest:
    return SpeechRequest(
        **{"text": "", "ids": (259, 5, 6), "voice": voice, "max_codes": 12, **changes}
    )


def chunks(inbox: Inbox) -> list[SpeechChunk]:
    return [event for event in inbox.events if isinstance(event, SpeechChunk)]


def test_it_is_an_engine_and_says_what_it_cannot_do(engine: CoquiEngine) -> None:
    assert isinstance(engine, Engine)
    info = engine.info
    assert not info.concurrent and not info.seeded and not info.exact
    assert info.slots == 1 and "en" in info.languages and len(info.fingerprint) == 64


def test_it_speaks_in_chunks_or_in_one(engine: CoquiEngine, voice: Voice) -> None:
    engine.submit(asked(voice), streamed := Inbox())
    engine.submit(asked(voice, streaming=False), whole := Inbox())
    for inbox in (streamed, whole):
        done = inbox.wait()
        assert isinstance(done, SpeechDone) and done.codes == ()
        parts = chunks(inbox)
        assert [part.final for part in parts] == [False] * (len(parts) - 1) + [True]
        assert sum(part.audio.size for part in parts) == done.samples
        assert [part.start for part in parts] == list(
            np.cumsum([0, *(part.audio.size for part in parts[:-1])])
        )
    # The package gives three; the last 10 ms wait to know that they are the last.
    assert len(chunks(streamed)) == 4 and len(chunks(whole)) == 1
    # 12 codes of 1,024 samples at 22,050 Hz, in whole vocoder frames.
    assert chunks(whole)[0].audio.size == 256 * int(48 * 24_000 / 22_050)


def test_text_is_spoken_greedily_the_same_each_time(engine: CoquiEngine, voice: Voice) -> None:
    sampling = replace(engine.info.sampling, do_sample=False)
    heard = []
    for _ in range(2):
        request = asked(voice, ids=None, text="Hello, world.", sampling=sampling)
        engine.submit(request, inbox := Inbox())
        assert isinstance(inbox.wait(), SpeechDone)
        heard.append(np.concatenate([part.audio for part in chunks(inbox)]))
    assert np.array_equal(*heard)


def test_a_cancel_takes_effect_at_the_next_chunk(engine: CoquiEngine, voice: Voice) -> None:
    inbox = Inbox()
    task: Any = None

    def sink(event: Any) -> None:
        inbox(event)
        task.cancel()

    hold = engine.submit(asked(voice), first := Inbox())
    task = engine.submit(asked(voice, max_codes=200), sink)
    engine.submit(asked(voice), waiting := Inbox()).cancel()
    assert isinstance(first.wait(), SpeechDone) and hold.done
    done = inbox.wait()
    assert isinstance(done, SpeechDone) and done.cancelled and len(chunks(inbox)) == 1
    done = waiting.wait()
    assert isinstance(done, SpeechDone) and done.cancelled and done.samples == 0


def test_what_cannot_be_spoken_is_refused(engine: CoquiEngine, voice: Voice) -> None:
    cases = [
        (asked(voice, ids=None, text="Hello.", language="xx"), InvalidRequestError),
        (asked(voice, ids=None, text="…"), InvalidRequestError),
        (asked(voice, ids=(5,) * 401), InvalidRequestError),
        (asked(voice, ids=(9999,)), InvalidRequestError),
        (asked(replace(voice, model="0" * 64)), VoiceError),
        (SpeechRequest("", ids=(5,)), VoiceError),
    ]
    for request, kind in cases:
        engine.submit(request, inbox := Inbox())
        assert isinstance(inbox.error(), kind)
    for reference in (noise(0.2), noise(1.0, level=0.0), noise(1.0, level=np.nan)):
        with pytest.raises(VoiceError):
            engine.clone([reference]).result(60)


def test_a_failure_inside_the_package_fails_one_request(
    engine: CoquiEngine, voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = engine._machine._model
    inference_stream = model.inference_stream

    def explode(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(model, "inference_stream", inference_stream)
        raise RuntimeError("out of memory")

    monkeypatch.setattr(model, "inference_stream", explode)
    engine.submit(asked(voice), bad := Inbox())
    engine.submit(asked(voice), good := Inbox())
    assert isinstance(bad.error(), EngineFailedError)
    assert isinstance(good.wait(), SpeechDone)


def test_one_speaks_two_wait_the_fourth_is_refused_and_closing_ends_all(folder: Path) -> None:
    engine = CoquiEngine(folder, threads=1, queue=2)
    engine.load()
    voice = engine.clone([noise(1.0)]).result(60)
    inboxes = [Inbox() for _ in range(3)]
    for inbox in inboxes:
        engine.submit(asked(voice, max_codes=300), inbox)
    with pytest.raises(EngineBusyError):
        engine.submit(asked(voice), Inbox())
    inboxes[0].wait(count=1)
    engine.close()
    assert all(isinstance(inbox.error(), EngineClosedError) for inbox in inboxes)


@pytest.mark.parametrize("missing", ["config.json", "vocab.json", "model.pth"])
def test_a_missing_file_is_named(folder: Path, tmp_path: Path, missing: str) -> None:
    for path in folder.iterdir():
        if path.name != missing:
            (tmp_path / path.name).symlink_to(path)
    with pytest.raises(ModelError, match=missing):
        CoquiEngine(tmp_path).load()


def test_a_damaged_checkpoint_is_told(folder: Path, tmp_path: Path) -> None:
    for name in ("config.json", "vocab.json"):
        (tmp_path / name).symlink_to(folder / name)
    (tmp_path / "model.pth").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="cannot be loaded"):
        CoquiEngine(tmp_path).load()


def test_without_the_package_it_says_how_to_get_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name.startswith("TTS"):
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModelError, match=r"livekit-xtts\[coqui\]"):
        CoquiEngine(folder).load()
