"""What an engine has done, in numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """What has been done since the start."""

    steps: int = 0
    rows: int = 0
    pieces: int = 0
    windows: int = 0
    failed_steps: int = 0
