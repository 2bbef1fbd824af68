"""Latents into audio: which window of a request is due, and its decoding, several in one batch."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from livekit_xtts.engine.job import Job
from livekit_xtts.engine.step import HostCopy, HostPart, Stepper, host_copies
from livekit_xtts.speech import EngineFailedError, Float32


class Plan(Protocol):
    """What is final when, at one speed (see `model.streaming.StreamPlan`)."""

    def final_samples(self, codes: int, finished: bool) -> int:
        """Samples that no later latent can change."""
        ...

    def window(self, first: int, last: int, codes: int, finished: bool) -> Any:
        """What decodes samples first … last; has `code_start` and `code_stop`."""
        ...


class Vocoder(Protocol):
    """Decodes windows; `engine.vocoding` has the one over the model."""

    def plan(self, speed: float) -> Plan:
        """The plan for a speed."""
        ...

    def decode(self, items: Sequence[tuple[Tensor, Tensor, Any]]) -> list[Tensor]:
        """Decode (latents (codes, width), speaker embedding (width,), window) into samples."""
        ...


@dataclass(frozen=True, slots=True)
class Due:
    """A window of a job, decided.

    Attributes:
        job: Whose it is.
        codes: Codes at which it ends.
        final: Whether it is the job's last.
    """

    job: Job
    codes: int
    final: bool


class WindowLane:
    """Decodes the windows of all requests and hands the audio on, each request's in order.

    Args:
        stepper: Has the latents of the slots.
        vocoder: Decodes.
    """

    def __init__(self, stepper: Stepper, vocoder: Vocoder) -> None:
        self._stepper = stepper
        self._vocoder = vocoder
        self._flying: deque[tuple[Due, HostCopy | HostPart]] = deque()
        self.decoded = 0

    @staticmethod
    def due(job: Job) -> tuple[int, bool] | None:
        """The codes at which the job's next window ends and whether it is the last; None for none.

        A cut counts only where more latents follow it: so the windows are the same whether the end
        of the request was known when the cut was reached (in company) or not yet (alone).
        """
        progress = job.progress
        if progress.cut > len(progress.cuts):
            return None
        if progress.cut < len(progress.cuts):
            cut = progress.cuts[progress.cut]
            if cut < progress.latents or (cut == progress.latents and not progress.finished):
                return cut, False
        return (progress.latents, True) if progress.finished else None

    def run(self, jobs: Sequence[Job]) -> list[tuple[Job, EngineFailedError]]:
        """Decode the due window of each job.

        Returns:
            The jobs that failed, with what happened.
        """
        dues = [Due(job, *found) for job in jobs if (found := self.due(job)) is not None]
        spans = [due.job.plan.final_samples(due.codes, due.final) for due in dues]
        try:
            items = [self._item(due, last) for due, last in zip(dues, spans, strict=True)]
            decoded = host_copies(self._vocoder.decode(items))
        except Exception as error:
            if len(dues) == 1:
                return [(dues[0].job, _failure(error))]
            # One of them may be at fault: each once more, alone.
            return [failed for job in jobs for failed in self.run([job])]
        for due, last, copy in zip(dues, spans, decoded, strict=True):
            progress = due.job.progress
            progress.decoded = last
            progress.cut = len(progress.cuts) + 1 if due.final else progress.cut + 1
            self._flying.append((due, copy))
        self.decoded += len(dues)
        return []

    def _item(self, due: Due, last: int) -> tuple[Tensor, Tensor, Any]:
        job, progress = due.job, due.job.progress
        window = job.plan.window(progress.decoded, last, due.codes, due.final)
        if progress.tail is None:
            latents = self._stepper.latents(progress.slot, window.code_start, window.code_stop)
        else:
            tail, offset = progress.tail
            latents = tail[window.code_start - offset : window.code_stop - offset]
        return latents, job.voice.speaker, window

    @property
    def flying(self) -> bool:
        """Whether decoded audio is on its way to the host."""
        return bool(self._flying)

    def collect(self, wait: bool = False) -> list[tuple[Due, Float32 | EngineFailedError]]:
        """Audio that has arrived on the host, in order.

        Args:
            wait: Wait for the oldest if none has arrived.

        Returns:
            Each window with its samples, or with what happened.
        """
        arrived: list[tuple[Due, Float32 | EngineFailedError]] = []
        while self._flying and (wait or self._flying[0][1].ready):
            wait = False
            due, copy = self._flying.popleft()
            try:
                audio: Float32 = copy.wait().numpy()
                if isinstance(copy, HostPart):
                    audio = audio.copy()  # Else the whole batch stays in page-locked memory.
            except Exception as error:
                arrived.append((due, _failure(error)))
                continue
            if np.isfinite(audio).all():
                arrived.append((due, audio))
            else:
                message = "the vocoder gave values that are not finite; the request was ended"
                arrived.append((due, EngineFailedError(message)))
        return arrived


def _failure(error: Exception) -> EngineFailedError:
    failure = EngineFailedError(f"decoding audio failed: {error}")
    failure.__cause__ = error
    return failure
