"""`speak`: text from anywhere into files, streams and the loudspeaker; mistakes are told."""

from __future__ import annotations

import io
import sys
import threading
import types
from pathlib import Path

import numpy as np
import pytest

from livekit_xtts.cli import settings as settings_module
from livekit_xtts.cli.settings import Settings, model_place
from livekit_xtts.engine.engine import Sink
from livekit_xtts.speech import EngineFailedError, ModelError, Sampling, SpeechRequest
from tests.cli.commands import Run, samples
from tests.fake_engine import FakeEngine, FakeTask, Script

TEXT = "Good morning."


def as_input(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode()), "utf-8"))


class Typing(io.BytesIO):
    """An input that comes a few bytes at a time, and ends when something is spoken."""

    def __init__(self, text: bytes) -> None:
        super().__init__(text)
        self.spoken = threading.Event()
        self.in_time = False

    def read1(self, size: int | None = -1) -> bytes:
        data = super().read(3)
        if not data:
            self.in_time = self.spoken.wait(20)
        return data


def test_text_is_spoken_while_its_line_is_still_written(
    run: Run, engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "Schöne Grüße aus Köln! And this is what follows"
    source, submit = Typing(text.encode()), engine.submit

    def watched(request: SpeechRequest, sink: Sink) -> FakeTask:
        source.spoken.set()
        return submit(request, sink)

    monkeypatch.setattr(engine, "submit", watched)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(source, "utf-8"))
    assert run("speak", "-", "--stream", "-o", tmp_path / "o.wav").code == 0
    assert source.in_time
    assert " ".join(request.text for request in engine.requests) == text


