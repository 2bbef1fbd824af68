"""Settings of every test: this package speaks offline and keeps its files in the test's folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before torch is imported: tests share few cores, and OpenMP's threads spin while they wait.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Kernels for GPUs run on Triton's interpreter where there is no GPU; it has to be known before
# Triton is imported, which torch may do.
if not Path("/dev/nvidiactl").exists():
    os.environ.setdefault("TRITON_INTERPRET", "1")

from livekit_xtts.engine.engine import Engine


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's voices, models or settings."""
    for name in [name for name in os.environ if name.startswith("LIVEKIT_XTTS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LIVEKIT_XTTS_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="session")
def small_engine() -> Iterator[Engine]:
    """The real engine with a small random model, loaded once for all tests that may share it."""
    from livekit_xtts.engine.local import LocalEngine

    engine = LocalEngine("random-small", device="cpu")
    engine.load()
    yield engine
    engine.close()
