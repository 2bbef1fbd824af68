"""A model in pure arithmetic: what a request gives depends on all of its own inputs, nothing else.

A row that read another's slot, a window cut wrongly or a code lost would change the numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from livekit_xtts.engine.job import Job, Prepared
from livekit_xtts.engine.prompts import Prompts
from livekit_xtts.engine.sampler import Sampler
from livekit_xtts.engine.schedule import PROFILES, ChunkSchedule, StepTimes
from livekit_xtts.engine.scheduler import Scheduler
from livekit_xtts.engine.step import Stepper
from livekit_xtts.speech import (
    Sampling,
    SpeechChunk,
    SpeechDone,
    SpeechEvent,
    SpeechFailed,
    SpeechRequest,
    Voice,
)

WIDTH, CODES, START, STOP = 8, 32, 30, 31
HOP, CONTEXT, PREFIX, LENGTH, POSITIONS = 1112, 3, 4, 160, 100

TIMES = StepTimes(step_s=0.02, row_s=0.004, window_s=0.004, window_code_s=0.002, piece_s=0.03)


class Clock:
    """Time that passes only where the fakes say that work takes time."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class FakeGpt:
    """Embeds text ids."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.text = torch.randn(64, WIDTH, generator=generator)
        self.code = torch.randn(CODES, WIDTH, generator=generator)
        self.position = torch.randn(LENGTH, WIDTH, generator=generator)
        self.head = torch.randn(WIDTH, CODES, generator=generator) * 2

    def text_embeddings(self, ids: Tensor) -> Tensor:
        return self.text[ids] + self.position[: ids.shape[1]]

    def code_embeddings(self, codes: Tensor, start_position: int = 0) -> Tensor:
        return self.code[codes] + self.position[start_position : start_position + codes.shape[1]]


class FakeRunner:
    """Keeps every input of a slot; a step's output is a digest of them."""

    piece = 4
    rows = (2, 4, 8)
    device = torch.device("cpu")

    def __init__(self, gpt: FakeGpt, slots: int, clock: Clock, times: StepTimes) -> None:
        self.gpt = gpt
        self.slots = slots
        self.length = LENGTH
        self.clock = clock
        self.times = times
        self.log: list[str] = []
        self.inputs = torch.full((slots, LENGTH, WIDTH), torch.nan)
        self.weights = torch.cos(torch.arange(float(LENGTH)))
        self.steps: list[tuple[int, ...]] = []
        self.on_step: Callable[[tuple[int, ...]], None] = lambda slots: None
        self.prefilled = 0
        self.endless = False

    def prefill(self, slot: int, embeddings: Tensor, start: int) -> Tensor:
        stop = start + len(embeddings)
        self.inputs[slot, start:stop] = embeddings
        self.prefilled += len(embeddings)
        self.clock.now += self.times.piece_s
        self.log.append("piece")
        return torch.stack([self._hidden(slot, length) for length in range(start, stop)])

    def _hidden(self, slot: int, length: int) -> Tensor:
        """Row by row, so that a row's numbers cannot depend on its company."""
        return (self.weights[: length + 1] @ self.inputs[slot, : length + 1]).sin_()

    def logits(self, hidden: Tensor) -> Tensor:
        logits = torch.stack([latent @ self.gpt.head for latent in hidden])
        if self.endless:
            logits[:, STOP] = -60.0
        return logits

    def step(
        self, slots: Tensor, codes: Tensor, code_positions: Tensor, lengths: Tensor
    ) -> tuple[Tensor, Tensor]:
        self.clock.now += self.times.step(len(slots))
        self.log.append("step")
        self.steps.append(tuple(slots.tolist()))
        self.on_step(self.steps[-1])
        places = list(zip(slots.tolist(), lengths.tolist(), strict=True))
        for (slot, length), code, position in zip(places, codes, code_positions, strict=True):
            self.inputs[slot, length] = self.gpt.code[code] + self.gpt.position[position]
        latents = torch.stack([self._hidden(slot, length) for slot, length in places])
        return latents, self.logits(latents)

    def export_prefix(self, slot: int, positions: int) -> Tensor:
        return self.inputs[slot, :positions].clone()

    def copy_prefix(self, slot: int, prefix: Tensor) -> None:
        self.inputs[slot, : len(prefix)] = prefix


@dataclass(frozen=True)
class FakeWindow:
    first: int
    last: int
    code_start: int
    code_stop: int


