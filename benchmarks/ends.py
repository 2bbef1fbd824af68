"""How utterances end and join: `python -m benchmarks.ends --json PATH [--quick]`.

200 fixed texts of one to five words are spoken by the bundled voices, with the clean-up of ends and
without, by the model as it is and with planted faults:

- run-on: in every second request the stop code's logit is lowered by 10, as if training had missed
  it, so that the model goes on behind the text: it falls silent and says it again, or makes it up;
- cut: every fourth request may take only half of the codes that it needs;
- level: in series of four segments, every second one comes out 6 dB louder or softer.

extra_speech (share of texts), trailing_silence_p95_s, clicks and level_step_db_p95 are those of
speech with clean ends and the planted faults, the worst case; every figure stands beside the same
without, and beside both for the voice as it is. The judge is benchmarks/ends_judge.py: alignment
with espeak-ng's reading. cut_short counts texts whose end is missing, which must not be the price.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import queue
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from unittest import mock

import numpy as np
import soxr
import torch
from torch import Tensor

from benchmarks.ends_judge import (
    EXTRA_S,
    clicks,
    last_sound,
    loudness_db,
    sound_after,
    steps_db,
    text_end,
)
from benchmarks.voice_measures import HOP, RATE, Array, Track, analyse
from livekit_xtts.engine import machine
from livekit_xtts.engine.ends import Ends, StopBias
from livekit_xtts.engine.engine import Engine, Sink
from livekit_xtts.engine.local import LocalEngine
from livekit_xtts.engine.sampler import Sampler
from livekit_xtts.engine.schedule import StepTimes
from livekit_xtts.events import AudioPiece, SegmentStarted, SpeakOptions, TextStream
from livekit_xtts.pacing import Pacing
from livekit_xtts.pipeline import Pipeline
from livekit_xtts.speech import (
    SAMPLE_RATE,
    EngineInfo,
    Sampling,
    SpeechChunk,
    SpeechDone,
    SpeechEvent,
    SpeechFailed,
    SpeechRequest,
    Voice,
)
from livekit_xtts.text.marks import Strength
from livekit_xtts.text.segment import PAUSES, Segment
from livekit_xtts.voicefile import load_voice, make_voice
from training.espeak import Espeak, TeacherVoice
from training.settings import VOICES

BUNDLED = Path(__file__).parent.parent / "livekit_xtts" / "bundled"
TEXTS = Path(__file__).with_name("ends_texts.json")
LOWERED = 10.0
LEVEL_DB = 6.0
SERIES = 4
QUICK = 20
TIMES = StepTimes(step_s=0.01, row_s=0.001, window_s=0.01, window_code_s=0.001)
"""Nobody listens: what a step takes here need not be measured at each load."""

LIMITS = {
    "extra_speech": 0.01,
    "trailing_silence_p95_s": 0.35,
    "level_step_db_p95": 2.0,
    "clicks": 0,
}


class MissedStops(Sampler):
    """Lowers the stop code's logit in requests with odd seeds."""

    _lowered: Tensor | None = None

    def assign(
        self, slot: int, sampling: Sampling, seed: int, stop_bias: StopBias | None = None
    ) -> None:
        """As `Sampler.assign`."""
        super().assign(slot, sampling, seed, stop_bias)
        if self._lowered is None:
            self._lowered = torch.zeros(self._used.shape[0])
        self._lowered[slot] = LOWERED if seed % 2 else 0.0

    def penalised(self, slots: Tensor, logits: Tensor, positions: Tensor) -> Tensor:
        """As `Sampler.penalised`."""
        scores = super().penalised(slots, logits, positions)
        if self._lowered is not None:
            scores[:, self.stop_code] -= self._lowered[slots]
        return scores


