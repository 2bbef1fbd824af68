"""How full an engine is, in the words of LiveKit's worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from livekit_xtts.engine.engine import Engine


def load_fnc(*engines: Engine) -> Callable[..., float]:
    """A `load_fnc` for `AgentServer`: takes no further job once an engine is full.

    The worker's own measure is the processor's load, which one local model's work makes high at
    the first call. This is the share of the streams that the engine sustains, so that overload is
    met where jobs are accepted. The engines must live in the worker's own process: with
    `JobExecutorType.THREAD`, or asked over the network; a job in a process of its own has an
    engine that the worker cannot see.

    Args:
        engines: The fullest of them counts.

    Returns:
        A function that takes whatever the worker passes and gives 0 … 1.
    """

    def load(*_: Any) -> float:
        return min(1.0, max((engine.occupancy() for engine in engines), default=0.0))

    return load
