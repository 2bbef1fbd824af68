"""What the speed benchmarks share: arguments, machine facts, engines, listeners, tables.

Needs torch and numpy alone (on a CPU ONNX Runtime too): text comes as ready-made ids.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import shutil
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from livekit_xtts.engine.engine import Engine
from livekit_xtts.engine.local import LocalEngine
from livekit_xtts.engine.threads import elsewhere
from livekit_xtts.speech import (
    CODE_SECONDS,
    SAMPLE_RATE,
    SpeechChunk,
    SpeechDone,
    SpeechEvent,
    SpeechFailed,
    SpeechRequest,
    Voice,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from livekit_xtts.engine.capacity import Slots
    from livekit_xtts.model.xtts import XttsModel

TEXT = (
    "The train to the coast leaves at nine, so please be at the station a little before that,"
    " with a bag."
)
"""100 characters, about 6.5 s of speech."""

TEXT_IDS = 60
"""Ids of that text in the published vocabulary, language tag included."""

SPEECH_CODES = 140
"""Codes of that text; random weights never stop by themselves."""

CONTINUOUS_S = 0.1
"""Most silence in all that a stream may have and count as continuous."""


def parser(doc: str | None) -> argparse.ArgumentParser:
    """The arguments that every speed benchmark takes."""
    made = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--json", type=Path, help="write the figures here")
    made.add_argument("--quick", action="store_true", help="at most 50 s, fewer repeats")
    made.add_argument("--model", default="random", help="random, random-small, bundled or a path")
    made.add_argument(
        "--device", default="auto", help="cpu, cuda; default: cuda where there is one"
    )
    made.add_argument("--precision", default="auto", help="see livekit_xtts.model.precision")
    made.add_argument("--threads", type=int, help="CPU threads of the engine; default: torch's")
    made.add_argument("--profile", default="balanced", help="latency, balanced or throughput")
    made.add_argument("--against", choices=["coqui"], help="the TTS package on the same weights")
    return made


def text_ids(count: int = TEXT_IDS, vocabulary: int = 6681, seed: int = 0) -> tuple[int, ...]:
    """Ready-made ids: as many as the text has, fit for any vocabulary."""
    import numpy as np

    generator = np.random.default_rng(seed)
    return tuple(int(i) for i in generator.integers(2, min(vocabulary, 250), count))


# ---- the machine --------------------------------------------------------------------------


def read_gb_s(device: str = "cpu", threads: int | None = None) -> float:
    """What the machine reads from memory: the best of a few sums, in GB/s.

    They go over half a gigabyte; on a GPU over four, so that a launch does not show.
    """
    import torch

    def read() -> float:
        count = 1 << (30 if device.startswith("cuda") else 27)
        values = torch.ones(count, dtype=torch.float32, device=device)
        best = float("inf")
        for _ in range(6):
            began = time.perf_counter()
            float(values.sum())
            best = min(best, time.perf_counter() - began)
        return 4 * len(values) / best / 1e9

    return elsewhere(read, threads)


def facts(engine: Engine, args: argparse.Namespace) -> dict[str, Any]:
    """What a figure depends on: machine, software, precision, threads, text, other load."""
    import torch

    from livekit_xtts.model import processor

    device = engine.info.device
    cuda = device.startswith("cuda")
    ways = {} if (found := getattr(engine, "_machine", None)) is None else found.ways()
    return {
        "machine": torch.cuda.get_device_name(device) if cuda else processor.name(),
        "cpus": os.cpu_count(),
        "system": platform.platform(),
        "torch": torch.__version__,
        "device": device,
        "model": engine.info.model,
        "dtype": engine.info.precision,
        **ways,
        "threads": args.threads or torch.get_num_threads(),
        "profile": args.profile,
        "text": f"{len(TEXT)} characters, {TEXT_IDS} ids",
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "read_gb_s": read_gb_s(device, args.threads),
    }


_VOICES: dict[int, Voice] = {}
"""Voices of random numbers, by engine, for models that have none of their own."""


def settle(args: argparse.Namespace) -> None:
    """Work on the GPU that the arguments name, on this thread too."""
    if args.device.startswith("cuda"):
        import torch

        torch.cuda.set_device(torch.device(args.device).index or 0)


# ---- engines ------------------------------------------------------------------------------


def load_engine(
    args: argparse.Namespace, *, slots: Slots = 1, model: Any = None, **options: Any
) -> LocalEngine:
    """A loaded engine as the arguments ask for it.

    Args:
        args: From `parser`.
        slots: Streams at once, or "auto".
        model: In place of the one that the arguments name.
        **options: Further ones of `LocalEngine`.
    """
    settle(args)
    name = None if args.model == "bundled" else args.model
    engine = LocalEngine(
        name if model is None else model,
        device=args.device,
        precision=args.precision,
        slots=slots,
        threads=args.threads,
        profile=args.profile,
        load_timeout=1800.0,
        max_wait=None,
        **options,
    )
    engine.load()
    folder = Path(args.model)
    if folder.is_dir() and not any(folder.glob("voices/*.safetensors")):
        assert engine._machine is not None
        _VOICES[id(engine)] = random_voice(engine._machine.model)
    return engine


def load_model(args: argparse.Namespace) -> XttsModel:
    """The model itself, on the CPU in float32, where a benchmark needs more than an engine."""
    from livekit_xtts.engine import source

    name = None if args.model == "bundled" else args.model
    # Helpers of torch that a thread keeps would be in the way of the engines'.
    return elsewhere(lambda: source.load(name, device="cpu", precision="fp32").model)


def random_voice(model: XttsModel) -> Voice:
    """A voice of random numbers that belongs to a model."""
    from livekit_xtts.engine import source

    return source.random_voice(model)


def voice_of_noise(width: int) -> Voice:
    """A voice of random numbers for engines without a model, of so many channels."""
    import numpy as np

    generator = np.random.default_rng(0)
    return Voice(
        "none",
        generator.standard_normal((32, width)).astype(np.float32),
        generator.standard_normal(width).astype(np.float32),
        "0" * 64,
        "0" * 64,
    )


@contextmanager
def coqui_engine(model: XttsModel, args: argparse.Namespace) -> Iterator[tuple[Engine, Voice]]:
    """The `TTS` package on the same weights, and a voice for it."""
    from livekit_xtts.engine.coqui import CoquiEngine
    from livekit_xtts.model.checkpoint import save_model

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        save_model(model, folder)
        write_pth(folder)
        engine = CoquiEngine(folder, device=args.device, threads=args.threads, load_timeout=1800.0)
        try:
            engine.load()
            shutil.rmtree(folder)
            folder.mkdir()
            voice = random_voice(model)
            yield engine, dataclasses.replace(voice, model=engine.info.fingerprint)
        finally:
            engine.close()


def write_pth(folder: Path) -> None:
    """Turn a folder of `save_model` into one that the `TTS` package reads."""
    from livekit_xtts.model.checkpoint import convert

    convert(folder, folder / "model.pth")
    (folder / "model.safetensors").unlink()
    # Ids come ready-made: a vocabulary is only there to be opened, and for its size and marks.
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_args"]
    marks = {
        config["gpt_stop_text_token"]: "[STOP]",
        1: "[UNK]",
        2: "[SPACE]",
        config["gpt_start_text_token"]: "[START]",
    }
    words = {marks.get(i, f"<{i}>"): i for i in range(config["gpt_number_text_tokens"])}
    bpe = {"type": "BPE", "vocab": words, "merges": [], "unk_token": "[UNK]"}
    tokenizer = {"version": "1.0", "added_tokens": [], "model": bpe}
    (folder / "vocab.json").write_text(json.dumps(tokenizer), encoding="utf-8")


# ---- listening ----------------------------------------------------------------------------


@dataclass
class Listener:
    """Takes a request's events and notes when its audio came.

    Attributes:
        asked: When the request was handed in (`time.perf_counter`).
        chunks: Arrival and seconds of audio of each chunk.
        end: The last event.
        cpu_s: Processor seconds of this process meanwhile: what can be compared on a busy machine.
    """

    asked: float
    chunks: list[tuple[float, float]] = field(default_factory=list)
    end: SpeechEvent | None = None
    cpu_s: float = 0.0
    finished: threading.Event = field(default_factory=threading.Event)

    def __call__(self, event: SpeechEvent) -> None:
        """Note an event; runs on the engine's thread."""
        if isinstance(event, SpeechChunk):
            if event.audio.size:
                self.chunks.append((time.perf_counter(), event.audio.size / SAMPLE_RATE))
            return
        self.end = event
        self.finished.set()

    @property
    def failed(self) -> bool:
        """Whether the request ended with an error, or without audio."""
        return not isinstance(self.end, SpeechDone) or not self.chunks

    @property
    def first_audio_s(self) -> float:
        """Seconds from asking to the first audio."""
        return self.chunks[0][0] - self.asked

    @property
    def audio_s(self) -> float:
        """Seconds of audio."""
        return sum(seconds for _, seconds in self.chunks)

    @property
    def rtf(self) -> float:
        """Seconds from asking to the last audio, for each second of audio."""
        return (self.chunks[-1][0] - self.asked) / self.audio_s

    @property
    def underrun_s(self) -> float:
        """Silence in all, where playback begins with the first chunk and waits when it runs dry."""
        until, silence = self.chunks[0][0], 0.0
        for arrival, seconds in self.chunks:
            silence += max(0.0, arrival - until)
            until = max(until, arrival) + seconds
        return silence


