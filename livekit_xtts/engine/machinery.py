"""What an engine's thread drives: a loaded model and its scheduler, whatever they are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from livekit_xtts.engine.job import Job
from livekit_xtts.speech import EngineInfo, ReferenceAudio, SpeechError, Voice

if TYPE_CHECKING:
    from livekit_xtts.engine.offload import Residence


class Schedules(Protocol):
    """What the engine's thread drives; see `scheduler.Scheduler`."""

    def submit(self, job: Job) -> None:
        """Queue a request."""
        ...

    def cancel(self, job: Job) -> None:
        """Note a cancelled request."""
        ...

    def tick(self) -> bool:
        """Do one piece of work; False when there was none."""
        ...

    def close(self, error: SpeechError | None = None) -> None:
        """End every request with an error, `EngineClosedError` where none is given."""
        ...


class Machinery(Protocol):
    """A loaded model, warm, ready to be driven."""

    @property
    def info(self) -> EngineInfo:
        """What it is."""
        ...

    @property
    def streams(self) -> int:
        """Requests that can be spoken at once in real time; at most the slots."""
        ...

    @property
    def residence(self) -> Residence | None:
        """What moves the model off its device and back; None where it stays."""
        ...

    @property
    def scheduler(self) -> Schedules:
        """What makes the speech."""
        ...

    def clone(self, references: Sequence[ReferenceAudio], name: str) -> Voice:
        """Compute a voice, on a thread of its own."""
        ...

    def describe(self) -> str:
        """Figures for the log."""
        ...
