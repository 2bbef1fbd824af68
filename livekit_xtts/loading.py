"""Loading the process's shared engine before the first job."""

from __future__ import annotations

import importlib
import importlib.util
import os
from concurrent.futures import wait
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from livekit_xtts.engine.engine import Engine


def load(
    model: str | Path | None = None,
    *,
    device: str | None = None,
    precision: str | None = None,
    timeout: float | None = None,
) -> Engine:
    """Load the process's shared engine, blocking; for `AgentServer.setup_fnc`.

    Every `TTS` of this process with the same model, device and precision speaks through it. The
    text tables of `LIVEKIT_XTTS_LANGUAGE`, else of English, are made as well.

    Args:
        model: Folder of a model; None for `LIVEKIT_XTTS_MODEL`, else the bundled voice.
        device: See `TTS`; None for `LIVEKIT_XTTS_DEVICE`, else "auto".
        precision: See `TTS`; None for `LIVEKIT_XTTS_PRECISION`, else "auto".
        timeout: Seconds, None for the engine's own budget.

    Returns:
        The engine, ready.

    Raises:
        ModelError: The model cannot be loaded; the message names the file and the remedy.
        TimeoutError: The budget ran out; loading goes on in the background.
    """
    from livekit_xtts.engine.shared import shared_engine
    from livekit_xtts.text.warm import warm_ahead

    if importlib.util.find_spec("livekit.agents") is not None:
        # Here, not at the job's first `TTS(...)`, where it would hold up the event loop.
        importlib.import_module("livekit_xtts.tts")
    engine = shared_engine(
        model or os.environ.get("LIVEKIT_XTTS_MODEL") or None,
        device or os.environ.get("LIVEKIT_XTTS_DEVICE") or "auto",
        precision or os.environ.get("LIVEKIT_XTTS_PRECISION") or "auto",
    )
    text = warm_ahead(os.environ.get("LIVEKIT_XTTS_LANGUAGE") or "en")
    engine.load(timeout)
    wait((text,), timeout)
    return engine
