"""Settings of every test: this package speaks offline and keeps its files in the test's folder."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's voices, models or settings."""
    import os

    for name in [name for name in os.environ if name.startswith("LIVEKIT_XTTS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LIVEKIT_XTTS_HOME", str(tmp_path / "home"))
