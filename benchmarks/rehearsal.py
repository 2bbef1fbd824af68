"""A card that is not there: the engine's own decisions and processor time, the card's by a model.

    python -m benchmarks.rehearsal [--streams 1024] [--over 0] [--seconds 16] [--step-ms 0.9] …

Everything but the arithmetic is the engine's: admission, prompts read together, steps launched
ahead, windows in batches, copies, chunks. The host's time is what this really takes on this
machine; the card works through what it was given, one after another, each piece taking what the
arguments say. Figures from here say how the engine would keep such a card busy. They are no
measurements of a card.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from benchmarks import common
from livekit_xtts.engine.batched import BatchedPrompts
from livekit_xtts.engine.job import Job
from livekit_xtts.engine.policy import sustainable_streams
from livekit_xtts.engine.prepare import Preparer
from livekit_xtts.engine.sampler import Sampler
from livekit_xtts.engine.schedule import PROFILES, ChunkSchedule, StepTimes
from livekit_xtts.engine.scheduler import Scheduler
from livekit_xtts.engine.settings import Settings
from livekit_xtts.engine.step import Rows, Stepper
from livekit_xtts.model.config import XttsConfig
from livekit_xtts.model.runner import BatchRunner
from livekit_xtts.model.streaming import StreamPlan, Window, stream_plan
from livekit_xtts.speech import (
    SAMPLE_RATE,
    EngineInfo,
    SpeechChunk,
    SpeechEvent,
    SpeechRequest,
)

WIDTH = 8
_NOISE = 0.1 * torch.randn(200_000, generator=torch.Generator().manual_seed(0))


class Card:
    """The host's clock and the card's: the card begins a piece of work when it has ended the last.

    Args:
        host: The host's time is taken this many times.
    """

    def __init__(self, host: float) -> None:
        self._host = host
        self._skipped = -host * time.thread_time()
        self.free = 0.0
        self.busy = 0.0

    def __call__(self) -> float:
        """Seconds of the host."""
        return self._skipped + self._host * time.thread_time()

    def skip_to(self, moment: float) -> None:
        """The host waits."""
        self._skipped += max(0.0, moment - self())

    def work(self, seconds: float) -> float:
        """Launch work; returns when it will have ended."""
        self.free = max(self.free, self()) + seconds
        self.busy += seconds
        return self.free


class Copy:
    """What is on its way from the card."""

    def __init__(self, card: Card, tensor: Tensor, done: float) -> None:
        self._card, self._tensor, self._done = card, tensor, done

    @property
    def ready(self) -> bool:
        """Whether it has arrived."""
        return self._card() >= self._done

    def wait(self) -> Tensor:
        """The tensor, once it has arrived."""
        self._card.skip_to(self._done)
        return self._tensor


class NoRunner:
    """Slots without keys and values, prompts without numbers."""

    piece, rows, device = 32, (1,), torch.device("cpu")

    def __init__(self, slots: int, config: XttsConfig, card: Card, args: Any) -> None:
        self.slots, self.length, self.config = slots, config.max_positions, config
        self._card, self._args = card, args

    def tokens(self, ids: Sequence[int]) -> tuple[list[int], list[int]]:
        """As `BatchRunner.tokens`."""
        return [0, *ids, 0, 0], list(range(len(ids) + 3))

    def read(self, slots: Tensor, positions: Tensor, fed: Tensor, places: Tensor) -> Tensor:
        """A piece of prompts."""
        self._card.work(1e-3 * self._args.piece_ms + 1e-6 * self._args.position_us * len(slots))
        return torch.zeros(len(slots), WIDTH)

    def prefill(self, slot: int, embeddings: Tensor, start: int) -> Tensor:
        """A voice."""
        self._card.work(4e-3)
        return embeddings

    def export_prefix(self, slot: int, length: int) -> Tensor:
        """A voice's keys and values."""
        return torch.zeros(1)

    def copy_prefix(self, slot: int, prefix: Tensor) -> None:
        """Takes them back."""
        self._card.work(5e-6)


class NoStepper(Stepper):
    """Tables of rows are made; no code is drawn."""

    def __init__(self, runner: NoRunner, sampler: Sampler, positions: int, card: Card) -> None:
        super().__init__(cast(Any, runner), sampler, positions)
        self._card, self._args = card, runner._args
        self._codes = torch.arange(runner.slots + 1) % 1000
        self._none = torch.zeros(positions, WIDTH)

    def launch(self, rows: Rows) -> Any:
        """Codes of a step."""
        self.indices(rows)
        count = len(rows.slots)
        done = self._card.work(1e-3 * self._args.step_ms + 1e-6 * self._args.row_us * (count - 1))
        return Copy(self._card, self._codes[:count], done)

    def first(self, slots: Sequence[int], hidden: Tensor) -> Any:
        """First codes."""
        return Copy(self._card, self._codes[: len(slots)], self._card.work(1e-4))

    def latents(self, slot: int, start: int, stop: int) -> Tensor:
        """Shape (stop - start, width)."""
        return self._none[start:stop]


class NoVocoder:
    """The windows of the published model, cut out of noise."""

    def __init__(self, config: XttsConfig, card: Card, args: Any) -> None:
        self._config, self._card, self._args = config, card, args

    def plan(self, speed: float) -> StreamPlan:
        """The plan of a speed."""
        return stream_plan(self._config, speed)

    def decode(self, items: Sequence[tuple[Tensor, Tensor, Window]]) -> list[Tensor]:
        """Samples of each window."""
        codes = sum(len(item[0]) for item in items)
        self._card.work(1e-3 * self._args.window_ms + 1e-6 * self._args.code_us * codes)
        return [_NOISE[: window.last - window.first] for _, _, window in items]


