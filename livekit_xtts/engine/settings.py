"""What an engine was asked for."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from livekit_xtts.engine.ends import Ends
from livekit_xtts.engine.schedule import StepTimes

if TYPE_CHECKING:
    from livekit_xtts.engine.capacity import Slots


@dataclass(frozen=True, slots=True)
class Settings:
    """The choices of one engine.

    Attributes:
        device: As torch names it, or "auto".
        precision: "auto", "fp32", ….
        slots: Requests at once; "auto" for what fits, None for what is usual.
        slot_positions: Positions of a slot, prompt and codes together; None for what fits.
        queue: Requests that wait.
        profile: A name of `PROFILES`.
        times: Step times instead of measured ones, for results that are the same everywhere.
        ends: How requests may end.
        admission: Whether requests beyond what the machine can sustain wait, slots or no slots.
        graphs: Whether steps on CUDA devices are captured in graphs.
        offload_after: Seconds without work after which the model leaves its device; None for never.
        clock: Seconds, monotonic.
    """

    device: str = "auto"
    precision: str = "auto"
    slots: Slots = None
    slot_positions: int | None = None
    queue: int = 16
    profile: str = "balanced"
    times: StepTimes | None = None
    ends: Ends = field(default_factory=Ends)
    admission: bool = True
    graphs: bool = True
    offload_after: float | None = None
    clock: Callable[[], float] = time.perf_counter
