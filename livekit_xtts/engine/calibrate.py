"""What the engine's pieces of work take on this machine, measured at load on the real model."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from livekit_xtts.engine.schedule import CONTEXT_CODES, StepTimes
from livekit_xtts.engine.step import Rows, Stepper
from livekit_xtts.engine.windows import Vocoder
from livekit_xtts.model.runner import BatchRunner

if TYPE_CHECKING:
    from livekit_xtts.model.runner import GptRunner

REPEATS = 8
"""Few repeats can all fall into a moment in which the machine does something else."""

MEASURED_ROWS = {"cpu": 4}
"""Rows of the fullest step measured, by device; elsewhere all. Rows cost the same each, and memory
for keys and values that nobody has reached need not be touched for a measurement."""

_LENGTH = {"cpu": 160}
"""Positions of each row, by device; elsewhere 320, since there rows are all about attention."""

_WINDOWS = (CONTEXT_CODES + 4, CONTEXT_CODES + 20)


@torch.no_grad()
def measure(
    runner: GptRunner,
    stepper: Stepper,
    vocoder: Vocoder,
    *,
    slots: int,
    speaker: Tensor,
    rehearse: Callable[[], object],
    context_codes: int = CONTEXT_CODES,
    batch: int = 1,
) -> StepTimes:
    """Time steps, prompt pieces and vocoder windows; also their warm-up.

    Overwrites the contents of the slots; call it before the first request.

    Args:
        runner: Drives the GPT.
        stepper: Over the runner.
        vocoder: Decodes.
        slots: Slots of the engine.
        speaker: Any speaker embedding, shape (width,).
        rehearse: Reads one piece of prompts.
        context_codes: Codes around a window that the vocoder computes besides its own.
        batch: Windows that are decoded together.
    """
    slots = min(slots, MEASURED_ROWS.get(runner.device.type, slots))
    width = runner.config.gpt_n_model_channels
    device = runner.device
    length = min(_LENGTH.get(device.type, 320), runner.length - 4)
    piece_s = _fastest(rehearse, device)
    if not isinstance(runner, BatchRunner):
        piece = torch.zeros(min(runner.piece, length), width, device=device)
        for slot in range(slots):
            for start in range(0, length, runner.piece):
                stop = min(length, start + runner.piece)
                runner.prefill(slot, piece[: stop - start], start)

    def step(rows: int) -> Callable[[], object]:
        what = Rows(tuple(range(rows)), (1,) * rows, (length,) * rows)
        return lambda: stepper.launch(what).wait()

    one = _fastest(step(1), device)
    full = _fastest(step(slots), device) if slots > 1 else one
    one = min(one, full)

    def windows(codes: int, count: int) -> Callable[[], object]:
        latents = torch.zeros(codes, width, device=device)

        def decode() -> None:
            plan = vocoder.plan(1.0)
            last = plan.final_samples(codes, True)
            vocoder.decode(
                [(latents, speaker, plan.window(0, last, codes, True)) for _ in range(count)]
            )
            # What a window leaves behind in caches and on other threads slows the step after it.
            step(1)()

        return decode

    counts = (_WINDOWS[0], _WINDOWS[1] * batch)
    works = [windows(_WINDOWS[0], 1), windows(_WINDOWS[1], batch)]
    seconds = [max(0.0, found - one) for found in _fastest_of(works, device)]
    each = max(0.0, (seconds[1] - seconds[0]) / (counts[1] - counts[0]))
    return StepTimes(
        step_s=one,
        row_s=max(0.0, (full - one) / max(1, slots - 1)),
        window_s=max(0.0, seconds[0] - each * counts[0]),
        window_code_s=each,
        piece_s=piece_s,
        context_codes=context_codes,
        batch=batch,
    )


def _fastest(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of the fastest of a few runs, after one that warms up."""
    return _fastest_of([work], device)[0]


def _fastest_of(works: Sequence[Callable[[], object]], device: torch.device) -> list[float]:
    """The same of several, in turn: what else the machine does slows all of them or none."""
    best = [float("inf")] * len(works)
    for _ in range(REPEATS + 1):
        for index, work in enumerate(works):
            start = time.perf_counter()
            work()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            best[index] = min(best[index], time.perf_counter() - start)
    return best
