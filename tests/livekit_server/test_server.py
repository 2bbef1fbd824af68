"""Finding, building and starting the LiveKit server, and what happens where that fails."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.livekit_server import server
from tests.livekit_server.server import LiveKitServer, ServerUnavailable


def script(path: Path, text: str) -> Path:
    """An executable shell script."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_the_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = script(tmp_path / "livekit-server", "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert server.find_server() == installed


def test_then_the_built_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setattr(server, "BUILT", script(tmp_path / "built", "exit 0"))
    assert server.find_server() == tmp_path / "built"


@pytest.fixture
def unbuilt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without a server; returns where one would be built."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "bin").mkdir()
    monkeypatch.setattr(server, "HERE", tmp_path)
    monkeypatch.setattr(server, "BUILT", tmp_path / "livekit-server")
    return tmp_path / "livekit-server"


def test_then_it_is_built(unbuilt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(unbuilt.parent / "bin" / "go", "exit 1")

    def build(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        assert command[:3] == ["go", "build", "-o"] and command[4] == server.PACKAGE
        Path(command[3]).write_text("built")
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", build)
    assert server.find_server().read_text() == "built"
    assert sorted(path.name for path in unbuilt.parent.iterdir()) == ["bin", "livekit-server"]


def test_without_go_it_says_how_to_get_one(unbuilt: Path) -> None:
    with pytest.raises(ServerUnavailable, match=r"put livekit-server on the PATH.*install Go 1.26"):
        server.find_server()


def test_a_failed_build_shows_its_words(unbuilt: Path) -> None:
    script(unbuilt.parent / "bin" / "go", "echo 'no module proxy' >&2; exit 1")
    with pytest.raises(ServerUnavailable, match="no module proxy"):
        server.find_server()
    assert not unbuilt.exists()


def test_a_server_that_ends_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = script(tmp_path / "livekit-server", "echo started >> ${0}.log; echo bad port; exit 1")
    monkeypatch.setattr(server, "find_server", lambda: broken)
    with pytest.raises(ServerUnavailable, match="bad port"), server.running_server():
        raise AssertionError("it does not run")
    starts = Path(f"{broken}.log").read_text().count("started")
    assert starts == server.START_ATTEMPTS


@pytest.mark.parametrize(
    ("variables", "failure"),
    [
        ({}, False),
        ({"CI": "true"}, True),
        ({"CI": "false"}, False),
        ({"XTTS_REQUIRE_SERVER": "1"}, True),
        ({"XTTS_REQUIRE_SERVER": ""}, False),
    ],
)
def test_where_a_skip_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], failure: bool
) -> None:
    for name in ("CI", "XTTS_REQUIRE_SERVER"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert server.skip_is_failure() is failure


def test_the_module_asks_for_the_version_that_builds() -> None:
    module = (server.HERE / "go.mod").read_text()
    assert "require github.com/livekit/livekit-server v1.13.5\n" in module


def test_tokens_name_the_room_and_the_participant() -> None:
    from livekit import api

    address = LiveKitServer("ws://127.0.0.1:1")
    claims = api.TokenVerifier(address.api_key, address.api_secret).verify(
        address.token("anna", "room-1")
    )
    assert claims.identity == "anna"
    assert claims.video is not None and claims.video.room == "room-1"
