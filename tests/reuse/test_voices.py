"""The voice library: names, files, bytes; cloned once; nothing outside its folder."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pickle
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
import torch

from livekit_xtts import cloning, voices
from livekit_xtts.speech import ModelError, ReferenceAudio, Voice, VoiceError
from livekit_xtts.voicefile import StoredVoice, load_voice, make_voice, save_voice
from livekit_xtts.voices import VoiceLibrary
from tests.fake_engine import FakeEngine
from tests.reuse.recordings import add_voices, buzz, resolve, some_voice, wav


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def library(engine: FakeEngine, tmp_path: Path) -> VoiceLibrary:
    return VoiceLibrary(engine, tmp_path / "voices", bundled=tmp_path / "bundled")


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "anna.wav"
    path.write_bytes(wav(buzz()))
    return path


def test_every_way_to_give_a_recording_is_the_same_voice(
    library: VoiceLibrary, recording: Path, engine: FakeEngine
) -> None:
    voice = resolve(library, recording)
    assert voice.name == "anna"
    assert voice.model == engine.info.fingerprint
    for source in (str(recording), recording.read_bytes(), [recording], [recording.read_bytes()]):
        assert resolve(library, source).fingerprint == voice.fingerprint
    assert engine.clones == 1


def test_several_recordings_are_one_voice(library: VoiceLibrary, engine: FakeEngine) -> None:
    first, second = wav(buzz()), wav(buzz(hertz=150))
    both = resolve(library, [first, second])
    assert both.fingerprint != resolve(library, first).fingerprint
    assert both.fingerprint != resolve(library, [second, first]).fingerprint
    with pytest.raises(VoiceError, match="1 to 32"):
        resolve(library, [])
    with pytest.raises(VoiceError, match="1 to 32"):
        resolve(library, [first] * 33)


def test_a_voice_object_is_checked_and_returned(library: VoiceLibrary, engine: FakeEngine) -> None:
    voice = some_voice(engine)
    assert resolve(library, voice) is voice
    other = make_voice("other", voice.latents, voice.speaker_embedding, "another model")
    with pytest.raises(VoiceError, match="another model than 'fake'"):
        resolve(library, other)


def test_computed_voices_survive_in_files(
    library: VoiceLibrary, recording: Path, engine: FakeEngine
) -> None:
    voice = resolve(library, recording)
    again = VoiceLibrary(engine, library.folder)
    assert resolve(again, recording).fingerprint == voice.fingerprint
    assert engine.clones == 1
    (file,) = (library.folder / voices.COMPUTED).glob("*")
    stored = load_voice(file)
    assert stored.settings == "clean=0"
    assert len(stored.source) == 64
    np.testing.assert_array_equal(stored.voice.latents, voice.latents)


def test_another_model_or_setting_clones_again(
    library: VoiceLibrary, recording: Path, engine: FakeEngine
) -> None:
    resolve(library, recording)
    resolve(VoiceLibrary(engine, library.folder, clean=True), recording)
    assert engine.clones == 2
    other = FakeEngine(hertz=500)
    assert resolve(VoiceLibrary(other, library.folder), recording).model == other.info.fingerprint
    assert other.clones == 1


def test_a_damaged_computed_file_is_made_again(
    library: VoiceLibrary, recording: Path, engine: FakeEngine
) -> None:
    voice = resolve(library, recording)
    (file,) = (library.folder / voices.COMPUTED).glob("*")
    file.write_bytes(file.read_bytes()[:-100])
    assert resolve(VoiceLibrary(engine, library.folder), recording).fingerprint == voice.fingerprint
    assert engine.clones == 2
    assert load_voice(file).voice.fingerprint == voice.fingerprint


def test_a_changed_recording_is_another_voice(library: VoiceLibrary, recording: Path) -> None:
    before = resolve(library, recording)
    recording.write_bytes(wav(buzz(hertz=190)))
    os.utime(recording, ns=(1, 1))
    assert resolve(library, recording).fingerprint != before.fingerprint


def test_only_so_many_computed_files_are_kept(
    library: VoiceLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cloning, "KEPT_FILES", 2)
    for hertz in (100, 110, 120, 130):
        resolve(library, wav(buzz(hertz=hertz)))
    assert len(list((library.folder / voices.COMPUTED).glob("*"))) == 2


def test_without_a_writable_folder_voices_live_in_memory(
    engine: FakeEngine, recording: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    library = VoiceLibrary(engine, tmp_path / "file" / "voices")
    first = resolve(library, recording)
    assert resolve(library, recording) is first
    assert "kept in memory only" in caplog.text


class SlowEngine(FakeEngine):
    """Clones when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.cloning = threading.Event()
        self.go = threading.Event()

    def clone(self, reference: Sequence[ReferenceAudio], *, name: str = "voice") -> Future[Voice]:
        self.cloning.set()
        self.go.wait(20)
        return super().clone(reference, name=name)