def ask(engine: Engine, request: SpeechRequest) -> Listener:
    """Hand in a request.

    Raises:
        SpeechError: As `Engine.submit`.
    """
    if request.voice is None:
        request = dataclasses.replace(request, voice=_VOICES.get(id(engine)))
    listener = Listener(time.perf_counter())
    engine.submit(request, listener)
    return listener


def listen(listeners: Sequence[Listener], timeout: float = 600.0) -> None:
    """Wait for the end of all.

    Raises:
        RuntimeError: One failed, or did not end in time.
    """
    for listener in listeners:
        if not listener.finished.wait(timeout):
            raise RuntimeError(f"no end after {timeout} s")
        if isinstance(listener.end, SpeechFailed):
            raise RuntimeError(f"a request failed: {listener.end.error}")
        if listener.failed:
            raise RuntimeError("a request ended without audio")


def request(
    codes: int = SPEECH_CODES,
    *,
    voice: Voice | None = None,
    seed: int = 0,
    ids: int = TEXT_IDS,
    vocabulary: int = 6681,
) -> SpeechRequest:
    """A request of so many codes."""
    return SpeechRequest(
        "", voice=voice, ids=text_ids(ids, vocabulary, seed), seed=seed, max_codes=codes
    )


def one_after_another(
    engine: Engine, count: int, codes: int, voice: Voice | None = None
) -> list[Listener]:
    """Requests, each asked for when the one before has ended."""
    listeners = []
    for seed in range(count):
        before = time.process_time()
        listener = ask(engine, request(codes, voice=voice, seed=seed))
        listen([listener])
        listener.cpu_s = time.process_time() - before
        listeners.append(listener)
    return listeners


def warm(engine: Engine, voice: Voice | None = None) -> None:
    """One short request, so that the voice is known and everything has run once."""
    listen([ask(engine, request(24, voice=voice, seed=99))])


def codes_for(seconds: float) -> int:
    """Codes of so many seconds of speech."""
    return round(seconds / CODE_SECONDS)


# ---- figures ------------------------------------------------------------------------------


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-int(1000 * share * len(ordered)) // 1000) - 1))]


def show(title: str, figures: dict[str, Any]) -> None:
    """Print figures as a table."""
    print(f"\n{title}")
    wide = max((len(name) for name in figures), default=0)
    for name, value in figures.items():
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        print(f"  {name:<{wide}}  {text}")


def finish(args: argparse.Namespace, title: str, figures: dict[str, Any]) -> None:
    """Print the figures, and write them where the arguments say."""
    show(title, figures)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
