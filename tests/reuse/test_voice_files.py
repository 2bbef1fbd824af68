"""Voice files and the names they may have."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from livekit_xtts.speech import VoiceError
from livekit_xtts.storage import home, remove_stale, safe_name, write_atomically
from livekit_xtts.voicefile import StoredVoice, load_voice, save_voice
from livekit_xtts.voices import VoiceLibrary
from tests.fake_engine import FakeEngine
from tests.reuse.recordings import resolve, some_voice


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def library(engine: FakeEngine, tmp_path: Path) -> VoiceLibrary:
    return VoiceLibrary(engine, tmp_path / "voices", bundled=tmp_path / "bundled")


DAMAGED = {
    "cut off": lambda data: data[:-50],
    "a bit flipped": lambda data: data[:-5] + bytes([data[-5] ^ 1]) + data[-4:],
    "not safetensors": lambda data: b"RIFF" + data,
    "empty": lambda data: b"",
    "other tensors": lambda data: save({"latents": np.zeros((2, 3), np.float32)}),
    "wrong shapes": lambda data: save(
        {
            "latents": np.zeros((2, 3, 4), np.float32),
            "speaker_embedding": np.zeros(4, np.float32),
        }
    ),
    "not finite": lambda data: save(
        {
            "latents": np.full((2, 3), np.inf, np.float32),
            "speaker_embedding": np.zeros(4, np.float32),
        }
    ),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_voice_file_is_refused(
    library: VoiceLibrary, engine: FakeEngine, damage: str
) -> None:
    path = library.folder / "eva.safetensors"
    save_voice(path, StoredVoice(some_voice(engine)))
    path.write_bytes(DAMAGED[damage](path.read_bytes()))
    for source in ("eva", path):
        with pytest.raises(VoiceError, match=r"damaged|not a voice|shapes|empty"):
            resolve(library, source)
    assert library.list()[0].problem


def test_half_precision_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "half.safetensors"
    values = {
        "latents": np.ones((2, 3), np.float16),
        "speaker_embedding": np.ones(4, np.float16),
    }
    path.write_bytes(save(values))
    voice = load_voice(path).voice
    assert voice.latents.dtype == np.float32
    assert voice.name == "half"


OUTSIDE = [
    "../secret", "..", ".", "/etc/passwd", "a/b", "a\\b", "C:secret", "~root", ".hidden", "a\0b",
    "", "a\n", "x" * 65, "x" * 5000, "nul", "CON.x", "anna.", "anna ", "\u2025/x",
    "bundled/../secret",
    "studio/../secret", "library/../secret", "library//etc/passwd", "aux", "-rf",
]  # fmt: skip


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_name_never_leaves_the_folder(
    library: VoiceLibrary, engine: FakeEngine, tmp_path: Path, name: str
) -> None:
    secret = tmp_path / "secret.safetensors"
    save_voice(secret, StoredVoice(some_voice(engine)))
    library.folder.mkdir()
    with pytest.raises(VoiceError):
        resolve(library, name, paths=False)
    with pytest.raises(VoiceError):
        library.add(name, some_voice(engine)).result(20)
    with pytest.raises(VoiceError):
        library.remove(name)
    with pytest.raises(VoiceError):
        library.export(name, tmp_path / "out.safetensors")
    with pytest.raises(VoiceError):
        library.import_voice(secret, name=name or ".")
    assert secret.exists()
    assert not list(library.folder.iterdir())


def test_names_that_are_files_names() -> None:
    assert safe_name("Ana Florence") == "Ana Florence"
    assert safe_name("Zu\u0308rich-2.1") == "Z\u00fcrich-2.1"
    assert safe_name("connie") == "connie"


def test_writing_is_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with pytest.raises(TypeError):
        write_atomically(path, b"new", "not bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    leftover = tmp_path / ".x.partial"
    leftover.write_bytes(b"")
    remove_stale(tmp_path)
    assert leftover.exists()
    os.utime(leftover, (1, 1))
    remove_stale(tmp_path)
    assert not leftover.exists()


def test_home_follows_the_environment(tmp_path: Path) -> None:
    assert home({"LIVEKIT_XTTS_HOME": str(tmp_path)}) == tmp_path
    assert home({"XDG_DATA_HOME": str(tmp_path)}).name == "livekit-xtts"
