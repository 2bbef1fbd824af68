"""Memory that loading leaves behind."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace

import pytest

from livekit_xtts.model import lean


def test_memory_goes_back_to_the_system_where_there_is_a_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []
    library = SimpleNamespace(malloc_trim=asked.append)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    assert lean.give_back() and asked == [0]
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace())
    assert not lean.give_back() and asked == [0]
