"""`batch`, `compare`, `voices`, `download` and `info`."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from livekit_xtts.cli import settings as settings_module
from livekit_xtts.cli.compare import largest_difference
from livekit_xtts.cli.exits import UsageError
from livekit_xtts.cli.rows import Row, read_rows
from livekit_xtts.speech import VoiceError
from livekit_xtts.version import __version__
from livekit_xtts.voicefile import load_voice
from tests.cli.commands import Run, samples
from tests.cli.hub import Hub
from tests.fake_engine import FakeEngine, Script

# Batches.

FILES = {
    "a.txt": "First line.\n\n  Second line.  \n",
    "a.csv": 'Text;ID;Seed\nFirst line.;one;1\n"Second; line.";two;\n',
    "a.jsonl": '{"text": "First line.", "id": "one", "speed": 1.5}\n\n{"text": "Second."}\n',
}


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_rows_of_each_kind_of_file(tmp_path: Path) -> None:
    rows = {name: read_rows(write(tmp_path, name, text)) for name, text in FILES.items()}
    assert rows["a.txt"] == [Row("0001", "First line."), Row("0002", "Second line.")]
    assert rows["a.csv"] == [Row("one", "First line.", seed=1), Row("two", "Second; line.")]
    assert rows["a.jsonl"] == [Row("one", "First line.", speed=1.5), Row("0002", "Second.")]
    marked = tmp_path / "marked.txt"
    marked.write_bytes("\ufeffGrüße.".encode())
    assert read_rows(marked) == [Row("0001", "Grüße.")]


WRONG = {
    "a.pdf": ("x", "is a .txt, .csv, .jsonl file"),
    "empty.txt": ("\n", "holds no text"),
    "columns.csv": ("id,words\n1,x\n", "no column named text"),
    "blank.csv": ("id,text\n1,\n", "line 2: there is no text"),
    "json.jsonl": ('{"text": "a"}\n{text}\n', "line 2: not JSON"),
    "list.jsonl": ("[1]\n", "line 1: an object"),
    "number.jsonl": ('{"text": 5}\n', "there is no text"),
    "seed.csv": ("text,seed\nx,y\n", "must be numbers"),
    "id.csv": ("id,text\n../../etc/passwd,x\n", "cannot be a file's name"),
    "twice.csv": ("id,text\na,x\nA,y\n", "'A' is there twice"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_is_told_with_its_line(tmp_path: Path, name: str) -> None:
    text, message = WRONG[name]
    with pytest.raises(UsageError, match=message):
        read_rows(write(tmp_path, name, text))


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not UTF-8"):
        read_rows(tmp_path / "a.txt")


def test_a_batch_speaks_every_text(run: Run, engine: FakeEngine, tmp_path: Path) -> None:
    source = write(tmp_path, "in.csv", "id,text,speed\na,First one.,2\nb,Second one.,\n")
    result = run("batch", source, "-o", tmp_path / "out")
    assert result.code == 0, result.err
    assert "2 spoken, 0 there already, 0 failed" in result.err
    for request in engine.requests:
        name = "a" if "First" in request.text else "b"
        assert request.speed == (2.0 if name == "a" else 1.0)
        np.testing.assert_allclose(
            samples(tmp_path / "out" / f"{name}.wav"), engine.expected(request), atol=1e-4
        )


def test_a_batch_goes_on_where_it_stopped(run: Run, engine: FakeEngine, tmp_path: Path) -> None:
    source = write(tmp_path, "in.txt", "First one.\nSecond one.\nThird one.\n")
    out = tmp_path / "out"
    assert run("batch", source, "-o", out).code == 0
    engine.requests.clear()
    (out / "0002.wav").unlink()
    with (out / "batch.jsonl").open("a") as journal:
        journal.write('{"id": "0001", "dig')  # torn by an interruption
    source.write_text("First one.\nSecond one.\nThird one, changed.\n")
    result = run("batch", source, "-o", out)
    assert "2 spoken, 1 there already" in result.err
    assert sorted(request.text for request in engine.requests) == [
        "Second one.",
        "Third one, changed.",
    ]
    engine.requests.clear()
    assert "3 there already" in run("batch", source, "-o", out).err
    assert "3 spoken" in run("batch", source, "-o", out, "--speed", "1.5").err


def test_failures_are_listed_and_do_not_stop_the_others(
    run: Run, engine: FakeEngine, tmp_path: Path
) -> None:
    engine.scripts.extend([Script(), Script(fail_after=0), Script()])
    rows = "id,text,voice,language\na,One.,,\nb,Two.,,\nc,Three.,,\nd,Four.,nobody,\ne,Five.,,xx\n"
    source = write(tmp_path, "in.csv", rows)
    result = run("batch", source, "-o", tmp_path / "out", "--jobs", "1")
    assert result.code == 6
    assert "2 spoken, 0 there already, 3 failed" in result.err
    assert "failed: b: scripted failure" in result.err
    assert "failed: d: there is no voice 'nobody'" in result.err
    assert "failed: e: " in result.err
    assert sorted(path.name for path in (tmp_path / "out").glob("*.wav")) == ["a.wav", "c.wav"]
    again = run("batch", source, "-o", tmp_path / "out")
    assert "1 spoken, 2 there already, 2 failed" in again.err


# Comparing.


def test_compare_says_the_figures_and_draws_them(
    run: Run, engine: FakeEngine, tmp_path: Path
) -> None:
    result = run("compare", "A sentence to compare.", "-o", tmp_path, "--json")
    assert result.code == 0, result.err
    figures = json.loads(result.out)
    assert figures["largest_difference"] == 0.0
    assert figures["samples_equal"] is True
    assert figures["streamed"]["audio_s"] == figures["whole"]["audio_s"] > 0
    assert set(figures["whole"]) == {"first_audio_s", "total_s", "audio_s", "real_time_factor"}
    assert (tmp_path / "compare.png").read_bytes()[:4] == b"\x89PNG"
    np.testing.assert_array_equal(
        samples(tmp_path / "streamed.wav"), samples(tmp_path / "whole.wav")
    )
    assert {request.seed for request in engine.requests} == {0}
    assert [request.streaming for request in engine.requests] == [True, True, False]


def test_compare_prints_a_table(run: Run, engine: FakeEngine) -> None:
    result = run("compare", "A sentence to compare.")
    assert "first audio" in result.out
    assert "largest difference: 0.00e+00" in result.out


def test_compare_without_matplotlib_says_how_to_get_it(
    run: Run, engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = run("compare", "A sentence.", "-o", tmp_path)
    assert result.code == 0
    assert "pip install matplotlib" in result.err


def test_the_largest_difference() -> None:
    ones = np.ones(4, np.float32)
    assert largest_difference(ones, ones) == 0.0
    assert largest_difference(ones, 0.5 * ones) == 0.5
    assert largest_difference(ones, ones[:2]) == 1.0
    assert largest_difference(ones[:0], ones[:0]) == 0.0


# Voices.


def test_the_life_of_a_voice(
    run: Run, engine: FakeEngine, home: Path, recording: Path, tmp_path: Path
) -> None:
    def kept() -> list[str]:
        """What `voices list` says of the library, the voices that come with the package aside."""
        lines = run("voices", "list").out.splitlines()
        return " ".join(line for line in lines if " bundled " not in line).split()

    assert kept() == []
    added = run("voices", "add", "anna", recording, "-l", "de")
    assert added.code == 0, added.err
    assert Path(added.out.strip()) == home / "voices" / "anna.safetensors"
    assert kept() == ["anna", "library", "de"]
    assert run("voices", "add", "anna", recording).code == 3
    assert run("voices", "add", "anna", recording, "-l", "de", "--overwrite").code == 0
    exported = run("voices", "export", "anna", tmp_path)
    assert exported.out.strip() == str(tmp_path / "anna.safetensors")
    assert run("voices", "export", "anna", tmp_path).code == 3
    imported = run("voices", "import", tmp_path / "anna.safetensors", "--name", "twin")
    assert imported.out.strip() == "twin"
    assert run("voices", "remove", "anna").code == 0
    assert kept() == ["twin", "library", "de"]
    assert run("speak", "Hello.", "-v", "twin", "-o", tmp_path / "o.wav").code == 0
    assert load_voice(home / "voices" / "twin.safetensors").voice.name == "twin"


@pytest.mark.parametrize(
    "arguments",
    [
        ("add", "../x", "anna.wav"),
        ("add", "x", "missing.wav"),
        ("remove", "nobody"),
        ("export", "nobody", "out.safetensors"),
        ("import", "anna.wav"),
    ],
)
def test_mistakes_with_voices(
    run: Run, engine: FakeEngine, recording: Path, monkeypatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(recording.parent)
    result = run("voices", *arguments)
    assert result.code == 3
    assert result.err.startswith("livekit-xtts: ")
    assert len(result.err.splitlines()) == 1


def test_a_damaged_voice_is_listed_as_such(run: Run, engine: FakeEngine, home: Path) -> None:
    (home / "voices").mkdir(parents=True)
    (home / "voices" / "eva.safetensors").write_bytes(b"junk")
    assert "damaged" in run("voices", "list").out
    with pytest.raises(VoiceError):
        load_voice(home / "voices" / "eva.safetensors")


# Downloading.


def test_download_needs_the_licence_where_nobody_can_answer(run: Run, hub: Hub) -> None:
    result = run("download")
    assert result.code == 5
    assert "non-commercial" in result.err
    assert "--accept-license" in result.err
    assert hub.listings == 0


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 5)])
def test_download_asks_a_person(
    run: Run, hub: Hub, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    monkeypatch.setattr("livekit_xtts.cli.download.sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("livekit_xtts.cli.download.typer.confirm", lambda *_, **__: answer == "y\n")
    result = run("download")
    assert result.code == code
    assert "Coqui Public Model License" in result.err


def test_download_and_its_studio_speakers(run: Run, hub: Hub, home: Path, tmp_path: Path) -> None:
    result = run("download", "--accept-license")
    assert result.code == 0, result.err
    assert Path(result.out.strip()) == home / "models" / "xtts-v2"
    assert "--model xtts-v2" in result.err
    listed = run("voices", "list", "-m", "xtts-v2")
    assert "Ana Florence" in listed.out
    assert "studio" in listed.out


def test_a_download_that_fails(run: Run, hub: Hub) -> None:
    hub.status["vocab.json"] = 404
    result = run("download", "--accept-license")
    assert result.code == 1
    assert "404" in result.err


# Information.


def test_info(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import livekit_xtts.cli.info as info_module

    version = info_module._version
    monkeypatch.setattr(
        info_module,
        "_version",
        lambda name, module: "" if name == "cutlet" else version(name, module),
    )
    facts = json.loads(run("info", "--json").out)
    assert facts["version"] == __version__
    assert facts["models"] == {
        "folder": str(home / "models"),
        "bundled": facts["models"]["bundled"],
        "downloaded": [],
    }
    assert not facts["problems"]
    text = run("info").out
    assert "livekit-xtts[ja]" in text
    assert "livekit-xtts download" in text
    for system, machine in (("Linux", "x86_64"), ("Darwin", "arm64")):
        monkeypatch.setattr(platform, "system", lambda system=system: system)
        monkeypatch.setattr(platform, "machine", lambda machine=machine: machine)
        assert ("llvmlite" in run("info").out) == (system == "Linux")
    monkeypatch.setattr(info_module, "_version", lambda *_: "0.1")
    assert "pip uninstall livekit-plugins-xtts" in run("info").out


def test_info_says_where_portaudio_is_missing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    class Finder:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "sounddevice":
                raise OSError("PortAudio library not found")

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    (problem,) = json.loads(run("info", "--json").out)["problems"]
    assert "PortAudio" in problem and "libportaudio2" in problem


def test_ctrl_c_while_the_program_is_still_starting() -> None:
    code = (
        "import sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == '{}': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from livekit_xtts.cli import main\n"
        "main(['info'])\n"
    )
    for name in ("livekit_xtts.cli.exits", "typer"):
        done = subprocess.run(
            [sys.executable, "-c", code.format(name)], capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (130, "livekit-xtts: interrupted\n")


def test_results_are_files_like_any_other(run: Run, engine: FakeEngine, tmp_path: Path) -> None:
    """Readable as the user's umask says, not by their owner alone; and never in a file's place."""
    texts = tmp_path / "texts.txt"
    texts.write_text("One text of some length.")
    usual = texts.stat().st_mode
    assert run("batch", texts, "-o", tmp_path / "out").code == 0
    assert (tmp_path / "out" / "0001.wav").stat().st_mode == usual
    assert run("speak", "Another text.", "-o", tmp_path / "new" / "o.wav").code == 0
    assert (tmp_path / "new" / "o.wav").stat().st_mode == usual
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "out").stat().st_mode
    result = run("batch", texts, "-o", texts)
    assert result.code == 2 and "texts.txt is a file" in result.err


def test_the_program_itself() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "livekit_xtts.cli", "--version"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.strip()) == (0, f"livekit-xtts {__version__}")


def test_help_needs_no_torch() -> None:
    code = (
        "import sys; from livekit_xtts.cli.app import app; "
        "sys.exit('torch' in sys.modules or 'livekit.agents' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_the_real_engine_speaks(run: Run, tmp_path: Path) -> None:
    result = run("speak", "Hi.", "-m", "random-small", "-o", tmp_path / "o.wav", "--seed", "1")
    assert result.code == 0, result.err
    assert samples(tmp_path / "o.wav").size
    assert settings_module.create_engine("random-small", settings_module.Settings()).info.model
