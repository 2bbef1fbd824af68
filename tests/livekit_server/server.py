"""Finds, builds and runs a LiveKit server on the loopback interface, on ports of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
BUILT = HERE / ("livekit-server.exe" if os.name == "nt" else "livekit-server")
PACKAGE = "github.com/livekit/livekit-server/cmd/server"
HOW_TO_GET = (
    "no LiveKit server: put livekit-server on the PATH"
    " (https://github.com/livekit/livekit/releases), or install Go 1.26 or later and run"
    f" `cd tests/livekit_server && go build -o {BUILT.name} {PACKAGE}`"
)
BUILD_SECONDS = 900
START_SECONDS = 20
START_ATTEMPTS = 3


class ServerUnavailable(Exception):
    """There is no LiveKit server here, or it does not start; the message says what to do."""


@dataclass(frozen=True)
class LiveKitServer:
    """A running server.

    Attributes:
        url: Where clients and agents connect.
        api_key: The key that signs tokens.
        api_secret: Its secret.
    """

    url: str
    api_key: str = "devkey"
    api_secret: str = "a secret as long as a signing key is"

    def token(self, identity: str, room: str, *, agent: bool = False) -> str:
        """A token with which `identity` may join `room`."""
        from livekit import api

        token = api.AccessToken(self.api_key, self.api_secret).with_identity(identity)
        if agent:
            token = token.with_kind("agent")
        return token.with_grants(api.VideoGrants(room_join=True, room=room, agent=agent)).to_jwt()


def find_server() -> Path:
    """The server's binary: from the PATH, built earlier, or built now.

    Raises:
        ServerUnavailable: None of these works; the message says how to get one.
    """
    if found := shutil.which("livekit-server"):
        return Path(found)
    if BUILT.exists():
        return BUILT
    if not shutil.which("go"):
        raise ServerUnavailable(HOW_TO_GET)
    # Built beside its place and moved there whole, so that runs side by side do not meet.
    with tempfile.TemporaryDirectory(dir=HERE) as folder:
        target = Path(folder) / BUILT.name
        command = ["go", "build", "-o", str(target), PACKAGE]
        built = subprocess.run(
            command, cwd=HERE, capture_output=True, text=True, timeout=BUILD_SECONDS
        )
        if built.returncode != 0:
            raise ServerUnavailable(f"{HOW_TO_GET}; building it failed:\n{built.stderr[-2000:]}")
        target.replace(BUILT)
    return BUILT


def skip_is_failure() -> bool:
    """Whether a missing server fails the tests instead of skipping them."""
    return any(
        os.environ.get(name, "").lower() in ("1", "true", "yes")
        for name in ("CI", "XTTS_REQUIRE_SERVER")
    )


def free_port(kind: socket.SocketKind) -> int:
    """A port of the loopback interface that was free a moment ago."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(url: str) -> bool:
    """Whether the server serves HTTP at `url`."""
    try:
        with urllib.request.urlopen(url, timeout=1) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def start(binary: Path, folder: Path) -> tuple[subprocess.Popen[bytes], LiveKitServer]:
    """Start the server on free ports and wait until it serves.

    Raises:
        ServerUnavailable: It ended or was not there in time; the message has its last words.
    """
    port = free_port(socket.SOCK_STREAM)
    config = folder / "livekit.yaml"
    config.write_text(
        f"port: {port}\n"
        "rtc:\n"
        f"  tcp_port: {free_port(socket.SOCK_STREAM)}\n"
        f"  udp_port: {free_port(socket.SOCK_DGRAM)}\n"
        "  use_external_ip: false\n"
        # Without an entry clients ask public STUN servers; nothing leaves the machine with this.
        f"  stun_servers: ['127.0.0.1:{port}']\n"
        f"keys:\n  {LiveKitServer.api_key}: {LiveKitServer.api_secret}\n"
        "logging:\n"
        "  level: info\n"
    )
    log = folder / "livekit.log"
    flags = ["--dev", "--bind", "127.0.0.1", "--node-ip", "127.0.0.1", "--config", str(config)]
    with log.open("wb") as out:
        process = subprocess.Popen([str(binary), *flags], stdout=out, stderr=subprocess.STDOUT)
    end = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < end:
        if answers(f"http://127.0.0.1:{port}/"):
            return process, LiveKitServer(f"ws://127.0.0.1:{port}")
        time.sleep(0.05)
    process.kill()
    process.wait()
    words = log.read_text(errors="replace")[-2000:]
    raise ServerUnavailable(f"{binary} did not serve within {START_SECONDS} s:\n{words}")


@contextmanager
def running_server() -> Iterator[LiveKitServer]:
    """A LiveKit server for the length of the block.

    Raises:
        ServerUnavailable: There is none and none can be built, or it does not start.
    """
    binary = find_server()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for attempt in range(START_ATTEMPTS):
            try:
                process, server = start(binary, folder)
                break
            except ServerUnavailable:
                # Another process may have taken a port between the probe and the start.
                if attempt + 1 == START_ATTEMPTS:
                    raise
        try:
            yield server
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
