"""`livekit-xtts compare`: the same text streamed and made whole, side by side."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from livekit_xtts.audio import wav_bytes
from livekit_xtts.cli.exits import create_folder
from livekit_xtts.cli.settings import Opened, Settings, opened, with_settings
from livekit_xtts.cli.speak import check_speakable, collect
from livekit_xtts.speech import SAMPLE_RATE, Float32
from livekit_xtts.storage import write_atomically


@dataclass(frozen=True)
class Run:
    """One way to speak the text.

    Attributes:
        audio: All of it.
        first_audio_s: From the call to the first piece.
        total_s: From the call to the last piece.
    """

    audio: Float32
    first_audio_s: float
    total_s: float

    @property
    def seconds(self) -> float:
        """Length of the audio."""
        return self.audio.size / SAMPLE_RATE

    def as_dict(self) -> dict[str, float]:
        """Its figures."""
        return {
            "first_audio_s": self.first_audio_s,
            "total_s": self.total_s,
            "audio_s": self.seconds,
            "real_time_factor": self.total_s / self.seconds,
        }


@with_settings
def compare(
    text: Annotated[str, typer.Argument(help="What to say.")],
    settings: Settings,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder for streamed.wav, whole.wav, compare.png."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Figures as JSON.")] = False,
) -> None:
    """Speak a text streamed and whole: first audio, total time, largest difference, a picture."""
    check_speakable(text)
    if output is not None:
        create_folder(output)
    with opened(settings) as voice:
        # Both must draw alike to be comparable; levels are evened by what is known in time.
        options = replace(voice.options, seed=settings.seed or 0, even_level=False)
        seeded = replace(voice, options=options)
        streamed, whole = asyncio.run(_both(seeded, text))
    result = {
        "streamed": streamed.as_dict(),
        "whole": whole.as_dict(),
        "largest_difference": largest_difference(streamed.audio, whole.audio),
        "samples_equal": streamed.audio.size == whole.audio.size,
    }
    if as_json:
        typer.echo(json.dumps(result, indent=2))
    else:
        _print(result)
    if output is not None:
        write_atomically(output / "streamed.wav", wav_bytes(streamed.audio), private=False)
        write_atomically(output / "whole.wav", wav_bytes(whole.audio), private=False)
        _picture(streamed, whole, output / "compare.png")


def largest_difference(first: Float32, second: Float32) -> float:
    """Largest difference of two signals, of the larger peak; where one is longer, from silence."""
    size = max(first.size, second.size)
    a = np.pad(first.astype(np.float64), (0, size - first.size))
    b = np.pad(second.astype(np.float64), (0, size - second.size))
    peak = max(float(np.abs(a).max(initial=0)), float(np.abs(b).max(initial=0)))
    return float(np.abs(a - b).max(initial=0)) / peak if peak else 0.0


async def _both(voice: Opened, text: str) -> tuple[Run, Run]:
    await _run(voice, text, stream=True)  # whatever the first speech warms up
    return await _run(voice, text, stream=True), await _run(voice, text, stream=False)


async def _run(voice: Opened, text: str, *, stream: bool) -> Run:
    arrivals: list[float] = []
    began = time.perf_counter()
    audio = await collect(
        voice, text, stream=stream, taker=lambda _: arrivals.append(time.perf_counter())
    )
    return Run(audio, arrivals[0] - began, time.perf_counter() - began)


def _print(result: dict[str, Any]) -> None:
    table = Table("", "streamed", "whole")
    for label, name, unit in (
        ("first audio", "first_audio_s", "s"),
        ("total", "total_s", "s"),
        ("audio", "audio_s", "s"),
        ("real-time factor", "real_time_factor", ""),
    ):
        row = (f"{result[way][name]:.3f} {unit}".strip() for way in ("streamed", "whole"))
        table.add_row(label, *row)
    console = Console()
    console.print(table)
    console.print(f"largest difference: {result['largest_difference']:.2e} of the peak")


def _picture(streamed: Run, whole: Run, path: Path) -> None:
    try:
        import matplotlib
    except ImportError:
        typer.echo("no picture: it needs matplotlib (pip install matplotlib)", err=True)
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    size = max(streamed.audio.size, whole.audio.size)
    padded = [np.pad(run.audio, (0, size - run.audio.size)) for run in (streamed, whole)]
    rows = (
        (f"streamed, first audio after {streamed.first_audio_s:.3f} s", padded[0]),
        (f"whole, first audio after {whole.first_audio_s:.3f} s", padded[1]),
        ("difference", padded[0] - padded[1]),
    )
    figure, axes = pyplot.subplots(len(rows), sharex=True, figsize=(10, 6), layout="constrained")
    for axis, (title, audio) in zip(axes, rows, strict=True):
        axis.plot(np.arange(size) / SAMPLE_RATE, audio, linewidth=0.5)
        axis.set_title(title, loc="left", fontsize=9)
    axes[-1].set_xlabel("s")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    typer.echo(path, err=True)