def test_an_input_that_is_no_text(
    run: Run, engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfe\x00"), "utf-8"))
    result = run("speak", "-", "-o", tmp_path / "o.wav")
    assert result.code == 2 and "not utf-8 text" in result.err


@pytest.mark.parametrize("options", [(), ("--stream",)])
def test_a_text_becomes_a_file(
    run: Run, engine: FakeEngine, tmp_path: Path, options: tuple[str, ...]
) -> None:
    path = tmp_path / "out.wav"
    result = run("speak", TEXT, "-o", path, *options)
    assert (result.code, result.out) == (0, "")
    assert "out.wav" in result.err
    expected = engine.expected(engine.requests[0])
    np.testing.assert_allclose(samples(path), expected, atol=1e-4)
    assert engine.requests[0].streaming == bool(options)
    assert list(tmp_path.glob("*")) == [path]


def test_every_option_reaches_the_engine(
    run: Run, engine: FakeEngine, tmp_path: Path, recording: Path
) -> None:
    options = "--temperature 0.5 --top-k 7 --top-p 0.6 --repetition-penalty 2 --speed 1.2 --seed 3"
    result = run(
        "speak", TEXT, "-o", tmp_path / "o.wav", "-r", recording, "-l", "DE", *options.split()
    )
    assert result.code == 0, result.err
    request = engine.requests[0]
    assert request.sampling == Sampling(0.5, 7, 0.6, 2.0)
    assert (request.speed, request.seed, request.language) == (1.2, 3, "de")
    assert request.voice is not None
    assert request.voice.name == "anna"


def test_options_come_from_the_environment(
    run: Run, engine: FakeEngine, tmp_path: Path, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIVEKIT_XTTS_VOICE", str(recording))
    monkeypatch.setenv("LIVEKIT_XTTS_SPEED", "0.8")
    assert run("speak", TEXT, "-o", tmp_path / "o.wav").code == 0
    assert engine.requests[0].speed == 0.8
    assert engine.requests[0].voice.name == "anna"


@pytest.mark.parametrize("options", [(), ("--stream",)])
def test_text_from_the_standard_input(
    run: Run,
    engine: FakeEngine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
) -> None:
    as_input(monkeypatch, "One sentence here, and it is long.\nAnother sentence follows it now.\n")
    assert run("speak", "-", "-o", tmp_path / "o.wav", *options).code == 0
    spoken = " ".join(request.text for request in engine.requests)
    assert spoken.split() == (
        [
            "One",
            "sentence",
            "here,",
            "and",
            "it",
            "is",
            "long.",
            "Another",
            "sentence",
            "follows",
            "it",
            "now.",
        ]
    )


@pytest.mark.parametrize("options", [(), ("--stream",)])
def test_audio_to_the_standard_output(
    run: Run, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    class Out(io.StringIO):
        buffer = io.BytesIO()

    out = Out()
    out.buffer = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", out)
    assert run("speak", TEXT, "-o", "-", *options).code == 0
    data = out.buffer.getvalue()
    assert data[:4] == b"RIFF"
    pcm = np.frombuffer(data[44:], "<i2") / 32767.0
    np.testing.assert_allclose(pcm, engine.expected(engine.requests[0]), atol=1e-4)


MISTAKES = {
    "empty text": (("speak", " ", "-o", "o.wav"), 2, "nothing in the text"),
    "nothing to speak": (("speak", "\U0001f600", "-o", "o.wav"), 2, "nothing in the text"),
    "language": (("speak", TEXT, "-o", "o.wav", "-l", "xx"), 2, "xx"),
    "temperature": (("speak", TEXT, "-o", "o.wav", "--temperature", "0"), 2, "temperature=0"),
    "speed": (("speak", TEXT, "-o", "o.wav", "--speed", "9"), 2, "speed=9"),
    "not a number": (("speak", TEXT, "-o", "o.wav", "--seed", "x"), 2, "seed"),
    "unknown option": (("speak", TEXT, "--loud"), 2, "--loud"),
    "unknown command": (("shout",), 2, "shout"),
    "voice file": (("speak", TEXT, "-o", "o.wav", "-r", "no.wav"), 3, "no.wav: there is no such"),
    "voice name": (("speak", TEXT, "-o", "o.wav", "-v", "nobody"), 3, "no voice 'nobody'"),
    "both voices": (("speak", TEXT, "-o", "o", "-r", "a.wav", "-v", "b"), 2, "not both"),
    "model": (("speak", TEXT, "-o", "o.wav", "-m", "nowhere"), 4, "no model 'nowhere'"),
    "not downloaded": (("speak", TEXT, "-o", "o", "-m", "xtts-v2"), 4, "livekit-xtts download"),
    "parts": (("speak", TEXT, "-o", "o.wav", "--config", "c"), 2, "--weights"),
    "a folder": (("speak", TEXT, "-o", "."), 2, ". is a folder"),
    "compare into a file": (("compare", TEXT, "-o", "file"), 2, "file is a file"),
    "no folder": (("speak", TEXT, "-o", "file/o.wav"), 1, "file"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_has_a_code_and_a_sentence_and_no_traceback(
    run: Run,
    engine: FakeEngine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mistake: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("in the way")
    arguments, code, words = MISTAKES[mistake]
    result = run(*arguments)
    assert result.code == code, result.err
    assert words in result.err
    assert "Traceback" not in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_failures_of_the_engine_have_a_code(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "o.wav"
    for engine, code, words in (
        (FakeEngine(script=Script(fail_after=0)), 1, "scripted failure"),
        (FakeEngine(load_error=ModelError("weights are damaged")), 4, "weights are damaged"),
    ):
        monkeypatch.setattr(settings_module, "create_engine", lambda *_, made=engine: made)
        result = run("speak", TEXT, "-o", path)
        assert (result.code, path.exists()) == (code, False)
        assert words in result.err


def test_a_fault_of_the_package_keeps_its_traceback(
    engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    monkeypatch.setattr(engine, "load", lambda: 1 / 0)
    from livekit_xtts.cli import main

    with pytest.raises(ZeroDivisionError):
        main(["speak", TEXT, "-o", str(tmp_path / "o.wav")])


def test_ctrl_c_has_its_own_code(
    run: Run, engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "load", interrupted)
    result = run("speak", TEXT, "-o", tmp_path / "o.wav")
    assert (result.code, result.err.strip()) == (130, "livekit-xtts: interrupted")


def test_a_model_in_parts_is_put_together(tmp_path: Path) -> None:
    parts = {}
    for name in ("config.json", "weights.pth", "vocab.json", "speakers.pth"):
        (tmp_path / name).write_text(name)
        parts[name.partition(".")[0]] = tmp_path / name
    with model_place(Settings(**parts)) as folder:
        assert sorted(path.name for path in Path(folder).iterdir()) == [
            "config.json",
            "model.pth",
            "speakers_xtts.pth",
            "vocab.json",
        ]
        assert (folder / "model.pth").read_text() == "weights.pth"
    assert not Path(folder).exists()


def test_parts_are_copied_where_links_are_not_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("links are not allowed")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    monkeypatch.setattr(Path, "hardlink_to", refuse)
    source = tmp_path / "source"
    source.write_text("x")
    settings_module._link(source, tmp_path / "target")
    assert (tmp_path / "target").read_text() == "x"
    assert not (tmp_path / "target").is_symlink()


# Playing.


class FakeDevice(types.ModuleType):
    """A sounddevice that asks for 480 samples at a time, as fast as it can, in `abort` order."""

    class PortAudioError(Exception):
        pass

    class CallbackStop(Exception):
        pass

    def __init__(self) -> None:
        super().__init__("sounddevice")
        device = self
        self.heard: list[np.ndarray] = []
        self.closed = False

        class OutputStream:
            def __init__(self, *, callback, finished_callback, **options) -> None:
                assert options == {"samplerate": 24_000, "channels": 1, "dtype": "float32"}
                self.callback, self.finished = callback, finished_callback
                device.stream = self

            def start(self) -> None:
                return

            def abort(self) -> None:
                return

            def close(self) -> None:
                device.closed = True

        self.OutputStream = OutputStream

    def pull(self, frames: int = 480) -> bool:
        """The device's thread asks once; False when the stream has ended."""
        out = np.full((frames, 1), 9.0, np.float32)
        try:
            self.stream.callback(out, frames, None, None)
        except self.CallbackStop:
            self.heard.append(out[:, 0])
            self.stream.finished()
            return False
        self.heard.append(out[:, 0])
        return True


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> FakeDevice:
    device = FakeDevice()
    monkeypatch.setitem(sys.modules, "sounddevice", device)
    return device


def test_playback_has_no_gaps(
    run: Run, engine: FakeEngine, device: FakeDevice, monkeypatch
) -> None:
    from livekit_xtts.cli.play import Player

    finish = Player.finish

    def drained(self: Player) -> None:
        self._complete = True
        while device.pull():
            continue
        finish(self)

    monkeypatch.setattr(Player, "finish", drained)
    result = run("speak", TEXT, "--play", "--stream")
    assert result.code == 0, result.err
    expected = engine.expected(SpeechRequest(TEXT))
    heard = np.concatenate(device.heard)
    np.testing.assert_array_equal(heard[: expected.size], expected)
    assert not heard[expected.size :].any()
    assert device.closed


def test_the_fifo_joins_pieces_and_counts_what_was_late(device: FakeDevice) -> None:
    from livekit_xtts.cli.play import Player

    player = Player()
    device.pull(100)
    assert player.underruns == 0  # nothing has begun
    for size in (30, 0, 170):
        player.push(np.arange(size, dtype=np.float32) + 1)
    device.pull(100)
    device.pull(150)
    assert player.underruns == 1
    player.push(np.ones(10, np.float32))
    player._complete = True
    assert not device.pull(100)
    heard = np.concatenate(device.heard[1:])
    np.testing.assert_array_equal(heard[:30], np.arange(30) + 1)
    np.testing.assert_array_equal(heard[30:200], np.arange(170) + 1)
    assert not heard[200:250].any()
    np.testing.assert_array_equal(heard[250:260], 1)
    player.finish()
    player.close()


def test_a_playback_that_is_broken_off_fades(device: FakeDevice) -> None:
    from livekit_xtts.cli.play import Player

    player = Player()
    player.push(np.full(10_000, 0.5, np.float32))
    device.pull(480)
    pulling = threading.Thread(target=lambda: all(iter(lambda: device.pull(100), False)))
    taken = threading.Event()
    wait = player._silent.wait

    def begin(timeout: float) -> bool:
        taken.set()
        pulling.start()
        return wait(20)

    player._silent.wait = begin  # type: ignore[method-assign]
    player.close()
    pulling.join()
    heard = np.concatenate(device.heard)
    assert taken.is_set() and device.closed
    assert heard[480] == pytest.approx(0.5, abs=1e-3) and not heard[480 + 120 :].any()
    assert np.abs(np.diff(heard)).max() < 0.02


def test_a_failure_silences_the_device(
    run: Run, device: FakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = FakeEngine(script=Script(fail_after=0, error=EngineFailedError("out of memory")))
    monkeypatch.setattr(settings_module, "create_engine", lambda *_: engine)
    assert run("speak", TEXT, "--play").code == 1
    assert device.closed


@pytest.mark.parametrize("options", [(), ("--play",)])
def test_without_sounddevice_it_says_how_to_get_it(
    run: Run, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    result = run("speak", TEXT, *options)
    assert result.code == (1 if options else 2)
    assert "livekit-xtts[play]" in result.err
    assert "-o FILE" in result.err
    assert not engine.requests


def test_without_a_device_it_says_so(
    run: Run, engine: FakeEngine, device: FakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(**_: object) -> None:
        raise device.PortAudioError("Error querying device -1")

    monkeypatch.setattr(device, "OutputStream", missing)
    result = run("speak", TEXT, "--play")
    assert result.code == 1
    assert "no sound device" in result.err