async def test_equal_sources_share_one_computation_and_a_cancel_harms_nobody(
    tmp_path: Path, recording: Path
) -> None:
    engine = SlowEngine()
    library = VoiceLibrary(engine, tmp_path / "voices")
    waiting = [asyncio.create_task(library.resolve_async(recording)) for _ in range(4)]
    await asyncio.to_thread(engine.cloning.wait, 20)
    waiting[0].cancel()
    engine.go.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert len({id(voice) for voice in results[1:]}) == 1
    assert engine.clones == 1


def test_a_failure_is_not_remembered(library: VoiceLibrary, tmp_path: Path) -> None:
    path = tmp_path / "late.wav"
    with pytest.raises(VoiceError, match=r"late\.wav: there is no such file"):
        resolve(library, str(path))
    path.write_bytes(wav(buzz()))
    assert resolve(library, str(path)).name == "late"


def test_a_model_that_cannot_load_says_so(tmp_path: Path, recording: Path) -> None:
    engine = FakeEngine(load_error=ModelError("no model in /nowhere"))
    with pytest.raises(ModelError, match="/nowhere"):
        resolve(VoiceLibrary(engine, tmp_path / "voices"), recording)
    with pytest.raises(VoiceError, match="no such file"):  # found before loading is tried
        resolve(VoiceLibrary(engine, tmp_path / "voices"), "missing.wav")


def test_add_list_export_import_remove(
    library: VoiceLibrary, recording: Path, engine: FakeEngine, tmp_path: Path
) -> None:
    engine.load()
    made = library.add("Anna Müller", recording, language="de").result(20)
    assert [(entry.name, entry.kind, entry.language, entry.usable) for entry in library.list()] == [
        ("Anna Müller", "library", "de", True)
    ]
    assert resolve(library, "Anna Müller").fingerprint == made.fingerprint
    with pytest.raises(VoiceError, match="already"):
        library.add("Anna Müller", recording)
    exported = library.export("Anna Müller", tmp_path)
    assert exported == tmp_path / "Anna Müller.safetensors"
    with pytest.raises(VoiceError, match="there already"):
        library.export("Anna Müller", tmp_path)
    assert resolve(library, exported).fingerprint == made.fingerprint
    assert library.export("Anna Müller", tmp_path / "am").name == "am.safetensors"
    assert resolve(library, exported.read_bytes()).fingerprint == made.fingerprint
    with pytest.raises(VoiceError, match="already"):
        library.import_voice(exported)
    assert library.import_voice(exported, name="twin") == "twin"
    assert resolve(library, "twin").name == "twin"
    library.remove("Anna Müller")
    assert [entry.name for entry in library.list()] == ["twin"]
    with pytest.raises(VoiceError, match="no voice 'Anna Müller'"):
        library.remove("Anna Müller")
    with pytest.raises(VoiceError, match=r"no voice 'Anna Müller'\. Known: twin"):
        resolve(library, "Anna Müller")


