"""Settings of `TTS`: arguments, environment, updates, reports, and what bad input gets."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from livekit.agents import (
    APIConnectionError,
    APIConnectOptions,
    APIError,
    APIStatusError,
    APITimeoutError,
)
from livekit.agents import tts as agents_tts
from livekit.agents.telemetry import traces

import livekit_xtts
from livekit_xtts.audio import write_wav
from livekit_xtts.events import SpeechTimeoutError
from livekit_xtts.options import ENVIRONMENT, TTSOptions
from livekit_xtts.speech import (
    EngineBusyError,
    EngineClosedError,
    EngineFailedError,
    InvalidRequestError,
    ModelError,
    ReferenceAudio,
    Sampling,
    SpeechError,
    Voice,
    VoiceError,
)
from livekit_xtts.streams import api_error
from livekit_xtts.tts import TTS
from tests.fake_engine import FakeEngine, Script, chirps, make_voice, voice_hertz
from tests.livekit.helpers import ONCE, Watched, samples, spoken

ARGUMENTS = [
    *("voice", "language", "model", "device", "precision", "engine", "sample_rate", "streaming"),
    *("temperature", "top_k", "top_p", "repetition_penalty", "do_sample", "speed", "seed"),
    *("tokenizer", "pronunciations", "text_pacing", "buffer_s"),
    *("even_level", "cache", "cache_dir"),
]


def a_voice(engine: FakeEngine, hertz: float = 200.0) -> Voice:
    reference = ReferenceAudio(chirps(1.0, hertz), 24_000)
    return make_voice([reference], "anna", engine.info.fingerprint)


def a_recording(path: Path, seconds: float = 1.0, hertz: float = 200.0) -> Path:
    return write_wav(path, chirps(seconds, hertz))


async def say(tts: TTS, text: str = "Hello there.") -> np.ndarray:
    return samples(await spoken(tts.stream(conn_options=ONCE), text))


# The shape of the interface.


def test_every_argument_is_keyword_only_and_described() -> None:
    parameters = inspect.signature(TTS.__init__).parameters
    assert list(parameters)[1:] == ARGUMENTS
    assert all(parameters[name].kind is inspect.Parameter.KEYWORD_ONLY for name in ARGUMENTS)
    text = inspect.getdoc(TTS.__init__) or ""
    assert all(f"\n    {name} (" in text for name in ARGUMENTS)
    updated = inspect.signature(TTS.update_options).parameters
    assert {name for name in updated if name != "self"} <= set(ARGUMENTS)


def test_what_it_is(engine: FakeEngine) -> None:
    tts = TTS(engine=engine)
    assert (tts.model, tts.provider) == ("fake", "livekit-xtts")
    assert tts.label == "livekit_xtts.tts.TTS"
    assert tts.capabilities.streaming
    assert tts.capabilities.aligned_transcript
    assert (tts.sample_rate, tts.num_channels) == (24_000, 1)
    assert TTS(model="/models/anna-v2").model == "anna-v2"
    assert TTS().model == "xtts"


def test_reports_hold_no_path_and_no_file_name(engine: FakeEngine, tmp_path: Path) -> None:
    recording = a_recording(tmp_path / "secret-customer.wav")
    for voice in (str(recording), recording, [recording], recording.read_bytes()):
        tts = TTS(engine=engine, voice=voice, model=tmp_path / "model-x", seed=3, temperature=0.5)
        described = str(tts.describe_options())
        assert "secret" not in described
        assert str(tmp_path) not in described
        assert tts.describe_options()["voice"] == "own"
    assert tts.describe_options()["seed"] == 3
    assert tts.describe_options()["temperature"] == 0.5
    assert TTS(voice="bundled/anna").describe_options()["voice"] == "bundled/anna"
    if hasattr(traces, "DescribesOptions"):
        assert isinstance(tts, traces.DescribesOptions)


# The environment.


def test_the_environment_gives_what_the_code_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "voice": "bundled/anna",
        "language": "German",
        "model": "/models/x",
        "device": "cpu",
        "precision": "fp32",
        "speed": "1.25",
        "seed": "7",
    }.items():
        monkeypatch.setenv(ENVIRONMENT[name], value)
    described = TTS().describe_options()
    assert described["voice"] == "bundled/anna"
    assert described["language"] == "de"
    assert described["model"] == "x"
    assert (described["device"], described["precision"]) == ("cpu", "fp32")
    assert (described["speed"], described["seed"]) == (1.25, 7)
    given = TTS(voice=None, language="fr", speed=1.0, seed=None).describe_options()
    assert (given["voice"], given["language"]) == ("default", "fr")
    assert (given["speed"], given["seed"]) == (1.0, None)


def test_a_bad_number_in_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVEKIT_XTTS_SPEED", "fast")
    with pytest.raises(InvalidRequestError, match="LIVEKIT_XTTS_SPEED"):
        TTS()


# Values out of range.


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"temperature": 0.0}, "temperature"),
        ({"temperature": 11.0}, "temperature"),
        ({"top_k": -1}, "top_k"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1.5}, "top_p"),
        ({"repetition_penalty": 0.0}, "repetition_penalty"),
        ({"speed": 0.4}, "speed"),
        ({"speed": 2.5}, "speed"),
        ({"seed": -1}, "seed"),
        ({"streaming": "sometimes"}, "streaming"),
        ({"streaming": -3}, "streaming"),
        ({"buffer_s": 0.0}, "buffer_s"),
        ({"language": "Klingon"}, "language"),
    ],
)
def test_values_out_of_range_are_refused(given: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidRequestError, match=named):
        TTS(**given)
    tts = TTS()
    before = tts._options
    with pytest.raises(ValueError, match=named):
        tts.update_options(**given)
    assert tts._options == before


def test_a_sample_rate_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="sample_rate=12345"):
        TTS(sample_rate=12_345)


@pytest.mark.parametrize(
    ("spelled", "name"),
    [("English", "en"), ("pt-BR", "pt"), ("zh", "zh-cn"), ("zh-CN", "zh-cn"), ("deu", "de")],
)
def test_languages_in_any_spelling(spelled: str, name: str) -> None:
    assert TTS(language=spelled).describe_options()["language"] == name


# Requests get what was set.


async def test_requests_carry_the_settings(engine: FakeEngine) -> None:
    tts = TTS(engine=engine, cache=False, language="de", speed=1.5, seed=9, top_k=3)
    await say(tts, "Guten Tag.")
    request = engine.requests[-1]
    assert (request.language, request.speed, request.seed) == ("de", 1.5, 9)
    assert request.sampling == Sampling(top_k=3)
    await say(TTS(engine=engine, cache=False))
    assert engine.requests[-1].sampling is None  # the checkpoint's own


async def test_the_checkpoints_sampling_fills_what_is_not_given(
    make_engine: Callable[..., FakeEngine],
) -> None:
    engine = make_engine(info={"sampling": Sampling(temperature=0.2, top_k=5)})
    await say(TTS(engine=engine, cache=False, top_p=0.5))
    assert engine.requests[-1].sampling == Sampling(temperature=0.2, top_k=5, top_p=0.5)


async def test_an_update_leaves_the_rest_and_what_is_in_flight(
    make_engine: Callable[..., FakeEngine],
) -> None:
    engine = make_engine(script=Script(gated=True))
    tts = TTS(engine=engine, cache=False, speed=1.5, temperature=0.3, streaming=True)
    async with tts.stream(conn_options=ONCE) as stream:
        tts.update_options(speed=2.0, language="fr")
        stream.push_text("One sentence. And another one that comes later.")
        stream.end_input()
        engine.allow()
        _ = [event async for event in stream]
    assert {(r.speed, r.language) for r in engine.requests} == {(1.5, "en")}
    await say(tts)
    request = engine.requests[-1]
    assert (request.speed, request.language) == (2.0, "fr")
    assert request.sampling == Sampling(temperature=0.3)


@pytest.mark.parametrize(
    ("given", "streamed"), [(True, True), (False, False), (5, True), (1000, False)]
)
async def test_streaming_can_be_said_of_one_text(
    engine: FakeEngine, given: bool | int, streamed: bool
) -> None:
    tts = TTS(engine=engine, cache=False, streaming=not streamed)
    for text in ("A text which is spoken as it was asked for.", "And one more of its kind."):
        await tts.synthesize(text, conn_options=ONCE, streaming=given).collect()
        await spoken(tts.stream(conn_options=ONCE, streaming=given), text)
    assert {request.streaming for request in engine.requests} == {streamed}
    engine.requests.clear()
    await say(tts, "The next text is spoken as ever.")
    assert {request.streaming for request in engine.requests} == {not streamed}
    with pytest.raises(InvalidRequestError, match="streaming"):
        tts.synthesize("Hello.", streaming="sometimes")  # type: ignore[arg-type]


async def test_the_voice_changes_in_mid_conversation(engine: FakeEngine) -> None:
    one, two = a_voice(engine, 200.0), a_voice(engine, 300.0)
    tts = TTS(engine=engine, cache=False, voice=one)
    await say(tts)
    tts.update_options(voice=two)
    heard = await say(tts)
    voices = [request.voice for request in engine.requests]
    assert [voice.fingerprint for voice in voices] == [one.fingerprint, two.fingerprint]
    spectrum = np.abs(np.fft.rfft(heard))
    found = np.argmax(spectrum) * 24_000 / heard.size
    assert found == pytest.approx(voice_hertz(two), abs=3)


async def test_a_recording_is_cloned_once(engine: FakeEngine, tmp_path: Path) -> None:
    path = a_recording(tmp_path / "anna.wav")
    for voice in (str(path), path, path.read_bytes()):
        tts = TTS(engine=engine, cache=False, voice=voice)
        await say(tts)
        await say(tts)
    assert engine.clones == 1
    assert len({request.voice.fingerprint for request in engine.requests}) == 1


def test_pacing_follows_the_options() -> None:
    assert TTSOptions().pacing(3.0, bounded=True).most_lead_s == 15.0
    assert TTSOptions().pacing(3.0, bounded=False).most_lead_s == float("inf")
    assert TTSOptions(text_pacing=True).pacing(3.0, bounded=True).most_lead_s == 5.0
    pacer = agents_tts.SentenceStreamPacer(min_remaining_audio=2.0)
    assert TTSOptions(text_pacing=pacer).pacing(3.0, bounded=True).most_lead_s == 2.0
    assert TTSOptions(streaming=True).pacing(3.0, bounded=True).whole_below == 0
    assert TTSOptions(streaming=False).pacing(3.0, bounded=True).whole_below == float("inf")
    assert TTSOptions(streaming=30).pacing(3.0, bounded=True).whole_below == 30
    assert TTSOptions(streaming=1).pacing(3.0, bounded=True).whole_below == 1
    assert TTSOptions().pacing(3.0, bounded=True).timeout_s == 3.0


# Starting and ending.


def test_prewarm_returns_at_once_and_loads(make_engine: Callable[..., FakeEngine]) -> None:
    engine = make_engine(hold_load=True)
    tts = TTS(engine=engine, voice=a_voice(engine))
    tts.prewarm()
    tts.prewarm()
    assert not engine.ready
    engine.finish_load()
    tts.load(timeout=5)
    assert engine.ready
    assert engine.loads == 1


def test_load_says_what_is_wrong(make_engine: Callable[..., FakeEngine], tmp_path: Path) -> None:
    broken = make_engine(load_error=ModelError("config.json is missing"))
    with pytest.raises(ModelError, match=r"config\.json"):
        TTS(engine=broken).load(timeout=5)
    with pytest.raises(TimeoutError):
        TTS(engine=make_engine(hold_load=True)).load(timeout=0.01)
    with pytest.raises(VoiceError, match="nobody"):
        TTS(engine=make_engine(), voice="nobody").load(timeout=5)


async def test_the_first_request_starts_everything(make_engine: Callable[..., FakeEngine]) -> None:
    engine = make_engine()
    tts = TTS(engine=engine, cache=False)
    watched = Watched(tts)
    await say(tts)
    await say(tts)
    assert engine.loads == 1
    assert [metrics.connection_reused for metrics in watched.metrics] == [False, True]


async def test_close_leaves_the_engine_to_others(engine: FakeEngine) -> None:
    one, two = TTS(engine=engine, cache=False), TTS(engine=engine, cache=False)
    await one.aclose()
    assert (await say(two)).size
    assert (await say(one)).size  # and one may speak again


def test_tts_objects_of_the_same_model_share_an_engine(
    monkeypatch: pytest.MonkeyPatch, make_engine: Callable[..., FakeEngine]
) -> None:
    import livekit_xtts.engine.shared as shared

    asked: list[tuple[Any, ...]] = []
    engine = make_engine()
    monkeypatch.setattr(shared, "shared_engine", lambda *key: asked.append(key) or engine)
    ours = [TTS(model="random-small", device="cpu") for _ in range(2)]
    for tts in ours:
        tts.load(timeout=10)
    assert asked == [("random-small", "cpu", "auto")] * 2
    assert all(tts._backend.engine is engine for tts in ours)


def test_the_shared_engine_is_one_object() -> None:
    from livekit_xtts.engine.shared import shared_engine

    one = shared_engine("random-small", "cpu", "auto")
    assert shared_engine("random-small", "cpu", "auto") is one
    assert shared_engine("random-small", "cpu", "fp32") is not one
    assert not one.ready


# Errors of the right kind.


@pytest.mark.parametrize(
    ("error", "kind", "retryable"),
    [
        (InvalidRequestError("language='xx' is unknown"), APIStatusError, False),
        (VoiceError("no such voice"), APIStatusError, False),
        (ModelError("no model"), APIConnectionError, False),
        (EngineBusyError("full"), APIConnectionError, True),
        (EngineFailedError("out of memory"), APIConnectionError, True),
        (EngineClosedError("closed"), APIConnectionError, False),
        (SpeechTimeoutError("nothing"), APITimeoutError, True),
        (TimeoutError(), APITimeoutError, True),
        (SpeechError("something"), APIConnectionError, False),
        (RuntimeError("a bug"), APIConnectionError, True),
        (APIStatusError("gone", status_code=499), APIStatusError, True),
    ],
)
def test_every_failure_is_an_api_error_of_its_kind(
    error: Exception, kind: type[APIError], retryable: bool
) -> None:
    found = api_error(error)
    assert type(found) is kind
    assert found.retryable is retryable
    if str(error) and isinstance(error, SpeechError):
        assert str(error) in found.message


BAD_VOICES: dict[str, Callable[[Path], Any]] = {
    "missing": lambda folder: str(folder / "nowhere.wav"),
    "empty": lambda folder: _written(folder / "empty.wav", b""),
    "not audio": lambda folder: _written(folder / "text.wav", b"this is no sound" * 100),
    "too short": lambda folder: str(a_recording(folder / "short.wav", 0.1)),
    "silent": lambda folder: str(write_wav(folder / "silent.wav", np.zeros(24_000))),
    "unknown name": lambda folder: "nobody",
    "other model": lambda folder: Voice("x", np.ones((32, 4)), np.ones(4), "ab", "another"),
}


def _written(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize("name", BAD_VOICES)
async def test_a_bad_voice_fails_once_and_clearly(
    engine: FakeEngine, tmp_path: Path, name: str
) -> None:
    tts = TTS(engine=engine, voice=BAD_VOICES[name](tmp_path))
    watched = Watched(tts)
    with pytest.raises(APIStatusError) as caught:
        await spoken(tts.stream(conn_options=APIConnectOptions(retry_interval=0.01)), "Hello.")
    assert caught.value.status_code == 422
    assert len(caught.value.message) > 20
    assert [error.recoverable for error in watched.errors] == [False]
    assert not engine.requests
    tts.update_options(voice=None)
    assert (await say(tts)).size


@pytest.mark.parametrize(
    ("error", "errors"),
    [
        (ModelError("model folder /x is missing: run livekit-xtts download"), 1),
        (EngineFailedError("out of memory"), 2),
    ],
)
async def test_an_engine_that_cannot_load(
    make_engine: Callable[..., FakeEngine], error: SpeechError, errors: int
) -> None:
    tts = TTS(engine=make_engine(load_error=error), cache=False)
    watched = Watched(tts)
    options = APIConnectOptions(max_retry=1, retry_interval=0.01)
    with pytest.raises(APIConnectionError, match=str(error)[:10]):
        await tts.synthesize("Hello.", conn_options=options).collect()
    assert len(watched.errors) == errors


async def test_a_language_that_the_model_does_not_know(
    make_engine: Callable[..., FakeEngine],
) -> None:
    tts = TTS(engine=make_engine(info={"languages": ("en",)}), cache=False, language="de")
    with pytest.raises(APIStatusError, match="'de'"):
        await spoken(tts.stream(), "Guten Tag.")


async def test_a_full_engine_is_worth_another_try(engine: FakeEngine, tts: TTS) -> None:
    engine.scripts.append(Script(busy=True))
    watched = Watched(tts)
    options = APIConnectOptions(max_retry=1, retry_interval=0.01)
    events = await spoken(tts.stream(conn_options=options), "Hello there.")
    assert events[-1].is_final
    assert [error.recoverable for error in watched.errors] == [True]


async def test_a_closed_engine_is_not(engine: FakeEngine, tts: TTS) -> None:
    engine.close()
    watched = Watched(tts)
    with pytest.raises(APIConnectionError, match="closed"):
        await spoken(tts.stream(), "Hello there.")
    assert [error.recoverable for error in watched.errors] == [False]


async def test_no_text_and_no_audio_in_the_logs(
    engine: FakeEngine, tts: TTS, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "livekit.plugins.xtts")
    engine.scripts.append(Script(fail_after=0))
    with pytest.raises(APIError):
        await say(tts, "The password is swordfish.")
    ours = [record for record in caplog.records if record.name.startswith("livekit.plugins")]
    assert "swordfish" not in " ".join(record.getMessage() for record in ours)


def test_a_start_that_failed_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, make_engine: Callable[..., FakeEngine]
) -> None:
    import livekit_xtts.engine.shared as shared

    results: list[Any] = [ModelError("no torch"), make_engine()]
    threads: list[str] = []

    def start(*_: Any) -> Any:
        threads.append(threading.current_thread().name)
        result = results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr(shared, "shared_engine", start)
    tts = TTS(model="x")
    with pytest.raises(ModelError):
        tts.load(timeout=5)
    tts.load(timeout=5)
    assert threads == ["xtts-start"] * 2
    assert tts.model == "fake"


def test_load_takes_what_the_code_does_not_say_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[tuple[object, ...]] = []

    class Loads:
        def load(self, timeout: float | None) -> None:
            made.append((timeout,))

    def shared(*arguments: object) -> Loads:
        made.append(arguments)
        return Loads()

    monkeypatch.setattr("livekit_xtts.engine.shared.shared_engine", shared)
    for name in ("MODEL", "DEVICE", "PRECISION"):
        monkeypatch.delenv(f"LIVEKIT_XTTS_{name}", raising=False)
    livekit_xtts.load(timeout=3.0)
    assert made == [(None, "auto", "auto"), (3.0,)]
    monkeypatch.setenv("LIVEKIT_XTTS_MODEL", "random-small")
    monkeypatch.setenv("LIVEKIT_XTTS_DEVICE", "cpu")
    monkeypatch.setenv("LIVEKIT_XTTS_PRECISION", "fp32")
    livekit_xtts.load()
    livekit_xtts.load("other", device="cuda", precision="bf16")
    assert made[2::2] == [("random-small", "cpu", "fp32"), ("other", "cuda", "bf16")]
