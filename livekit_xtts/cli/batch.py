"""`livekit-xtts batch`: many texts into a folder of WAV files, resumed where it stopped."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from livekit_xtts.audio import wav_bytes
from livekit_xtts.cache import request_key
from livekit_xtts.cli.exits import PARTIAL, create_folder
from livekit_xtts.cli.rows import Row, read_rows
from livekit_xtts.cli.settings import Opened, Settings, opened, with_settings
from livekit_xtts.cli.speak import check_speakable, collect
from livekit_xtts.events import SpeakOptions
from livekit_xtts.speech import SAMPLE_RATE, SpeechError
from livekit_xtts.storage import write_atomically
from livekit_xtts.text.languages import canonical_language

JOURNAL = "batch.jsonl"
"""In the output folder: a line for each text that was spoken, by which a later run skips it."""


@with_settings
def batch(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="A .txt, .csv or .jsonl file.")],
    settings: Settings,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the WAV files.")],
    stream: Annotated[
        bool, typer.Option("--stream", help="Make them as a live stream would.")
    ] = False,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="Texts at once. Default: by slots.")
    ] = None,
) -> None:
    """Speak every text of a file into a folder.

    Run it again after an interruption: texts that were spoken with the same settings are skipped.
    A text that fails does not stop the others; failures are listed at the end.
    """
    rows = read_rows(source)
    create_folder(output)
    with opened(settings) as voice:
        failures, skipped = asyncio.run(_speak_all(voice, rows, output, stream, jobs))
    made = len(rows) - len(failures) - skipped
    typer.echo(f"{made} spoken, {skipped} there already, {len(failures)} failed", err=True)
    for row, error in failures:
        typer.echo(f"failed: {row.id}: {error}", err=True)
    if failures:
        raise typer.Exit(PARTIAL)


async def _speak_all(
    voice: Opened, rows: list[Row], output: Path, stream: bool, jobs: int | None
) -> tuple[list[tuple[Row, Exception]], int]:
    """Failures, and how many were skipped."""
    done = _journal(output / JOURNAL)
    failures: list[tuple[Row, Exception]] = []
    skipped = 0
    waiting = iter(rows)
    with _bar(len(rows)) as advance, (output / JOURNAL).open("a", encoding="utf-8") as journal:

        async def worker() -> None:
            nonlocal skipped
            for row in waiting:
                try:
                    options = await _options(voice, row)
                    digest = _digest(voice, row, options, stream)
                    path = output / f"{row.id}.wav"
                    if done.get(row.id) == digest and path.is_file():
                        skipped += 1
                    else:
                        seconds = await _speak_one(voice, row, options, stream, path)
                        entry = {"id": row.id, "digest": digest, "seconds": round(seconds, 3)}
                        journal.write(json.dumps(entry) + "\n")
                        journal.flush()
                except (SpeechError, TimeoutError) as error:
                    failures.append((row, error))
                advance()

        # Half of the slots: each text may have its next segment in the making.
        count = jobs or max(1, voice.engine.info.slots // 2)
        async with asyncio.TaskGroup() as group:
            for _ in range(min(count, len(rows))):
                group.create_task(worker())
    return failures, skipped


async def _options(voice: Opened, row: Row) -> SpeakOptions:
    options = voice.options
    if row.voice is not None:
        options = replace(options, voice=await voice.library.resolve_async(row.voice))
    if row.language is not None:
        options = replace(options, language=canonical_language(row.language))
    if row.seed is not None:
        options = replace(options, seed=row.seed)
    if row.speed is not None:
        options = replace(options, speed=row.speed)
    return options


def _digest(voice: Opened, row: Row, options: SpeakOptions, stream: bool) -> str:
    """Names everything that the file comes from."""
    key = request_key(voice.engine.info, options.request(row.text), extra={"stream": stream})
    return hashlib.sha256(f"{key} {row.text}".encode()).hexdigest()


async def _speak_one(
    voice: Opened, row: Row, options: SpeakOptions, stream: bool, path: Path
) -> float:
    check_speakable(row.text)
    audio = await collect(voice, row.text, stream=stream, options=options)
    await asyncio.to_thread(write_atomically, path, wav_bytes(audio), private=False)
    return audio.size / SAMPLE_RATE


def _journal(path: Path) -> dict[str, str]:
    """Digests by id of what earlier runs spoke; a line that an interruption tore is left out."""
    done: dict[str, str] = {}
    if not path.is_file():
        return done
    content = path.read_text(encoding="utf-8", errors="replace")
    if content and not content.endswith("\n"):
        with path.open("a", encoding="utf-8") as file:
            file.write("\n")  # what follows is not to be torn with it
    for line in content.splitlines():
        try:
            entry = json.loads(line)
            done[str(entry["id"])] = str(entry["digest"])
        except (ValueError, KeyError, TypeError):
            continue
    return done


@contextmanager
def _bar(total: int) -> Iterator[Any]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task("speaking", total=total)
        yield lambda: bars.advance(task)
