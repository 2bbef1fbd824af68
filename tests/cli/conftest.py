"""A home of its own for every test, a small published model, and a hub that serves it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.commands import Run, runner
from tests.cli.hub import Hub
from tests.fake_engine import FakeEngine
from tests.reuse.recordings import buzz, wav


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the package's own files."""
    folder = tmp_path / "home"
    monkeypatch.setenv("LIVEKIT_XTTS_HOME", str(folder))
    for name in (
        "XTTS_ACCEPT_LICENSE",
        "HF_ENDPOINT",
        "HF_HUB_OFFLINE",
        "HTTP_PROXY",
        "http_proxy",
    ):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return folder


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of the published repository, at the size of the tests' model."""
    import torch

    from livekit_xtts.model.checkpoint import convert, create_random, save_model
    from livekit_xtts.model.config import XttsConfig

    folder = tmp_path_factory.mktemp("published")
    model = create_random(XttsConfig.small(), seed=0)
    save_model(model, folder)
    convert(folder, folder / "model.pth")
    (folder / "model.safetensors").unlink()
    (folder / "vocab.json").write_text('{"model": {"vocab": {}}}')
    speaker = {
        "gpt_cond_latent": torch.zeros(1, 32, 64) + 0.1,
        "speaker_embedding": torch.zeros(1, 32, 1) + 0.1,
    }
    torch.save({"Ana Florence": speaker}, folder / "speakers_xtts.pth")
    (folder / "LICENSE.txt").write_text("Coqui Public Model License 1.0.0")
    (folder / "README.md").write_text("not needed")
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def hub(published: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that `HF_ENDPOINT` names."""
    hub = Hub(dict(published))
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    yield hub
    hub.close()


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEngine]:
    """What every command speaks with."""
    engine = FakeEngine()
    monkeypatch.setattr("livekit_xtts.cli.settings.create_engine", lambda model, settings: engine)
    close = engine.close
    monkeypatch.setattr(engine, "close", lambda: None)  # the next command speaks with it too
    yield engine
    close()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command."""
    return runner(capsys)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """A recording to clone from."""
    path = tmp_path / "anna.wav"
    path.write_bytes(wav(buzz()))
    return path
