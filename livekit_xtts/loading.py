"""Loading the process's shared engine before the first job."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from livekit_xtts.engine.engine import Engine


def load(
    model: str | Path | None = None,
    *,
    device: str = "auto",
    precision: str = "auto",
    timeout: float | None = None,
) -> Engine:
    """Load the process's shared engine, blocking; for `AgentServer.setup_fnc`.

    Every `TTS` of this process with the same model, device and precision speaks through it.

    Args:
        model: Folder of a model; None for the bundled voice.
        device: See `TTS`.
        precision: See `TTS`.
        timeout: Seconds, None for the engine's own budget.

    Returns:
        The engine, ready.

    Raises:
        ModelError: The model cannot be loaded; the message names the file and the remedy.
        TimeoutError: The budget ran out; loading goes on in the background.
    """
    from livekit_xtts.engine.shared import shared_engine

    if importlib.util.find_spec("livekit.agents") is not None:
        # Here, not at the job's first `TTS(...)`, where it would hold up the event loop.
        importlib.import_module("livekit_xtts.tts")
    engine = shared_engine(model, device, precision)
    engine.load(timeout)
    return engine