class Listening:
    """Plays what comes, at once."""

    def __init__(self, card: Card, at: float) -> None:
        self._card, self.at = card, at
        self.first: float | None = None
        self.until = self.silence = self.audio = 0.0
        self.done = False

    def __call__(self, event: SpeechEvent) -> None:
        """An event of the engine."""
        if not isinstance(event, SpeechChunk):
            self.done = True
            return
        if not event.audio.size:
            return
        now = self._card()
        if self.first is None:
            self.first = self.until = now
        self.silence += max(0.0, now - self.until)
        self.until = max(self.until, now) + event.audio.size / SAMPLE_RATE
        self.audio += event.audio.size / SAMPLE_RATE


def scheduler(card: Card, args: argparse.Namespace) -> tuple[Scheduler, int]:
    """A scheduler over such a card, and the streams that it takes to be sustainable."""
    config, slots = XttsConfig(), args.streams
    times = StepTimes(
        step_s=1e-3 * args.step_ms,
        row_s=1e-6 * args.row_us,
        window_s=1e-3 * args.window_ms,
        window_code_s=1e-6 * args.code_us,
        piece_s=1e-3 * args.piece_ms + 2048e-6 * args.position_us,
        batch=64,
    )
    info = EngineInfo("nothing", "0" * 64, "cpu", "none", slots, queue=slots)
    runner = NoRunner(slots + 1, config, card, args)
    sampler = Sampler(
        slots + 1, config.gpt_num_audio_tokens, config.max_codes, start_code=1024, stop_code=1025
    )
    schedule = ChunkSchedule(PROFILES[args.profile], times, slots)
    settings = Settings()
    made = Scheduler(
        NoStepper(runner, sampler, config.max_codes, card),
        BatchedPrompts(cast(Any, None), cast(BatchRunner, runner), 1024),
        NoVocoder(config, card, args),
        Preparer(
            info,
            None,
            None,
            shapes=((32, WIDTH), (WIDTH,)),
            text_ids=config.gpt_number_text_tokens,
            positions=config.max_codes,
            ends=settings.ends,
        ),
        schedule,
        slots=slots,
        positions=config.max_codes,
        clock=card,
        streams=slots,
        ends=settings.ends,
        window_batch=64,
        depth=1,
    )
    return made, sustainable_streams(schedule, slots)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Let the streams come, each once."""
    torch.set_num_threads(1)
    card = Card(args.host)
    made, sustained = scheduler(card, args)
    voice = common.voice_of_noise(WIDTH)
    codes = common.codes_for(args.seconds)

    def ask(seed: int) -> Listening:
        at = began + args.over * seed / args.streams
        request = SpeechRequest("", voice=voice, ids=common.text_ids(), seed=seed, max_codes=codes)
        listening = Listening(card, at)
        made.submit(Job(request, listening, card))
        return listening

    began = card()
    first = ask(0)
    while made.tick():
        pass
    assert first.done
    began, busy = card(), card.busy
    listeners: list[Listening] = []
    while len(listeners) < args.streams or made.jobs:
        while len(listeners) < args.streams and (
            card() >= began + args.over * len(listeners) / args.streams
        ):
            listeners.append(ask(len(listeners)))
        if not made.tick():
            card.skip_to(began + args.over * len(listeners) / args.streams)
    took = card() - began
    firsts = [(each.first or float("inf")) - each.at for each in listeners]
    holes = [each.silence for each in listeners]
    good = [
        hole <= common.CONTINUOUS_S and start <= args.latest
        for hole, start in zip(holes, firsts, strict=True)
    ]
    return {
        "streams": args.streams,
        "over_s": args.over,
        "profile": args.profile,
        "sustained": sustained,
        "continuity": sum(good) / len(good),
        "first_audio_s": common.quantile(firsts, 0.5),
        "first_audio_p95_s": common.quantile(firsts, 0.95),
        "first_audio_worst_s": max(firsts),
        "underrun_p99_s": common.quantile(holes, 0.99),
        "underrun_worst_s": max(holes),
        "took_s": took,
        "card_busy": (card.busy - busy) / took,
        "rows_per_step": made.counters.rows / max(1, made.counters.steps),
        "windows": made.counters.windows,
        "pieces": made.counters.pieces,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--streams", type=int, default=1024)
    parser.add_argument("--over", type=float, default=0.0, help="seconds in which they come")
    parser.add_argument("--seconds", type=float, default=16.0, help="of speech, each")
    parser.add_argument("--latest", type=float, default=0.5, help="first audio, to count")
    parser.add_argument("--profile", default="throughput")
    parser.add_argument("--host", type=float, default=1.0, help="the host's time, this many times")
    parser.add_argument("--step-ms", type=float, default=0.9, help="a step of one row")
    parser.add_argument("--row-us", type=float, default=14.0, help="each further row")
    parser.add_argument("--window-ms", type=float, default=0.8, help="a batch of windows")
    parser.add_argument("--code-us", type=float, default=13.0, help="each code of a window")
    parser.add_argument("--piece-ms", type=float, default=0.7, help="a piece of prompts")
    parser.add_argument("--position-us", type=float, default=2.0, help="each position of it")
    arguments = parser.parse_args()
    common.finish(arguments, "A card that is not there", run(arguments))
