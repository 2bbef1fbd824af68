"""`livekit-xtts speak`: a text, or the standard input, into a file or the loudspeaker."""

from __future__ import annotations

import asyncio
import codecs
import io
import math
import struct
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import ExitStack, aclosing, closing
from pathlib import Path
from typing import Annotated, Any, BinaryIO, cast

import numpy as np
import typer

from livekit_xtts.audio import to_pcm16, wav_bytes
from livekit_xtts.cli.exits import UsageError, check_file
from livekit_xtts.cli.play import PlaybackError, Player
from livekit_xtts.cli.settings import Opened, Settings, opened, with_settings
from livekit_xtts.events import AudioPiece, Finished, Flush
from livekit_xtts.pacing import Pacing
from livekit_xtts.speech import SAMPLE_RATE, Float32, InvalidRequestError
from livekit_xtts.storage import write_atomically
from livekit_xtts.text.normalize import speakable


@with_settings
def speak(
    text: Annotated[str, typer.Argument(help="What to say; - reads the standard input.")],
    settings: Settings,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="WAV file; - writes it to the standard output."),
    ] = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Hand audio on while it is made, text as it comes.")
    ] = False,
    play: Annotated[
        bool, typer.Option("--play", help="Play it; the default where no output is named.")
    ] = False,
) -> None:
    """Speak a text into a file, the loudspeaker, or both."""
    incoming = text == "-"
    said = _whole_input() if incoming and not stream else text
    if not (incoming and stream):
        check_speakable(said)
    if output is not None:
        check_file(output)
    with ExitStack() as stack:
        # Before the model is loaded: a missing sound device is known at once.
        player = None
        if play or output is None:
            player = stack.enter_context(closing(_player(asked=play)))
        voice = stack.enter_context(opened(settings))
        sink = _Streamed(sys.stdout.buffer) if output == Path("-") and stream else None
        audio = asyncio.run(
            _speak(voice, _incoming() if incoming and stream else said, stream, player, sink)
        )
        if not audio.size:
            raise InvalidRequestError("no text came in")
        if output is not None and sink is None:
            _write(output, audio)
        if player is not None:
            player.finish()
            if player.underruns:
                typer.echo(f"playback waited {player.underruns} times for audio", err=True)


def check_speakable(text: str) -> None:
    """Refuse a text that has nothing to say.

    Raises:
        InvalidRequestError: It is blank, or has neither letters nor digits.
    """
    if not speakable(text):
        raise InvalidRequestError("there is nothing in the text that can be spoken")


def _player(*, asked: bool) -> Player:
    try:
        return Player()
    except PlaybackError as error:
        if asked:
            raise
        raise UsageError(f"{error}") from error


async def _speak(
    voice: Opened,
    text: str | AsyncIterator[str | Flush],
    stream: bool,
    player: Player | None,
    sink: _Streamed | None,
) -> Float32:
    takers: list[Callable[[Float32], None]] = []
    if player is not None:
        takers.append(player.push)
    if sink is not None:
        takers.append(sink.write)
    return await collect(voice, text, stream=stream, taker=lambda a: [take(a) for take in takers])


async def collect(
    voice: Opened,
    text: str | AsyncIterator[str | Flush],
    *,
    stream: bool,
    taker: Callable[[Float32], Any] | None = None,
    on_finish: Callable[[Finished], None] | None = None,
    options: Any = None,
) -> Float32:
    """All audio of a text, handed to `taker` as it is made.

    Args:
        voice: What to speak with.
        text: The text or its stream.
        stream: False makes each segment whole first.
        taker: Called with each piece.
        on_finish: Called with the end of the utterance.
        options: Instead of the voice's own.
    """
    pieces: list[Float32] = []
    pacing = Pacing(most_lead_s=math.inf, whole_below=0, timeout_s=None)
    if not stream:
        pacing = Pacing(
            most_lead_s=math.inf, whole_below=sys.maxsize, whole_wait_s=math.inf, timeout_s=None
        )
    events = voice.pipeline.speak(text, options or voice.options, pacing)
    async with aclosing(events):
        async for event in events:
            if isinstance(event, AudioPiece):
                pieces.append(event.audio)
                if taker is not None:
                    taker(event.audio)
            elif isinstance(event, Finished) and on_finish is not None:
                on_finish(event)
    return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)


async def _incoming() -> AsyncGenerator[str | Flush]:
    """The standard input as it comes, word by word; a thread of its own waits for it."""
    loop = asyncio.get_running_loop()
    pieces: asyncio.Queue[str | None] = asyncio.Queue()
    decoder = io.IncrementalNewlineDecoder(
        codecs.getincrementaldecoder(sys.stdin.encoding)(errors="replace"), translate=True
    )

    def read() -> None:
        file = cast(io.BufferedReader, sys.stdin.buffer)
        try:
            while data := file.read1(4096):
                loop.call_soon_threadsafe(pieces.put_nowait, decoder.decode(data))
            loop.call_soon_threadsafe(pieces.put_nowait, decoder.decode(b"", final=True))
            loop.call_soon_threadsafe(pieces.put_nowait, None)
        except RuntimeError:
            return  # the loop has ended before the input

    threading.Thread(target=read, name="stdin", daemon=True).start()
    while (piece := await pieces.get()) is not None:
        yield piece


def _whole_input() -> str:
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise UsageError(f"the standard input is not {error.encoding} text") from None


def _write(output: Path, audio: Float32) -> None:
    if output == Path("-"):
        sys.stdout.buffer.write(wav_bytes(audio))
        sys.stdout.buffer.flush()
        return
    write_atomically(output, wav_bytes(audio), private=False)
    typer.echo(f"{output}: {audio.size / SAMPLE_RATE:.2f} s", err=True)


class _Streamed:
    """A WAV stream whose length is not known yet: as long as the format can say."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._begun = False

    def write(self, audio: Float32) -> None:
        if not self._begun:
            self._begun = True
            rate, most = SAMPLE_RATE, 0xFFFFFFFF
            form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
            head = struct.pack("<4sI4s", b"RIFF", most, b"WAVE")
            self._file.write(head + form + struct.pack("<4sI", b"data", most - 36))
        self._file.write(to_pcm16(audio))
        self._file.flush()
