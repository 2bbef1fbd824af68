"""Latents into audio: which window of a request is due, and its decoding, several in one batch."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from livekit_xtts.engine.job import Job
from livekit_xtts.engine.step import HostCopy, Stepper
from livekit_xtts.speech import EngineFailedError


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
class _Due:
    """A window of a job, decided."""

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
        self._flying: deque[tuple[_Due, HostCopy]] = deque()
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

    def next_cut(self, job: Job) -> int:
        """Codes at which the job's next window ends, as far as that can be known."""
        progress = job.progress
        assert job.prepared is not None
        if progress.cut < len(progress.cuts):
            return min(progress.cuts[progress.cut], job.prepared.budget)
        return job.prepared.budget

    def run(self, jobs: Sequence[Job]) -> list[tuple[Job, EngineFailedError]]:
        """Decode the due window of each job.

        Returns:
            The jobs that failed, with what happened.
        """
        dues = [_Due(job, *found) for job in jobs if (found := self.due(job)) is not None]
        spans = [due.job.plan.final_samples(due.codes, due.final) for due in dues]
        try:
            items = [self._item(due, last) for due, last in zip(dues, spans, strict=True)]
            decoded = self._vocoder.decode(items)
        except Exception as error:
            if len(dues) == 1:
                return [(dues[0].job, _failure(error))]
            # One of them may be at fault: each once more, alone.
            return [failed for job in jobs for failed in self.run([job])]
        for due, last, audio in zip(dues, spans, decoded, strict=True):
            progress = due.job.progress
            progress.decoded = last
            progress.cut = len(progress.cuts) + 1 if due.final else progress.cut + 1
            self._flying.append((due, HostCopy(audio)))
        self.decoded += len(dues)
        return []

    def _item(self, due: _Due, last: int) -> tuple[Tensor, Tensor, Any]:
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

    def collect(self, wait: bool = False) -> list[tuple[Job, EngineFailedError | None]]:
        """Hand on audio that has arrived on the host.

        Args:
            wait: Wait for the oldest if none has arrived.

        Returns:
            The jobs that are over: with None where the last audio went out, else what happened.
        """
        over: list[tuple[Job, EngineFailedError | None]] = []
        while self._flying and (wait or self._flying[0][1].ready):
            wait = False
            due, copy = self._flying.popleft()
            if due.job.done:
                continue
            try:
                audio = copy.wait().numpy()
            except Exception as error:
                over.append((due.job, _failure(error)))
                continue
            if not np.isfinite(audio).all():
                message = "the vocoder gave values that are not finite; the request was ended"
                over.append((due.job, EngineFailedError(message)))
                continue
            due.job.send(audio, min(due.codes, len(due.job.progress.codes)), due.final)
            if due.final:
                over.append((due.job, None))
        return over


def _failure(error: Exception) -> EngineFailedError:
    failure = EngineFailedError(f"decoding audio failed: {error}")
    failure.__cause__ = error
    return failure
