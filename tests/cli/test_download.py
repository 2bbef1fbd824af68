"""The published model: licence first, then every byte, checked and converted."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections import deque
from pathlib import Path

import pytest

from livekit_xtts import download as download_module
from livekit_xtts import fetch as fetch_module
from livekit_xtts.download import (
    DownloadError,
    LicenseNotAcceptedError,
    download,
    download_files,
    find_model,
    license_accepted,
)
from livekit_xtts.fetch import fetch, list_files
from livekit_xtts.model.checkpoint import load_model
from livekit_xtts.speech import ModelError, SpeechError
from livekit_xtts.voicefile import load_studio
from livekit_xtts.voices import VoiceLibrary
from tests.cli.hub import COMMIT, REPOSITORY, Hub
from tests.fake_engine import FakeEngine

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_module.time, "sleep", lambda _: None)


def test_nothing_is_fetched_before_the_licence_is_accepted(hub: Hub, home: Path) -> None:
    with pytest.raises(LicenseNotAcceptedError, match="non-commercial") as raised:
        download()
    assert "--accept-license" in str(raised.value)
    assert "XTTS_ACCEPT_LICENSE=1" in str(raised.value)
    with pytest.raises(LicenseNotAcceptedError):
        download(ask=lambda notice: False)
    assert hub.listings == 0
    assert not home.exists()


@pytest.mark.parametrize("how", ["argument", "variable", "answer"])
def test_each_way_to_accept(hub: Hub, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    if how == "variable":
        monkeypatch.setenv("XTTS_ACCEPT_LICENSE", "1")
    shown: list[str] = []
    folder = download(
        accept_license=how == "argument",
        ask=(lambda notice: not shown.append(notice)) if how == "answer" else None,  # type: ignore[func-returns-value]
    )
    assert (folder / "model.safetensors").is_file()
    assert bool(shown) == (how == "answer")
    assert not shown or "Coqui Public Model License" in shown[0]


def test_what_counts_as_accepted() -> None:
    assert license_accepted({"XTTS_ACCEPT_LICENSE": "1"})
    assert license_accepted({"XTTS_ACCEPT_LICENSE": " True "})
    for value in ("", "0", "no", "false"):
        assert not license_accepted({"XTTS_ACCEPT_LICENSE": value})
    assert not license_accepted({})


def test_the_model_arrives_converted_and_is_found(hub: Hub, home: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    folder = download(accept_license=True, progress=lambda *step: seen.append(step))
    assert folder == home / "models" / "xtts-v2" == find_model("xtts-v2") == find_model(folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "LICENSE.txt",
        "config.json",
        "model.safetensors",
        "speakers_xtts.pth",
        "vocab.json",
    ]
    assert [path.name for path in folder.parent.iterdir()] == ["xtts-v2"]
    assert load_model(folder).config.gpt_layers == 3
    assert set(load_studio(folder / "speakers_xtts.pth", "")) == {"Ana Florence"}
    size = len(hub.files["model.pth"])
    assert ("model.pth", size, size) in seen
    assert "README.md 0" not in hub.requests
    download()  # there already: no licence, no network
    assert hub.listings == 1


def test_the_checkpoint_can_be_kept(hub: Hub) -> None:
    folder = download(accept_license=True, keep_checkpoint=True, name="mine")
    assert (folder / "model.pth").is_file()
    assert folder.name == "mine"


def test_a_transfer_that_breaks_off_is_taken_up_at_once(hub: Hub) -> None:
    hub.breaks["model.pth"] = deque([70_000, 1_000])
    download(accept_license=True)
    assert [request for request in hub.requests if request.startswith("model.pth")] == [
        "model.pth 0",
        "model.pth 70000",
        "model.pth 71000",
    ]


def test_a_download_that_failed_goes_on_in_the_next_run(hub: Hub, home: Path) -> None:
    hub.breaks["model.pth"] = deque([70_000, *[0] * fetch_module.TRIES])
    with pytest.raises(DownloadError, match="run the same command again") as raised:
        download(accept_license=True)
    assert raised.value.retryable
    assert not (home / "models" / "xtts-v2").exists()
    hub.requests.clear()
    download(accept_license=True)
    assert hub.requests == ["model.pth 70000"]


def test_a_server_without_ranges_begins_again(hub: Hub) -> None:
    hub.ranges = False
    hub.breaks["model.pth"] = deque([70_000])
    assert load_model(download(accept_license=True))


def test_a_damaged_file_is_deleted_and_fetched_again(hub: Hub, home: Path) -> None:
    for name in ("vocab.json", "model.pth"):
        good = hub.files[name]
        hub.listed[name] = good
        hub.files[name] = good[:-1] + bytes([good[-1] ^ 1])
        with pytest.raises(DownloadError, match=f"{name} arrived damaged"):
            download(accept_license=True)
        assert not list(home.rglob(f"{name}*"))
        hub.files[name] = good
    download(accept_license=True)


def test_a_hub_that_fails(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.status["model.pth"] = 403
    with pytest.raises(DownloadError, match="403"):
        download(accept_license=True)
    hub.status["model.pth"] = 503
    with pytest.raises(DownloadError, match="503"):
        download(accept_license=True)
    del hub.files["vocab.json"]
    with pytest.raises(DownloadError, match=r"has no vocab\.json"):
        download(accept_license=True)
    with pytest.raises(DownloadError, match="404"):
        list_files("someone/else")
    monkeypatch.setattr(hub, "_listing", lambda: {"error": "moved"})
    with pytest.raises(DownloadError, match="does not answer like a model hub"):
        download(accept_license=True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DownloadError, match="HF_HUB_OFFLINE"):
        download(accept_license=True)


def test_no_hub_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(DownloadError, match=r"127\.0\.0\.1:1 cannot be reached"):
        download(accept_license=True)


def test_a_full_disk_is_said_before(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")._replace(free=10**6)
    monkeypatch.setattr(download_module.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(SpeechError, match="LIVEKIT_XTTS_HOME moves it"):
        download(accept_license=True)
    assert not hub.requests


def test_a_home_that_cannot_be_written(hub: Hub, home: Path) -> None:
    home.write_text("a file in the way")
    with pytest.raises(SpeechError, match="cannot be written"):
        download(accept_license=True)


def test_a_checkpoint_that_is_none(hub: Hub, home: Path) -> None:
    hub.files["model.pth"] = b"junk" * 50_000
    with pytest.raises(ModelError, match="downloaded checkpoint cannot be used"):
        download(accept_license=True)
    assert not (home / "models" / "xtts-v2").exists()


def test_a_file_that_is_there_is_not_fetched(hub: Hub, tmp_path: Path) -> None:
    commit, listed = list_files(REPOSITORY)
    assert commit == COMMIT
    path = fetch(REPOSITORY, commit, listed["config.json"], tmp_path)
    assert path.read_bytes() == hub.files["config.json"]
    fetch(REPOSITORY, commit, listed["config.json"], tmp_path)
    assert hub.requests == ["config.json 0"]


def test_names_of_models(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="run livekit-xtts download"):
        find_model()
    with pytest.raises(ModelError, match=r"no model '\.\./x'"):
        find_model("../x")
    with pytest.raises(ModelError, match=r"config\.json is not in it"):
        find_model(tmp_path)
    with pytest.raises(SpeechError, match="cannot be a model's name"):
        download(accept_license=True, name="../x")


# LiveKit's download-files.


def test_without_acceptance_it_says_what_to_do_and_succeeds(
    hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    download_files()
    assert "XTTS_ACCEPT_LICENSE=1" in caplog.text
    assert hub.listings == 0


def test_with_acceptance_it_downloads(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setenv("XTTS_ACCEPT_LICENSE", "1")
    download_files()
    assert find_model()
    assert "model.pth: 100 %" in caplog.text
    download_files()
    assert "is there" in caplog.text


def test_with_acceptance_a_failure_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XTTS_ACCEPT_LICENSE", "1")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(DownloadError):
        download_files()


@pytest.mark.parametrize("accepted", [False, True])
def test_livekits_own_command_reaches_it(hub: Hub, home: Path, accepted: bool) -> None:
    environment = {**os.environ, "XTTS_ACCEPT_LICENSE": "1" if accepted else ""}
    done = subprocess.run(
        [sys.executable, "-m", "livekit.agents", "download-files"],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 0, done.stderr
    assert ("XTTS_ACCEPT_LICENSE=1" in done.stderr) != accepted
    assert (home / "models" / "xtts-v2").is_dir() == accepted


def test_studio_speakers_of_a_model_by_name(hub: Hub) -> None:
    download(accept_license=True)
    library = VoiceLibrary(FakeEngine(), model_folder="xtts-v2")
    assert [entry.name for entry in library.list() if entry.kind == "studio"] == ["Ana Florence"]
