"""What the engine itself costs beside the model: a model that costs nothing, many live streams.

    python -m benchmarks.scheduling --json PATH [--streams 1000] [--quick] [--cprofile]

Everything around the model is the engine's own: thread, queue, admission, prompts' pieces, choice
of work, tables of rows, windows, ends of requests, hand-over to an event loop with one task for
each listener. Only the tensors' arithmetic is missing. Time passes for the engine as on a card
that takes `STEP` for a step and so on, whatever the machine that this runs on takes.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import os
import platform
import pstats
import random
import threading
import time
from collections.abc import Sequence
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from benchmarks import common
from livekit_xtts.engine.life import ThreadedEngine
from livekit_xtts.engine.prepare import Preparer
from livekit_xtts.engine.prompts import Prompts
from livekit_xtts.engine.sampler import Sampler
from livekit_xtts.engine.schedule import PROFILES, ChunkSchedule, StepTimes
from livekit_xtts.engine.scheduler import Scheduler
from livekit_xtts.engine.settings import Settings
from livekit_xtts.engine.step import Stepper
from livekit_xtts.engine.stream import speak
from livekit_xtts.model.config import XttsConfig
from livekit_xtts.model.processor import name as processor_name
from livekit_xtts.model.runner import GptRunner
from livekit_xtts.model.streaming import StreamPlan, Window, stream_plan
from livekit_xtts.speech import EngineInfo, ReferenceAudio, SpeechRequest, Voice

STEP = StepTimes(step_s=0.003, row_s=2.7e-5, window_s=3e-4, window_code_s=4e-6, piece_s=2e-4)
"""A card that 1,000 streams fill to nine tenths: a step of theirs takes 30 of 46 ms."""

WIDTH = 8
_NOISE = 0.1 * torch.randn(80_000, generator=torch.Generator().manual_seed(0))


class Clock:
    """The engine's time: it passes where the model would have worked."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


class NoGpt:
    """Embeds everything as zeros."""

    def text_embeddings(self, ids: Tensor) -> Tensor:
        """Shape (1, ids + 2, width)."""
        return torch.zeros(1, ids.shape[1] + 2, WIDTH)

    def code_embeddings(self, codes: Tensor, start_position: int = 0) -> Tensor:
        """Shape (1, codes, width)."""
        return torch.zeros(1, codes.shape[1], WIDTH)


class NoRunner:
    """Slots without keys and values."""

    piece = 32
    device = torch.device("cpu")

    def __init__(self, slots: int, config: XttsConfig, clock: Clock) -> None:
        self.slots, self.length, self.config = slots, config.max_positions, config
        self.rows = (slots,)
        self._clock = clock

    def prefill(self, slot: int, embeddings: Tensor, start: int) -> Tensor:
        """A piece of a prompt."""
        self._clock.now += STEP.piece_s
        return embeddings

    def export_prefix(self, slot: int, length: int) -> Tensor:
        """A voice's keys and values."""
        return torch.zeros(1)

    def copy_prefix(self, slot: int, prefix: Tensor) -> None:
        """Takes them back."""


class NoStepper(Stepper):
    """Tables of rows are made; no code is drawn."""

    def __init__(self, runner: NoRunner, sampler: Sampler, positions: int, clock: Clock) -> None:
        super().__init__(cast(GptRunner, runner), sampler, positions)
        self._clock = clock
        self._codes = torch.arange(runner.slots + 1) % 1000
        self._none = torch.zeros(positions, WIDTH)

    def body(self, slots: Tensor, positions: Tensor, lengths: Tensor) -> Tensor:
        """Codes, shape (rows,)."""
        self._clock.now += STEP.step(len(slots))
        return self._codes[: len(slots)]

    def _draw(self, slots: Tensor, positions: Tensor, latents: Tensor, logits: Tensor) -> Tensor:
        return self._codes[: len(slots)]

    def first(self, slots: Sequence[int], hidden: Tensor) -> Any:
        """First codes."""
        return _Copy(self._codes[: len(slots)])

    def latents(self, slot: int, start: int, stop: int) -> Tensor:
        """Shape (stop - start, width)."""
        return self._none[start:stop]


class _Copy:
    def __init__(self, tensor: Tensor) -> None:
        self._tensor, self.ready = tensor, True

    def wait(self) -> Tensor:
        return self._tensor