class FakePlan:
    """Sample i of code i // HOP depends on CONTEXT codes on either side of it."""

    def final_samples(self, codes: int, finished: bool) -> int:
        return HOP * (codes if finished else max(0, codes - CONTEXT))

    def window(self, first: int, last: int, codes: int, finished: bool) -> FakeWindow:
        stop = min(codes, -(-last // HOP) + CONTEXT)
        return FakeWindow(first, last, max(0, first // HOP - CONTEXT), stop)


class FakeVocoder:
    """Means over the codes around each code."""

    def __init__(self, clock: Clock, times: StepTimes) -> None:
        self.clock = clock
        self.times = times
        self.batches: list[int] = []
        self.fail_on: Callable[[Sequence[Any]], bool] = lambda items: False

    def plan(self, speed: float) -> FakePlan:
        return FakePlan()

    def decode(self, items: Sequence[tuple[Tensor, Tensor, FakeWindow]]) -> list[Tensor]:
        self.batches.append(len(items))
        if self.fail_on(items):
            raise RuntimeError("out of memory")
        results = []
        for latents, speaker, window in items:
            self.clock.now += self.times.window_s + self.times.window_code_s * len(latents)
            samples = []
            for code in range(window.first // HOP, -(-window.last // HOP)):
                low = max(0, code - CONTEXT) - window.code_start
                near = latents[low : code + CONTEXT + 1 - window.code_start]
                samples.append(near.mean(0).repeat(HOP // WIDTH) + speaker.sum())
            results.append(torch.cat(samples) if samples else torch.zeros(0))
        return results


def voice(seed: int, model: str = "fake") -> Voice:
    """A voice of arithmetic."""
    generator = np.random.default_rng(seed)
    return Voice(
        name=f"voice {seed}",
        latents=generator.standard_normal((PREFIX, WIDTH)).astype(np.float32),
        speaker_embedding=generator.standard_normal(WIDTH).astype(np.float32),
        fingerprint=f"{seed:064x}",
        model=model,
    )


def request(seed: int, **changes: Any) -> SpeechRequest:
    """A request whose everything follows from the seed."""
    generator = np.random.default_rng(seed)
    values: dict[str, Any] = {
        "text": "",
        "voice": voice(int(generator.integers(3))),
        "ids": tuple(int(i) for i in generator.integers(1, 60, size=generator.integers(1, 12))),
        "seed": seed,
        "max_codes": int(generator.integers(1, 40)),
        "sampling": Sampling(top_k=0, top_p=1.0, temperature=1.0, repetition_penalty=2.0),
    }
    return SpeechRequest(**{**values, **changes})


class Listener:
    """A sink that keeps everything and checks the order of events."""

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self.chunks: list[SpeechChunk] = []
        self.last: SpeechDone | SpeechFailed | None = None
        self.clock = clock or (lambda: 0.0)
        self.times: list[float] = []

    def __call__(self, event: SpeechEvent) -> None:
        assert self.last is None, "an event after the last one"
        if isinstance(event, SpeechChunk):
            assert event.start == sum(chunk.audio.size for chunk in self.chunks)
            assert not any(chunk.final for chunk in self.chunks)
            self.chunks.append(event)
            self.times.append(self.clock())
        else:
            self.last = event

    @property
    def audio(self) -> bytes:
        return b"".join(chunk.audio.tobytes() for chunk in self.chunks)

    @property
    def codes(self) -> tuple[int, ...]:
        assert isinstance(self.last, SpeechDone), self.last
        return self.last.codes

    @property
    def error(self) -> Exception:
        assert isinstance(self.last, SpeechFailed), self.last
        return self.last.error


def prepare(job: Job) -> Prepared:
    """What the engine does with a request, without text."""
    asked = job.request
    assert asked.voice is not None and asked.ids is not None and asked.sampling is not None
    if asked.voice.model != "fake":
        from livekit_xtts.speech import VoiceError

        raise VoiceError("the voice is another model's")
    budget = min(asked.max_codes or POSITIONS, POSITIONS)
    return Prepared(asked.ids, asked.voice, asked.sampling, asked.seed or 0, budget)


class Rig:
    """A scheduler on the fakes."""

    def __init__(self, slots: int = 8, profile: str = "balanced", **options: Any) -> None:
        self.clock = Clock()
        self.gpt = FakeGpt()
        times = options.pop("times", TIMES)
        self.runner = FakeRunner(self.gpt, slots, self.clock, times)
        self.vocoder = FakeVocoder(self.clock, times)
        self.sampler = Sampler(slots, CODES, POSITIONS, start_code=START, stop_code=STOP)
        self.stepper = Stepper(self.runner, self.sampler, POSITIONS)  # type: ignore[arg-type]
        self.prompts = Prompts(self.gpt, self.runner, START)  # type: ignore[arg-type]
        self.scheduler = Scheduler(
            self.stepper,
            self.prompts,
            self.vocoder,
            options.pop("prepare", prepare),
            ChunkSchedule(PROFILES[profile], times, slots),
            slots=slots,
            positions=POSITIONS,
            clock=self.clock,
            **options,
        )

    def submit(self, asked: SpeechRequest) -> tuple[Job, Listener]:
        listener = Listener(self.clock)
        job = Job(asked, listener, self.clock, self.scheduler.cancel)
        self.scheduler.submit(job)
        return job, listener

    def run(self, ticks: int = 100_000) -> None:
        """Tick until there is nothing to do."""
        for _ in range(ticks):
            if not self.scheduler.tick():
                return
        raise AssertionError("the scheduler does not come to an end")


def alone(asked: SpeechRequest, **options: Any) -> Listener:
    """What a request gives in an engine of its own."""
    rig = Rig(**options)
    _, listener = rig.submit(asked)
    rig.run()
    return listener
