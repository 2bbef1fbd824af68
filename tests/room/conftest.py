"""A LiveKit server for the session, and rooms of their own for the tests."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from tests.livekit_server.server import (
    LiveKitServer,
    ServerUnavailable,
    running_server,
    skip_is_failure,
)


@pytest.fixture(scope="session")
def server() -> Iterator[LiveKitServer]:
    """A real LiveKit server; its absence skips the test, or fails it where one is demanded."""
    running = running_server()
    try:
        address = running.__enter__()
    except ServerUnavailable as error:
        if skip_is_failure():
            pytest.fail(str(error))
        pytest.skip(str(error))
    try:
        yield address
    finally:
        running.__exit__(None, None, None)


@pytest.fixture
def room_name() -> str:
    """A room that no other test is in."""
    return f"room-{uuid.uuid4().hex[:12]}"