class Replay:
    """An engine that says again what was said before, a request each, in pieces of 0.25 s.

    Args:
        info: Of the engine that said it.
        pieces: Samples of each request.
    """

    ready = True

    def __init__(self, info: EngineInfo, pieces: Iterable[Array]) -> None:
        self.info = info
        self._pieces = iter(pieces)

    def submit(self, request: SpeechRequest, sink: Sink) -> Any:
        """As `Engine.submit`; the whole of it comes at once."""
        samples = next(self._pieces).astype(np.float32)
        size = SAMPLE_RATE // 4
        for start in range(0, len(samples), size):
            last = start + size >= len(samples)
            sink(SpeechChunk(samples[start : start + size], start, start // 1024, last))
        sink(SpeechDone(samples=len(samples)))
        return mock.Mock(done=True)


@dataclass(frozen=True)
class Item:
    """A text, who reads it, and how the teacher does."""

    text: str
    voice: Voice
    seed: int
    teacher: Track


@dataclass(frozen=True)
class Said:
    """What came of a text: samples at 24 kHz, and the codes drawn."""

    samples: Array
    codes: int


def to_track(samples: Any, rate: int) -> Track:
    """The judge's view of samples."""
    return analyse(np.asarray(soxr.resample(np.asarray(samples, np.float64), rate, RATE)))


def voices() -> list[tuple[Voice, TeacherVoice]]:
    """The bundled voices with the teacher's voice that each was taken from."""
    found = []
    for teacher in VOICES:
        path = BUNDLED / "voices" / f"{teacher.name}.safetensors"
        if path.is_file():
            found.append((load_voice(path).voice, teacher))
    return found


def items(texts: list[str], fingerprint: str) -> list[Item]:
    """The texts, each for the next voice; of few texts, so many voices that each has a series."""
    espeak, known, made = Espeak(), voices()[: len(texts) // SERIES], []
    for number, text in enumerate(texts):
        voice, teacher = known[number % len(known)]
        voice = make_voice(voice.name, voice.latents, voice.speaker_embedding, fingerprint)
        reading = to_track(espeak.speak(text, teacher).samples, 22_050)
        # Voices come in turns of eight: the seed's parity must not go with the voice.
        seed = 2 * number + (number // len(known) + number) % 2
        made.append(Item(text, voice, seed, reading))
    return made


def speak(engine: LocalEngine, wanted: Iterable[tuple[Item, int | None]]) -> list[Said]:
    """Speak items, each with at most so many codes."""
    waiting = []
    for item, most in wanted:
        events: queue.SimpleQueue[SpeechEvent] = queue.SimpleQueue()
        request = SpeechRequest(
            item.text, voice=item.voice, seed=item.seed, max_codes=most, streaming=False
        )
        engine.submit(request, events.put)
        waiting.append(events)
    return [_said(events) for events in waiting]


def _said(events: queue.SimpleQueue[SpeechEvent]) -> Said:
    pieces: list[Any] = []
    while True:
        event = events.get()
        if isinstance(event, SpeechChunk):
            pieces.append(event.audio)
        elif isinstance(event, SpeechFailed):
            raise event.error
        elif isinstance(event, SpeechDone):
            return Said(np.concatenate(pieces).astype(np.float64), len(event.codes))


def judged(spoken: list[Item], said: list[Said]) -> tuple[dict[str, Any], list[float]]:
    """Figures of one run, and where each text ends, in seconds."""
    extra, silence, ends = [], [], []
    for item, one in zip(spoken, said, strict=True):
        track = to_track(one.samples, SAMPLE_RATE)
        end = text_end(item.teacher, track)
        ends.append((end + 1) * HOP / RATE)
        extra.append(sound_after(track, end) > EXTRA_S)
        silence.append(len(one.samples) / SAMPLE_RATE - last_sound(one.samples, SAMPLE_RATE))
    figures = {
        "extra_speech": float(np.mean(extra)),
        "trailing_silence_p95_s": float(np.quantile(silence, 0.95)),
        "trailing_silence_max_s": float(np.max(silence)),
        "seconds": sum(len(one.samples) for one in said) / SAMPLE_RATE,
    }
    return figures, ends


async def series(info: EngineInfo, said: list[Array]) -> list[list[Array]]:
    """Speech joined by the pipeline in series of four segments; the samples of each segment."""
    found = []
    for start in range(0, len(said), SERIES):
        chosen = said[start : start + SERIES]

        async def segments(_: TextStream, count: int = len(chosen)) -> AsyncIterator[Segment]:
            for index in range(count):
                yield Segment("Some text.", index, pause_s=PAUSES[Strength.SENTENCE])

        pipeline = Pipeline(cast(Engine, Replay(info, chosen)))
        options = SpeakOptions(segments=segments)
        parts: list[list[Any]] = []
        async with aclosing(pipeline.speak("-", options, Pacing(whole_below=0))) as events:
            async for event in events:
                if isinstance(event, SegmentStarted):
                    parts.append([])
                elif isinstance(event, AudioPiece):
                    parts[-1].append(event.audio)
        found.append([_without_gap(np.concatenate(part)) for part in parts])
    return found


def _without_gap(samples: Any) -> Array:
    """A segment without the exact zeros of the pause behind it."""
    sounding = np.flatnonzero(samples)
    return np.asarray(samples[: sounding[-1] + 1] if len(sounding) else samples, np.float64)


def joins(found: list[list[Array]]) -> dict[str, Any]:
    """Figures of the joins in series."""
    steps = [
        step
        for segments in found
        for step in steps_db([loudness_db(segment, SAMPLE_RATE) for segment in segments])
    ]
    return {
        "level_step_db_p95": float(np.quantile(steps, 0.95)),
        "level_step_db_p50": float(np.median(steps)),
        "joins": len(steps),
    }


def run(texts: list[str], planted: bool, clean: bool, true_ends: list[float]) -> dict[str, Any]:
    """Figures of one run.

    Args:
        texts: What is said.
        planted: Whether faults are planted.
        clean: Whether ends are cleaned up and levels evened.
        true_ends: Where each text ends in the run without clean ends, in seconds; filled by it.
    """
    with mock.patch.object(machine, "Sampler", MissedStops if planted else Sampler):
        engine = LocalEngine(
            BUNDLED,
            device="cpu",
            precision="fp32",
            slots=16,
            queue=len(texts),
            admission=False,
            max_wait=None,
            ends=Ends() if clean else Ends.off(),
            times=TIMES,
        )
        engine.load()
    spoken = items(texts, engine.info.fingerprint)
    said = speak(engine, [(item, None) for item in spoken])
    figures, ends = judged(spoken, said)
    true_ends += [] if true_ends else ends
    lost = [
        end - last_sound(one.samples, SAMPLE_RATE) > EXTRA_S
        for end, one in zip(true_ends, said, strict=True)
    ]
    pairs = list(zip(spoken, said, strict=True))[::4] if planted else []
    cuts = speak(engine, [(item, max(4, one.codes // 2)) for item, one in pairs])
    engine.close()
    gains = [LEVEL_DB * planted * step for step in (0, 1, 0, -1)]
    order = by_voice(spoken)
    levels = [
        said[index].samples * 10 ** (gains[place % len(gains)] / 20)
        for place, index in enumerate(order)
    ]
    # What the pipeline joins is what a listener gets; without it, what the engine gave.
    info, raw = engine.info, [one.samples for one in cuts]
    joined = asyncio.run(series(info, levels)) if clean else _in_series(levels)
    edges = [*joined, *(asyncio.run(series(info, raw)) if clean else _in_series(raw))]
    return (
        figures
        | {"cut_short": float(np.mean(lost))}
        | joins(joined)
        | {"clicks": sum(clicks(segments) for segments in edges)}
    )


def by_voice(spoken: list[Item]) -> list[int]:
    """Places of items in series of one voice each; what is left over of a voice is left out."""
    places: dict[str, list[int]] = {}
    for place, item in enumerate(spoken):
        places.setdefault(item.voice.name, []).append(place)
    return [place for each in places.values() for place in each[: len(each) // SERIES * SERIES]]


def _in_series(pieces: list[Array]) -> list[list[Array]]:
    return [pieces[start : start + SERIES] for start in range(0, len(pieces), SERIES)]


def measure(texts: list[str]) -> dict[str, dict[str, dict[str, Any]]]:
    """All figures: by what was planted, then without clean ends and with them."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for state in ("as it is", "planted faults"):
        ends: list[float] = []
        found[state] = {
            way: run(texts, state == "planted faults", way == "with", ends)
            for way in ("without", "with")
        }
    return found


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} texts")
    options = parser.parse_args()
    texts = json.loads(TEXTS.read_text())["texts"]
    if options.quick:
        texts = texts[:: len(texts) // QUICK]
    found = measure(texts)
    print(f"{'':26}{'as it is':>22}{'planted faults':>24}")
    print(f"{'':26}" + f"{'without':>12}{'with':>12}" * 2)
    for name in found["as it is"]["with"]:
        row = [found[state][way][name] for state in found for way in ("without", "with")]
        limit = f"  (at most {LIMITS[name]})" if name in LIMITS else ""
        print(f"{name:26}" + "".join(f"{value:12.3f}" for value in row) + limit)
    figures = {name: found["planted faults"]["with"][name] for name in LIMITS}
    met = all(figures[name] <= limit for name, limit in LIMITS.items())
    met = (
        met and figures["extra_speech"] <= 0.5 * found["planted faults"]["without"]["extra_speech"]
    )
    # Of few texts a single one is more than the share allowed.
    print("a quick look" if options.quick else "met" if met else "not met")
    result = {
        **figures,
        "found": found,
        "rates": {"run-on": 0.5, "cut": 0.25, "level": 0.5},
        "texts": len(texts),
        "machine": f"{platform.machine()} {platform.processor() or ''}".strip(),
        "dtype": "fp32",
        "threads": torch.get_num_threads(),
        "text": TEXTS.name,
    }
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
