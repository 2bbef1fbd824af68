"""What a repeated phrase costs: `python -m benchmarks.reuse --json PATH [--quick]`.

A phrase is spoken once, then asked for again: from memory, and from disk by a cache that has
nothing in memory (as another process would find it). Measured from the call to the first LiveKit
frame of `TTS.synthesize`, and to the first audio of the pipeline below it. At last, equal requests
are made at once, and the generations that the engine sees are counted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import torch
from livekit.agents import APIConnectOptions

from livekit_xtts.cache import SpeechCache
from livekit_xtts.engine.engine import Sink
from livekit_xtts.engine.local import LocalEngine
from livekit_xtts.events import AudioPiece, SpeakOptions
from livekit_xtts.pipeline import Pipeline
from livekit_xtts.speech import SpeechRequest
from livekit_xtts.tts import TTS

TEXT = "Thank you for calling, how can I help you today?"
EQUAL_REQUESTS = 8
PATIENT = APIConnectOptions(timeout=120)
"""The first, live speech may meet a busy machine; what is timed afterwards needs no patience."""

LIMITS = {
    "first_frame_memory_s": 0.002,
    "first_frame_disk_s": 0.01,
    "generations_for_equal_requests": 1,
}


class CountingEngine(LocalEngine):
    """Counts the requests that reach it."""

    generations = 0

    def submit(self, request: SpeechRequest, sink: Sink) -> Any:
        """As `LocalEngine.submit`."""
        self.generations += 1
        return super().submit(request, sink)


async def first_frame_s(tts: TTS) -> float:
    """Seconds from `synthesize` to its first frame; the rest is read too."""
    began = time.perf_counter()
    first = 0.0
    async with tts.synthesize(TEXT, conn_options=PATIENT) as stream:
        async for _ in stream:
            first = first or time.perf_counter() - began
    return first


async def first_piece_s(engine: LocalEngine, cache: SpeechCache) -> float:
    """Seconds from `Pipeline.speak` to its first audio; the rest is read too."""
    pipeline = Pipeline(engine, cache=cache)
    began = time.perf_counter()
    first = 0.0
    async with aclosing(pipeline.speak(TEXT, SpeakOptions())) as events:
        async for event in events:
            if isinstance(event, AudioPiece):
                first = first or time.perf_counter() - began
    return first


async def repeated(measure: Callable[[], Awaitable[float]], times: int) -> dict[str, float]:
    """Median and 95th percentile in seconds; the first two runs are not counted."""
    values = [await measure() for _ in range(times + 2)][2:]
    return {"p50": statistics.median(values), "p95": statistics.quantiles(values, n=20)[-1]}


async def main(quick: bool) -> dict[str, Any]:
    """All figures."""
    times = 50 if quick else 300
    engine = CountingEngine("random-small")
    engine.load()
    with tempfile.TemporaryDirectory() as folder:
        kept = SpeechCache(folder=folder)
        tts = TTS(engine=engine, cache=kept)
        live = await first_frame_s(tts)
        await kept.flush()

        async def from_disk() -> float:
            return await first_frame_s(TTS(engine=engine, cache=SpeechCache(folder=folder)))

        async def piece_from_disk() -> float:
            return await first_piece_s(engine, SpeechCache(folder=folder))

        memory = await repeated(lambda: first_frame_s(tts), times)
        disk = await repeated(from_disk, times)
        memory_piece = await repeated(lambda: first_piece_s(engine, kept), times)
        disk_piece = await repeated(piece_from_disk, times)
        size = kept.stats().disk_bytes
    generations = engine.generations
    shared = TTS(engine=engine, cache=SpeechCache())
    await asyncio.gather(*(first_frame_s(shared) for _ in range(EQUAL_REQUESTS)))
    result = {
        "first_frame_memory_s": memory["p95"],
        "first_frame_disk_s": disk["p95"],
        "generations_for_equal_requests": engine.generations - generations,
        "equal_requests": EQUAL_REQUESTS,
        "first_frame_memory_p50_s": memory["p50"],
        "first_frame_disk_p50_s": disk["p50"],
        "first_piece_memory_p95_s": memory_piece["p95"],
        "first_piece_disk_p95_s": disk_piece["p95"],
        "first_frame_live_s": live,
        "file_bytes": size,
        "runs": times,
        "machine": f"{platform.machine()} {platform.processor() or ''}".strip(),
        "dtype": engine.info.precision,
        "threads": torch.get_num_threads(),
        "text": TEXT,
    }
    engine.close()
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--quick", action="store_true")
    chosen = parser.parse_args()
    figures = asyncio.run(main(chosen.quick))
    for name, value in figures.items():
        limit = f"  (at most {LIMITS[name]})" if name in LIMITS else ""
        print(
            f"{name:32} {value:.6f}{limit}"
            if isinstance(value, float)
            else f"{name:32} {value}{limit}"
        )
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=2))
