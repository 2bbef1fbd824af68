"""What a LiveKit room adds to the voice: `python -m benchmarks.room --json PATH [--quick]`.

One participant speaks, another one in the same process listens, a real LiveKit server on this
machine lies between them (`LIVEKIT_URL` names another one). Measured with the chosen model:

- the engine's own first audio, from the submitted request to its first chunk;
- the listener's first audio, from `Speaker.say` to the arrival of the first signal;
- `added`, the listener's less the engine's: pipeline, track, encoder, server, jitter buffer. On
  hardware slower than real time it contains what the pipeline holds back, so that speech that has
  begun does not break;
- `track_to_listener`, the part of it behind the pipeline.

Then, with known signals instead of a model: how long the listener still hears something after an
interruption, and how well the envelope that arrives correlates with the one that was spoken.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from livekit.agents import __version__ as agents_version

from livekit import rtc
from livekit_xtts.engine.engine import Engine, Sink, SpeechTask
from livekit_xtts.engine.local import LocalEngine
from livekit_xtts.room import Speaker
from livekit_xtts.speech import Float32, SpeechChunk, SpeechEvent, SpeechRequest
from livekit_xtts.tts import TTS
from tests.fake_engine import FakeEngine
from tests.livekit_server.server import LiveKitServer, running_server
from tests.room.listening import LOUD, SAMPLE_RATE, Listener, compare, joined, listener

TEXTS = (
    "Your table is booked for eight.",
    "The train leaves from track nine.",
    "I have found three free rooms.",
    "Thank you, have a nice day.",
)
"""Short enough to be one segment, and to leave time for many."""

SETTLED = 60
"""Frames of 10 ms after which a listener's jitter buffer has found its size."""

LIMITS = {"interrupt_silence_s": 0.3, "envelope_correlation": 0.95, "hole_s": 0.02}


class Timed:
    """An engine's requests, timed: passes everything on and keeps what came.

    Args:
        engine: Does the work.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.first_audio_s = float("nan")
        self.audio: list[Float32] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def submit(self, request: SpeechRequest, sink: Sink) -> SpeechTask:
        """As `Engine.submit`; the figures of the last request stay."""
        began = time.perf_counter()
        self.first_audio_s = float("nan")
        self.audio = []

        def timed(event: SpeechEvent) -> None:
            if isinstance(event, SpeechChunk):
                if not self.audio:
                    self.first_audio_s = time.perf_counter() - began
                self.audio.append(event.audio)
            sink(event)

        return self._engine.submit(request, timed)


@contextmanager
def some_server() -> Iterator[LiveKitServer]:
    """The server that the environment names, or one of our own."""
    url = os.environ.get("LIVEKIT_URL")
    if url:
        key, secret = os.environ["LIVEKIT_API_KEY"], os.environ["LIVEKIT_API_SECRET"]
        yield LiveKitServer(url, key, secret)
    else:
        with running_server() as server:
            yield server


@asynccontextmanager
async def heard_voice(
    server: LiveKitServer, engine: Engine
) -> AsyncIterator[tuple[Speaker, Listener]]:
    """A speaker with this engine and a listener, in a room of their own, settled."""
    name = f"benchmark-{uuid4().hex[:8]}"
    tts = TTS(engine=engine, cache=False, streaming=True, seed=1)
    async with (
        joined(server, name, "speaker") as room,
        listener(server, name) as heard,
        Speaker(room, tts) as speaker,
    ):
        await heard.until(lambda: len(heard.pieces) >= SETTLED)
        yield speaker, heard
    await tts.aclose()


async def latencies(
    server: LiveKitServer, engine: Engine, count: int
) -> list[tuple[float, float, float]]:
    """First audio of the engine, at the track and at the listener, of so many utterances."""
    measured = []
    timed = Timed(engine)
    async with heard_voice(server, timed) as (speaker, heard):
        await speaker.say(TEXTS[-1])  # the first request of a voice pays for its prefix
        for index in range(count):
            await heard.quiet()
            said = time.perf_counter()
            utterance = speaker.say(TEXTS[index % len(TEXTS)])
            await heard.signal()
            arrived = heard.first_loud(said) - said
            speaker.interrupt()
            await speaker.wait_for_playout()
            quiet = np.argmax(np.abs(np.concatenate(timed.audio)) > LOUD) / SAMPLE_RATE
            track_s = utterance.playout.first_audio_s
            measured.append((timed.first_audio_s, track_s, arrived - float(quiet)))
    return measured


async def interruptions(server: LiveKitServer, count: int) -> list[float]:
    """How long the listener hears something after each interruption, in seconds."""
    silences = []
    engine = FakeEngine(signal="chirps")
    async with heard_voice(server, engine) as (speaker, heard):
        for _ in range(count):
            speaker.say(" ".join(TEXTS))
            await heard.signal()
            at = time.perf_counter()
            speaker.interrupt()
            await speaker.wait_for_playout()
            await heard.quiet()
            silences.append(heard.loud_since(at))
    engine.close()
    return silences


async def envelopes(server: LiveKitServer, count: int) -> list[tuple[float, float]]:
    """Correlation and longest hole of each of so many utterances."""
    results = []
    engine = FakeEngine(signal="chirps")
    async with heard_voice(server, engine) as (speaker, heard):
        for index in range(count):
            text = TEXTS[index % len(TEXTS)]
            start = heard.recording.size
            await speaker.say(text)
            await heard.quiet()
            result = compare(engine.expected(SpeechRequest(text=text)), heard.recording[start:])
            results.append((result.correlation, result.hole_s))
    engine.close()
    return results


async def measure(engine: Engine, quick: bool) -> dict[str, Any]:
    """All figures."""
    with some_server() as server:
        first = await latencies(server, engine, 8 if quick else 40)
        silences = await interruptions(server, 5 if quick else 20)
        heard = await envelopes(server, 3 if quick else 12)
    engine_s, _, listener_s = zip(*first, strict=True)
    added = [listener - own for own, _, listener in first]
    return {
        "added_p50_s": statistics.median(added),
        "added_max_s": max(added),
        "track_to_listener_p50_s": statistics.median(end - track for _, track, end in first),
        "engine_first_audio_p50_s": statistics.median(engine_s),
        "listener_first_audio_p50_s": statistics.median(listener_s),
        "interrupt_silence_s": max(silences),
        "interrupt_silence_p50_s": statistics.median(silences),
        "envelope_correlation": min(correlation for correlation, _ in heard),
        "hole_s": max(hole for _, hole in heard),
        "utterances": len(first),
        "interruptions": len(silences),
    }


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.room", description=__doc__)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="fewer utterances, under 50 s")
    parser.add_argument("--model", help="random-small, random or a folder (default: bundled)")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    engine = LocalEngine(options.model, device=options.device)
    engine.load()
    figures = asyncio.run(measure(engine, options.quick))
    info = engine.info
    engine.close()
    for name, value in figures.items():
        limit = f"  (limit {LIMITS[name]})" if name in LIMITS else ""
        print(f"{name:28} {value:.4g}{limit}")
    report = {
        **figures,
        "model": info.model,
        "device": info.device,
        "dtype": info.precision,
        "machine": f"{platform.machine()} {platform.processor() or ''}".strip(),
        "threads": os.cpu_count(),
        "agents": agents_version,
        "rtc": rtc.__version__,
        "text": list(TEXTS),
    }
    options.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
