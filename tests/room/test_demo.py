"""`python -m livekit_xtts.demo`, here and in a room."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import types
import wave
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from livekit.agents.types import TOPIC_CHAT

from livekit_xtts import demo
from livekit_xtts.audio import soften_end, soften_start
from livekit_xtts.speech import EngineFailedError, ModelError, SpeechRequest
from livekit_xtts.tts import TTS
from tests.fake_engine import FakeEngine, Script
from tests.livekit_server.server import LiveKitServer
from tests.room.listening import compare, listener
from tests.room.stage import samples

TEXT = "Hello from the demo of a voice"
MESSAGE = "And this came over the chat of the room"


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEngine]:
    """The engine that the demo speaks with."""
    fake = FakeEngine(signal="chirps", info={"model": "random-small"})
    monkeypatch.setattr(demo, "TTS", partial(TTS, engine=fake, cache=False))
    monkeypatch.setattr(demo, "load_dotenv", lambda: None)
    yield fake
    fake.close()


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A sound device whose listener hears at once, in its own thread."""
    module: Any = types.ModuleType("sounddevice")
    module.heard = bytearray()

    class RawOutputStream:
        def __init__(self, *, samplerate: int, channels: int, dtype: str, callback: Any) -> None:
            assert (channels, dtype) == (1, "int16")
            self.block = samplerate // 50 * 2
            self.callback = callback
            self.running = threading.Event()

        def start(self) -> None:
            self.running.set()
            threading.Thread(target=self.play, daemon=True).start()

        def play(self) -> None:
            while self.running.is_set():
                out = bytearray(self.block)
                self.callback(out, self.block // 2, None, None)
                module.heard.extend(out)

        def stop(self) -> None:
            self.running.clear()

        def close(self) -> None:
            pass

    module.RawOutputStream = RawOutputStream
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    return module


def test_it_speaks_writes_a_file_and_prints_figures(
    engine: FakeEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "demo.wav"
    assert demo.main(["--text", TEXT, "--out", str(out), "--no-play"]) == 0
    with wave.open(str(out)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (24_000, 1, 2)
        written = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    said = engine.expected(SpeechRequest(text=TEXT))
    np.testing.assert_allclose(written, samples(soften_end(soften_start(said))), atol=1)
    printed = capsys.readouterr().out
    for row in ("model", "random-small", "device", "cpu", "first audio", "real-time factor"):
        assert row in printed
    assert f"{said.size / 24_000:.2f} s" in printed
    assert "This model is random" in printed


def test_it_plays_where_there_is_a_sound_device(
    engine: FakeEngine,
    device: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert demo.main(["--text", TEXT, "--out", str(tmp_path / "demo.wav")]) == 0
    heard = np.frombuffer(bytes(device.heard), np.int16)
    said = samples(soften_end(soften_start(engine.expected(SpeechRequest(text=TEXT)))))
    # Between the blocks the device may have been faster than the voice and played silence.
    assert np.abs(heard).max() == pytest.approx(np.abs(said).max(), abs=1)
    assert np.count_nonzero(heard) == pytest.approx(np.count_nonzero(said), rel=0.01)
    assert "yes" in capsys.readouterr().out


@pytest.mark.parametrize("missing", ["package", "library"])
def test_without_a_sound_device_it_says_why(
    engine: FakeEngine,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    missing: str,
) -> None:
    if missing == "package":
        monkeypatch.setitem(sys.modules, "sounddevice", None)
    else:
        broken: Any = types.ModuleType("sounddevice")

        def no_library(**_: object) -> None:
            raise OSError("PortAudio library not found")

        broken.RawOutputStream = no_library
        monkeypatch.setitem(sys.modules, "sounddevice", broken)
    assert demo.main(["--text", TEXT, "--out", str(tmp_path / "demo.wav")]) == 0
    reason = {"package": "livekit-xtts[play]", "library": "PortAudio library not found"}[missing]
    assert reason in capsys.readouterr().out


@pytest.mark.parametrize(
    "break_it",
    [
        lambda engine: engine.scripts.append(
            Script(fail_after=1, error=EngineFailedError("a step failed"))
        ),
        lambda engine: setattr(engine, "_load_error", ModelError("no model in this folder")),
    ],
    ids=["in the speech", "in loading"],
)
def test_a_failure_is_one_line_and_a_status(
    engine: FakeEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str], break_it: Any
) -> None:
    break_it(engine)
    out = tmp_path / "demo.wav"
    assert demo.main(["--text", TEXT, "--out", str(out), "--no-play"]) == 1
    printed = capsys.readouterr().out
    assert "a step failed" in printed or "no model in this folder" in printed
    assert not out.exists()


def test_without_a_server_it_says_how_to_start_one(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LIVEKIT_URL", "ws://127.0.0.1:9")  # the discard port: nobody listens
    assert demo.main(["--room"]) == 1
    assert "livekit-server --dev" in capsys.readouterr().out


@pytest.mark.server
async def test_in_a_room_it_speaks_and_reads_messages(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, server: LiveKitServer, room_name: str
) -> None:
    monkeypatch.setitem(os.environ, "LIVEKIT_URL", server.url)
    monkeypatch.setitem(os.environ, "LIVEKIT_API_KEY", server.api_key)
    monkeypatch.setitem(os.environ, "LIVEKIT_API_SECRET", server.api_secret)
    lines: list[str] = []
    there = asyncio.Event()

    def printed(line: str) -> None:
        lines.append(line)
        there.set()

    tts = TTS(engine=engine, cache=False)
    speaking = asyncio.create_task(demo.speak_in_room(tts, TEXT, room_name, printed))
    await asyncio.wait(
        [speaking, asyncio.ensure_future(there.wait())], return_when="FIRST_COMPLETED"
    )
    assert "https://meet.livekit.io/custom?" in lines[0]
    async with listener(server, room_name) as heard:
        await heard.silence(0.5)
        await heard.room.local_participant.send_text(MESSAGE, topic=TOPIC_CHAT)
        await heard.signal()
        await heard.quiet()
        said = engine.expected(SpeechRequest(text=MESSAGE))
        assert compare(said, heard.recording).correlation >= 0.95
    stats = await speaking  # everybody has left
    assert stats.utterances == 2
    assert lines[1].endswith(MESSAGE)