def test_a_replaced_name_means_the_new_voice(library: VoiceLibrary, engine: FakeEngine) -> None:
    library.add("anna", some_voice(engine, seed=1)).result(20)
    before = resolve(library, "anna")
    other = VoiceLibrary(engine, library.folder)  # as another process would
    other.add("anna", some_voice(engine, seed=2), overwrite=True).result(20)
    assert resolve(library, "anna").fingerprint != before.fingerprint


def test_a_failed_add_leaves_nothing(library: VoiceLibrary) -> None:
    with pytest.raises(VoiceError, match="silent"):
        library.add("quiet", wav(np.zeros(22_050, np.float32))).result(20)
    assert not list(library.folder.rglob("*.*"))


def test_bundled_voices_have_names_and_can_be_overlaid(
    library: VoiceLibrary, engine: FakeEngine, tmp_path: Path
) -> None:
    save_voice(tmp_path / "bundled" / "eva.safetensors", StoredVoice(some_voice(engine), "en"))
    bundled = resolve(library, "eva")
    library.add("eva", wav(buzz())).result(20)
    assert resolve(library, "eva").fingerprint != bundled.fingerprint
    assert resolve(library, "bundled/eva").fingerprint == bundled.fingerprint
    assert [entry.kind for entry in library.list()] == ["library", "bundled"]


def studio(folder: Path) -> Path:
    random = torch.Generator().manual_seed(0)
    speakers = {
        name: {
            "gpt_cond_latent": torch.randn(1, 32, 1024, generator=random),
            "speaker_embedding": torch.randn(1, 512, 1, generator=random),
        }
        for name in ("Ana Florence", "Viktor Menelaos")
    }
    folder.mkdir(exist_ok=True)
    torch.save(speakers, folder / "speakers_xtts.pth")
    return folder


def test_published_studio_speakers_have_names(engine: FakeEngine, tmp_path: Path) -> None:
    model = studio(tmp_path / "model")
    library = VoiceLibrary(engine, tmp_path / "voices", model_folder=model)
    assert [entry.name for entry in library.list() if entry.kind == "studio"] == [
        "Ana Florence",
        "Viktor Menelaos",
    ]
    voice = resolve(library, "Ana Florence")
    assert voice.latents.shape == (32, 1024)
    assert voice.speaker_embedding.shape == (512,)
    assert voice.model == engine.info.fingerprint
    assert resolve(library, "studio/Ana Florence").fingerprint == voice.fingerprint
    exported = library.export("Ana Florence", tmp_path / "ana.safetensors")
    assert load_voice(exported).voice.model == engine.info.fingerprint


class Exploit:
    """Pickle runs this when it is allowed to."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("pwned",)


def test_studio_speakers_are_read_without_running_code(
    engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "speakers_xtts.pth"
    library = VoiceLibrary(engine, tmp_path / "voices", model_folder=tmp_path)
    for content in (pickle.dumps({"a": Exploit()}, protocol=2), b"junk", b""):
        path.write_bytes(content)
        with pytest.raises(VoiceError, match="livekit-xtts download"):
            resolve(library, "Ana Florence")
        assert [entry.kind for entry in library.list() if entry.problem] == ["studio"]
    torch.save({"a": {"gpt_cond_latent": torch.zeros(1, 32, 8)}}, path)
    with pytest.raises(VoiceError, match="not the published studio speakers"):
        resolve(library, "a")
    assert not Path("pwned").exists()


def test_clients_cannot_name_files(library: VoiceLibrary, recording: Path) -> None:
    for source in (str(recording), [str(recording)], [recording]):
        with pytest.raises(VoiceError):
            resolve(library, source, paths=False)
    assert resolve(library, recording.read_bytes(), paths=False).name == "voice"


def test_processes_share_a_folder(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    other = context.Process(target=add_voices, args=(str(tmp_path), range(100, 120)))
    other.start()
    add_voices(str(tmp_path), range(20))
    other.join(150)
    assert other.exitcode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["shared.safetensors"]