class NoVocoder:
    """The windows of the published model, cut out of noise."""

    def __init__(self, config: XttsConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock

    def plan(self, speed: float) -> StreamPlan:
        """The plan of a speed."""
        return stream_plan(self._config, speed)

    def decode(self, items: Sequence[tuple[Tensor, Tensor, Window]]) -> list[Tensor]:
        """Samples of each window."""
        self._clock.now += STEP.window_s + STEP.window_code_s * sum(len(i[0]) for i in items)
        return [_NOISE[: window.last - window.first] for _, _, window in items]


class NoMachine:
    """What the engine drives in place of a loaded model."""

    residence = None

    def __init__(self, streams: int, clock: Clock) -> None:
        config = XttsConfig()
        self.streams = streams
        self.info = info = EngineInfo(
            "nothing", "0" * 64, "cpu", "none", streams, queue=streams, languages=("en",)
        )
        runner = NoRunner(streams, config, clock)
        sampler = Sampler(
            streams, config.gpt_num_audio_tokens, config.max_codes, start_code=1024, stop_code=1025
        )
        settings = Settings()
        self.scheduler = Scheduler(
            NoStepper(runner, sampler, config.max_codes, clock),
            Prompts(cast(Any, NoGpt()), cast(GptRunner, runner), 1024),
            NoVocoder(config, clock),
            Preparer(
                info,
                None,
                None,
                shapes=((32, WIDTH), (WIDTH,)),
                text_ids=config.gpt_number_text_tokens,
                positions=config.max_codes,
                ends=settings.ends,
            ),
            ChunkSchedule(PROFILES["throughput"], STEP, streams),
            slots=streams,
            positions=config.max_codes,
            clock=clock,
            streams=streams,
            ends=settings.ends,
            window_batch=64,
            depth=1,
        )

    def clone(self, references: Sequence[ReferenceAudio], name: str) -> Voice:
        """A voice of zeros."""
        raise NotImplementedError

    def describe(self) -> str:
        """For the log."""
        return "no model"


class NoEngine(ThreadedEngine):
    """The engine's own thread over `NoMachine`; measures what it takes up of its processor."""

    def __init__(self, streams: int, clock: Clock, profile: bool) -> None:
        info = EngineInfo("nothing", "0" * 64, "cpu", "none", streams, queue=streams)
        super().__init__(info, clock=clock)
        self._made = NoMachine(streams, clock)
        self.profile = cProfile.Profile() if profile else None
        self.marks: list[tuple[int, float, float]] = []

    def _load(self) -> Any:
        return self._made

    def _assemble(self, loaded: Any) -> Any:
        scheduler = loaded.scheduler
        tick = scheduler.tick

        def marked() -> bool:
            steps = scheduler.counters.steps
            more: bool = tick()
            if scheduler.counters.steps > steps:
                self.marks.append(
                    (scheduler.counters.steps, time.perf_counter(), time.thread_time())
                )
            return more

        scheduler.tick = marked
        return loaded

    def _serve(self, machine: Any) -> None:
        if self.profile is None:
            super()._serve(machine)
        else:
            self.profile.runcall(super()._serve, machine)


async def listeners(engine: NoEngine, streams: int, steps: int) -> dict[str, Any]:
    """Keep so many streams alive until enough steps have been made with all of them."""
    voice = common.voice_of_noise(WIDTH)
    chance = random.Random(0)
    live, over = 0, False
    requests = samples = 0
    counters = engine._made.scheduler.counters

    def request(codes: int) -> SpeechRequest:
        return SpeechRequest(
            "", voice=voice, ids=common.text_ids(), seed=chance.getrandbits(60), max_codes=codes
        )

    async def one() -> None:
        nonlocal live, requests, samples
        # The first ends anywhere, so that not all ask again at once.
        codes = chance.randrange(20, 2 * common.SPEECH_CODES)
        while not over:
            first = True
            async with aclosing(speak(engine, request(codes))) as chunks:
                async for chunk in chunks:
                    live += first
                    first = False
                    samples += chunk.audio.size
                    if over:
                        break
            live -= not first
            requests += 1
            codes = common.SPEECH_CODES

    tasks = [asyncio.create_task(one()) for _ in range(streams)]
    while live < 0.9 * streams:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    start = counters.steps
    rows, requests, samples = counters.rows, 0, 0
    loop_s, wall_s = time.thread_time(), time.perf_counter()
    before = counters.pieces, counters.windows
    while counters.steps < start + steps:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    made = counters.steps - start
    figures: dict[str, Any] = {
        "steps": made,
        "rows": (counters.rows - rows) / made,
        "wall_ms_per_step": 1e3 * (time.perf_counter() - wall_s) / made,
        "event_loop_ms_per_step": 1e3 * (time.thread_time() - loop_s) / made,
        "pieces_per_step": (counters.pieces - before[0]) / made,
        "windows_per_step": (counters.windows - before[1]) / made,
        "requests_per_step": requests / made,
    }
    marks = [mark for mark in list(engine.marks) if start < mark[0] <= start + made]
    each = [after[2] - mark[2] for mark, after in pairwise(marks)]
    figures["engine_ms_per_step"] = 1e3 * sum(each) / len(each)
    figures["engine_ms_per_1000_rows"] = 1000 * figures["engine_ms_per_step"] / figures["rows"]
    figures["engine_p99_ms"] = 1e3 * common.quantile(each, 0.99)
    over = True
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.to_thread(engine.close)
    return figures


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure."""
    torch.set_num_threads(1)
    steps = 300 if args.quick else args.steps
    figures: dict[str, Any] = {
        "machine": processor_name(),
        "cpus": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "dtype": "none",
        "threads": threading.active_count(),
        "text": f"{common.TEXT_IDS} ids, {common.SPEECH_CODES} codes",
        "streams": args.streams,
        "model_ms_per_step": 1e3 * STEP.step(args.streams),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }
    clock = Clock()
    engine = NoEngine(args.streams, clock, args.cprofile)
    try:
        figures |= asyncio.run(listeners(engine, args.streams, steps))
    finally:
        engine.close()
    if engine.profile is not None:
        pstats.Stats(engine.profile).sort_stats("tottime").print_stats(30)
        pstats.Stats(engine.profile).sort_stats("cumtime").print_stats(45)
    return figures


if __name__ == "__main__":
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--json", type=Path, help="write the figures here")
    made.add_argument("--quick", action="store_true", help="at most 50 s, fewer steps")
    made.add_argument("--streams", type=int, default=1000)
    made.add_argument("--steps", type=int, default=1000)
    made.add_argument("--cprofile", action="store_true", help="where the engine's thread is")
    arguments = made.parse_args()
    common.finish(arguments, "The engine beside the model", run(arguments))
