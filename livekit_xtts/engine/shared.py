"""One engine for all who want the same model in this process."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

from livekit_xtts.engine.local import LocalEngine
from livekit_xtts.engine.source import RANDOM

_lock = threading.Lock()
_engines: dict[tuple[Any, ...], LocalEngine] = {}


def shared_engine(
    model: str | Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    **options: Any,
) -> LocalEngine:
    """The process's engine for a model, made at the first call and started by nobody yet.

    It is not closed by those who use it, but at the end of the process; after somebody's `close()`
    or a loading that failed, the next call makes a new one. A forked child gets one of its own.

    Args:
        model: See `LocalEngine`.
        device: See there.
        precision: See there.
        **options: Further options of `LocalEngine`; different options, different engines.
    """
    name = (
        model if model is None or str(model) in RANDOM else str(Path(model).expanduser().resolve())
    )
    key = (os.getpid(), name, device, precision, *sorted(options.items()))
    with _lock:
        engine = _engines.get(key)
        if engine is None or engine.closed or engine.failed:
            engine = _engines[key] = LocalEngine(
                model, device=device, precision=precision, **options
            )
        return engine


def close_shared_engines(timeout: float = 5.0) -> None:
    """Close all shared engines of this process."""
    with _lock:
        engines = [engine for key, engine in _engines.items() if key[0] == os.getpid()]
        _engines.clear()
    for engine in engines:
        engine.close(timeout)
