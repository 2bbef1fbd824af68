"""Prompts of many requests read together, for runners that take positions of prompts as rows.

Nothing about a request's prompt is computed on the host but which ids it has; one table of whole
numbers goes to the device for all of them. The same shapes come again and again, so they can be
replayed from graphs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from livekit_xtts.engine.job import Job
from livekit_xtts.engine.prompts import Prompts, VoiceState
from livekit_xtts.model.cuda import moved

if TYPE_CHECKING:
    from livekit_xtts.engine.graphs import Capture
    from livekit_xtts.model.gpt import GPT
    from livekit_xtts.model.runner import BatchRunner

logger = logging.getLogger(__name__)

SIZES = (64, 128, 256, 512, 1024, 2048)
"""Positions read together that are captured; the last is the most."""


class BatchedPrompts(Prompts):
    """Fills slots with prompts, many at once.

    Args:
        gpt: See `Prompts`; so are `start_code` and `voices`.
        runner: Holds the slots. Its last slot is a scratch slot: what fills a size up goes there.
        start_code: The audio start code.
        voices: Voices kept.
        capture: Captures a size, see `graphs.Capture`; None runs it as it is.
    """

    def __init__(
        self,
        gpt: GPT,
        runner: BatchRunner,
        start_code: int,
        voices: int = 64,
        *,
        capture: Capture | None = None,
    ) -> None:
        super().__init__(gpt, runner, start_code, voices)
        self._batch_runner = runner
        self._scratch = runner.slots - 1
        self._capture = capture
        self._sizes: dict[int, tuple[Tensor, Callable[[], Tensor]]] = {}
        if capture is not None:
            # The largest first: the smaller ones then fit into its memory.
            for size in sorted(SIZES, reverse=True):
                self._size(size)

    def release(self) -> None:
        """Give up the graphs, which know addresses of weights; made again when used."""
        self._sizes.clear()

    def rehearse(self) -> None:
        """Read as many positions as go together, in the scratch slot."""
        rows, length = range(SIZES[-1]), self._batch_runner.length
        nothing = [0] * len(rows)
        positions = [row % length for row in rows]
        self._read(([self._scratch] * len(rows), positions, nothing, nothing))

    def begin(self, job: Job) -> int:
        """Put the voice's part into the job's slot and make its ids ready.

        Returns:
            Positions of the whole prompt, the audio start code included.
        """
        assert job.prepared is not None
        state: VoiceState = job.voice
        progress, border = job.progress, state.latents.shape[0]
        if state.prefix is None:
            self._batch_runner.prefill(progress.slot, state.latents, 0)
            state.prefix = self._batch_runner.export_prefix(progress.slot, border)
        else:
            self._batch_runner.copy_prefix(progress.slot, state.prefix)
        progress.filled = border
        progress.fed = self._batch_runner.tokens(job.prepared.ids)
        return border + len(progress.fed[0])

    def together(self, job: Job, filling: Sequence[Job]) -> list[Job]:
        """As many as there is room for, the one that is due first."""
        jobs, room = [job], SIZES[-1] - _left(job)
        for other in filling:
            if room <= 0:
                break
            if other is not job:
                jobs.append(other)
                room -= _left(other)
        return jobs

    def advance(self, jobs: Sequence[Job]) -> tuple[list[Job], Tensor]:
        """Read prompts as far as there is room for them; see `Prompts.advance`."""
        table: tuple[list[int], ...] = ([], [], [], [])
        ended, ends, reached = [], [], []
        slots, positions, fed, places = table
        for job in jobs:
            progress = job.progress
            stop = min(progress.prompt, progress.prompt - _left(job) + SIZES[-1] - len(slots))
            start = progress.prompt - _left(job)
            if stop <= start:
                break
            slots += [progress.slot] * (stop - start)
            positions += range(start, stop)
            border = job.voice.latents.shape[0]
            for values, given in zip((fed, places), progress.fed, strict=True):
                values += given[start - border : stop - border]
            if stop == progress.prompt:
                ended.append(job)
                ends.append(len(slots) - 1)
            reached.append((job, stop))
        hidden = self._read(table)
        for job, stop in reached:
            job.progress.filled = stop
        if not ended:
            return [], hidden[:0]
        return ended, hidden.index_select(0, moved(torch.tensor(ends), hidden.device))

    def _read(self, table: tuple[list[int], ...]) -> Tensor:
        count = len(table[0])
        size = next(size for size in SIZES if size >= count)
        filler = (self._scratch, 0, 0, 0)
        given = torch.tensor(
            [[*row, *(value,) * (size - count)] for row, value in zip(table, filler, strict=True)]
        )
        fixed, work = self._size(size)
        if fixed.device.type == "cuda":
            given = given.pin_memory()
        fixed.copy_(given, non_blocking=True)
        return work()

    def _size(self, size: int) -> tuple[Tensor, Callable[[], Tensor]]:
        """The fixed table of a size and what reads it."""
        if size in self._sizes:
            return self._sizes[size]
        table = torch.zeros(4, size, dtype=torch.long, device=self._batch_runner.device)
        table[0] = self._scratch

        def read() -> Tensor:
            return self._batch_runner.read(*table.unbind(0))

        work = self._replayed(read) or read
        self._sizes[size] = table, work
        return table, work

    def _replayed(self, read: Callable[[], Tensor]) -> Callable[[], Tensor] | None:
        """What replays a read; None where nothing is captured, or can be."""
        if self._capture is None:
            return None
        try:
            read()  # Once outside: kernels are compiled at their first launch.
            replay, hidden = self._capture(read)
        except RuntimeError as error:
            logger.warning("prompts are read without CUDA graphs: capturing failed (%s)", error)
            self._capture = None
            return None

        def work() -> Tensor:
            replay()
            return hidden

        return work


def _left(job: Job) -> int:
    """Positions of a job's prompt that are to be read; its last one is read again if need be."""
    return max(1, job.progress.prompt - job.progress.filled)
